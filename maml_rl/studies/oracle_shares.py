"""Gains of adaptation beside runs that never learned to adapt, and the share of what an oracle gains."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from maml_rl.algorithms import adaptation_of
from maml_rl.analysis.comparisons import compare
from maml_rl.analysis.intervals import Interval, mean_interval
from maml_rl.studies.study import Study
from maml_rl.studies.study_run import StudyRun, by_name, trained_stage
from maml_rl.studies.tables import interval_in_words, three_figures
from maml_rl.studies.tasks import SEVERAL, mean_by_task, same_tasks
from maml_rl.utils.random import Purpose, generator

_HEAD = [
    "## Shares of an oracle's gain",
    "",
    "Returns in new episodes before adaptation and after 1, 2, ... steps of it. Gain: after the steps of training "
    "(one if it had none) minus before, of the same tasks. The first line of a family is the control, trained on "
    "all tasks without adaptation and then adapted by as many steps; the second the oracle, which is told the task "
    "and does not adapt. Beside the control: the gain less that of the control (of as many gradient steps), task by "
    "task where both were evaluated on the same tasks, else with Welch's interval, or, of a control that is one "
    "number, with the run's own "
    "spread alone. Share: of what the oracle has more than the control before adaptation, if its interval is above "
    "zero, what a run has more after it. With three seeds or more: means over seeds with 95 % intervals over seeds "
    "(Student); with fewer over the different tasks of all seeds, of these policies, and none where there are two.",
    "",
    "| family | run | seeds | before | after each step | gain | beside the control | share |",
    "|---|---|---|---|---|---|---|---|",
]


def table_of_oracle_shares(study: Study, done: Sequence[StudyRun]) -> list[str]:
    """Rows for the control, the oracle and every run of a family, of those that are evaluated; else empty."""
    lines: list[str] = []
    named = by_name([run for run in done if run.is_evaluated()])
    for family, entry in study.oracle_shares.items():
        found = {name: _units(named[name]) for name in (entry.control, entry.oracle, *entry.runs) if name in named}
        ends = [found.get(name) for name in (entry.control, entry.oracle)]
        for name, units in found.items():
            columns = [_in_words(mean_interval(units.returns[0])), "-", "-", "-", "-"]
            if name != entry.oracle:
                columns[1:] = [*_gain_in_words(units), _beside(units, found.get(entry.control)), _share(units, *ends)]
            if name == entry.control:
                columns[3] = "-"
            lines.append(f"| {family} | {name} | {len(named[name])} | {' | '.join(columns)} |")
    return [*_HEAD, *lines] if lines else []


class _Units(NamedTuple):
    """Mean returns (S, U) of a run after each number of steps, of each seed, or of each task (U, D) of all seeds."""

    returns: np.ndarray
    tasks: np.ndarray | None
    trained: int
    unit: str = "gradient steps"

    @property
    def before(self) -> float:
        """Mean return before adaptation."""
        return float(self.returns[0].mean())

    @property
    def gains(self) -> np.ndarray:
        """(U,): what the steps of training gain."""
        return self.returns[self.trained] - self.returns[0]


def _units(seeds: Sequence[StudyRun]) -> _Units:
    """Units of a run: several seeds, else the tasks of all, and of two tasks their mean alone."""
    found = []
    for run in seeds:
        results = run.results()
        assert results is not None
        found.append(mean_by_task(results["returns"].mean(axis=-1, dtype=np.float64), results["tasks"]))
    rows, tasks = zip(*found, strict=True)
    trained, unit = trained_stage(seeds[0].config, len(rows[0])), adaptation_of(seeds[0].config).unit
    if len(seeds) >= SEVERAL:
        return _Units(np.stack([part.mean(axis=1) for part in rows], axis=1), None, trained, unit)
    units, different = mean_by_task(np.concatenate(rows, axis=1), np.concatenate(tasks))
    if units.shape[1] > 2:
        return _Units(units, different, trained, unit)
    return _Units(units.mean(axis=1, keepdims=True), None, trained, unit)  # two directions are no sample


def _gain_in_words(units: _Units) -> tuple[str, str]:
    """Returns after each step, and the gain."""
    after = "; ".join(_in_words(mean_interval(stage)) for stage in units.returns[1:])
    return after, _in_words(mean_interval(units.gains))


def _beside(units: _Units, control: _Units | None) -> str:
    """The gain less that of the control, after as many steps where both count the same kind of them."""
    if control is None:
        return "-"
    if control.unit == units.unit:
        control = control._replace(trained=min(units.trained, len(control.returns) - 1))
    return _in_words(_difference(units.gains, control.gains, paired=_are_paired(units, control)))


def _are_paired(units: _Units, others: _Units) -> bool:
    return units.tasks is not None and others.tasks is not None and same_tasks(units.tasks, others.tasks)


def _difference(values: np.ndarray, others: np.ndarray, *, paired: bool) -> Interval:
    """Mean of `values` (U,) less that of `others` (V,): of pairs, by Welch, or of one number by the others' spread."""
    if paired:
        return mean_interval(values - others)
    if min(len(values), len(others)) > 1:
        found = compare(values, others, generator(0, Purpose.STATISTICS))
        return Interval(*(np.array(number) for number in (found.difference, found.low, found.high)))
    return mean_interval(values - others.mean())


def _share(units: _Units, control: _Units | None, oracle: _Units | None) -> str:
    """Share of the oracle's gain, of an oracle that is shown to have more than the control."""
    if control is None or oracle is None:
        return "-"
    more = _difference(oracle.returns[0], control.returns[0], paired=_are_paired(oracle, control))
    if not (more.low > 0.0 if np.isfinite(more.low) else more.mean > 0.0):
        return "-"
    return f"{(units.returns[units.trained].mean() - control.before) / (oracle.before - control.before):.2f}"


def _in_words(interval: Interval) -> str:
    return interval_in_words(interval, three_figures)
