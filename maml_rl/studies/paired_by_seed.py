"""Runs beside a base run, seed by seed: what one changed setting brings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from maml_rl.algorithms import adaptation_of
from maml_rl.analysis.intervals import mean_interval
from maml_rl.studies.displays.registry import displays_of
from maml_rl.studies.scores import new_task_scores
from maml_rl.studies.study import Study
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.studies.tables import interval_in_words, three_figures

_HEAD = [
    "## Paired by seed",
    "",
    "Mean return of the final policy in new episodes of new tasks, before adaptation and after the steps of training; "
    "a seed draws the same tasks of training and the same new tasks in every run, and the same initial weights where "
    "policies have the same layers. Difference: the run less its base run of the same seed, mean over the seeds of "
    "both with its 95 % interval (Student); the base's own row is of all its seeds. Better: seeds in which the run is "
    "above its base after adaptation.",
    "",
    "| base | run | seeds | before | after | difference before | difference after | better |",
    "|---|---|---|---|---|---|---|---|",
]


_HEAD_OF_SCORES = [
    "Other measures of the same runs, and differences likewise.",
    "",
    "| base | run | on | measure | seeds | run | base | difference |",
    "|---|---|---|---|---|---|---|---|",
]


def table_of_paired_runs(study: Study, done: Sequence[StudyRun]) -> list[str]:
    """Rows for each base and the runs beside it, of the seeds that both have finished; else empty."""
    named = by_name([run for run in done if run.is_evaluated() and run.iterations_done >= run.config.num_batches])
    lines, of_scores = [], []
    for base, others in study.paired_by_seed.items():
        if base in named:
            lines.append(_row(base, base, named))
            lines += [_row(base, name, named) for name in others if name in named]
            of_scores += [row for name in others if name in named for row in _rows_of_scores(base, name, named)]
    return [*_HEAD, *lines, *(["", *_HEAD_OF_SCORES, *of_scores] if of_scores else [])] if lines else []


def _rows_of_scores(base: str, name: str, named: Mapping[str, Sequence[StudyRun]]) -> Iterator[str]:
    """Rows of what displays measure of two runs, on every test set."""
    for test_set in named[name][0].configs:
        found, beside = ({run.seed: _scores(run, test_set) for run in named[each]} for each in (name, base))
        seeds = sorted(set(found) & set(beside))
        tables = [table[seed] for seed in seeds for table in (found, beside)]
        for measure in [name for name in tables[0] if all(name in table for table in tables)] if seeds else ():
            own, other = (np.array([table[seed][measure] for seed in seeds]) for table in (found, beside))
            columns = [interval_in_words(mean_interval(row), three_figures) for row in (own, other, own - other)]
            on = "training's split" if test_set is None else test_set
            yield f"| {base} | {name} | {on} | {measure} | {len(seeds)} | {' | '.join(columns)} |"


def _scores(run: StudyRun, test_set: str | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for display in displays_of(run.configs[test_set]):
        found |= display.scores(run, test_set)
    return found


def _row(base: str, name: str, named: Mapping[str, Sequence[StudyRun]]) -> str:
    found, beside = ({run.seed: _before_and_after(run) for run in named[each]} for each in (name, base))
    seeds = sorted(set(found) & set(beside))
    start = f"| {base} | {name} | {len(seeds)}"
    if not seeds:
        return f"{start} | - | - | - | - | - |"
    scores, base_scores = (np.array([table[seed] for seed in seeds]).T for table in (found, beside))  # (2, S)
    columns = [interval_in_words(mean_interval(row), three_figures) for row in scores]
    if name == base:
        columns += ["-", "-", "-"]
    else:
        differences = scores - base_scores
        columns += [interval_in_words(mean_interval(row), three_figures) for row in differences]
        columns.append(f"{int((differences[1] > 0).sum())} of {len(seeds)}")
    return f"{start} | {' | '.join(columns)} |"


def _before_and_after(run: StudyRun) -> tuple[float, float]:
    """Mean returns before adaptation and after the steps of training, or of the evaluation where those are fewer."""
    scores = new_task_scores(run)
    assert scores is not None
    after = min(max(1, adaptation_of(run.config).trained), len(scores) - 1)
    return float(scores[0].mean()), float(scores[after].mean())
