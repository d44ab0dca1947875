"""Rewards and regret of agents on bandits whose means stay, beside baseline agents on the same tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import matplotlib.figure
import numpy as np

from maml_rl.analysis.bandit_baselines import (
    BanditPolicy,
    epsilon_greedy,
    greedy,
    roll_out_bandit,
    thompson,
    ucb1,
)
from maml_rl.analysis.behaviour import cumulative_regret
from maml_rl.analysis.behaviour_plots import plot_regret
from maml_rl.analysis.few_pulls import few_pulls_optimum
from maml_rl.analysis.gittins_table import gittins
from maml_rl.analysis.intervals import mean_interval
from maml_rl.analysis.two_armed_bandits import dependent_arms_optimum, independent_arms_optimum
from maml_rl.studies.displays.display import Display, evaluations, named_evaluations, seeds_in_words
from maml_rl.studies.novelty import tasks_in_words
from maml_rl.studies.study_run import StudyRun
from maml_rl.studies.tables import two_decimals
from maml_rl.utils.random import Purpose, generator

_MOST_PULLS_OF_GITTINS = 500
_MOST_PULLS_OF_OPTIMUM = 10
_COLUMNS = ("Gittins", "Thompson", "UCB1", "ε-greedy", "greedy")
_HEAD = [
    "## Beside baseline agents that know the rules",
    "",
    "Meta-episodes of all seeds together, means with their 95 % intervals over meta-episodes, which are as many "
    "different tasks unless the family has few: they hold for these agents, not for others that would be trained. "
    "Reward: total of a meta-episode. "
    "Expected: mean reward of the chosen arms, the same with less luck in it. Optimum: expected reward of "
    "Bayes-optimal behaviour, exact, where it can be computed. Regret: what always pulling the best arm obtains more, "
    "on average. Last columns: how much more regret a baseline agent has on the same tasks; positive: the agent is "
    "better.",
    "",
    f"| run | seeds x tasks | reward | expected | optimum | regret | {' | '.join(f'{name} -' for name in _COLUMNS)} |",
    f"|---|---|---|---|---|---|{'---|' * len(_COLUMNS)}",
]


class BanditDisplay(Display):
    """Rewards and regret on Bernoulli arms whose means stay."""

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """One row per run and test set of bandits; nothing if there is none that was evaluated."""
        rows = [_row(name, config.env_name, results) for name, config, results in named_evaluations(self, runs)]
        return [*_HEAD, *rows] if rows else []

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """Regret of all seeds together, beside that of baseline agents on the same tasks."""
        results = evaluations(runs)
        if not results:
            return None
        means = np.concatenate([part["tasks"] for part in results])  # (N, K)
        choices = np.concatenate([part["actions"] for part in results])  # (N, T)
        baselines = bandit_baseline_regrets(means, choices.shape[1])
        figure = matplotlib.figure.Figure(figsize=(6.4, 4.2), layout="constrained")
        ax = figure.subplots()
        name = f"{runs[0].name}, {seeds_in_words(len(results))}"
        plot_regret(ax, cumulative_regret(choices, means[:, np.newaxis]), baselines, name=name)
        ax.set_title(f"{len(means)} new meta-episodes; tasks: {tasks_in_words(runs[0], len(means))}")
        return figure


def bandit_baselines(num_pulls: int) -> dict[str, BanditPolicy]:
    """Baseline agents that a learner of Bernoulli bandits is compared to, by name."""
    agents: dict[str, BanditPolicy] = {"Gittins": gittins(num_pulls)} if num_pulls <= _MOST_PULLS_OF_GITTINS else {}
    return {**agents, "Thompson": thompson, "UCB1": ucb1(), "ε-greedy": epsilon_greedy(), "greedy": greedy}


def bandit_baseline_regrets(means: np.ndarray, num_pulls: int) -> dict[str, np.ndarray]:
    """Cumulative regret (N, T) of every baseline agent on tasks whose arms have these `means` (N, K), by name."""
    rng = generator(0, Purpose.STATISTICS)
    return {
        name: cumulative_regret(roll_out_bandit(policy, means, num_pulls, rng).choices, means[:, np.newaxis])
        for name, policy in bandit_baselines(num_pulls).items()
    }


def optimal_reward(env_name: str, num_arms: int, num_pulls: int) -> float | None:
    """Expected total reward of Bayes-optimal behaviour, where it can be computed."""
    two_arms: dict[str, Callable[[], float]] = {
        "TwoArmedBandit-Independent-v0": lambda: independent_arms_optimum(num_pulls).reward,
        "TwoArmedBandit-Uniform-v0": lambda: dependent_arms_optimum(num_pulls).reward,
        "TwoArmedBandit-Easy-v0": lambda: dependent_arms_optimum(num_pulls, better=0.9).reward,
        "TwoArmedBandit-Medium-v0": lambda: dependent_arms_optimum(num_pulls, better=0.75).reward,
        "TwoArmedBandit-Hard-v0": lambda: dependent_arms_optimum(num_pulls, better=0.6).reward,
    }
    if env_name in two_arms:
        return two_arms[env_name]()
    return few_pulls_optimum(num_arms, num_pulls) if num_pulls <= _MOST_PULLS_OF_OPTIMUM else None


def _row(name: str, env_name: str, results: Sequence[Mapping[str, np.ndarray]]) -> str:
    """Reward, regret and what baseline agents lack, all seeds together."""
    means = np.concatenate([part["tasks"] for part in results])  # (N, K)
    choices = np.concatenate([part["actions"] for part in results])  # (N, T)
    rewards = np.concatenate([part["rewards"] for part in results]).sum(1, dtype=np.float64)
    regret = cumulative_regret(choices, means[:, np.newaxis])[:, -1]
    num_pulls = choices.shape[1]
    optimum = optimal_reward(env_name, means.shape[1], num_pulls)
    expected = num_pulls * means.max(1) - regret  # of the arms chosen
    baselines = bandit_baseline_regrets(means, num_pulls)
    behind = [
        two_decimals(mean_interval(baselines[agent][:, -1] - regret)) if agent in baselines else "-"
        for agent in _COLUMNS
    ]
    columns = [
        name,
        f"{len(results)} x {len(means) // len(results)}",
        two_decimals(mean_interval(rewards)),
        two_decimals(mean_interval(expected)),
        "-" if optimum is None else f"{optimum:.2f}",
        two_decimals(mean_interval(regret)),
        *behind,
    ]
    return f"| {' | '.join(columns)} |"
