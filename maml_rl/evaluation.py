"""Evaluate meta-learned parameters on test tasks: returns against the amount of adaptation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from maml_rl.algorithms import Algorithm, Evaluation
from maml_rl.analysis import Interval, mean_interval
from maml_rl.envs.task_table import task_table
from maml_rl.samplers import BackendChoice
from maml_rl.settings.base import LARGEST_COUNT
from maml_rl.shard import Shard
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import write_arrays
from maml_rl.utils.random import Purpose, generator
from maml_rl.workforce import workers


def evaluate(
    algorithm: Algorithm,
    parameters: np.ndarray,
    *,
    num_batches: int,
    meta_batch_size: int,
    num_adaptation_steps: int,
    num_workers: int | None = 1,
    backend: BackendChoice | str = "serial",
    seed: int = 1,
) -> Evaluation:
    """Adapt to N = ``num_batches * meta_batch_size`` test tasks and measure the return after every step.

    Tasks, episodes and hence the result are a function of configuration, parameters, `seed` and N; the number of
    workers and how many tasks are rolled out at once only change the speed. Task and noise streams are never those of
    training.

    Parameters
    ----------
    algorithm
        From `maml_rl.algorithms.make_algorithm`.
    parameters
        Meta-parameters (P, D).
    num_batches, meta_batch_size
        Batches of tasks, and tasks of each, >= 1. All are drawn at once: a family with few has none twice before
        it has had all.
    num_adaptation_steps
        Steps K of adaptation to go, >= 0; at least those of the configuration are made.
    num_workers, backend
        See `maml_rl.workforce.Workforce`.
    seed
        Seed of tasks and episodes, >= 0.

    Raises
    ------
    ValueError
        If a count is too small.
    """
    check_extent(algorithm, num_batches, meta_batch_size, num_adaptation_steps, num_workers=num_workers, seed=seed)
    steps = max(num_adaptation_steps, algorithm.adaptation.trained)
    tasks = algorithm.env.sample_tasks(num_batches * meta_batch_size, generator(seed, Purpose.EVALUATION_TASKS))
    parts = []
    with workers(algorithm, num_workers, backend, max_shards=meta_batch_size) as running:
        for first in tqdm(
            range(0, len(tasks), meta_batch_size), unit="batch", desc="evaluating", disable=None, leave=False
        ):
            batch = tasks[first : first + meta_batch_size]
            shard = Shard(range(first, first + len(batch)), batch, 0, seed, evaluation=True)
            parts.append(algorithm.evaluate(running, shard, parameters, steps))
    return Evaluation.joined(parts)


def check_extent(
    algorithm: Algorithm,
    num_batches: int,
    meta_batch_size: int,
    num_adaptation_steps: int,
    *,
    num_workers: int | None = None,
    seed: int = 1,
) -> None:
    """Refuse what `evaluate` cannot do; the arguments are its own."""
    _check_at_least(1, num_batches=num_batches, meta_batch_size=meta_batch_size)
    if num_workers is not None:
        _check_at_least(1, num_workers=num_workers)
    _check_at_least(0, num_steps=num_adaptation_steps, seed=seed)
    for name, count in (("batches", num_batches), ("steps", num_adaptation_steps)):
        if count > LARGEST_COUNT:
            raise InputError(f"--num-{name}: got {count}, expected at most {LARGEST_COUNT}")
    if num_batches * meta_batch_size > LARGEST_COUNT:
        raise InputError(
            f"--meta-batch-size: got {meta_batch_size} with --num-batches {num_batches}, expected at most "
            f"{LARGEST_COUNT} tasks"
        )
    adaptation = algorithm.adaptation
    if adaptation.limit is not None and num_adaptation_steps > adaptation.limit:
        raise InputError(
            f"--num-steps: got {num_adaptation_steps}, expected at most {adaptation.limit} {adaptation.limit_reason}"
        )


def interval_over_tasks(evaluation: Evaluation, num_steps: Sequence[int]) -> Interval:
    """Mean return after each of these numbers of steps, with its 95% interval over tasks."""
    return mean_interval(evaluation.returns[list(num_steps)].mean(axis=-1, dtype=np.float64))  # (S, N, B) -> (S, N)


def save_results(path: str | Path, evaluation: Evaluation, num_steps: Sequence[int]) -> None:
    """Write ``results.npz``, which `numpy.load` reads without unpickling anything.

    Keys: ``tasks`` (N, D) and ``task_fields`` (D,), see `maml_rl.envs.task_table.task_table`; ``train_returns`` and
    ``valid_returns`` (N, B), before adaptation and after the configuration's number of steps;
    ``num_steps`` (S,) and ``returns`` (S, N, B), after each of `num_steps`; ``measure_NAME`` likewise for every measure
    of the environment. Of meta-episodes also ``observations`` (N, T, O), ``actions`` (N, T, ...), ``rewards`` and
    ``mask`` (N, T), of several agents (P, N, ...).

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
        "valid_returns": evaluation.returns[evaluation.trained],
        "num_steps": np.array(steps),
        "returns": evaluation.returns[steps],
    }

    arrays |= {f"measure_{name}": values[steps] for name, values in evaluation.measures.items()}
    if evaluation.meta_episodes is not None:
        whole = evaluation.meta_episodes._asdict()
        for name in ("observations", "actions", "rewards", "mask"):  # (P, N, ...), or (N, ...) of a single agent
            arrays[name] = whole[name][0] if len(whole[name]) == 1 else whole[name]
    write_arrays(Path(path), arrays)


def check_num_steps(num_steps: Sequence[int]) -> list[int]:
    """Return the numbers of steps in order, each once; none may be negative."""
    if not num_steps or min(num_steps) < 0:
        raise InputError(f"--num-steps: got {list(num_steps)}, expected numbers >= 0, such as 0 1 2 3")
    return sorted(set(num_steps))


def summary_lines(evaluation: Evaluation, num_steps: Sequence[int], labels: Sequence[str] = ()) -> list[str]:
    """A small table: steps of adaptation, mean return over tasks, its 95% interval; the same of every measure.

    With `labels`, a word for each of the N tasks, also returns and measures of the tasks of each label.
    """
    steps = check_num_steps(num_steps)
    interval = interval_over_tasks(evaluation, steps)
    num_tasks, num_episodes = evaluation.returns.shape[1:]
    several = evaluation.meta_episodes is not None and len(evaluation.meta_episodes.rewards) > 1
    what = "agents' meta-episodes" if several else "episodes"
    unit = "steps" if evaluation.meta_episodes is None else "episodes"  # an agent has had before
    width = len(unit)
    lines = [f"{unit}  {'mean return':>11}  95% interval ({num_tasks} tasks, {num_episodes} {what} of each)"]
    for step, mean, low, high in zip(steps, interval.mean, interval.low, interval.high, strict=True):
        bounds = f"[{low:.2f}, {high:.2f}]" if num_tasks > 1 else "needs two tasks"
        trained = "  <- trained on" if step == evaluation.trained else ""
        lines.append(f"{step:>{width}}  {mean:>11.2f}  {bounds}{trained}")
    if evaluation.meta_episodes is not None:
        totals = evaluation.returns[: evaluation.trained + 1].sum(axis=0, dtype=np.float64)  # (N, P)
        total = mean_interval(totals.mean(axis=1)[np.newaxis])
        bounds = f"[{total.low[0]:.2f}, {total.high[0]:.2f}]" if num_tasks > 1 else "needs two tasks"
        lines.append(f"{'all':>{width}}  {total.mean[0]:>11.2f}  {bounds}  <- sum of a meta-episode")
    values = {"return": evaluation.returns, **evaluation.measures}
    for name in evaluation.measures:
        lines += [f"{name} after {step} {unit}: {_in_words(values[name][step])}" for step in steps]
    for label in sorted(set(labels)) if len(set(labels)) > 1 else []:
        own = np.array([other == label for other in labels])
        parts = [f"{name} {_in_words(part[steps[-1]][own])}" for name, part in values.items()]
        lines.append(f"{label} ({own.sum()} of the tasks) after {steps[-1]} {unit}: {'; '.join(parts)}")
    return lines


def _in_words(values: np.ndarray) -> str:
    """Mean over tasks of values (N, B) and its 95% interval."""
    interval = mean_interval(values.mean(axis=-1, dtype=np.float64)[np.newaxis])
    bounds = f" [{interval.low[0]:.2f}, {interval.high[0]:.2f}]" if len(values) > 1 else ""
    return f"{interval.mean[0]:.2f}{bounds}"


def _check_at_least(least: int, **counts: int) -> None:
    for name, count in counts.items():
        if count < least:
            raise InputError(f"--{name.replace('_', '-')}: got {count}, expected at least {least}")
