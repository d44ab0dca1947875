"""Gains of adaptation beside runs that never learned to adapt, and the share of what an oracle gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from maml_rl.algorithms import adaptation_of
from maml_rl.analysis.intervals import Interval, mean_interval
from maml_rl.studies.adaptation_gain import mean_by_task
from maml_rl.studies.study import Study
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.studies.tables import interval_in_words, three_figures

_SEVERAL = 3
"""Seeds that are enough to be units."""
_HEAD = [
    "## Shares of an oracle's gain",
    "",
    "Returns in new episodes before adaptation and after 1, 2, ... steps of it. Gain: after the steps of training "
    "(one if it had none) minus before, of the same tasks. The first line of a family is the control, trained on "
    "all tasks without adaptation and then adapted by as many steps; the second the oracle, which is told the task "
    "and does not adapt. Share: of what the oracle has more than the control before adaptation, what a run has more"
    " after it. With three seeds or more: means over seeds with 95 % intervals over seeds (Student); with fewer "
    "over the different tasks of all seeds, of these policies, and none where there are two tasks.",
    "",
    "| family | run | seeds | before | after each step | gain | share |",
    "|---|---|---|---|---|---|---|",
]


def table_of_oracle_shares(study: Study, done: Sequence[StudyRun]) -> list[str]:
    """Rows for the control, the oracle and every run of a family, of those that are evaluated; else empty."""
    lines: list[str] = []
    named = by_name([run for run in done if run.is_evaluated()])
    for family, entry in study.oracle_shares.items():
        ends = [_before(named, name) for name in (entry.control, entry.oracle)]
        for name in (entry.control, entry.oracle, *entry.runs):
            if name in named:
                lines.append(_row(family, name, named[name], ends, adapts=name != entry.oracle))
    return [*_HEAD, *lines] if lines else []


def _before(named: Mapping[str, Sequence[StudyRun]], name: str) -> float:
    """Mean return before adaptation, NaN of a run that is not evaluated."""
    return float(_by_unit(named[name])[0].mean()) if name in named else float("nan")


def _row(family: str, name: str, seeds: Sequence[StudyRun], ends: Sequence[float], *, adapts: bool) -> str:
    control, oracle = ends
    units = _by_unit(seeds)
    trained = min(max(1, adaptation_of(seeds[0].config).trained), len(units) - 1)
    columns = [_in_words(mean_interval(units[0])), "-", "-", "-"]
    if adapts:
        share = (units[trained].mean() - control) / (oracle - control) if oracle > control else float("nan")
        columns[1] = "; ".join(_in_words(mean_interval(stage)) for stage in units[1:])
        columns[2] = _in_words(mean_interval(units[trained] - units[0]))
        columns[3] = f"{share:.2f}" if np.isfinite(share) else "-"
    return f"| {family} | {name} | {len(seeds)} | {' | '.join(columns)} |"


def _in_words(interval: Interval) -> str:
    return interval_in_words(interval, three_figures)


def _by_unit(seeds: Sequence[StudyRun]) -> np.ndarray:
    """Mean returns (S, U) after each number of steps: of each seed, or of each different task of all seeds."""
    found = []
    for run in seeds:
        results = run.results()
        assert results is not None
        found.append(mean_by_task(results["returns"].mean(axis=-1, dtype=np.float64), results["tasks"]))
    rows, tasks = zip(*found, strict=True)
    if len(seeds) >= _SEVERAL:
        return np.stack([part.mean(axis=1) for part in rows], axis=1)
    units, _ = mean_by_task(np.concatenate(rows, axis=1), np.concatenate(tasks))
    return units if units.shape[1] > 2 else units.mean(axis=1, keepdims=True)  # two directions are no sample
