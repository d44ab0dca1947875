"""A display: how often the lever was near its target in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib.figure
import numpy as np

from maml_rl.algorithms import Algorithm
from maml_rl.studies.displays.display import Display
from maml_rl.studies.study_run import StudyRun


class LeverDisplay(Display):
    """Success against adaptation, as a table and a figure."""

    figure_name = "success"
    caption = "success"
    analysis_file = "success.txt"

    def analyse(self, run: StudyRun, algorithm: Algorithm, num_workers: int, show: Callable[[str], None]) -> None:
        """Write down the success in the end."""
        self.analysis_path(run).write_text(f"{_success(run)[-1]:.3f}\n", encoding="utf-8")

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """A row for each seed."""
        shown = [run for run in runs if self.applies(run.config) and self.analysis_path(run).exists()]
        rows = [f"| {run.title} | {self.analysis_path(run).read_text(encoding='utf-8').strip()} |" for run in shown]
        return ["## Levers", "", "| run | success |", "|---|---|", *rows] if rows else []

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """A line for each seed."""
        figure = matplotlib.figure.Figure()
        ax = figure.subplots()
        for run in runs:
            ax.plot(_success(run))
        return figure


def _success(run: StudyRun) -> np.ndarray:
    """Fraction of successes (S,) after each number of steps."""
    results = run.results()
    assert results is not None
    return np.asarray(results["measure_success"].mean(axis=(1, 2)))
