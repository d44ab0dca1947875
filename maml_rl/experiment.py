"""Runs of a learner: train, record, resume."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from maml_rl.algorithms import Algorithm
from maml_rl.config import Config
from maml_rl.metalearners import Learner, Report
from maml_rl.run_folder import Checkpoint, RunFolder, RunFolderError
from maml_rl.samplers import Backend, BackendChoice, WorkerPlan, start_workers
from maml_rl.samplers.backend import ModularSpec
from maml_rl.utils.event_log import EventLog

_MAX_REFUSED_IN_ROW = 3


class TrainingError(RuntimeError):
    """A run that cannot go on; the message says why and what to do."""


@dataclass(frozen=True)
class Workforce:
    """Workers of a command.

    Attributes
    ----------
    num_workers
        Most workers, >= 1; ``None``: as many as the backend has room for.
    backend
        The registered backend that runs them, or its name where it has its usual options.
    """

    num_workers: int | None = 1
    backend: BackendChoice | str = "serial"


@contextmanager
def workers(
    algorithm: Algorithm,
    num_workers: int | None,
    backend: BackendChoice | str = "serial",
    *,
    num_shards: int | None = None,
    max_shards: int | None = None,
) -> Iterator[Backend]:
    """Start workers, at most one for each shard; they are gone however the context ends.

    Parameters
    ----------
    algorithm
        The algorithm whose workers they are.
    num_workers, backend
        See `Workforce`.
    num_shards
        Number of shards, >= 1; ``None``: one for each worker of the start.
    max_shards
        Most shards, >= 1; ``None``: as many parts as the algorithm can divide an iteration's work into.
    """
    torch.set_num_threads(1)
    run, most = algorithm.config.run, algorithm.max_shards
    plan = WorkerPlan(
        ModularSpec(algorithm.worker_spec, run.allow_module),
        num_workers,
        num_shards,
        max_shards=most if max_shards is None else min(most, max_shards),
        timeout_seconds=run.worker_timeout,
    )
    with start_workers(plan, BackendChoice(backend) if isinstance(backend, str) else backend) as running:
        yield running


def train(
    algorithm: Algorithm,
    *,
    num_workers: int | None = 1,
    backend: BackendChoice | str = "serial",
    folder: RunFolder | None = None,
    resume: bool = False,
    show: Callable[[str], None] = print,
    max_seconds: float = math.inf,
    bar: bool = True,
) -> np.ndarray:
    """Meta-train to ``num-batches`` iterations and return the final parameters (P, D).

    The result is a function of the configuration: stopped at any moment and resumed, a run gives the same curve, bit
    for bit, whatever workers serve its shards. Their number stands in the folder; with another one a run has the same
    draws and differs by rounding.

    Parameters
    ----------
    algorithm
        From `maml_rl.algorithms.make_algorithm`.
    num_workers, backend
        See `Workforce`: ``"serial"`` in this process, ``"multiprocess"`` each in one of its own, ``"ray"`` on the nodes
        of a cluster.
    folder
        Where to record; ``None`` records nothing.
    resume
        Continue the folder's run.
    show
        Receives one line per iteration when no progress bar is shown.
    max_seconds
        Stop early after the iteration in which the run, all its parts together, has lasted this long.
    bar
        Whether to show a progress bar where standard error is a terminal.

    Raises
    ------
    RunFolderError, TrainingError, WorkerError
    """
    algorithm = _at_initial_policy(algorithm, folder if resume else None)
    config, num_batches = algorithm.config, algorithm.config.run.num_batches
    with (
        workers(algorithm, num_workers, backend, num_shards=_num_shards(config, folder, resume)) as running,
        _opened(folder, algorithm, config.replace(num_shards=running.num_shards), resume) as (config, state),
        _Monitor(num_batches, folder, state, show, bar and sys.stderr.isatty()) as monitor,
    ):
        running.warn = monitor.warn
        learner = algorithm.learner(running, state.parameters)
        learner.load_state_dict(state.state)
        while state.iteration < num_batches and state.seconds < max_seconds:
            started, replaced = time.perf_counter(), running.num_restarts
            report = learner.step(algorithm.sample_tasks(state.iteration), state.iteration)
            state = _advance(state, report, learner, time.perf_counter() - started)
            row = _metrics_row(state, report, running.num_restarts - replaced)
            if folder is not None:
                folder.save(config, state, algorithm.state_dict(state.parameters), row)
            monitor.record(row, report)
            if state.refused_in_row >= _MAX_REFUSED_IN_ROW:
                raise TrainingError(
                    f"{_MAX_REFUSED_IN_ROW} iterations in a row gave NaN or infinity, the last one iteration "
                    f"{state.iteration - 1}; parameters are those of the last accepted step; "
                    f"lower {algorithm.remedy}, or check the environment's rewards"
                )
    return state.parameters


def _num_shards(config: Config, folder: RunFolder | None, resume: bool) -> int | None:
    """Number of shards of a run, the recorded one if it is resumed; ``None``: not decided. Refuses a wrong folder."""
    if folder is None:
        return config.run.num_shards
    if resume:
        return folder.num_shards(config)
    folder.check_new()
    return config.run.num_shards


@contextmanager
def _opened(
    folder: RunFolder | None, algorithm: Algorithm, config: Config, resume: bool
) -> Iterator[tuple[Config, Checkpoint]]:
    """Configuration, and state of the run at its start or resumption, with the folder kept from other processes."""
    expected = algorithm.run_format
    state = Checkpoint(0, algorithm.initial_parameters(), dtype=expected.dtype)
    if folder is None:
        yield config, state
        return
    if not resume:
        folder.create(config)
    with folder.claimed():
        if resume:
            state = folder.resume(config, expected) or state
        yield config, state


def _at_initial_policy(algorithm: Algorithm, resumed: RunFolder | None) -> Algorithm:
    """The algorithm with the weights the run starts from; of a resumed run, which has them already, its own."""
    path = algorithm.config.run.initial_policy
    if path is None:
        return algorithm
    if resumed is not None and resumed.checkpoint_path.exists():
        return algorithm.with_policy(resumed.policy_path)
    try:
        return algorithm.with_policy(path)
    except RunFolderError as error:
        raise RunFolderError(f"initial-policy: {error}") from None


def _advance(state: Checkpoint, report: Report, learner: Learner, seconds: float) -> Checkpoint:
    return Checkpoint(
        state.iteration + 1,
        learner.parameters,
        state.env_steps + report.env_steps,
        state.seconds + seconds,
        0 if report.finite else state.refused_in_row + 1,
        learner.state_dict(),
        state.dtype,
    )


def _metrics_row(state: Checkpoint, report: Report, workers_replaced: int) -> dict[str, Any]:
    row = {"iteration": state.iteration - 1, "env_steps": state.env_steps, "seconds": round(state.seconds, 3)}
    reported = report.columns()
    for name in ("sampling_seconds", "learning_seconds"):
        reported[name] = round(reported[name], 4)
    return {**row, **reported, "workers_replaced": workers_replaced}


class _Monitor:
    """Shows the progress of a run: a bar on a terminal, else lines; TensorBoard beside the metrics."""

    def __init__(
        self, num_batches: int, folder: RunFolder | None, state: Checkpoint, show: Callable[[str], None], bar: bool
    ) -> None:
        self._show = show
        self._num_batches = num_batches
        self._env_steps = state.env_steps
        self._bar: Any = None
        if bar:
            self._bar = tqdm(total=num_batches, initial=state.iteration, unit="batch")
        self._closing = ExitStack()
        self._events: EventLog | None = None
        if folder is not None:
            self._events = EventLog(folder.path, first_step=state.iteration, warn=self.warn)

    def __enter__(self) -> _Monitor:
        if self._events is not None:
            self._closing.enter_context(self._events)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
        self._closing.close()

    def record(self, row: dict[str, Any], report: Report) -> None:
        """Show one iteration's metrics, `report` and what stands around it."""
        if self._events is not None:
            scalars = {name: value for name, value in row.items() if name not in ("iteration", "env_steps")}
            self._events.record(row["iteration"], scalars)
        busy = row["sampling_seconds"] + row["learning_seconds"]
        rate = (row["env_steps"] - self._env_steps) / max(busy, 1e-9)
        self._env_steps = row["env_steps"]
        text = {
            "before": f"{row['return_before']:.2f}",
            "after": f"{row['return_after']:.2f}",
            "steps/s": f"{rate:,.0f}",
        }
        own = "".join(f"{name.removeprefix('return_')} {_shown(row[name])}  " for name in report.headline)
        if not row["finite"]:
            self.warn(f"iteration {row['iteration']}: NaN or infinity, step refused, parameters kept")
        if self._bar is not None:
            self._bar.set_postfix(text)
            self._bar.update()
            return
        self._show(
            f"{row['iteration'] + 1}/{self._num_batches}  before {text['before']}  after {text['after']}  "
            f"{own}env_steps {row['env_steps']:,}  "
            f"{text['steps/s']} steps/s  {row['seconds']:.0f} s"
        )

    def warn(self, line: str) -> None:
        """Say something on standard error, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)


def _shown(value: float) -> str:
    """Four decimals of a small number, two of a large one."""
    return f"{value:.4f}" if abs(value) < 1.0 else f"{value:.2f}"
