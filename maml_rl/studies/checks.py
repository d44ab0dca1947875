"""Checks of the runs of a study before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Sequence

from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.config import Config, ConfigError, load_config
from maml_rl.studies.archive import ARCHIVE, archived_config, holds_run
from maml_rl.studies.controls import CONTROLS
from maml_rl.studies.displays.registry import displays_of
from maml_rl.studies.study_run import StudyRun
from maml_rl.utils.errors import InputError


def check_runs(wanted: Sequence[StudyRun]) -> None:
    """Refuse runs that cannot be drawn up, evaluated or analysed, or whose folder holds another run.

    Raises
    ------
    ConfigError
        In one line.
    """
    for run in wanted:
        _check_unchanged(run)
        _check_start(run, wanted)
    for run in {run.name: run for run in wanted}.values():
        try:
            _check_one(run)
        except (InputError, ValueError, ImportError) as error:
            raise ConfigError(f"run {run.name!r}: {error}") from error


def _check_one(run: StudyRun) -> None:
    algorithms = [make_algorithm(config) for config in run.configs.values()]
    for algorithm in algorithms:
        algorithm.env.close()
        _check_displays(algorithm)
    for control in run.plan.controls:
        CONTROLS[control].check(algorithms[0])
    for test_set, algorithm in zip(run.plan.test_on, algorithms[1:], strict=True):
        _check_weights(algorithm, algorithms[0], f"test_on {test_set!r}", "the run")
    if run.start is not None:
        _check_weights(algorithms[0], make_algorithm(run.start.config), "start_from", repr(run.start.name))


def _check_displays(algorithm: Algorithm) -> None:
    """Refuse what its displays could not analyse, and several agents where none shows them."""
    config, displays = algorithm.config, displays_of(algorithm.config)
    if algorithm.population_size > 1 and not any(display.shows_ensembles for display in displays):
        raise ConfigError(
            f"num-agents: got {algorithm.population_size} with {config.env_name}, expected 1; studies analyse "
            "ensembles on families with a display of them only, use seeds"
        )
    for display in displays:
        display.check(algorithm)


def _check_unchanged(run: StudyRun) -> None:
    """Refuse a run whose configuration is not the one the study now asks for."""
    before = _config_before(run)
    if before is None:
        return
    if run.iterations_done and not holds_run(run.folder) and not run.is_archived:
        raise ConfigError(
            f"{run.title}: {ARCHIVE} of the study holds its scores without weights or all evaluations; move that away, "
            "and it is trained anew"
        )
    mine, theirs = run.config.to_json_dict(), before.to_json_dict()
    for key in sorted(mine.keys() - run.config.changeable_keys()):
        if mine[key] != theirs.get(key):
            raise ConfigError(
                f"{run.title}: {key} is {mine[key]!r} in the study, but the run in "
                f"{str(run.folder)!r} has {theirs.get(key)!r}; rename the run or move its folder away"
            )


def _config_before(run: StudyRun) -> Config | None:
    """Configuration in the run's folder, or in the archive of what that held; ``None`` if it was not begun."""
    path = run.folder / "config.json"
    if path.exists():
        return load_config(path, allowed=run.config.run.allow_module, quiet=True)
    text = None if holds_run(run.folder) else archived_config(run.folder)
    if text is None:
        return None
    allowed = {"allow-module": run.config.run.allow_module}
    return Config.from_saved(json.loads(text) | allowed, f"{ARCHIVE} of the study")[0]


def _check_start(run: StudyRun, wanted: Sequence[StudyRun]) -> None:
    """Refuse a run whose start is not there and not asked for, or goes on after it has been started from."""
    if run.start is None or run.can_start or run.is_archived:
        return
    if run.start.is_archived:
        raise ConfigError(
            f"{run.title} starts from {run.start.name!r}, of which {ARCHIVE} of the study holds scores alone; move "
            "that away, and it is trained anew"
        )
    if run.start not in wanted:
        raise ConfigError(f"{run.title} starts from {run.start.name!r}, which is not trained to the end; run that too")
    if run.iterations_done:
        raise ConfigError(
            f"{run.title} has started from {run.start.name!r}, which is to be trained on; move "
            f"{str(run.folder)!r} away, and it starts anew"
        )


def _check_weights(algorithm: Algorithm, source: Algorithm, field: str, name: str) -> None:
    """Refuse weights of another shape, of a start or for another test set."""
    mine, theirs = (
        {key: tuple(value.shape) for key, value in one.state_dict(one.initial_parameters()).items()}
        for one in (algorithm, source)
    )
    for key in {**mine, **theirs}:
        if mine.get(key) != theirs.get(key):
            raise ConfigError(
                f"{field}: {key} is {theirs.get(key, 'missing')} in {name}, expected {mine.get(key, 'none')}; "
                "give both the same policy and environment"
            )
