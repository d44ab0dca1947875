"""Evaluate meta-learned parameters on new tasks: returns against the amount of adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from maml_rl.analysis import Interval, mean_interval
from maml_rl.blueprint import Blueprint
from maml_rl.config import Config
from maml_rl.envs import Task
from maml_rl.envs.task_table import task_table
from maml_rl.experiment import workers
from maml_rl.metalearners.dealing import shards
from maml_rl.samplers.meta_episodes import MetaEpisodes
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import write_arrays
from maml_rl.utils.random import Purpose, generator

_AXES_OF_AGENTS = 3
"""Of the rewards of an ensemble: agents, tasks, steps."""


@dataclass(frozen=True)
class Evaluation:
    """What an agent earned on tasks it had not seen.

    A step of adaptation is a gradient step (maml) or an episode of experience (rl2). Of several agents, each plays all
    tasks.

    Attributes
    ----------
    tasks
        The N tasks.
    returns
        Undiscounted returns (K + 1, N, B) of B episodes of each task after 0 ... K steps; with rl2 one per agent.
    trained_num_steps
        Steps the configuration asks for, <= K.
    meta_episodes
        The same episodes step by step, with rl2, where those of a task followed one another; of several agents, arrays
        (A, N, ...).
    """

    tasks: list[Task]
    returns: np.ndarray
    trained_num_steps: int
    meta_episodes: MetaEpisodes | None = None

    def interval(self, num_steps: Sequence[int]) -> Interval:
        """Mean return after each of these numbers of steps, with its 95% interval over tasks."""
        return mean_interval(self.returns[list(num_steps)].mean(axis=-1, dtype=np.float64))  # (S, N, B) -> (S, N)


def evaluate(
    blueprint: Blueprint,
    parameters: np.ndarray,
    *,
    num_batches: int,
    meta_batch_size: int,
    num_steps: int,
    num_workers: int = 1,
    seed: int = 1,
) -> Evaluation:
    """Adapt to N = ``num_batches * meta_batch_size`` new tasks and measure the return after every step.

    Tasks, episodes and hence the result are a function of configuration, parameters, `seed` and N; the number of
    workers and how many tasks are played at once only change the speed. Task and noise streams are never those of
    training.

    Parameters
    ----------
    blueprint
        From `maml_rl.blueprint.draw_up`.
    parameters
        Meta-parameters (P,).
    num_batches, meta_batch_size
        Batches of tasks, and tasks of each, >= 1. All are drawn at once: a family with few has none twice before
        it has had all.
    num_steps
        Steps K of adaptation to go, >= 0; at least those of the configuration are made.
    num_workers
        Worker processes, >= 1.
    seed
        Seed of tasks and episodes, >= 0.

    Raises
    ------
    ValueError
        If a count is too small.
    """
    _check_at_least(1, num_batches=num_batches, meta_batch_size=meta_batch_size, num_workers=num_workers)
    _check_at_least(0, num_steps=num_steps, seed=seed)
    trained = trained_num_steps(blueprint.config)
    if num_steps > trained and blueprint.config.algorithm == "rl2" and blueprint.config.show_progress:
        raise InputError(
            f"--num-steps: got {num_steps}, expected at most {trained} with show-progress: true, where "
            "the agent sees how much of the meta-episode is over"
        )
    seeded, num_agents = blueprint.with_seed(seed), blueprint.num_agents
    all_tasks = seeded.env.sample_tasks(num_batches * meta_batch_size, generator(seed, Purpose.EVALUATION_TASKS))
    played: list[Any] = []
    with workers(seeded, num_workers, meta_batch_size if num_agents == 1 else num_agents) as backend:
        firsts = range(0, len(all_tasks), meta_batch_size)
        for first in tqdm(firsts, unit="batch", desc="evaluating", disable=None, leave=False):
            tasks = all_tasks[first : first + meta_batch_size]
            if num_agents > 1:
                vectors = parameters.reshape(num_agents, -1)
                calls: list[tuple[Any, ...]] = [
                    (agents, tasks, vectors[agents], first, max(num_steps, trained))
                    for agents in shards(num_agents, backend.num_workers)
                ]
                played.append([one for part in backend.map("evaluate", calls) for one in part])
                continue
            calls = [
                ([first + i for i in indices], [tasks[i] for i in indices], parameters, 0, max(num_steps, trained))
                for indices in shards(meta_batch_size, backend.num_workers)
            ]
            played += backend.map("evaluate", calls)
    if blueprint.config.algorithm == "maml":
        return Evaluation(all_tasks, np.concatenate(played, axis=1), trained)
    if num_agents > 1:
        agents = [_joined([batch[agent] for batch in played]) for agent in range(num_agents)]
        meta_episodes = MetaEpisodes(*(_stacked(parts) for parts in zip(*agents, strict=True)))
        return Evaluation(all_tasks, meta_episodes.returns.transpose(2, 1, 0), trained, meta_episodes)  # (E, N, A)
    meta_episodes = _joined(played)
    returns = np.ascontiguousarray(meta_episodes.returns.T)[..., np.newaxis]  # (N, E) -> (E, N, 1)
    return Evaluation(all_tasks, returns, trained, meta_episodes)


def _joined(parts: Sequence[MetaEpisodes]) -> MetaEpisodes:
    """Meta-episodes of one task after the other."""
    return MetaEpisodes(*(np.concatenate(_padded(arrays)) for arrays in zip(*parts, strict=True)))


def _stacked(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack(_padded(parts))


def _padded(parts: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays (M, T, ...) of different lengths T made equally long, zero behind the end."""
    longest = max(part.shape[1] for part in parts)
    rest = [(0, 0)] * (parts[0].ndim - 2)
    return [np.pad(part, [(0, 0), (0, longest - part.shape[1]), *rest]) for part in parts]


def trained_num_steps(config: Config) -> int:
    """Steps of adaptation a configuration asks for: gradient steps, or the episodes before a meta-episode's last."""
    return config.fast_batch_size - 1 if config.algorithm == "rl2" else config.num_steps


def save_results(path: str | Path, evaluation: Evaluation, num_steps: Sequence[int]) -> None:
    """Write ``results.npz``, which `numpy.load` reads without unpickling anything.

    Keys: ``tasks`` (N, D) and ``task_fields`` (D,), see `maml_rl.envs.task_table.task_table`; ``train_returns`` and
    ``valid_returns`` (N, B), before adaptation and after the configuration's number of steps;
    ``num_steps`` (S,) and ``returns`` (S, N, B), after each of `num_steps`. With rl2 also ``observations`` (N, T, O),
    ``actions`` (N, T, ...), ``rewards`` and ``mask`` (N, T) of the meta-episodes, of several agents (A, N, ...).

    Raises
    ------
    ValueError
        If the evaluation did not go that many steps.
    """
    steps = check_num_steps(num_steps)
    if max(steps) >= len(evaluation.returns):
        raise ValueError(f"num_steps: got {max(steps)}, expected at most {len(evaluation.returns) - 1}")
    table, fields = task_table(evaluation.tasks)
    arrays: dict[str, Any] = {
        "tasks": table,
        "task_fields": np.array(fields, dtype=np.str_),
        "train_returns": evaluation.returns[0],
        "valid_returns": evaluation.returns[evaluation.trained_num_steps],
        "num_steps": np.array(steps),
        "returns": evaluation.returns[steps],
    }

    if evaluation.meta_episodes is not None:
        whole = evaluation.meta_episodes._asdict()
        arrays |= {name: whole[name] for name in ("observations", "actions", "rewards", "mask")}
    write_arrays(Path(path), arrays)


def check_num_steps(num_steps: Sequence[int]) -> list[int]:
    """Return the numbers of steps in order, each once; none may be negative."""
    if not num_steps or min(num_steps) < 0:
        raise InputError(f"--num-steps: got {list(num_steps)}, expected numbers >= 0, such as 0 1 2 3")
    return sorted(set(num_steps))


def summary_lines(evaluation: Evaluation, num_steps: Sequence[int]) -> list[str]:
    """A small table: steps of adaptation, mean return over tasks, its 95% interval."""
    steps = check_num_steps(num_steps)
    interval = evaluation.interval(steps)
    num_tasks, num_episodes = evaluation.returns.shape[1:]
    several = evaluation.meta_episodes is not None and evaluation.meta_episodes.rewards.ndim == _AXES_OF_AGENTS
    what = "agents' meta-episodes" if several else "episodes"
    lines = [f"{'steps':>5}  {'mean return':>11}  95% interval ({num_tasks} tasks, {num_episodes} {what} of each)"]
    for step, mean, low, high in zip(steps, interval.mean, interval.low, interval.high, strict=True):
        bounds = f"[{low:.2f}, {high:.2f}]" if num_tasks > 1 else "needs two tasks"
        trained = "  <- trained on" if step == evaluation.trained_num_steps else ""
        lines.append(f"{step:>5}  {mean:>11.2f}  {bounds}{trained}")
    if evaluation.meta_episodes is not None:
        totals = evaluation.returns[: evaluation.trained_num_steps + 1].sum(axis=0, dtype=np.float64)  # (N, A)
        total = mean_interval(totals.mean(axis=1)[np.newaxis])
        bounds = f"[{total.low[0]:.2f}, {total.high[0]:.2f}]" if num_tasks > 1 else "needs two tasks"
        lines.append(f"{'all':>5}  {total.mean[0]:>11.2f}  {bounds}  <- sum of a meta-episode")
    return lines


def _check_at_least(least: int, **counts: int) -> None:
    for name, count in counts.items():
        if count < least:
            raise InputError(f"--{name.replace('_', '-')}: got {count}, expected at least {least}")
