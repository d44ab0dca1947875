"""Figures of a run: functions that draw arrays on an Axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from maml_rl.analysis.statistics import Interval, fit_line, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BEFORE_COLOUR = REGULAR_COLOUR = "#7f7f7f"
_MIN_SEEDS_FOR_BAND = 5
AFTER_COLOUR = "#0072b2"  # readable with every common colour blindness (Okabe and Ito 2008)
COLOURS = (AFTER_COLOUR, "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of runs beside each other, from the same palette."""
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
        _note(ax, f"band: 95% interval of the mean over {len(before)} seeds")
    elif len(before) > 1:
        _note(ax, f"thick: mean of {len(before)} seeds; thin: each seed")
    ax.set_xlabel("environment steps of meta-training (millions)")
    ax.set_ylabel("return (sum of rewards)")
    ax.legend(frameon=False, loc="upper left", title="adaptation", alignment="left")
    _tidy(ax)


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
        _note(ax, f"band: {band}")
    if label is not None:
        ax.legend(frameon=False, loc="upper left")
    _tidy(ax)


def plot_seeds_and_line(ax: Axes, returns: np.ndarray, *, name: str, colour: str) -> None:
    """Draw how the seeds of a run learn: each thin, their mean thick, the line fitted to them dashed.

    The line has the mean slope and the mean intercept of the lines fitted to the seeds, which is the line fitted to
    their mean; the R² in the legend is the mean over seeds too, below that of the mean, which is smoother. Call it
    once per run to compare runs.

    Parameters
    ----------
    returns
        (S, I), mean total reward of the batch of each iteration, of S seeds.
    name, colour
        Of the run.

    Raises
    ------
    ValueError
        If there is no seed or no iteration.
    """
    if np.ndim(returns) != 2 or 0 in np.shape(returns):
        raise ValueError(f"returns: got shape {np.shape(returns)}, expected (S, I), seeds by iterations")
    num_seeds, count = np.shape(returns)
    iterations = np.arange(count)
    seeds = f"{num_seeds} seed{'' if num_seeds == 1 else 's'}"
    ax.plot(iterations, np.mean(returns, axis=0), color=colour, linewidth=2, label=f"{name}, {seeds}")
    if num_seeds > 1:
        ax.plot(iterations, np.transpose(returns), color=colour, alpha=0.5, linewidth=0.7)
    if count > 1:
        lines = [fit_line(iterations, values) for values in returns]
        slope, intercept, r_squared = (
            np.mean([getattr(line, field) for line in lines]) for field in ("slope", "intercept", "r_squared")
        )
        label = f"slope {slope:+#.3g}" + (f", R² {r_squared:.2f}" if np.isfinite(r_squared) else "")
        ax.plot(iterations, intercept + slope * iterations, color=colour, linestyle="--", linewidth=1.2, label=label)
    ax.set_xlabel("iteration of meta-training (one batch)")
    ax.set_ylabel("mean total reward of a batch")
    ax.legend(frameon=False, loc="upper left", fontsize="small")
    _tidy(ax)


def plot_areas(ax: Axes, env_steps: np.ndarray, areas: Mapping[str, np.ndarray], colours: Mapping[str, str]) -> None:
    """Draw what runs have earned so far against the environment steps of meta-training.

    Each seed is thin, the mean of several thick; at the end stands the 95 % interval of the mean over seeds (Student).

    Parameters
    ----------
    env_steps
        (G,), ascending.
    areas
        (S, G), mean total reward of all steps so far, of S seeds, by the name of the run.
    colours
        Of the same runs.

    Raises
    ------
    ValueError
        If the lengths differ.
    """
    for index, (name, values) in enumerate(areas.items()):
        if np.ndim(values) != 2 or np.shape(values)[1:] != np.shape(env_steps):
            raise ValueError(f"{name}: got areas of shape {np.shape(values)}, expected (S, {len(env_steps)})")
        millions, mean = np.asarray(env_steps) / 1e6, np.mean(values, axis=0)
        seeds = f"{len(values)} seed{'' if len(values) == 1 else 's'}"
        ax.plot(millions, mean, color=colours[name], linewidth=2, label=f"{name}, {seeds}")
        if len(values) > 1:
            ax.plot(millions, np.transpose(values), color=colours[name], alpha=0.5, linewidth=0.7)
            end = mean_interval(values[:, -1])
            position = millions[-1] * (1.02 + 0.02 * index)
            ax.errorbar(
                position, end.mean, [[end.mean - end.low], [end.high - end.mean]], color=colours[name], capsize=2
            )
    ax.set_xlabel("environment steps of meta-training (millions)")
    ax.set_ylabel("mean total reward so far")
    ax.legend(frameon=False, fontsize="small")
    _tidy(ax)


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
    _tidy(ax)


def plot_regret(ax: Axes, agent: np.ndarray, oracles: Mapping[str, np.ndarray], *, name: str) -> None:
    """Draw cumulative regret against the pull, an agent's with its interval and those it is compared to as lines.

    Parameters
    ----------
    agent
        (N, T), regret so far of N tasks, see `maml_rl.analysis.cumulative_regret`.
    oracles
        (N, T) each, by the name of the player.
    name
        Of the agent.

    Raises
    ------
    ValueError
        If an array has another number of pulls.
    """
    num_pulls = np.shape(agent)[-1]
    pulls = np.arange(1, num_pulls + 1)
    interval = mean_interval(np.transpose(agent))
    ax.plot(pulls, interval.mean, color=AFTER_COLOUR, linewidth=2, label=name)
    ax.fill_between(pulls, interval.low, interval.high, color=AFTER_COLOUR, alpha=0.2, linewidth=0)
    for index, (oracle, regret) in enumerate(oracles.items()):
        if np.shape(regret)[-1] != num_pulls:
            raise ValueError(f"{oracle}: got {np.shape(regret)[-1]} pulls, expected {num_pulls}")
        colour, style = COLOURS[1 + index % (len(COLOURS) - 1)], ("--", ":")[index // (len(COLOURS) - 1) % 2]
        ax.plot(pulls, np.mean(regret, axis=0), color=colour, linestyle=style, linewidth=1.2, label=oracle)
    ax.set_xlabel("pull")
    ax.set_ylabel("cumulative regret (expected reward lost)")
    _note(ax, "band: 95% interval of the mean over meta-episodes")
    ax.legend(frameon=False, loc="upper left", fontsize="small")
    _tidy(ax)


def plot_stay_probabilities(ax: Axes, stay: Interval, *, seeds: np.ndarray | None = None) -> None:
    """Draw how often the first choice of a two-step trial is made again (Daw et al. 2011, figure 2).

    Parameters
    ----------
    stay
        Mean and ends of the interval, (2, 2) each: rewarded or not by common or uncommon, as
        `maml_rl.analysis.stay_probabilities` gives them.
    seeds
        (S, 2, 2), of single agents, drawn as points.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    shapes = [np.shape(part) for part in (stay.mean, stay.low, stay.high)]
    if set(shapes) != {(2, 2)}:
        raise ValueError(f"stay: got shapes {shapes}, expected (2, 2) each")
    if seeds is not None and np.shape(seeds)[1:] != (2, 2):
        raise ValueError(f"seeds: got shape {np.shape(seeds)}, expected (S, 2, 2)")
    groups, width = np.arange(2), 0.36
    for column, (kind, colour) in enumerate((("common", AFTER_COLOUR), ("uncommon", COLOURS[1]))):
        places = groups + (column - 0.5) * width
        mean = np.asarray(stay.mean)[:, column]
        ends = np.nan_to_num([mean - np.asarray(stay.low)[:, column], np.asarray(stay.high)[:, column] - mean])
        ax.bar(places, mean, width * 0.92, yerr=np.maximum(0.0, ends), color=colour, label=kind, capsize=3)
        if seeds is not None:
            spread = np.linspace(-0.3, 0.3, len(seeds)) * width
            for row in groups:
                ax.plot(places[row] + spread, seeds[:, row, column], "o", color="#333333", markersize=3)
    ax.set_xticks(groups, ["rewarded", "unrewarded"])
    ax.set_ylim(0.0, 1.05)
    ax.set_ylabel("probability of staying")
    ax.legend(frameon=False, title="transition", loc="upper left", bbox_to_anchor=(1.0, 1.0), alignment="left")
    _tidy(ax)


def labels_of_steps(num_steps: int) -> tuple[str, str]:
    """What an adaptation of `num_steps` gradient steps has before and behind it, for legends."""
    return "before", f"after {num_steps} gradient step{'' if num_steps == 1 else 's'}"


def _note(ax: Axes, text: str) -> None:
    ax.text(0.98, 0.02, text, transform=ax.transAxes, ha="right", va="bottom", fontsize="small", color="#555555")


def _tidy(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
