"""Figures of behaviour on a task: functions that draw arrays on an Axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from maml_rl.analysis.axes import AFTER_COLOUR, COLOURS, NOTE_COLOUR, tidy, write_note
from maml_rl.analysis.intervals import Interval, mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_regret(ax: Axes, agent: np.ndarray, baselines: Mapping[str, np.ndarray], *, name: str) -> None:
    """Draw cumulative regret against the pull, an agent's with its interval and those it is compared to as lines.

    Parameters
    ----------
    agent
        (N, T), regret so far of N tasks, see `maml_rl.analysis.behaviour.cumulative_regret`.
    baselines
        (N, T) each, by the name of the baseline agent.
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
    for index, (baseline, regret) in enumerate(baselines.items()):
        if np.shape(regret)[-1] != num_pulls:
            raise ValueError(f"{baseline}: got {np.shape(regret)[-1]} pulls, expected {num_pulls}")
        colour, style = COLOURS[1 + index % (len(COLOURS) - 1)], ("--", ":")[index // (len(COLOURS) - 1) % 2]
        ax.plot(pulls, np.mean(regret, axis=0), color=colour, linestyle=style, linewidth=1.2, label=baseline)
    ax.set_xlabel("pull")
    ax.set_ylabel("cumulative regret (expected reward lost)")
    write_note(ax, "band: 95% interval of the mean over meta-episodes")
    ax.legend(frameon=False, loc="upper left", fontsize="small")
    tidy(ax)


def plot_stay_probabilities(ax: Axes, stay: Interval, *, seeds: np.ndarray | None = None) -> None:
    """Draw how often the first choice of a two-step trial is made again (Daw et al. 2011, figure 2).

    Parameters
    ----------
    stay
        Mean and ends of the interval, (2, 2) each: rewarded or not by common or uncommon, as
        `maml_rl.analysis.two_step.stay_probabilities` gives them.
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
    tidy(ax)


def plot_accuracy_by_trial(ax: Axes, accuracy: Interval, *, seeds: np.ndarray | None = None) -> None:
    """Draw the fraction of right choices against the trial, as in Harlow's learning sets (1949).

    Parameters
    ----------
    accuracy
        Mean and ends of the interval, (K,) each, as `maml_rl.analysis.harlow.accuracy_by_trial` gives them.
    seeds
        (S, K), of single agents, drawn as points.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    mean = np.asarray(accuracy.mean)
    shapes = [np.shape(part) for part in (accuracy.mean, accuracy.low, accuracy.high)]
    if mean.ndim != 1 or set(shapes) != {mean.shape}:
        raise ValueError(f"accuracy: got shapes {shapes}, expected (trials,) each")
    if seeds is not None and np.shape(seeds)[1:] != mean.shape:
        raise ValueError(f"seeds: got shape {np.shape(seeds)}, expected (S, {len(mean)})")
    trials = np.arange(1, len(mean) + 1)
    ends = np.nan_to_num([mean - np.asarray(accuracy.low), np.asarray(accuracy.high) - mean])
    ax.axhline(0.5, color=NOTE_COLOUR, linestyle="--", linewidth=1, label="guessing")
    ax.errorbar(trials, mean, yerr=np.maximum(0.0, ends), color=AFTER_COLOUR, linewidth=2, capsize=3, label="mean")
    if seeds is not None:
        spread = np.linspace(-0.12, 0.12, len(seeds)) if len(seeds) > 1 else np.zeros(1)
        for shift, values in zip(spread, seeds, strict=True):
            ax.plot(trials + shift, values, "o", color="#333333", markersize=3)
    ax.set_xticks(trials)
    ax.set_ylim(0.0, 1.05)
    ax.set_xlabel("trial")
    ax.set_ylabel("accuracy (fraction of right choices)")
    ax.legend(frameon=False, loc="lower right")
    tidy(ax)
