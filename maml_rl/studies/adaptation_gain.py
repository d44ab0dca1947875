"""Gain of adaptation in the episodes of an evaluation, beside random choices there and other policies that adapt."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from maml_rl.analysis.intervals import mean_interval
from maml_rl.studies.controls import CONTROLS, Control
from maml_rl.studies.study import Study
from maml_rl.studies.study_run import StudyRun, by_name, trained_stage
from maml_rl.studies.tables import interval_in_words
from maml_rl.studies.tasks import SEVERAL, mean_by_task

_Columns = Callable[[Sequence[StudyRun], str, str | None], list[str]]
_UNITS = (
    "Gain: return after the inner steps of training, or one step if it had none, minus before, task by task; and after "
    "all steps of the evaluation. A task that was drawn several times is one. With three seeds or more: means over "
    "seeds with 95 % intervals over seeds (Student); with fewer over the different tasks of all, of these policies."
)
_RANDOM = [
    "## Against random choices",
    "",
    "Returns in new episodes of the family a run was trained on (own; which tasks those are stands above) or of "
    f"another one. Random: uniformly random choices on the same tasks. {_UNITS} Random choices do not "
    "adapt: a gain shows that adaptation was meta-learned only where an untrained policy gains less by as many "
    "steps.",
    "",
    "| run | family | seeds | random | before | after | after - random | gain | gain of all steps |",
    "|---|---|---|---|---|---|---|---|---|",
]


def table_of_adaptation_gains(study: Study, done: Sequence[StudyRun]) -> list[str]:
    """One row per run and test set beside random choices, and one per control that adapts, of those asked for."""
    lines = _rows(_RANDOM, done, study, "random", _random_columns) if "random" in study.controls else []
    for control in study.controls:
        if CONTROLS[control].adapts:
            lines += [
                *([""] if lines else []),
                *_rows(_head(CONTROLS[control]), done, study, control, _control_columns),
            ]
    return lines


def _head(control: Control) -> list[str]:
    return [
        f"## Gains beside those of {control.title}",
        "",
        f"Control: {control.words}; returns on the same tasks after as many steps of adaptation. {_UNITS} Training "
        "taught more than the control knows where the run gains more, with an interval above zero; that it taught to "
        "adapt, where it gains more than an untrained policy and than multi-task learning.",
        "",
        "| run | family | seeds | before | after | gain | control before | after | gain | gain - that of the control "
        "| of all steps |",
        f"|{'---|' * 11}",
    ]


def _rows(head: Sequence[str], done: Sequence[StudyRun], study: Study, control: str, columns: _Columns) -> list[str]:
    """A table with a row for each run and test set in which the control was evaluated."""
    lines = list(head)
    for name, runs in by_name(done).items():
        for test_set in (None, *study.test_on):
            evaluated = [run for run in runs if run.is_evaluated(test_set)]
            seeds = [run for run in evaluated if run.control_returns(control, test_set) is not None]
            if seeds:
                row = " | ".join(columns(seeds, control, test_set))
                lines.append(f"| {name} | {test_set or 'own'} | {len(seeds)} | {row} |")
    return lines


def _random_columns(seeds: Sequence[StudyRun], control: str, test_set: str | None) -> list[str]:
    (by_chance,), adapted = _by_unit(seeds, control, test_set)
    before, after, last = _stages(seeds, adapted)
    columns = (by_chance, before, after, after - by_chance, after - before, last - before)
    return [interval_in_words(mean_interval(column)) for column in columns]


def _control_columns(seeds: Sequence[StudyRun], control: str, test_set: str | None) -> list[str]:
    beside, adapted = _by_unit(seeds, control, test_set)
    before, after, last = _stages(seeds, adapted)
    control_before, control_after, control_last = _stages(seeds, beside)
    gain, control_gain = after - before, control_after - control_before
    of_all = (last - before) - (control_last - control_before)
    columns = (before, after, gain, control_before, control_after, control_gain, gain - control_gain, of_all)
    return [interval_in_words(mean_interval(column)) for column in columns]


def _stages(seeds: Sequence[StudyRun], adapted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of returns (S, U) after each number of steps those before, after the steps of training, and in the end, (U,)."""
    return adapted[0], adapted[trained_stage(seeds[0].config, len(adapted))], adapted[-1]


def _by_unit(seeds: Sequence[StudyRun], control: str, test_set: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean returns (S', U) of a control and (S, U) of the runs after each number of steps, by seed or by task."""
    found = [_by_task(run, control, test_set) for run in seeds]
    if len(seeds) >= SEVERAL:
        units = np.stack([rows.mean(axis=1) for rows, _ in found], axis=1)
    else:
        rows, tasks = zip(*found, strict=True)
        units, _ = mean_by_task(np.concatenate(rows, axis=1), np.concatenate(tasks))
    num_steps = seeds[0].plan.num_steps + 1
    return units[:-num_steps], units[-num_steps:]


def _by_task(run: StudyRun, control: str, test_set: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean returns (S' + S, U) of a control and after each number of steps, and a seed's different tasks (U, D)."""
    results, beside = run.results(test_set), run.control_returns(control, test_set)
    assert results is not None
    assert beside is not None
    rows = np.concatenate([beside, results["returns"]])  # (S' + S, N, B)
    return mean_by_task(rows.mean(axis=-1, dtype=np.float64), results["tasks"])
