"""Stay probabilities of agents in the two-step task."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.figure
import numpy as np

from maml_rl.analysis.behaviour_plots import plot_stay_probabilities
from maml_rl.analysis.intervals import mean_interval
from maml_rl.analysis.two_step import stay_frequencies, two_step_trials
from maml_rl.studies.displays.display import Display, evaluations, seeds_in_words
from maml_rl.studies.study_run import StudyRun


class TwoStepDisplay(Display):
    """Stay probabilities after reward or not, and a common or an uncommon transition."""

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """Mean over seeds with its interval, each seed a point."""
        results = evaluations(runs)
        if not results:
            return None
        each = np.stack(
            [
                np.nanmean(stay_frequencies(*two_step_trials(r["observations"], r["actions"], r["rewards"])), 0)
                for r in results
            ]
        )  # (S, 2, 2)
        figure = matplotlib.figure.Figure(figsize=(6.4, 4.2), layout="constrained")
        ax = figure.subplots()
        plot_stay_probabilities(ax, mean_interval(np.moveaxis(each, 0, -1)), seeds=each)
        ax.set_title(f"{runs[0].name}: {seeds_in_words(len(each))}; bar: mean, line: its 95% interval, points: each")
        return figure
