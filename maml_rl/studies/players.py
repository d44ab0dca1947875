"""What agents earn on bandits, beside players who know the rules, on the same tasks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from maml_rl.analysis import (
    BanditPolicy,
    Interval,
    cumulative_regret,
    dependent_arms_optimum,
    epsilon_greedy,
    few_pulls_optimum,
    gittins,
    greedy,
    independent_arms_optimum,
    mean_interval,
    play_bandit,
    thompson,
    ucb1,
)
from maml_rl.studies.study import Cell
from maml_rl.studies.tables import interval_in_words
from maml_rl.utils.random import Purpose, generator

BANDITS = r"Bandit-K\d+-v0|TwoArmedBandit-(Independent|Uniform|Easy|Medium|Hard)-v0"
"""Names of environments with Bernoulli arms whose means stay."""
_MOST_PULLS_OF_GITTINS = 500
_MOST_PULLS_OF_OPTIMUM = 10


def bandit_players(num_pulls: int) -> dict[str, BanditPolicy]:
    """Whom a learner of Bernoulli bandits is compared to, by name."""
    players: dict[str, BanditPolicy] = {"Gittins": gittins(num_pulls)} if num_pulls <= _MOST_PULLS_OF_GITTINS else {}
    return {**players, "Thompson": thompson, "UCB1": ucb1(), "ε-greedy": epsilon_greedy(), "greedy": greedy}


def regrets_of_players(means: np.ndarray, num_pulls: int) -> dict[str, np.ndarray]:
    """Cumulative regret (N, T) of every player on tasks with these arms (N, K), by name."""
    rng = generator(0, Purpose.STATISTICS)
    return {
        name: cumulative_regret(play_bandit(policy, means, num_pulls, rng).choices, means[:, np.newaxis])
        for name, policy in bandit_players(num_pulls).items()
    }


def optimal_reward(env_name: str, num_arms: int, num_pulls: int) -> float | None:
    """Expected total reward of Bayes-optimal play, where it can be computed."""
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


def table_of_bandits(done: Sequence[Cell]) -> list[str]:
    """One row per run and family of bandits; nothing if there is none that was evaluated."""
    rows = []
    for name in dict.fromkeys(cell.name for cell in done):
        seeds = [cell for cell in done if cell.name == name]
        for family, config in [(None, seeds[0].config), *seeds[0].test_on.items()]:
            results = [found for cell in seeds if (found := cell.results(family)) is not None and "actions" in found]
            if results and re.fullmatch(BANDITS, config.env_name):
                rows.append(_row(name if family is None else f"{name} on {family}", config.env_name, results))
    return [*_HEAD, *rows] if rows else []


def _row(name: str, env_name: str, results: Sequence[Mapping[str, np.ndarray]]) -> str:
    """Reward, regret and what players lack, all seeds together."""
    means = np.concatenate([part["tasks"] for part in results])  # (N, K)
    choices = np.concatenate([part["actions"] for part in results])  # (N, T)
    rewards = np.concatenate([part["rewards"] for part in results]).sum(1, dtype=np.float64)
    regret = cumulative_regret(choices, means[:, np.newaxis])[:, -1]
    num_pulls = choices.shape[1]
    optimum = optimal_reward(env_name, means.shape[1], num_pulls)
    expected = num_pulls * means.max(1) - regret  # of the arms chosen
    players = regrets_of_players(means, num_pulls)
    behind = [
        words(mean_interval(players[player][:, -1] - regret)) if player in players else "-" for player in _COLUMNS
    ]
    columns = [
        name,
        f"{len(results)} x {len(means) // len(results)}",
        words(mean_interval(rewards)),
        words(mean_interval(expected)),
        "-" if optimum is None else f"{optimum:.2f}",
        words(mean_interval(regret)),
        *behind,
    ]
    return f"| {' | '.join(columns)} |"


def words(interval: Interval) -> str:
    """Mean [low, high] of a number, two decimals."""
    return interval_in_words(interval, "{:.2f}".format)


_COLUMNS = ("Gittins", "Thompson", "UCB1", "ε-greedy", "greedy")
_HEAD = [
    "## Beside players who know the rules",
    "",
    "Meta-episodes of all seeds together, means with their 95 % intervals over meta-episodes, which are as many "
    "different tasks unless the family has few: they hold for these agents, not for others that would be trained. "
    "Reward: what was paid in a meta-episode. "
    "Expected: what the chosen arms pay on average, the same with less luck in it. Optimum: expected reward of "
    "Bayes-optimal play, exact, where it can be computed. Regret: what always pulling the best arm pays more, on "
    "average. Last columns: how much more regret a player has on the same tasks; positive: the agent is better.",
    "",
    f"| run | seeds x tasks | reward | expected | optimum | regret | {' | '.join(f'{name} -' for name in _COLUMNS)} |",
    f"|---|---|---|---|---|---|{'---|' * len(_COLUMNS)}",
]
