"""What agents earn on tabular MDPs, beside planners who know how such tasks are drawn, on the same tasks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from maml_rl.analysis import MDPPolicy, mean_interval, opsrl, play_mdp, psrl, value_iteration
from maml_rl.studies.players import words
from maml_rl.studies.study import Cell
from maml_rl.utils.random import Purpose, generator

_FEWEST_TASKS, _PLANNED_EPISODES = 100, 4000
"""Planners take long: of longer meta-episodes they play fewer."""
MDPS = r"TabularMDP-v0"
"""Name of the environment with tables of transitions and mean rewards."""


def table_of_mdps(done: Sequence[Cell]) -> list[str]:
    """One row per run of an MDP; nothing if there is none that was evaluated."""
    rows = []
    for name in dict.fromkeys(cell.name for cell in done):
        seeds = [cell for cell in done if cell.name == name and re.fullmatch(MDPS, cell.config.env_name)]
        results = [found for cell in seeds if (found := cell.results()) is not None and "actions" in found]
        if results:
            fewer = "reachable_states" in seeds[0].config.env_kwargs
            rows.append(_row(name, results, {} if fewer else {"PSRL": psrl(), "OPSRL": opsrl()}))
    return [*_HEAD, *rows] if rows else []


def _row(name: str, results: Sequence[Mapping[str, np.ndarray]], planners: Mapping[str, MDPPolicy]) -> str:
    """Rewards of agent and planners, all seeds together."""
    returns = np.concatenate([part["returns"][..., 0].T for part in results])  # (N, E)
    tables = [_tables(part["tasks"], part["task_fields"]) for part in results]
    transitions, rewards_mean = (np.concatenate(parts) for parts in zip(*tables, strict=True))
    num_episodes = returns.shape[1]
    num_steps = results[0]["rewards"].shape[1] // num_episodes
    best = value_iteration(transitions, rewards_mean, num_steps).values[:, 0, 0] * num_episodes  # (N,)
    earned = returns.sum(1, dtype=np.float64)
    rng = generator(0, Purpose.STATISTICS)
    few = min(len(earned), max(_FEWEST_TASKS, _PLANNED_EPISODES // num_episodes))
    tables_of_few = transitions[:few], rewards_mean[:few]
    behind = [
        words(mean_interval(earned[:few] - play_mdp(planners[key], *tables_of_few, num_episodes, rng).sum(1)))
        if key in planners
        else "-"
        for key in ("PSRL", "OPSRL")
    ]
    columns = [
        name,
        f"{len(results)} x {len(returns) // len(results)}",
        words(mean_interval(earned)),
        words(mean_interval(best)),
        f"{earned.mean() / best.mean():.3f}",
        *behind,
    ]
    return f"| {' | '.join(columns)} |"


def _tables(tasks: np.ndarray, fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transitions (N, S, A, S) and mean rewards (N, S, A) of rows (N, D)."""
    kinds = np.array([str(field).split("[")[0] for field in fields])
    transitions, rewards_mean = (tasks[:, kinds == kind] for kind in ("transitions", "rewards_mean"))
    num_states = transitions.shape[1] // rewards_mean.shape[1]
    shape = (len(tasks), num_states, rewards_mean.shape[1] // num_states)
    return transitions.reshape(*shape, num_states), rewards_mean.reshape(shape)


_HEAD = [
    "## Beside planners who know how tasks are drawn",
    "",
    "Tasks of all seeds together, means with their 95 % intervals over tasks: they hold for these agents, not for "
    "others that would be trained. Reward: of a meta-episode. Known MDP: "
    "what optimal play earns that need not find out anything, and the agent's share of it. Last columns: reward minus "
    "that of posterior sampling and of its optimistic variant on the same tasks, the first "
    f"{_PLANNED_EPISODES:,} episodes of them or at least {_FEWEST_TASKS} tasks; positive: the agent is better; "
    "not where only some states can be reached, which they do not know.",
    "",
    "| run | seeds x tasks | reward | known MDP | share | - PSRL | - OPSRL |",
    "|---|---|---|---|---|---|---|",
]
