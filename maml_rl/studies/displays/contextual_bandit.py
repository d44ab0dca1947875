"""Agents on bandits that come back, beside a Bayes agent that forgets none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import matplotlib.figure
import numpy as np

from maml_rl.analysis.contextual_bandits import (
    exposure_numbers,
    first_pull_accuracy,
    mean_by_exposure,
    reward_by_pull,
    roll_out_bayes_agent,
    single_arm_accuracy,
)
from maml_rl.analysis.contextual_plots import plot_exposures, plot_rewards_by_pull
from maml_rl.analysis.intervals import mean_interval
from maml_rl.config import Config
from maml_rl.envs import make_meta_env
from maml_rl.envs.behaviour.contextual_bandit import ContextualBanditVectorEnv
from maml_rl.studies.displays.display import Display, evaluations, named_evaluations, seeds_in_words
from maml_rl.studies.study_run import StudyRun
from maml_rl.studies.tables import two_decimals
from maml_rl.utils.random import Purpose, generator

BAYES, FORGETFUL = "Bayes agent", "Bayes agent that forgets"
"""Baseline agents: one with a posterior of each context, one whose posterior ends with the episode."""
_KINDS = {"first exposure": "pulls_first", "later exposures": "pulls_again"}
_HEAD = [
    "## Contexts that come back",
    "",
    "Means over seeds with their 95 % intervals (Student). First pull: fraction of episodes whose first pull is of the "
    "best arm, before anything is learned in them, at the first exposure of a context and at later ones. Bayes: an "
    "agent that knows all probabilities and keeps a posterior of each context, greedily, on the same tasks and "
    "episodes. Behind: how much more often it is right than the agent. One arm: at later exposures, the commonest best "
    "arm of the task in every episode, the most that can be right without a look at the context; chance is 1 / k. "
    "Reward: mean of a pull, over all episodes. Forgets: the Bayes agent whose posterior ends with the episode.",
    "",
    "| run | seeds x tasks x episodes | first pull, first exposure | first pull, later | Bayes, later | behind "
    "| one arm | chance | reward | Bayes | forgets |",
    f"|{'---|' * 11}",
]

Measured = dict[str, np.ndarray]
"""Of an agent: ``exposures`` (X,), first pulls that are right by exposure; ``first``, ``again``, of them at the first
exposure and later; ``single``, by one arm for all later ones; ``reward`` of a pull; ``pulls_first``, ``pulls_again``
(P,), the same by pull."""


class ContextualBanditDisplay(Display):
    """First pulls by exposure of their context, and rewards."""

    caption = "memory of contexts"
    trials_read = frozenset({"actions", "rewards"})

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """One row per run and test set of contextual bandits; nothing if there is none that was evaluated."""
        rows = [_row(name, config, results) for name, config, results in named_evaluations(self, runs)]
        return [*_HEAD, *rows] if rows else []

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """First pulls by exposure, and rewards by pull, all seeds together."""
        results = evaluations(runs)
        if not results:
            return None
        env = bandit_of(runs[0].config)
        found = _all_measured(results, env)
        agent, bayes = found["agent"], found[BAYES]
        figure = matplotlib.figure.Figure(figsize=(10.5, 4.4), layout="constrained")
        exposures, pulls = figure.subplots(1, 2)
        levels = {"chance": 1 / env.k}
        if np.isfinite(agent["single"]).all():
            levels["one arm for all contexts"] = float(agent["single"].mean())
        plot_exposures(exposures, agent["exposures"], {BAYES: bayes["exposures"]}, levels=levels)
        known = {kind: key for kind, key in _KINDS.items() if np.isfinite(agent[key]).all()}
        by_kind = [{kind: part[key] for kind, key in known.items()} for part in (agent, bayes)]
        plot_rewards_by_pull(pulls, *by_kind, baseline=BAYES)
        num_tasks = len(results[0]["actions"])
        figure.suptitle(f"{runs[0].name}: {seeds_in_words(len(results))}, {num_tasks} new tasks each")
        return figure


def measure_contexts(
    choices: np.ndarray, rewards: np.ndarray, contexts: np.ndarray, best: np.ndarray, num_exposures: int
) -> Measured:
    """Measures of an agent, see `Measured`, up to `num_exposures` X.

    Parameters
    ----------
    choices, rewards
        (M, E, P), of M tasks, E episodes and P pulls.
    contexts, best
        (M, E), context and best arm of each episode.
    """
    exposures = exposure_numbers(contexts)
    right, later = first_pull_accuracy(choices, best), exposures > 1
    return {
        "exposures": mean_by_exposure(right, exposures)[:num_exposures],
        "first": np.asarray(right[~later].mean()),
        "again": np.asarray(right[later].mean() if later.any() else np.nan),
        "single": np.asarray(single_arm_accuracy(best, later)),
        "reward": np.asarray(rewards.mean(dtype=np.float64)),
        "pulls_first": reward_by_pull(rewards, ~later),
        "pulls_again": reward_by_pull(rewards, later),
    }


def _all_measured(results: Sequence[Mapping[str, np.ndarray]], env: ContextualBanditVectorEnv) -> dict[str, Measured]:
    """Measures of the agents and of both baseline agents, all seeds along the first axis (S, ...)."""
    whole = [episodes_of(part, env) for part in results]
    num_exposures = min(int(exposure_numbers(contexts).max()) for *_, contexts, _ in whole)
    rng, parts = generator(0, Purpose.STATISTICS), []
    for choices, rewards, contexts, best in whole:
        truth = np.take_along_axis(best, contexts, axis=1)  # (M, E)
        each = {"agent": measure_contexts(choices, rewards, contexts, truth, num_exposures)}
        for name, remembers in ((BAYES, True), (FORGETFUL, False)):
            rollout = roll_out_bayes_agent(
                contexts,
                best,
                env.num_pulls,
                rng,
                num_arms=env.k,
                probabilities=(env.best_probability, env.other_probability),
                remembers=remembers,
            )
            each[name] = measure_contexts(rollout.choices, rollout.rewards, contexts, truth, num_exposures)
        parts.append(each)
    return {name: {key: np.stack([part[name][key] for part in parts]) for key in parts[0][name]} for name in parts[0]}


def episodes_of(results: Mapping[str, np.ndarray], env: ContextualBanditVectorEnv) -> tuple[np.ndarray, ...]:
    """Choices and rewards (M, E, P) of an evaluation, contexts (M, E), and the best arm of each context (M, C).

    `results` hold ``actions`` and ``rewards`` (M, E * P), ``tasks`` (M, F) and ``task_fields`` (F,).
    """
    choices, rewards = (results[key].reshape(len(results[key]), -1, env.num_pulls) for key in ("actions", "rewards"))
    kinds = np.array([str(field).split("[")[0] for field in results["task_fields"]])
    order, best = (results["tasks"][:, kinds == kind].astype(np.int64) for kind in ("order", "best"))
    contexts = order[:, np.arange(choices.shape[1]) % order.shape[1]]  # (M, E)
    return choices, rewards, contexts, best.astype(np.int64)


def _row(name: str, config: Config, results: Sequence[Mapping[str, np.ndarray]]) -> str:
    env = bandit_of(config)
    found = _all_measured(results, env)
    agent, bayes = found["agent"], found[BAYES]
    num_tasks, num_steps = results[0]["actions"].shape
    columns = [
        name,
        f"{len(results)} x {num_tasks} x {num_steps // env.num_pulls}",
        *_cells(agent["first"], agent["again"]),
        _mean(bayes["again"]),
        *_cells(bayes["again"] - agent["again"]),
        _mean(agent["single"]),
        f"{1 / env.k:.2f}",
        *_cells(agent["reward"]),
        _mean(bayes["reward"]),
        _mean(found[FORGETFUL]["reward"]),
    ]
    return f"| {' | '.join(columns)} |"


def _cells(*columns: np.ndarray) -> Iterator[str]:
    """Mean over seeds (S,) and its interval, in words."""
    for values in columns:
        yield two_decimals(mean_interval(values)) if np.isfinite(values).all() else "-"


def _mean(values: np.ndarray) -> str:
    """Mean over seeds (S,), of what is the same whoever was trained but for chance."""
    return f"{values.mean():.2f}" if np.isfinite(values).all() else "-"


def bandit_of(config: Config) -> ContextualBanditVectorEnv:
    """Environment of a configuration, without the meta-episodes around it."""
    env = make_meta_env(config.env_name, 1, config.env_kwargs)
    assert isinstance(env, ContextualBanditVectorEnv)
    return env
