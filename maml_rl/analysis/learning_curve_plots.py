"""Figures of learning curves, of several runs beside each other: functions that draw arrays on an Axes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from maml_rl.analysis.axes import tidy
from maml_rl.analysis.intervals import mean_interval
from maml_rl.analysis.regression import fit_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes


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
    tidy(ax)


def plot_learning_curve_areas(
    ax: Axes, env_steps: np.ndarray, areas: Mapping[str, np.ndarray], colours: Mapping[str, str]
) -> None:
    """Draw the mean reward of runs so far against the environment steps of meta-training.

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
    tidy(ax)


def plot_smoothed_curves(
    ax: Axes, curves: Mapping[str, tuple[np.ndarray, np.ndarray]], styles: Mapping[str, tuple[str, str]]
) -> None:
    """Draw running means of the rewards of runs against what these cost.

    Parameters
    ----------
    curves
        By the name of the run: costs (I,), ascending, such as environment steps or minutes, and rewards (I,) of a
        batch. A mean is of a tenth of the iterations.
    styles
        Colour and line style of the same runs.

    Raises
    ------
    ValueError
        If the two lengths of a run differ.
    """
    for name, (costs, rewards) in curves.items():
        if np.ndim(costs) != 1 or np.shape(costs) != np.shape(rewards):
            raise ValueError(f"curves[{name!r}]: got shapes {np.shape(costs)}, {np.shape(rewards)}, expected (I,) both")
        width = max(1, len(costs) // 10)
        window = np.full(width, 1.0 / width)
        means, (colour, line) = np.convolve(rewards, window, mode="valid"), styles[name]
        ax.plot(np.asarray(costs)[width - 1 :], means, color=colour, linestyle=line, linewidth=1.6, label=name)
    tidy(ax)
