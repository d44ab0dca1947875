"""Figures of contextual tasks: functions that draw arrays on an Axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from maml_rl.analysis.axes import AFTER_COLOUR, COLOURS, NOTE_COLOUR, tidy
from maml_rl.analysis.intervals import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_exposures(
    ax: Axes, agents: np.ndarray, baselines: Mapping[str, np.ndarray], *, levels: Mapping[str, float]
) -> None:
    """Draw how often the first pull of an episode is right, by how many episodes of its context there were.

    Parameters
    ----------
    agents
        (S, X), fraction of first pulls at exposures 1 to X, of S agents.
    baselines
        (S, X) each, of baseline agents on the tasks of these agents, by name.
    levels
        Fractions that do not depend on the exposure, such as chance, by name.

    Raises
    ------
    ValueError
        If there is not one axis of agents and one of exposures.
    """
    _check_rows("agents", agents)
    _draw_agents(ax, agents, "agent", AFTER_COLOUR)
    for colour, (name, values) in zip(COLOURS[1:], baselines.items(), strict=False):
        ax.plot(_places(values), np.mean(values, axis=0), color=colour, linestyle="--", linewidth=1.2, label=name)
    for style, (name, level) in zip((":", "-."), levels.items(), strict=False):
        ax.axhline(level, color=NOTE_COLOUR, linestyle=style, linewidth=1.2, label=name)
    ax.set_xlabel("exposure of the context")
    ax.set_ylabel("first pull is of the best arm (fraction)")
    _finish(ax, *agents.shape)


def plot_rewards_by_pull(
    ax: Axes, agents: Mapping[str, np.ndarray], baselines: Mapping[str, np.ndarray], *, baseline: str
) -> None:
    """Draw the reward of each pull of an episode, in several kinds of episodes.

    Parameters
    ----------
    agents
        (S, P) each, mean reward of S agents by kind of episode.
    baselines
        (S, P) each, of a baseline agent on the same tasks, with the same keys.
    baseline
        Its name.

    Raises
    ------
    ValueError
        If the kinds differ.
    """
    if agents.keys() != baselines.keys():
        raise ValueError(f"baselines: got {', '.join(baselines)}, expected {', '.join(agents)}, those of agents")
    for colour, (kind, values) in zip((COLOURS[4], AFTER_COLOUR), agents.items(), strict=False):
        _check_rows(kind, values)
        _draw_agents(ax, values, kind, colour)
        mean = np.mean(baselines[kind], axis=0)
        ax.plot(_places(values), mean, color=colour, linestyle="--", linewidth=1.2, label=f"{kind}, {baseline}")
    ax.set_xlabel("pull of the episode")
    ax.set_ylabel("mean reward")
    _finish(ax, *next(iter(agents.values())).shape)


def plot_gates(ax: Axes, gates: Mapping[str, np.ndarray], *, title: str) -> None:
    """Draw the opening of gates at each pull of an episode.

    Parameters
    ----------
    gates
        (S, P) each, in [0, 1], of S agents, by name.
    title
        The kind of episodes.
    """
    for colour, (name, values) in zip(COLOURS, gates.items(), strict=False):
        _check_rows(name, values)
        _draw_agents(ax, values, name, colour)
    ax.set_xlabel("pull of the episode")
    ax.set_ylabel("gate, mean over units (0 closed, 1 open)")
    _finish(ax, *next(iter(gates.values())).shape)
    ax.set_title(title, fontsize="small", loc="right")


def plot_coefficients(ax: Axes, coefficients: Mapping[str, np.ndarray], *, pale: str = "substitute") -> None:
    """Draw coefficients of a regression of choices, mean over agents with its interval, each agent a point.

    Parameters
    ----------
    coefficients
        (S,) each, in log odds, of S agents, by name.
    pale
        Start of names of controls, drawn paler.
    """
    for place, (name, values) in enumerate(coefficients.items()):
        interval = mean_interval(values)
        ends = np.nan_to_num([[interval.mean - interval.low], [interval.high - interval.mean]])
        colour = AFTER_COLOUR if "model-based" in name else COLOURS[1]
        ax.barh(place, interval.mean, 0.7, color=colour, alpha=0.4 if name.startswith(pale) else 1.0)
        ax.errorbar(interval.mean, place, xerr=np.maximum(0.0, ends), color="black", capsize=3)
        ax.plot(values, place + np.linspace(-0.2, 0.2, len(values)), "o", color="#333333", markersize=3)
    ax.axvline(0.0, color=NOTE_COLOUR, linewidth=1)
    ax.set_yticks(range(len(coefficients)), [name.replace(" ", "\n") for name in coefficients])
    ax.invert_yaxis()
    ax.set_xlabel("weight in the choice (log odds)")
    tidy(ax)


def _draw_agents(ax: Axes, values: np.ndarray, name: str, colour: str) -> None:
    """Mean over agents (S, X) as a line; its interval as a band, if there are several."""
    interval = mean_interval(np.transpose(values))
    ax.plot(_places(values), interval.mean, color=colour, linewidth=2, marker="o", markersize=3, label=name)
    if len(values) > 1:
        ax.fill_between(_places(values), interval.low, interval.high, color=colour, alpha=0.2, linewidth=0)


def _finish(ax: Axes, num_agents: int, num_places: int) -> None:
    ax.set_ylim(0.0, 1.02)
    ax.set_xticks(np.unique(np.linspace(1, num_places, min(10, num_places)).round()))
    band = "; band: 95% interval of the mean" if num_agents > 1 else ""
    ax.set_title(f"line: mean over seeds{band}", fontsize="small", color=NOTE_COLOUR, loc="left")
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
    tidy(ax)


def _places(values: np.ndarray) -> np.ndarray:
    return np.arange(1, np.shape(values)[-1] + 1)


def _check_rows(name: str, values: np.ndarray) -> None:
    if np.ndim(values) != 2:
        raise ValueError(f"{name}: got shape {np.shape(values)}, expected (agents, numbers)")
