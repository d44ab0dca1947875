"""Figures of what agents do in tasks whose best behaviour is known, from the ``results.npz`` of a run's seeds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import matplotlib.figure
import numpy as np

from maml_rl.analysis import (
    cumulative_regret,
    mean_interval,
    plot_regret,
    plot_stay_probabilities,
    stay_frequencies,
    two_step_trials,
)
from maml_rl.studies.novelty import tasks_in_words
from maml_rl.studies.players import BANDITS, regrets_of_players
from maml_rl.studies.study import Cell

Results = Mapping[str, np.ndarray]


def draw_behaviour(seeds: Sequence[Cell]) -> matplotlib.figure.Figure | None:
    """A figure of the seeds of one run, or ``None`` if nothing is known about its tasks or nothing was evaluated."""
    draw = next((draw for name, draw in _DRAW.items() if re.fullmatch(name, seeds[0].config.env_name)), None)
    results = [found for cell in seeds if (found := cell.results()) is not None]
    if draw is None or not results or "actions" not in results[0]:
        return None
    figure = matplotlib.figure.Figure(figsize=(6.4, 4.2), layout="constrained")
    draw(figure, seeds[0].name, results)
    (ax,) = figure.axes
    if not ax.get_title():
        num_played = sum(len(part["tasks"]) for part in results)
        ax.set_title(f"{num_played} new meta-episodes; tasks: {tasks_in_words(seeds[0], num_played)}")
    return figure


def _draw_regret(figure: matplotlib.figure.Figure, name: str, results: Sequence[Results]) -> None:
    """Regret of all seeds together, beside that of players on the same tasks."""
    means = np.concatenate([part["tasks"] for part in results])  # (N, k)
    choices = np.concatenate([part["actions"] for part in results])  # (N, T)
    oracles = regrets_of_players(means, choices.shape[1])
    ax = figure.subplots()
    seeds = f"{len(results)} seed{'' if len(results) == 1 else 's'}"
    plot_regret(ax, cumulative_regret(choices, means[:, np.newaxis]), oracles, name=f"{name}, {seeds}")


def _draw_stay_probabilities(figure: matplotlib.figure.Figure, name: str, results: Sequence[Results]) -> None:
    """Stay probabilities: mean over seeds with its interval, each seed a point."""
    each = np.stack(
        [
            np.nanmean(stay_frequencies(*two_step_trials(r["observations"], r["actions"], r["rewards"])), 0)
            for r in results
        ]
    )  # (S, 2, 2)
    ax = figure.subplots()
    plot_stay_probabilities(ax, mean_interval(np.moveaxis(each, 0, -1)), seeds=each)
    seeds = f"{len(each)} seed{'' if len(each) == 1 else 's'}"
    ax.set_title(f"{name}: {seeds}; bar: mean, line: its 95% interval, points: each")


_DRAW: dict[str, Callable[[matplotlib.figure.Figure, str, Sequence[Results]], None]] = {
    BANDITS: _draw_regret,
    r"TwoStep-v0": _draw_stay_probabilities,
}
"""Functions by the names of environments."""
