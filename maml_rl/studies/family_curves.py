"""Curves of the families of a study that has oracles: what every run obtains in training, and at what cost."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.figure
import numpy as np

from maml_rl.analysis.axes import COLOURS, NOTE_COLOUR, REGULAR_COLOUR
from maml_rl.analysis.learning_curve_plots import plot_smoothed_curves
from maml_rl.studies.study import Study
from maml_rl.studies.study_run import StudyRun, by_name

NUM_COLUMNS = 4
"""Families that stand side by side in the figure."""


def draw_families(study: Study, done: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
    """Draw what the runs of every family obtain in training, over environment steps and over minutes, if there are any.

    Means over seeds; `NUM_COLUMNS` families stand side by side.
    """
    named = by_name(done)
    families = {
        family: {name: named[name] for name in (entry.control, entry.oracle, *entry.runs) if name in named}
        for family, entry in study.oracle_shares.items()
    }
    families = {family: runs for family, runs in families.items() if runs}
    if not families:
        return None
    num_columns, num_rows = min(NUM_COLUMNS, len(families)), 2 * -(-len(families) // NUM_COLUMNS)
    figure = matplotlib.figure.Figure(figsize=(3.4 * num_columns, 2.5 * num_rows), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for ax in grid.flat:
        ax.set_axis_off()
    for index, (family, runs) in enumerate(families.items()):
        row, column = 2 * (index // num_columns), index % num_columns
        ends = study.oracle_shares[family].control, study.oracle_shares[family].oracle
        others = [name for name in runs if name not in ends]
        styles = {ends[0]: (REGULAR_COLOUR, ":"), ends[1]: (NOTE_COLOUR, "--")}
        styles |= {name: (COLOURS[place % len(COLOURS)], "-") for place, name in enumerate(others)}
        for ax, key, unit, scale in (
            (grid[row, column], "env_steps", "million environment steps", 1e6),
            (grid[row + 1, column], "seconds", "minutes", 60.0),
        ):
            ax.set_axis_on()
            plot_smoothed_curves(ax, {name: _curve(seeds, key, scale) for name, seeds in runs.items()}, styles)
            ax.set_xlabel(unit)
        grid[row, column].set_title(family)
        grid[row, column].legend(frameon=False, fontsize="x-small")
    return figure


def _curve(seeds: Sequence[StudyRun], key: str, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Costs and returns after adaptation (I,) of a run's iterations, means over its seeds."""
    columns = [run.metrics() for run in seeds]
    length = min(len(metrics[key]) for metrics in columns)
    costs, returns = (np.mean([metrics[k][:length] for metrics in columns], axis=0) for k in (key, "return_after"))
    return costs / scale, returns
