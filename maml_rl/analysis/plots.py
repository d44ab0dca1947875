"""Figures of a run: functions that draw arrays on an Axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from maml_rl.analysis.axes import AFTER_COLOUR, BEFORE_COLOUR, tidy, write_note
from maml_rl.analysis.intervals import Interval, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MIN_SEEDS_FOR_BAND = 5
_MARKERS = "osD^vPX*"
_MAX_MARKS = 12


def plot_training_curve(
    ax: Axes,
    env_steps: np.ndarray,
    returns_before: np.ndarray,
    returns_after: np.ndarray,
    *,
    labels: tuple[str, str] = ("before", "after 1 gradient step"),
) -> None:
    """Draw the mean return before and after adaptation against the environment steps of meta-training.

    Parameters
    ----------
    env_steps
        (I,), environment steps so far at the end of each iteration.
    returns_before, returns_after
        (I,) of one run, or (S, I) of S seeds. Their mean is drawn thick; five seeds or more get a band, the
        95% interval of the mean over seeds, fewer get a thin line each.
    labels
        Of the two in the legend; if they are the same, only the second is drawn.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    before, after = np.atleast_2d(returns_before), np.atleast_2d(returns_after)  # (I,) -> (1, I)
    if before.shape != after.shape or before.shape[1:] != np.shape(env_steps):
        raise ValueError(
            f"returns_before, returns_after: got shapes {np.shape(returns_before)}, {np.shape(returns_after)}, "
            f"expected ({len(env_steps)},) or (S, {len(env_steps)}) as env_steps has"
        )
    millions = np.asarray(env_steps) / 1e6
    both = ((before, BEFORE_COLOUR, labels[0]), (after, AFTER_COLOUR, labels[1]))
    for values, colour, label in both[labels[0] == labels[1] :]:
        interval = mean_interval(values.T)
        ax.plot(millions, interval.mean, color=colour, label=label)
        if len(values) >= _MIN_SEEDS_FOR_BAND:
            ax.fill_between(millions, interval.low, interval.high, color=colour, alpha=0.2, linewidth=0)
        elif len(values) > 1:
            ax.plot(millions, values.T, color=colour, alpha=0.5, linewidth=0.7)
    if len(before) >= _MIN_SEEDS_FOR_BAND:
        write_note(ax, f"band: 95% interval of the mean over {len(before)} seeds")
    elif len(before) > 1:
        write_note(ax, f"thick: mean of {len(before)} seeds; thin: each seed")
    ax.set_xlabel("environment steps of meta-training (millions)")
    ax.set_ylabel("return (sum of rewards)")
    ax.legend(frameon=False, loc="upper left", title="adaptation", alignment="left")
    tidy(ax)


def plot_adaptation(
    ax: Axes,
    num_steps: np.ndarray,
    mean: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    *,
    label: str | None = None,
    band: str = "95% interval of the mean over tasks",
    unit: str = "gradient steps",
) -> None:
    """Draw the return against the number of steps of adaptation; call it once per agent to compare agents.

    Parameters
    ----------
    num_steps
        (K,), steps >= 0.
    mean, low, high
        (K,), mean return and the ends of its interval.
    label
        Name of the agent in the legend; ``None``: no legend.
    band
        What the band shows, written on the plot; the same for all agents.
    unit
        What a step is, written below the plot. More than a few steps are drawn without marks.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    shapes = {np.shape(values) for values in (num_steps, mean, low, high)}
    if len(shapes) != 1:
        raise ValueError(f"num_steps, mean, low, high: got shapes {sorted(shapes)}, expected one shape")
    order = np.argsort(num_steps)
    steps, mean, low, high = (np.asarray(values)[order] for values in (num_steps, mean, low, high))
    few = len(steps) <= _MAX_MARKS
    (line,) = ax.plot(
        steps, mean, marker="o" if few else None, label=label, color=AFTER_COLOUR if label is None else None
    )
    ax.fill_between(steps, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    if few:
        ax.set_xticks(sorted({int(tick) for tick in (*ax.get_xticks(), *steps) if tick in steps}))
    ax.set_xlabel(unit)
    ax.set_ylabel("return of an episode (sum of rewards)")
    if not ax.texts:
        write_note(ax, f"band: {band}")
    if label is not None:
        ax.legend(frameon=False, loc="upper left")
    tidy(ax)


def plot_adaptation_of_runs(
    ax: Axes,
    num_steps: np.ndarray,
    intervals: Mapping[str, Interval],
    colours: Mapping[str, str],
    *,
    explanation: str,
    unit: str = "gradient steps",
) -> None:
    """Draw the return of several runs against the number of steps of adaptation, side by side at each number.

    Parameters
    ----------
    num_steps
        (K,), gradient steps >= 0, ascending.
    intervals
        Mean and ends of the interval, (K,) each, by the name of the run; ends that are NaN are left out.
    colours
        Of the same runs.
    explanation
        What points and bars show, written above the plot.
    unit
        What a step is, written below it.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    for index, (name, interval) in enumerate(intervals.items()):
        if np.shape(interval.mean) != np.shape(num_steps):
            raise ValueError(f"{name}: got means of shape {np.shape(interval.mean)}, expected {np.shape(num_steps)}")
        offset = (index - (len(intervals) - 1) / 2) * min(0.08, 0.6 / len(intervals))
        below, above = np.nan_to_num([interval.mean - interval.low, interval.high - interval.mean])
        ax.errorbar(
            np.asarray(num_steps) + offset,
            interval.mean,
            yerr=np.maximum(0.0, [below, above]),
            color=colours[name],
            label=name,
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=5,
            linewidth=1,
            capsize=2,
        )
    if len(num_steps) == 1:  # what stands side by side then needs no place on the axis
        ax.set_xticks([])
    elif len(num_steps) <= _MAX_MARKS:
        ax.set_xticks(num_steps)
    ax.set_xlabel(unit)
    ax.set_ylabel("return (sum of rewards)")
    ax.set_title(explanation, fontsize="medium")  # within the axes it would hide points
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    tidy(ax)


def labels_of_steps(num_steps: int) -> tuple[str, str]:
    """Legends of the returns before and after an adaptation of `num_steps` gradient steps."""
    return "before", f"after {num_steps} gradient step{'' if num_steps == 1 else 's'}"
