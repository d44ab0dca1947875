"""Runs of a learner: train, record, resume."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from maml_rl.blueprint import Blueprint
from maml_rl.config import Config
from maml_rl.ensemble import RL2Ensemble
from maml_rl.metalearners import MAMLTRPO, RL2, IterationReport, RL2IterationReport
from maml_rl.run_folder import Checkpoint, RunFolder, RunFolderError
from maml_rl.samplers import Backend, start_workers
from maml_rl.utils.event_log import EventLog

_MAX_REFUSED_IN_ROW = 3
_STEP_SIZES = {"maml": "fast-lr or max-kl", "rl2": "learning-rate or max-kl"}


class TrainingError(RuntimeError):
    """A run that cannot go on; the message says why and what to do."""


@contextmanager
def workers(blueprint: Blueprint, num_workers: int, num_shares: int) -> Iterator[Backend]:
    """Start at most one worker per task, or per agent of several; they are gone however the context ends."""
    torch.set_num_threads(1)
    count = min(num_workers, num_shares)
    timeout = blueprint.config.worker_timeout
    with start_workers(blueprint.worker_spec, count, timeout_seconds=timeout) as backend:
        yield backend


def train(
    blueprint: Blueprint,
    *,
    num_workers: int,
    folder: RunFolder | None = None,
    resume: bool = False,
    show: Callable[[str], None] = print,
    max_seconds: float = math.inf,
    bar: bool = True,
) -> np.ndarray:
    """Meta-train to ``num-batches`` iterations and return the final parameters (P,).

    The result is a function of the configuration alone: stopped at any moment and resumed, or dealt
    to another number of workers, a run gives the same curve.

    Parameters
    ----------
    blueprint
        From `draw_up`.
    num_workers
        Worker processes; 1 runs in this process.
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
    blueprint = _at_initial_policy(blueprint, folder if resume else None)
    with (
        _opened(folder, blueprint, resume) as state,
        workers(blueprint, num_workers, blueprint.num_shares) as backend,
        _Monitor(blueprint.config, folder, state, show, bar and sys.stderr.isatty()) as monitor,
    ):
        backend.warn = monitor.warn
        learner = blueprint.learner(backend, state.parameters)
        learner.load_optimiser_state(state.optimiser)
        while state.iteration < blueprint.config.num_batches and state.seconds < max_seconds:
            started, replaced = time.perf_counter(), backend.num_restarts
            report = learner.step(blueprint.sample_tasks(state.iteration), state.iteration)
            state = _advance(state, report, learner, time.perf_counter() - started)
            row = _metrics_row(state, report, backend.num_restarts - replaced)
            if folder is not None:
                folder.save(blueprint.config, state, blueprint.state_dict(state.parameters), row)
            monitor.record(row)
            if state.refused_in_row >= _MAX_REFUSED_IN_ROW:
                raise TrainingError(
                    f"{_MAX_REFUSED_IN_ROW} iterations in a row gave NaN or infinity, the last one iteration "
                    f"{state.iteration - 1}; parameters are those of the last accepted step; "
                    f"lower {_STEP_SIZES[blueprint.config.algorithm]}, or check the environment's rewards"
                )
    return state.parameters


@contextmanager
def _opened(folder: RunFolder | None, blueprint: Blueprint, resume: bool) -> Iterator[Checkpoint]:
    """Where the run stands, with the folder kept from other processes."""
    state = Checkpoint(0, blueprint.parameters())
    if folder is None:
        yield state
        return
    if not resume:
        folder.create(blueprint.config)
    with folder.claimed():
        if resume:
            state = folder.resume(blueprint.config, len(state.parameters), metrics_columns(blueprint.config)) or state
        yield state


def _at_initial_policy(blueprint: Blueprint, resumed: RunFolder | None) -> Blueprint:
    """The blueprint with the weights the run starts from; of a resumed run, which has them already, its own."""
    path = blueprint.config.initial_policy
    if path is None:
        return blueprint
    if resumed is not None and resumed.policy_path.exists():
        return blueprint.with_policy(resumed.policy_path)
    try:
        return blueprint.with_policy(path)
    except RunFolderError as error:
        raise RunFolderError(f"initial-policy: {error}") from None


def _advance(
    state: Checkpoint,
    report: IterationReport | RL2IterationReport,
    learner: MAMLTRPO | RL2 | RL2Ensemble,
    seconds: float,
) -> Checkpoint:
    return Checkpoint(
        state.iteration + 1,
        learner.parameters,
        state.env_steps + report.env_steps,
        state.seconds + seconds,
        0 if report.finite else state.refused_in_row + 1,
        learner.optimiser_state(),
    )


def metrics_columns(config: Config) -> list[str]:
    """Columns of ``metrics.csv`` of a run of `config`, in order."""
    first = ["iteration", "env_steps", "seconds", "sampling_seconds", "learning_seconds"]
    reported = fields(RL2IterationReport if config.algorithm == "rl2" else IterationReport)
    return [*first, *(field.name for field in reported if field.name not in first), "workers_replaced"]


def _metrics_row(
    state: Checkpoint, report: IterationReport | RL2IterationReport, workers_replaced: int
) -> dict[str, Any]:
    values = asdict(report)
    row = {"iteration": state.iteration - 1, "env_steps": state.env_steps, "seconds": round(state.seconds, 3)}
    for name in ("sampling_seconds", "learning_seconds"):
        row[name] = round(values.pop(name), 4)
    values.pop("env_steps")
    row.update({k: int(v) if isinstance(v, bool) else v for k, v in values.items()})
    return {**row, "workers_replaced": workers_replaced}


class _Monitor:
    """Shows the progress of a run: a bar on a terminal, else lines; TensorBoard beside the metrics."""

    def __init__(
        self, config: Config, folder: RunFolder | None, state: Checkpoint, show: Callable[[str], None], bar: bool
    ) -> None:
        self._show = show
        self._num_batches = config.num_batches
        self._meta_episodes = config.algorithm == "rl2"
        self._env_steps = state.env_steps
        self._bar: Any = None
        if bar:
            self._bar = tqdm(total=config.num_batches, initial=state.iteration, unit="batch")
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

    def record(self, row: dict[str, Any]) -> None:
        """Show one iteration's metrics."""
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
        total = f"total {row['return_total']:.2f}  " if self._meta_episodes else ""
        if not row["finite"]:
            self.warn(f"iteration {row['iteration']}: NaN or infinity, step refused, parameters kept")
        if self._bar is not None:
            self._bar.set_postfix(text)
            self._bar.update()
            return
        self._show(
            f"{row['iteration'] + 1}/{self._num_batches}  before {text['before']}  after {text['after']}  "
            f"{total}kl {row['kl']:.4f}  env_steps {row['env_steps']:,}  "
            f"{text['steps/s']} steps/s  {row['seconds']:.0f} s"
        )

    def warn(self, line: str) -> None:
        """Say something on standard error, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)
