"""Do what a study asks for and is not done yet."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, cast

import numpy as np

from maml_rl.algorithms import Algorithm, Evaluation, make_algorithm
from maml_rl.callbacks import Progress
from maml_rl.callbacks.progress import bar_is_wanted
from maml_rl.config import Config, ConfigError
from maml_rl.evaluation import evaluate, save_results
from maml_rl.experiment import TrainingError, train
from maml_rl.run_folder import RunFolder
from maml_rl.studies.archive import ARCHIVE
from maml_rl.studies.checks import check_runs
from maml_rl.studies.controls import CONTROLS
from maml_rl.studies.displays.registry import displays_of
from maml_rl.studies.study_run import StudyRun
from maml_rl.utils.cores import available_cores
from maml_rl.utils.errors import InputError
from maml_rl.workforce import Workforce


def execute(wanted: Sequence[StudyRun], workforce: Workforce, jobs: int, show: Callable[[str], None]) -> None:
    """Do what is missing of these runs, `jobs` at a time; `show` takes lines of progress.

    What the study's archive holds to the end is not missing, though its weights are.

    Raises
    ------
    ConfigError
        Before anything runs, if one of them cannot be drawn up, or its folder holds a run of another configuration.
    """
    check_runs(wanted)
    for run in wanted:
        if run.is_archived:
            show(f"{run.title}: done, in {ARCHIVE} of the study; move that away to train anew")
    wanted = [run for run in wanted if not run.is_archived]
    if jobs == 1:
        for run in wanted:
            _execute_one(run, workforce, show)
    else:
        _execute_side_by_side(wanted, workforce, jobs)


def _execute_side_by_side(wanted: Sequence[StudyRun], workforce: Workforce, jobs: int) -> None:
    context: Any = multiprocessing.get_context("spawn")  # processes that inherit nothing, on any system
    waiting = list(wanted)
    under_way: dict[Connection, Any] = {}  # where a job says how it ended: its process
    try:
        while waiting or under_way:
            while len(under_way) < jobs and (ready := [run for run in waiting if run.can_start]):
                waiting.remove(ready[0])
                receiver, sender = context.Pipe(duplex=False)
                job = context.Process(target=_job, args=(ready[0], workforce, sender))
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


def _job(run: StudyRun, workforce: Workforce, sender: Connection) -> None:
    """Do one run in a process of its own, and say to `sender` how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this one decides what Ctrl-C means
    signal.signal(signal.SIGTERM, _terminate)
    prefix = f"{run.title}: "

    def show(line: str) -> None:
        print(line if line.startswith(prefix) else prefix + line, flush=True)

    try:
        _execute_one(run, workforce, show, bar=False)
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


def _execute_one(run: StudyRun, workforce: Workforce, show: Callable[[str], None], *, bar: bool = True) -> None:
    """Train what is missing of one run, then evaluate its final policy on tasks drawn anew and analyse that."""
    algorithm, folder = make_algorithm(run.config), RunFolder(run.folder)
    done = run.iterations_done
    if folder.checkpoint_path.exists():  # a run killed between two files has a row more than it can go on from
        done = folder.load_checkpoint(run.config, algorithm.run_format).iteration
    show(f"{run.title}: {done}/{run.config.num_batches} iterations done")
    if done < run.config.num_batches:
        resume = folder.config_path.exists()
        if resume:  # refuses what cannot go on, before anything is lost
            folder.resume(run.config, algorithm.run_format)
        for test_set in run.configs:  # of a shorter run
            run.results_path(test_set).unlink(missing_ok=True)
            _remove_controls(run, test_set)
        callbacks = [Progress(show, bar=bar and bar_is_wanted())]
        train(algorithm, **vars(workforce), folder=folder, resume=resume, callbacks=callbacks)
    for control in run.plan.controls:
        if any(run.control_returns(control, test_set) is None for test_set in run.configs):
            CONTROLS[control].prepare(run, workforce, show)
    _evaluate(run, None, run.config, workforce)
    _analyse(run, algorithm, workforce.num_workers or available_cores(), show)
    for test_set, config in run.plan.test_on.items():
        _evaluate(run, test_set, config, workforce)


def _analyse(run: StudyRun, algorithm: Algorithm, num_workers: int, show: Callable[[str], None]) -> None:
    """Let the displays of a run analyse it."""
    for display in displays_of(run.config):
        trained = algorithm.with_policy(run.folder / "policy.th")
        try:
            display.analyse(run, trained, num_workers, lambda line: show(f"{run.title}: {line}"))
        except InputError as error:
            raise ConfigError(f"{run.title}: {error}") from error


def _evaluate(run: StudyRun, test_set: str | None, config: Config, workforce: Workforce) -> None:
    """Roll out the final policy of a run on tasks drawn anew, and the controls asked for, if that is not done."""
    batch_size = min(run.plan.num_tasks, run.config.meta_batch_size)
    num_batches, num_steps = -(-run.plan.num_tasks // batch_size), run.plan.num_steps

    def evaluation(algorithm: Algorithm, parameters: np.ndarray, steps: int) -> Evaluation:
        sizes: dict[str, Any] = {"num_batches": num_batches, "meta_batch_size": batch_size}
        sizes |= {**vars(workforce), "seed": 1000 + run.seed}
        return evaluate(algorithm, parameters, num_adaptation_steps=steps, **sizes)

    if not _holds(run.test_returns(test_set), num_steps, num_batches * batch_size):
        _remove_controls(run, test_set)  # of other tasks
        trained = make_algorithm(config).with_policy(run.folder / "policy.th")
        found = evaluation(trained, trained.initial_parameters(), num_steps)
        save_results(run.results_path(test_set), found, range(num_steps + 1))
    for control in run.plan.controls:
        if run.control_returns(control, test_set) is None:
            found = CONTROLS[control].evaluate(run, config, evaluation)
            rows = range(num_steps + 1 if CONTROLS[control].adapts else 1)
            save_results(run.control_path(control, test_set), found, rows)


def _remove_controls(run: StudyRun, test_set: str | None) -> None:
    for control in CONTROLS:
        run.control_path(control, test_set).unlink(missing_ok=True)


def _holds(returns: np.ndarray | None, num_steps: int, num_tasks: int) -> bool:
    """True if an evaluation is there and has this size."""
    return returns is not None and returns.shape[:2] == (num_steps + 1, num_tasks)
