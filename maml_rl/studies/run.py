"""Do what a study asks for and is not done yet."""

from __future__ import annotations

import multiprocessing
import re
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np

from maml_rl.blueprint import Blueprint, draw_up
from maml_rl.config import ConfigError, load_config
from maml_rl.evaluation import evaluate, save_results
from maml_rl.experiment import TrainingError, metrics_columns, train
from maml_rl.run_folder import RunFolder
from maml_rl.studies.cognition import DRIFTING, analyse, check_analysis
from maml_rl.studies.study import Cell
from maml_rl.utils.errors import InputError


def run_cells(wanted: Sequence[Cell], num_workers: int, jobs: int, show: Callable[[str], None]) -> None:
    """Do what is missing of these runs, `jobs` at a time; `show` takes lines of progress.

    Raises
    ------
    ConfigError
        Before anything runs, if one of them cannot be drawn up, or its folder holds a run of another configuration.
    """
    for cell in wanted:
        _check_unchanged(cell)
        _check_start(cell, wanted)
    for cell in {cell.name: cell for cell in wanted}.values():
        try:
            blueprints = [draw_up(config) for config in (cell.config, *cell.test_on.values())]
            for blueprint in blueprints:
                blueprint.env.close()
                check_analysis(blueprint)
            if cell.random_policy and not isinstance(blueprints[0].env.single_action_space, gym.spaces.Discrete):
                raise ConfigError("random_policy: got true with continuous actions, expected choices; leave it out")
            for family, blueprint in zip(cell.test_on, blueprints[1:], strict=True):
                _check_weights(blueprint, blueprints[0], f"test_on {family!r}", "the run")
            if cell.start is not None:
                _check_weights(blueprints[0], draw_up(cell.start.config), "start_from", repr(cell.start.name))
        except (InputError, ValueError, ImportError) as error:
            raise ConfigError(f"run {cell.name!r}: {error}") from error
    if jobs == 1:
        for cell in wanted:
            _run_cell(cell, num_workers, show)
        return
    context, waiting = multiprocessing.get_context("spawn"), list(wanted)
    under_way: dict[Connection, Any] = {}  # where a job says how it ended: its process
    try:
        while waiting or under_way:
            while len(under_way) < jobs and (ready := [cell for cell in waiting if cell.can_start]):
                waiting.remove(ready[0])
                receiver, sender = context.Pipe(duplex=False)
                job = context.Process(target=_job, args=(ready[0], num_workers, sender))
                job.start()
                sender.close()
                under_way[receiver] = job
            for receiver in cast("list[Connection]", wait(list(under_way))):
                job = under_way.pop(receiver)
                failure = _received(receiver)
                job.join()
                if failure is not None:
                    raise failure
    finally:  # a run loses at most the iteration it was in
        for job in under_way.values():
            job.terminate()
            job.join()


class _Terminated(BaseException):
    """Ends a run's process wherever it is; no `SystemExit`, which would look like an environment's."""


def _terminate(*_: object) -> None:
    raise _Terminated


def _job(cell: Cell, num_workers: int, sender: Connection) -> None:
    """Do one run in a process of its own, and say to `sender` how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this one decides what Ctrl-C means
    signal.signal(signal.SIGTERM, _terminate)
    prefix = f"{cell.name} seed {cell.seed}: "

    def show(line: str) -> None:
        print(line if line.startswith(prefix) else prefix + line, flush=True)

    try:
        _run_cell(cell, num_workers, show, bar=False)
    except _Terminated:
        sys.exit(1)
    except Exception as error:
        sender.send(error)
    else:
        sender.send(None)


def _received(receiver: Connection) -> Exception | None:
    try:
        failure: Exception | None = receiver.recv()
    except EOFError:
        return TrainingError("a run's process has ended without a word; run the same command to go on")
    return failure


def _run_cell(cell: Cell, num_workers: int, show: Callable[[str], None], *, bar: bool = True) -> None:
    """Train what is missing of one run, then evaluate its final policy on tasks drawn anew."""
    blueprint, folder = draw_up(cell.config), RunFolder(cell.folder)
    done = cell.iterations_done
    if folder.checkpoint_path.exists():  # a run killed between two files has a row more than it can go on from
        done = folder.load_checkpoint(len(blueprint.parameters()), cell.config).iteration
    show(f"{cell.name} seed {cell.seed}: {done}/{cell.config.num_batches} iterations done")
    if done < cell.config.num_batches:
        resume = folder.config_path.exists()
        if resume:
            # refuses what cannot go on, before anything is lost
            folder.resume(cell.config, len(blueprint.parameters()), metrics_columns(cell.config))
        for family in (None, *cell.test_on):  # of a shorter run
            cell.results_path(family).unlink(missing_ok=True)
            cell.random_path(family).unlink(missing_ok=True)
        train(blueprint, num_workers=num_workers, folder=folder, resume=resume, show=show, bar=bar)
    _evaluate_cell(cell, None, blueprint, num_workers)
    if re.fullmatch(DRIFTING, cell.config.env_name):
        analyse(cell, blueprint.with_policy(cell.folder / "policy.th"), num_workers, show)
    for family, config in cell.test_on.items():
        _evaluate_cell(cell, family, draw_up(config), num_workers)


def _evaluate_cell(cell: Cell, family: str | None, blueprint: Blueprint, num_workers: int) -> None:
    """Play tasks drawn anew with the final policy of a run, if that is not done."""
    batch_size = min(cell.num_test_tasks, cell.config.meta_batch_size)
    num_batches = -(-cell.num_test_tasks // batch_size)
    trained = blueprint.with_policy(cell.folder / "policy.th")

    def play(player: Blueprint, parameters: np.ndarray, num_steps: int, path: Path) -> None:
        evaluation = evaluate(
            player,
            parameters,
            num_batches=num_batches,
            meta_batch_size=batch_size,
            num_steps=num_steps,
            num_workers=num_workers,
            seed=1000 + cell.seed,
        )
        save_results(path, evaluation, range(num_steps + 1))

    if not _holds(cell.test_returns(family), cell.num_test_steps, num_batches * batch_size):
        cell.random_path(family).unlink(missing_ok=True)  # of other tasks
        play(trained, trained.parameters(), cell.num_test_steps, cell.results_path(family))
    if cell.random_policy and cell.random_returns(family) is None:
        config = trained.config
        never_adapting = config.model_copy(update={"num_steps": 0}) if config.algorithm == "maml" else config
        # without weights all choices are alike
        play(draw_up(never_adapting), np.zeros_like(trained.parameters()), 0, cell.random_path(family))


def _check_unchanged(cell: Cell) -> None:
    """Refuse a run whose configuration is not the one the study now asks for."""
    path = cell.folder / "config.json"
    if not path.exists():
        return
    mine, theirs = cell.config.to_json_dict(), load_config(path).to_json_dict()
    for key in sorted(mine.keys() - cell.config.changeable_keys()):
        if mine[key] != theirs[key]:
            raise ConfigError(
                f"{cell.name} seed {cell.seed}: {key} is {mine[key]!r} in the study, but the run in "
                f"{str(cell.folder)!r} has {theirs[key]!r}; rename the run or move its folder away"
            )


def _check_start(cell: Cell, wanted: Sequence[Cell]) -> None:
    """Refuse a run whose start is not there and not asked for, or goes on after it has been started from."""
    if cell.start is None or cell.can_start:
        return
    if cell.start not in wanted:
        raise ConfigError(
            f"{cell.name} seed {cell.seed} starts from {cell.start.name!r}, which is not trained to the end; "
            "run that too"
        )
    if cell.iterations_done:
        raise ConfigError(
            f"{cell.name} seed {cell.seed} has started from {cell.start.name!r}, which is to be trained on; move "
            f"{str(cell.folder)!r} away, and it starts anew"
        )


def _check_weights(blueprint: Blueprint, source: Blueprint, field: str, name: str) -> None:
    """Refuse weights of another shape, of a start or for another family."""
    mine, theirs = (
        {key: tuple(value.shape) for key, value in one.state_dict(one.parameters()).items()}
        for one in (blueprint, source)
    )
    for key in {**mine, **theirs}:
        if mine.get(key) != theirs.get(key):
            raise ConfigError(
                f"{field}: {key} is {theirs.get(key, 'missing')} in {name}, expected {mine.get(key, 'none')}; "
                "give both the same policy and environment"
            )


def _holds(returns: np.ndarray | None, num_steps: int, num_tasks: int) -> bool:
    """Whether an evaluation is there and has this size."""
    return returns is not None and returns.shape[:2] == (num_steps + 1, num_tasks)
