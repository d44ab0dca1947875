"""Figures of a study, as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np

from maml_rl.algorithms import adaptation_of
from maml_rl.analysis.axes import COLOURS, REGULAR_COLOUR
from maml_rl.analysis.intervals import mean_interval
from maml_rl.analysis.learning_curve_plots import plot_learning_curve_areas, plot_seeds_and_line
from maml_rl.analysis.plots import plot_adaptation, plot_adaptation_of_runs, plot_training_curve
from maml_rl.studies.learning_curve_area import running_areas
from maml_rl.studies.novelty import are_new, num_distinct_tasks, tasks_in_words
from maml_rl.studies.scores import Seeds
from maml_rl.studies.study import Study
from maml_rl.studies.study_run import StudyRun
from maml_rl.utils.files import write_atomically

_NUM_COLUMNS = 3
_NUM_POINTS = 100
_COLOURS = (REGULAR_COLOUR, *COLOURS)
_CURVES = {"return_after": ("return_before", "return_after"), "return_total": ("return_total", "return_total")}
_BAND = "95% interval of the mean over tasks"
_EXPLANATION = (
    "Total reward after adaptation. Thin: each seed; thick: mean over seeds; dashed: line fitted to each "
    "seed, averaged; slope (per iteration) and R² likewise."
)


def save_figure(figure: matplotlib.figure.Figure, path: Path) -> None:
    """Write a figure in one motion."""
    write_atomically(path, lambda file: figure.savefig(file, dpi=110))


def draw_run(seeds: Sequence[StudyRun], path: Path) -> None:
    """Draw one run: its training, and its final policies in new episodes."""
    figure = matplotlib.figure.Figure(figsize=(10, 3.8), layout="constrained")
    curve, adaptation = figure.subplots(1, 2, width_ratios=(3, 2))
    columns = [run.metrics() for run in seeds]
    length = min(len(metrics["iteration"]) for metrics in columns)
    steps = np.mean([metrics["env_steps"][:length] for metrics in columns], axis=0)
    config, score = seeds[0].config, seeds[0].plan.score
    own = adaptation_of(config)
    before, after = (np.stack([metrics[key][:length] for metrics in columns]) for key in _CURVES[score])
    labels = (own.total, own.total) if score == "return_total" else (own.before, own.after)
    plot_training_curve(curve, steps, before, after, labels=labels)
    curve.set_title(f"{seeds[0].name}: {config.env_name}, seeds {', '.join(str(run.seed) for run in seeds)}")
    for run in seeds:
        results = run.results()
        if results is not None:  # within a meta-episode too, whatever the score
            interval = mean_interval(results["returns"].mean(axis=-1, dtype=np.float64))
            sampled = num_distinct_tasks(config) is None
            num_steps = results["num_steps"]
            plot_adaptation(
                adaptation,
                num_steps,
                interval.mean,
                interval.low if sampled else interval.mean,
                interval.high if sampled else interval.mean,
                label=f"seed {run.seed}",
                band=_BAND if sampled else f"none, tasks are {tasks_in_words(run, results['returns'].shape[1])}",
                unit=own.axis(new=are_new(run)),
            )
    if not adaptation.lines:
        adaptation.set_axis_off()
    save_figure(figure, path)


def by_family(study: Study, runs: Mapping[str, Seeds]) -> dict[str, dict[str, Seeds]]:
    """Runs in the order of the study, by the id of the family they were trained on."""
    families: dict[str, dict[str, Seeds]] = {}
    for name in study.runs:
        if name in runs:
            families.setdefault(runs[name].runs[0].config.env_name, {})[name] = runs[name]
    return families


def draw_learning_curve_areas(study: Study, runs: Mapping[str, Seeds], path: Path) -> None:
    """Draw the mean reward of runs against environment steps, a panel for every family."""
    found, steps = running_areas(runs, _NUM_POINTS)
    families = by_family(study, runs)
    figure = matplotlib.figure.Figure(figsize=(5.5 * len(families), 4), layout="constrained")
    for ax, (family, some) in zip(figure.subplots(1, len(families), squeeze=False).flat, families.items(), strict=True):
        plot_learning_curve_areas(
            ax, steps, {name: found[name] for name in some}, dict(zip(some, _COLOURS * len(some), strict=False))
        )
        ax.set_title(family)
    save_figure(figure, path)


def draw_comparison(study: Study, runs: Mapping[str, Seeds], path: Path) -> None:
    """Draw every one of these runs beside the first of them, and all of them in new episodes."""
    regular, *others = runs
    colours = dict(zip(runs, _COLOURS * len(runs), strict=False))
    height = 2.9 * -(-len(others) // _NUM_COLUMNS) + 0.4
    figure = matplotlib.figure.Figure(figsize=(11, height + 3.4), layout="constrained")
    parts = figure.add_gridspec(2, 1, height_ratios=(height, 3.4))
    upper, lower = (figure.add_subfigure(parts[index]) for index in range(2))
    upper.suptitle(_EXPLANATION, fontsize="medium")
    _draw_beside(upper, others, regular, runs, colours)
    whole = study.score == "return_total"
    adaptations = [adaptation_of(seeds.runs[0].config) for seeds in runs.values()]
    own = {adaptation.unit: adaptation for adaptation in adaptations}
    num_steps = 0 if whole or len(own) > 1 else max(runs[name].runs[0].plan.num_steps for name in runs)
    adapted = {name: seeds.adapted(num_steps) for name, seeds in runs.items()}
    intervals = {name: interval for name, interval in adapted.items() if interval is not None}
    if intervals:
        new = all(are_new(runs[name].runs[0]) for name in intervals)
        tasks = "New tasks" if new else "The tasks of training, new episodes"
        explanation = f"{tasks}. Point: interquartile mean over seeds; bar: its 95 % bootstrap interval."
        unit = "all episodes of a task" if whole else own[min(own)].axis(new=new)
        plot_adaptation_of_runs(
            lower.subplots(), np.arange(num_steps + 1), intervals, colours, explanation=explanation, unit=unit
        )
    save_figure(figure, path)


def _draw_beside(
    figure: matplotlib.figure.SubFigure,
    others: Sequence[str],
    regular: str,
    runs: Mapping[str, Seeds],
    colours: Mapping[str, str],
) -> None:
    """Draw a panel for each of the others, the regular run in all of them, with axes that are the same."""
    num_rows, num_columns = -(-len(others) // _NUM_COLUMNS), min(_NUM_COLUMNS, len(others))
    grid = figure.subplots(num_rows, num_columns, sharex=True, sharey=True, squeeze=False)
    for index, ax in enumerate(grid.flat):
        if index >= len(others):
            ax.set_axis_off()
            continue
        for name in (regular, others[index]):
            if name in runs:
                plot_seeds_and_line(ax, runs[name].returns, name=name, colour=colours[name])
        if index % num_columns:
            ax.set_ylabel("")
        lowest = index + num_columns >= len(others)
        ax.tick_params(labelbottom=lowest)
        if not lowest:
            ax.set_xlabel("")
