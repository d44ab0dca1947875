"""Figure of a drifting bandit: rewards, model preference, its correlates, and the contents of memory."""

from __future__ import annotations

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from maml_rl.analysis.axes import COLOURS, NOTE_COLOUR, tidy
from maml_rl.studies.displays.drifting_bandit_tables import (
    FEWEST_AGENTS,
    MEASURES,
    Found,
    baseline_rewards,
    correlation_over_agents,
    preference,
)


def draw_agents(found: Found, name: str) -> matplotlib.figure.Figure:
    """Draw the six panels of the agents of a run."""
    figure = matplotlib.figure.Figure(figsize=(12, 7), layout="constrained")
    (rewards, models, correlate), (autocorrelation, decoded, lags) = figure.subplots(2, 3)
    figure.suptitle(f"{name}: {len(found['rewards'])} agents")
    factors = preference(found)
    _draw_rewards(rewards, found)
    _draw_histogram(models, factors, "log Bayes factor, sampling over TD (nats)")
    models.axvline(0.0, color=NOTE_COLOUR, linewidth=1)
    if found["autocorrelation"].shape[1] > 1:
        correlate.scatter(found["autocorrelation"][:, 1], factors, s=14, color=COLOURS[0])
    correlate.set_xlabel("choice autocorrelation at lag 2")
    correlate.set_ylabel("log Bayes factor of sampling")
    _draw_curve(autocorrelation, found["autocorrelation"], MEASURES["autocorrelation"])
    _draw_decoded(decoded, found)
    _draw_correlations(lags, found, factors)
    for ax in figure.axes:
        tidy(ax)
    return figure


def _draw_decoded(ax: Axes, found: Found) -> None:
    _draw_curve(ax, found["decoded"], MEASURES["decoded"])
    for colour, key, title in (
        (COLOURS[1], "decoded_from_values", "from TD values"),
        (COLOURS[2], "decoded_from_choice", "from the present choice"),
    ):
        mean = found[key].mean(axis=0)
        ax.plot(np.arange(1, len(mean) + 1), mean, color=colour, label=title)
    ax.axhline(found["commonest"].mean(), color=NOTE_COLOUR, linestyle="--", linewidth=1, label="commonest choice")
    ax.legend(frameon=False, fontsize="small")


def _draw_correlations(ax: Axes, found: Found, factors: np.ndarray) -> None:
    if len(factors) >= FEWEST_AGENTS:
        for colour, (key, title) in zip(COLOURS, MEASURES.items(), strict=False):
            found_r = [correlation_over_agents(column, factors).r for column in found[key].T]
            ax.plot(np.arange(1, len(found_r) + 1), found_r, color=colour, label=title)
        ax.legend(frameon=False, fontsize="small")
    ax.axhline(0.0, color=NOTE_COLOUR, linewidth=1)
    ax.set_xlabel("lag (trials)")
    ax.set_ylabel("correlation with preference for sampling")


def _draw_rewards(ax: Axes, found: Found) -> None:
    _draw_histogram(ax, found["rewards"].mean(axis=1), "mean reward of an agent")
    for colour, (title, rewards) in zip(("#000000", *COLOURS[1:]), baseline_rewards(found).items(), strict=False):
        ax.axvline(rewards.mean(), color=colour, linestyle="--", linewidth=1.2, label=title)
    ax.legend(frameon=False, fontsize="small", loc="upper right")


def _draw_histogram(ax: Axes, values: np.ndarray, title: str) -> None:
    ax.hist(values, bins=min(20, max(5, len(values) // 4)), color=COLOURS[0], alpha=0.8)
    ax.set_xlabel(title)
    ax.set_ylabel("agents")


def _draw_curve(ax: Axes, values: np.ndarray, title: str) -> None:
    """Mean over agents and the range that holds nine of ten, (P, L)."""
    lags = np.arange(1, values.shape[1] + 1)
    low, high = np.nanquantile(values, [0.05, 0.95], axis=0)
    ax.plot(lags, np.nanmean(values, axis=0), color=COLOURS[0], linewidth=2)
    ax.fill_between(lags, low, high, color=COLOURS[0], alpha=0.2, linewidth=0)
    ax.set_xlabel("lag (trials)")
    ax.set_ylabel(f"{title}\n(mean, 5 to 95 % of agents)")
