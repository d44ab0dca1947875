"""Figures of fitted models: functions that draw arrays on an Axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from maml_rl.analysis.axes import AFTER_COLOUR, COLOURS, NOTE_COLOUR, tidy, write_note
from maml_rl.analysis.intervals import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_comparison(ax: Axes, frequencies: np.ndarray, protected: np.ndarray, names: Sequence[str]) -> None:
    """Draw how common each model is, and how sure it is that it is the commonest.

    Parameters
    ----------
    frequencies, protected
        (M,) each, see `maml_rl.analysis.people.selection.GroupComparison`.
    names
        Of the M models.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    if not np.shape(frequencies) == np.shape(protected) == (len(names),):
        raise ValueError(f"frequencies, protected: got {np.shape(frequencies)}, {np.shape(protected)}, expected (M,)")
    places, width = np.arange(len(names)), 0.38
    ax.barh(places - width / 2, frequencies, width, color=COLOURS[5], label="expected fraction of subjects")
    ax.barh(places + width / 2, protected, width, color=AFTER_COLOUR, label="protected exceedance probability")
    ax.axvline(1.0 / len(names), color=NOTE_COLOUR, linestyle="--", linewidth=1, label="all alike")
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.set_xlim(0.0, 1.0)
    ax.set_xlabel("probability")
    ax.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=1)
    tidy(ax)


def plot_evidences(ax: Axes, log_evidences: np.ndarray, names: Sequence[str]) -> None:
    """Draw each subject's log Bayes factors against its best model, one point a subject and model.

    Parameters
    ----------
    log_evidences
        (S, M), in nats.
    names
        Of the M models.
    """
    behind = log_evidences - log_evidences.max(axis=1, keepdims=True)  # (S, M), <= 0
    shifts = np.linspace(-0.25, 0.25, len(behind)) if len(behind) > 1 else np.zeros(1)
    for index in range(len(names)):
        ax.plot(behind[:, index], index + shifts, "o", markersize=3, color=AFTER_COLOUR, alpha=0.6)
    ax.axvspan(-3.0, 0.0, color=NOTE_COLOUR, alpha=0.12, linewidth=0)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xscale("symlog", linthresh=3.0)
    ax.set_xlim(right=0.5)
    ax.set_xlabel("log Bayes factor against the best (nats)")
    ax.set_title("points: subjects; grey: evidence less than strong", fontsize="small", color=NOTE_COLOUR)
    tidy(ax)


def plot_estimates(ax: Axes, estimates: np.ndarray, errors: np.ndarray, at_bounds: np.ndarray, *, name: str) -> None:
    """Draw a parameter of all subjects, in ascending order, with standard errors; open: at a bound.

    Parameters
    ----------
    estimates, errors, at_bounds
        (S,) each; errors may be NaN.
    name
        Of the parameter.
    """
    order = np.argsort(estimates, kind="stable")
    shown, bars = np.asarray(estimates)[order], np.nan_to_num(np.asarray(errors)[order])
    bound, places = np.asarray(at_bounds)[order].astype(bool), np.arange(len(order))
    span = float(np.ptp(shown)) or 1.0
    ax.errorbar(
        places[~bound],
        shown[~bound],
        yerr=np.minimum(bars[~bound], 2.0 * span),
        fmt="o",
        markersize=4,
        color=AFTER_COLOUR,
        elinewidth=1,
    )
    ax.plot(places[bound], shown[bound], "o", markersize=4, color=AFTER_COLOUR, fillstyle="none")
    ax.axhline(float(np.median(shown)), color=NOTE_COLOUR, linestyle="--", linewidth=1)
    ax.set_title(name, fontsize="medium")
    ax.set_xlabel("subject, in order")
    ax.set_xticks([])
    tidy(ax)


def plot_confusion(ax: Axes, fractions: np.ndarray, names: Sequence[str]) -> None:
    """Draw a confusion matrix: rows the model that made the choices, columns the one that was found.

    Parameters
    ----------
    fractions
        (M, M), in [0, 1].
    names
        Of the M models.

    Raises
    ------
    ValueError
        If the shape is another.
    """
    if np.shape(fractions) != (len(names), len(names)):
        raise ValueError(f"fractions: got shape {np.shape(fractions)}, expected {(len(names), len(names))}")
    ax.imshow(fractions, cmap="Blues", vmin=0.0, vmax=1.0)
    for row, column in np.ndindex(len(names), len(names)):
        value = float(fractions[row, column])
        colour = "white" if value > 0.6 else "black"
        ax.text(column, row, f"{value:.2f}".lstrip("0"), ha="center", va="center", fontsize=7, color=colour)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("found")
    ax.set_ylabel("made by")


def plot_recovered(ax: Axes, true: np.ndarray, found: np.ndarray, *, name: str) -> None:
    """Draw values `found` against `true` ones of a parameter, (S,) each, and the line on which they would be equal."""
    ax.axline((float(np.mean(true)), float(np.mean(true))), slope=1.0, color=NOTE_COLOUR, linestyle="--", linewidth=1)
    ax.plot(true, found, "o", markersize=4, color=AFTER_COLOUR, alpha=0.7)
    ax.set_xlabel(f"true {name}")
    ax.set_ylabel("fitted")
    tidy(ax)


def plot_lagged_effects(ax: Axes, effects: Interval, terms: Sequence[str], *, band: str) -> None:
    """Draw the effects of earlier trials on a choice against how many trials ago they were.

    Parameters
    ----------
    effects
        Mean and ends of the interval, (F, L) each, of F terms at L lags.
    terms
        Of the F rows.
    band
        What the lines through the points show, written on the plot.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    mean = np.asarray(effects.mean)
    if mean.ndim != 2 or len(mean) != len(terms):
        raise ValueError(f"effects: got shape {mean.shape}, expected ({len(terms)}, lags)")
    lags = np.arange(1, mean.shape[1] + 1)
    ax.axhline(0.0, color=NOTE_COLOUR, linewidth=1)
    for index, term in enumerate(terms):
        ends = np.nan_to_num([mean[index] - effects.low[index], effects.high[index] - mean[index]])
        shift = (index - (len(terms) - 1) / 2) * 0.08
        colour = COLOURS[index % len(COLOURS)]
        ax.errorbar(
            lags + shift, mean[index], yerr=np.maximum(0.0, ends), color=colour, marker="o", label=term, capsize=2
        )
    ax.set_xticks(lags)
    ax.set_xlabel("trials ago")
    ax.set_ylabel("effect on the choice (log odds)")
    ax.legend(frameon=False, fontsize="small")
    write_note(ax, band)
    tidy(ax)
