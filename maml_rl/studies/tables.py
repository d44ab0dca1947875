"""Tables of a study, as lines of Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from maml_rl.analysis.comparisons import Comparison, compare, holm, smallest_permutation_p
from maml_rl.analysis.intervals import Interval, mean_interval
from maml_rl.studies.novelty import num_distinct_tasks, tasks_in_words
from maml_rl.studies.scores import NUM_LAST, Seeds, new_task_scores, score_interval
from maml_rl.studies.study import Study
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.utils.random import Purpose, generator

_MOST_STEPS = 6
"""Of more steps of adaptation a table tells the first and the last."""


def table_of_seeds(done: Sequence[StudyRun]) -> list[str]:
    """One row per run and seed."""
    lines = [
        "A row alone: the study's command with `--only` and the name of the run. Versions and commands of training are "
        "in `manifest.json`.",
        "",
        "Training: mean of the last ten iterations. Evaluation: mean return of the final policy in new episodes, after "
        "0, 1, 2, ... steps of adaptation (gradient steps; episodes with rl2), or the sum of all of them where that is "
        "what counts. Tasks: of new ones none was one of training, and the 95 % interval is over tasks, of one "
        'agent; "the same 2" are all tasks that the family has, those of training, and no interval is given: they '
        "are no sample of others.",
        "",
        "| run | seed | env | iterations | env steps | minutes | before | after | tasks | evaluation |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in done:
        metrics = run.metrics()
        before, after = (metrics[key][-NUM_LAST:].mean() for key in ("return_before", run.plan.score))
        lines.append(
            f"| {run.name} | {run.seed} | {run.config.env_name} | {len(metrics['iteration'])} "
            f"| {metrics['env_steps'][-1] / 1e6:.1f} M | {metrics['seconds'][-1] / 60:.0f} | {three_figures(before)} "
            f"| {three_figures(after)} | {' | '.join(_evaluation(run))} |"
        )
    return lines


def table_of_test_sets(study: Study, done: Sequence[StudyRun]) -> list[str]:
    """Scores of final policies on the test sets of `test_on`: one row per run, all of its seeds together."""
    lines = [
        "## Other families",
        "",
        "Score after all adaptation on other families (columns), mean over all seeds. Where the family has no end of "
        "tasks: 95 % interval over the tasks of all seeds. Where it has few, their number is named: 95 % interval over "
        'seeds (Student), none of one seed. "The same": tasks of training, in new episodes.',
        "",
        f"| trained on | seeds | {' | '.join(study.test_on)} |",
        f"|---|---|{'---|' * len(study.test_on)}",
    ]
    for name, runs in by_name(done).items():
        columns, count = [], 0
        for test_set in study.test_on:
            evaluated = [run for run in runs if run.is_evaluated(test_set)]
            scores = [s[-1] for run in evaluated if (s := new_task_scores(run, test_set)) is not None]
            count = max(count, len(scores))
            columns.append(_score_on(evaluated[0], test_set, scores) if scores else "not evaluated")
        lines.append(f"| {name} | {count} | {' | '.join(columns)} |")
    return lines


def _score_on(run: StudyRun, test_set: str, scores: Sequence[np.ndarray]) -> str:
    """Mean of `scores` (N,) of each seed, with the interval that its tasks allow."""
    if num_distinct_tasks(run.configs[test_set]) is None:
        return interval_in_words(mean_interval(np.concatenate(scores)))
    over_seeds = interval_in_words(mean_interval(np.array([values.mean() for values in scores])))
    return f"{over_seeds} ({tasks_in_words(run, len(scores[0]), test_set)})"


def interval_in_words(interval: Interval, number: Callable[[float], str] | None = None) -> str:
    """Mean [low, high] of a number, each in the words of `number`: three figures if not given.

    The mean alone where there is no interval, of one value.
    """
    number = number or three_figures
    if not np.isfinite([interval.low, interval.high]).all():
        return number(float(interval.mean))
    mean, low, high = (number(float(value)) for value in (interval.mean, interval.low, interval.high))
    return f"{mean} [{low}, {high}]"


def two_decimals(interval: Interval) -> str:
    """Mean [low, high] of a number, two decimals."""
    return interval_in_words(interval, "{:.2f}".format)


def _evaluation(run: StudyRun) -> tuple[str, str]:
    """Tasks in words, and the score after each number of steps."""
    scores = new_task_scores(run)
    if scores is None:
        return "-", "not evaluated"
    interval = mean_interval(scores)  # (S, N) -> (S,)
    if num_distinct_tasks(run.config) is None:
        rows = zip(interval.mean, interval.low, interval.high, strict=True)
        words = [f"{three_figures(mean)} [{three_figures(low)}, {three_figures(high)}]" for mean, low, high in rows]
    else:
        words = [three_figures(mean) for mean in interval.mean]
    shown = words if len(words) <= _MOST_STEPS else [words[0], "...", words[-1]]
    return tasks_in_words(run, scores.shape[1]), "; ".join(shown)


def three_figures(value: float) -> str:
    """Three significant figures, but never more than two decimals."""
    return f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"


def table_of_runs(study: Study, runs: Mapping[str, Seeds]) -> list[str]:
    """One row per run; its finished seeds are the units."""
    lines = [
        "## Seeds as units",
        "",
        "Area: mean total reward of a batch (after adaptation; of meta-episodes where these count) over all iterations "
        "the study asks for. Final: mean of "
        f"the last {NUM_LAST}; interquartile mean over seeds (the plain mean of fewer than four), its 95 % bootstrap "
        "interval, which few seeds make too narrow, and the standard deviation over seeds. Slope per iteration and R²: "
        "least-squares line through the total rewards of the batches. Residual standard deviation: that of the "
        "batches of one run around its line, where a bend of the curve counts as well as noise. In parentheses: the "
        "range over seeds of what stands before it, a mean over seeds.",
        "",
        "| run | seeds | area | final | standard deviation over seeds | slope | R² | residual standard deviation |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, seeds in runs.items():
        interval = score_interval(seeds.final)
        final, low, high = (three_figures(float(x)) for x in (interval.mean, interval.low, interval.high))
        several = len(seeds.final) > 1
        slope, r_squared, residual = (
            np.array([getattr(line, field) for line in seeds.lines()])
            for field in ("slope", "r_squared", "residual_std")
        )
        lines.append(
            f"| {name} | {len(seeds.final)} of {len(study.runs[name].seeds)} "
            f"| {_with_range(seeds.area, three_figures)} | {f'{final} [{low}, {high}]' if several else final} "
            f"| {three_digits(float(seeds.final.std(ddof=1))) if several else 'one seed'} "
            f"| {_with_range(slope, three_digits)} | {_with_range(r_squared, three_figures)} "
            f"| {_with_range(residual, three_digits)} |"
        )
    return lines


def table_of_comparisons(study: Study, runs: Mapping[str, Seeds]) -> list[str]:
    """One row per comparison of the study; what cannot be tested yet says so."""
    finals = [[runs[name].final if name in runs else np.empty(0) for name in pair] for pair in study.comparisons]
    results = [
        compare(first, second, generator(0, Purpose.STATISTICS)) if min(len(first), len(second)) > 1 else None
        for first, second in finals
    ]
    # What cannot be tested yet counts as p = 1: the correction is the same before and after.
    welch, permutation = (
        holm(np.array([1.0 if result is None else getattr(result, field) for result in results]))
        for field in ("welch_p", "permutation_p")
    )
    sizes = {(len(a), len(b)) for (a, b), result in zip(finals, results, strict=True) if result}
    smallest = "".join(f" {_smallest(*size, len(results))}" for size in sorted(sizes))
    lines = [
        "## Comparisons",
        "",
        "Final return, first minus second: difference of means with its 95 % interval (Welch, not corrected); "
        "two-sided p of Welch's test and of a permutation test, each followed by its correction (Holm) for all "
        f"{len(results)} comparisons of the study; probability that a seed of the first is better than one of the "
        f"second.{smallest}",
        "",
        "| comparison | seeds | difference | Welch p | corrected | permutation p | corrected | first is better |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for pair, scores, result, *corrected in zip(study.comparisons, finals, results, welch, permutation, strict=True):
        row = _untested(*scores) if result is None else _tested(result, *corrected)
        lines.append(f"| {' - '.join(pair)} | {' against '.join(str(len(s)) for s in scores)} | {' | '.join(row)} |")
    return lines


def _smallest(num_first: int, num_second: int, num_comparisons: int) -> str:
    p = smallest_permutation_p(num_first, num_second)
    return (
        f"With {num_first} against {num_second} seeds no permutation test can give less than p = {p:.2g}, corrected "
        f"{min(1.0, num_comparisons * p):.2g}."
    )


def _tested(result: Comparison, welch: float, permutation: float) -> list[str]:
    difference, low, high = (three_figures(value) for value in (result.difference, result.low, result.high))
    p_values = (result.welch_p, welch, result.permutation_p, permutation)
    return [f"{difference} [{low}, {high}]", *map(probability, p_values), f"{result.probability_of_improvement:.2f}"]


def _untested(first: np.ndarray, second: np.ndarray) -> list[str]:
    difference = three_figures(float(first.mean() - second.mean())) if len(first) and len(second) else "not finished"
    return [difference, "too few seeds", "-", "too few seeds", "-", "-"]


def _with_range(values: np.ndarray, show: Callable[[float], str]) -> str:
    """Mean of values (n,), and between which they lie; "none" if one of them is not defined."""
    if not np.isfinite(values).all():
        return "none"
    mean, low, high = (show(float(value)) for value in (values.mean(), values.min(), values.max()))
    return mean if len(values) == 1 else f"{mean} ({low} to {high})"


def three_digits(value: float) -> str:
    """Three significant digits without an exponent; what is below a millionth is nothing."""
    decimals = 2 - math.floor(math.log10(abs(value))) if abs(value) >= 1e-6 else 2
    return f"{value:.{max(0, decimals)}f}"


def probability(p: float) -> str:
    """Two significant digits, but not below a thousandth."""
    return f"{p:.2g}" if p >= 0.001 else "< 0.001"
