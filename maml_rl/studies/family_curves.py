"""Curves of the families of a study that has oracles: returns in training, over environment steps and minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np

from maml_rl.analysis.axes import COLOURS, NOTE_COLOUR, REGULAR_COLOUR
from maml_rl.analysis.learning_curve_plots import plot_smoothed_curves
from maml_rl.studies.scores import Seeds
from maml_rl.studies.study import Study
from maml_rl.studies.study_run import StudyRun

NUM_COLUMNS = 4
"""Families that stand side by side in the figure."""


def draw_families(study: Study, runs: Mapping[str, Seeds]) -> matplotlib.figure.Figure | None:
    """Draw returns of the finished runs of every family in training; ``None`` if there are none.

    Means over seeds, over environment steps in a row and over minutes in the next; `NUM_COLUMNS` families stand side by
    side. A run that starts from another's weights begins where that one ended.

    Parameters
    ----------
    study
        Names the families' control, oracle and runs (`oracle_shares`).
    runs
        Finished seeds of each run, by name.

    Returns
    -------
    A figure of its own, which nothing else draws in.
    """
    families = {
        family: {name: runs[name].runs for name in (entry.control, entry.oracle, *entry.runs) if name in runs}
        for family, entry in study.oracle_shares.items()
    }
    families = {family: seeds for family, seeds in families.items() if seeds}
    if not families:
        return None
    num_columns, num_rows = min(NUM_COLUMNS, len(families)), 2 * -(-len(families) // NUM_COLUMNS)
    figure = matplotlib.figure.Figure(figsize=(3.4 * num_columns, 2.5 * num_rows), layout="constrained")
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for ax in grid.flat:
        ax.set_axis_off()
    for index, (family, found) in enumerate(families.items()):
        row, column = 2 * (index // num_columns), index % num_columns
        ends = study.oracle_shares[family].control, study.oracle_shares[family].oracle
        others = [name for name in found if name not in ends]
        styles = {ends[0]: (REGULAR_COLOUR, ":"), ends[1]: (NOTE_COLOUR, "--")}
        styles |= {name: (COLOURS[place % len(COLOURS)], "-") for place, name in enumerate(others)}
        for ax, key, unit, scale in (
            (grid[row, column], "env_steps", "million environment steps", 1e6),
            (grid[row + 1, column], "seconds", "minutes", 60.0),
        ):
            ax.set_axis_on()
            plot_smoothed_curves(ax, {name: _curve(seeds, key, scale) for name, seeds in found.items()}, styles)
            ax.set_xlabel(unit)
        grid[row, column].set_title(family)
        for ax in grid[row : row + 2, 0]:
            ax.set_ylabel("return after adaptation")
        grid[row, column].legend(frameon=False, fontsize="x-small")
    return figure


def _curve(seeds: Sequence[StudyRun], key: str, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Costs and returns after adaptation (I,) of a run's iterations, means over its seeds."""
    columns = [run.metrics() for run in seeds]
    asked = min(len(metrics[key]) for metrics in columns)  # a seed may have been trained for longer
    costs = np.mean([m[key][:asked] + _cost_before(run, key) for run, m in zip(seeds, columns, strict=True)], axis=0)
    return costs / scale, np.mean([metrics["return_after"][:asked] for metrics in columns], axis=0)


def _cost_before(run: StudyRun, key: str) -> float:
    """Cost at the end of the run that this one starts from, if there is one."""
    return 0.0 if run.start is None else float(run.start.metrics()[key][-1]) + _cost_before(run.start, key)
