"""Runs of a learner: train, record, resume."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from maml_rl.agent import Agent
from maml_rl.algorithms import Algorithm
from maml_rl.callbacks import Callback, Row, TensorBoard, TrainingRun
from maml_rl.callbacks.calling import Calling
from maml_rl.config import Config
from maml_rl.metalearners import Learner, Report
from maml_rl.metrics_file import metrics_columns
from maml_rl.run_folder import Checkpoint, RunFolder, RunFolderError
from maml_rl.samplers import BackendChoice
from maml_rl.utils.errors import InputError
from maml_rl.utils.log import LOGGER
from maml_rl.workforce import workers

_MAX_REFUSED_IN_ROW = 3


class TrainingError(RuntimeError):
    """A run that cannot go on; the message says why and what to do."""


def train(
    algorithm: Algorithm,
    *,
    num_workers: int | None = 1,
    backend: BackendChoice | str = "serial",
    folder: RunFolder | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    max_seconds: float = math.inf,
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
        See `maml_rl.workforce.Workforce`: ``"serial"`` in this process, ``"multiprocess"`` each in one of its own,
        ``"ray"`` on the nodes of a cluster.
    folder
        Where to record; ``None`` records nothing.
    resume
        Continue the folder's run; one that has come to its end is left as it is, and a line is logged.
    callbacks
        Called in this order; a run with a folder has `TensorBoard` behind them.
    max_seconds
        Stop early after the iteration in which the run, all its parts together, has lasted this long.

    Raises
    ------
    RunFolderError, TrainingError, WorkerError
    """
    algorithm.check_trainable()
    algorithm = _at_initial_policy(algorithm, folder if resume else None)
    config, num_batches = algorithm.config, algorithm.config.run.num_batches
    num_shards = _num_shards(config, folder, resume)
    if folder is not None and resume and (ended := _ended(folder, algorithm)) is not None:
        return ended.parameters
    callbacks = _with_tensorboard(callbacks, folder)
    with (
        workers(algorithm, num_workers, backend, num_shards=num_shards) as running,
        _opened(folder, algorithm, config.replace(num_shards=running.num_shards), resume) as (config, state),
        Calling(callbacks) as calling,
    ):
        learner = algorithm.learner(running, state.parameters)
        learner.load_state_dict(state.state)
        stopped = calling.start(_training_run(algorithm, config, folder, state))
        while not stopped and state.iteration < num_batches and state.seconds < max_seconds:
            started, replaced = time.perf_counter(), running.num_restarts
            report = learner.step(algorithm.sample_tasks(state.iteration), state.iteration)
            state = _advance(state, report, learner, time.perf_counter() - started)
            row = _metrics_row(state, report, running.num_restarts - replaced)
            if folder is not None:
                folder.save(config, state, algorithm.state_dict(state.parameters), row)
            if not report.finite:
                LOGGER.warning(f"iteration {state.iteration - 1}: NaN or infinity, step refused, parameters kept")
            stopped = calling.tell(row, lambda at=state.parameters: agent_at(algorithm, at))  # type: ignore[misc]
            _check_refused(algorithm, state)
    return state.parameters


def _ended(folder: RunFolder, algorithm: Algorithm) -> Checkpoint | None:
    """End of the folder's run, if it has all its iterations; says so."""
    config, expected = algorithm.config, algorithm.run_format
    with folder.claimed():
        state = folder.standing(config, expected)
        if state is None or state.iteration < config.run.num_batches:
            return None
        folder.resume(config, expected)  # drops a row that an interrupted iteration left
    LOGGER.info(f"{folder.path}: finished, {state.iteration} iterations; give --num-batches to go on")
    return state


def _with_tensorboard(callbacks: Sequence[Callback], folder: RunFolder | None) -> list[Callback]:
    given = any(isinstance(callback, TensorBoard) for callback in callbacks)
    return [*callbacks] if given or folder is None else [*callbacks, TensorBoard()]


def _training_run(algorithm: Algorithm, config: Config, folder: RunFolder | None, state: Checkpoint) -> TrainingRun:
    last = folder.metrics.last_row() if folder is not None and state.iteration else None
    columns = metrics_columns(algorithm.run_format.details)
    path = None if folder is None else folder.path
    return TrainingRun(
        config, path, state.iteration, columns, Row(last or {}), lambda: agent_at(algorithm, state.parameters)
    )


def agent_at(algorithm: Algorithm, parameters: np.ndarray) -> Agent:
    """The agent at meta-parameters (P, D); of several that are trained together the first."""
    each = zip(algorithm.layouts, parameters, strict=True)
    individuals = [layout.on("cpu").params(vector) for layout, vector in each]
    return Agent(algorithm.with_individuals(individuals).individual(0))


def _check_refused(algorithm: Algorithm, state: Checkpoint) -> None:
    if state.refused_in_row >= _MAX_REFUSED_IN_ROW:
        raise TrainingError(
            f"{_MAX_REFUSED_IN_ROW} iterations in a row gave NaN or infinity, the last one iteration "
            f"{state.iteration - 1}; parameters are those of the last accepted step; "
            f"lower {algorithm.remedy}, or check the environment's rewards"
        )


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
    path, shuffling = algorithm.config.run.initial_policy, algorithm.config.run.initial_shuffle
    if path is None:
        if shuffling:
            raise InputError(f"initial-shuffle: got {list(shuffling)} without initial-policy; give both or neither")
        return algorithm
    if resumed is not None and resumed.checkpoint_path.exists():
        return algorithm.with_policy(resumed.policy_path)
    try:
        started = algorithm.with_policy(path)
    except RunFolderError as error:
        raise RunFolderError(f"initial-policy: {error}") from None
    return started.with_shuffled(shuffling) if shuffling else started


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


def _metrics_row(state: Checkpoint, report: Report, workers_replaced: int) -> Row:
    reported = report.columns()
    for name in ("sampling_seconds", "learning_seconds"):
        reported[name] = round(reported[name], 4)
    row = Row(iteration=state.iteration - 1, env_steps=state.env_steps, seconds=round(state.seconds, 3))
    row.update(reported, workers_replaced=workers_replaced)
    row.headline = report.headline
    return row
