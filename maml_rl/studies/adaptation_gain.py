"""Gain of adaptation in the episodes of an evaluation, beside random choices there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_rl.algorithms import adaptation_of
from maml_rl.analysis.intervals import mean_interval
from maml_rl.studies.study import Study
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.studies.tables import interval_in_words

_SEVERAL = 3
"""Seeds that are enough to be units."""


def table_of_adaptation_gains(study: Study, done: Sequence[StudyRun]) -> list[str]:
    """One row per run and test set; empty unless the study asks for random choices."""
    if not study.random_policy:
        return []
    lines = [
        "## Against random choices",
        "",
        "Returns in new episodes of the family a run was trained on (own; which tasks those are stands above) or of "
        "another one. Random: uniformly random choices on the same tasks. Gain: return after the inner steps of "
        "training, or one step if it had none, minus before, task by task; and after all steps of the evaluation. A "
        "task that was drawn several times is one. With three seeds or more: means over seeds with 95 % intervals over "
        "seeds (Student); with fewer over the different tasks of all, of these policies only. Random choices do not "
        "adapt: a gain shows that adaptation was meta-learned only where an untrained policy gains less by as many "
        "steps.",
        "",
        "| run | family | seeds | random | before | after | after - random | gain | gain of all steps |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, runs in by_name(done).items():
        for test_set in (None, *study.test_on):
            evaluated = [run for run in runs if run.is_evaluated(test_set)]
            seeds = [run for run in evaluated if run.random_returns(test_set) is not None]
            if seeds:
                lines.append(f"| {name} | {test_set or 'own'} | {len(seeds)} | {' | '.join(_row(seeds, test_set))} |")
    return lines


def _row(seeds: Sequence[StudyRun], test_set: str | None) -> list[str]:
    found = [_by_task(run, test_set) for run in seeds]
    if len(seeds) >= _SEVERAL:
        units = np.stack([rows.mean(axis=1) for rows, _ in found], axis=1)
    else:
        rows, tasks = zip(*found, strict=True)
        units, _ = mean_by_task(np.concatenate(rows, axis=1), np.concatenate(tasks))
    by_chance, *adapted = units
    before, last = adapted[0], adapted[-1]
    after = adapted[min(max(1, adaptation_of(seeds[0].config).trained), len(adapted) - 1)]
    columns = (by_chance, before, after, after - by_chance, after - before, last - before)
    return [interval_in_words(mean_interval(column)) for column in columns]


def _by_task(run: StudyRun, test_set: str | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean returns (1 + S, U) of random choices and after each number of steps, and a seed's different tasks (U, D)."""
    results, by_chance = run.results(test_set), run.random_returns(test_set)
    assert results is not None
    assert by_chance is not None
    rows = np.concatenate([by_chance[np.newaxis], results["returns"]])  # (1 + S, N, B)
    return mean_by_task(rows.mean(axis=-1, dtype=np.float64), results["tasks"])


def mean_by_task(scores: np.ndarray, tasks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`scores` (S, N) of N `tasks` (N, D), some of them alike, as means (S, U) of the U different ones (U, D).

    A family with few tasks has them drawn again; episodes of the same task are no independent units.

    Examples
    --------
    >>> mean_by_task(np.array([[1.0, 2.0, 5.0]]), np.array([[7], [3], [7]]))
    (array([[3., 2.]]), array([[7],
           [3]]))
    """
    _, firsts, which = np.unique(tasks, axis=0, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(firsts))[which.reshape(-1)]  # in order of first appearance
    counts = np.bincount(place)
    return np.stack([np.bincount(place, row) / counts for row in scores]), tasks[np.sort(firsts)]
