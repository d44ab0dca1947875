"""Figure of `benchmarks.drifting_models`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from benchmarks.drifting_claims import Relation
from benchmarks.drifting_fits import MODELS, NAMES, Study
from benchmarks.drifting_memory import LAGS, SOURCES
from maml_rl.analysis.axes import COLOURS, NOTE_COLOUR, tidy, write_note
from maml_rl.analysis.behaviour import choice_autocorrelation
from maml_rl.analysis.intervals import mean_interval
from maml_rl.analysis.people.fit_plots import plot_confusion
from maml_rl.studies.displays.drifting_bandit_analysis import BASELINES
from maml_rl.utils.files import write_atomically

_COLOURS_OF_FILE = 128


def save(
    fits: Mapping[str, np.ndarray], relations: Sequence[Relation], preferred: np.ndarray, study: Study, path: Path
) -> None:
    """Draw models, recovery, the correlation with autocorrelation for `preferred` (A, N), and memory; write a PNG."""
    figure = matplotlib.figure.Figure(figsize=(12, 9), layout="constrained")
    (models, confusion), (correlation, memory) = figure.subplots(2, 2)
    _draw_models(models, fits)
    logs = fits["simulated_log_likelihoods"][..., 1:].sum(axis=2)  # (M, S, M)
    plot_confusion(
        confusion, (logs.argmax(axis=2)[..., np.newaxis] == np.arange(len(MODELS))).mean(axis=1), list(MODELS)
    )
    confusion.set_title("fraction of simulated agents with the largest held-out likelihood", fontsize="medium")
    lagged = np.array([choice_autocorrelation(data.choices, 2)[:, 1] for data in study.agents])  # (A, N)
    whole = np.isfinite(lagged).all(axis=0)
    correlation.scatter(lagged[:, whole].mean(axis=1), preferred[:, whole].mean(axis=1), s=14, color=COLOURS[0])
    correlation.axhline(0.0, color=NOTE_COLOUR, linewidth=1)
    correlation.set_xlabel("choice autocorrelation at lag 2")
    correlation.set_ylabel("sampling minus TD\n(nats of a task, held out)")
    r = relations[0].r
    write_note(correlation, f"r = {r.mean:.2f} [{r.low:.2f}, {r.high:.2f}] over agents and tasks")
    _draw_memory(memory, fits["decoded"])
    for ax in (models, correlation, memory):
        tidy(ax)
    _write(figure, path)


def _draw_models(ax: Axes, fits: Mapping[str, np.ndarray]) -> None:
    """Differences from TD of every agent, and of the baseline agents."""
    td = NAMES.index("TD")
    others = [index for index, name in enumerate(NAMES) if index != td and index > 0]
    agents = (fits["agents_log_likelihoods"] - fits["agents_log_likelihoods"][..., td : td + 1]).mean(axis=1)  # (A, M)
    places = np.arange(len(others))
    ax.boxplot([agents[:, index] for index in others], positions=places, widths=0.5, whis=(5, 95), sym="")
    baselines = fits["baselines_log_likelihoods"]
    beside = (baselines - baselines[..., td : td + 1]).mean(axis=(1, 2))  # (C, M)
    for colour, name, values in zip(COLOURS[1:], BASELINES, beside, strict=False):
        ax.plot(places, values[others], "D", color=colour, markersize=5, label=f"{name} baseline")
    ax.axhline(0.0, color=NOTE_COLOUR, linewidth=1)
    ax.set_xticks(places, [NAMES[index] for index in others], rotation=15, fontsize="small")
    ax.set_ylabel("model minus TD (nats of a task, held out)")
    ax.set_title("boxes: agents, median, quartiles, 5 to 95 %", fontsize="medium")
    ax.legend(frameon=False, fontsize="small")


def _draw_memory(ax: Axes, decoded: np.ndarray) -> None:
    """Fractions (`SOURCES`, N, `LAGS`) decoded."""
    shown = {"memory": 0, "present choice": 1, SOURCES[-2]: -2, SOURCES[-1]: -1}
    for colour, (name, index) in zip(COLOURS, shown.items(), strict=False):
        interval = mean_interval(np.asarray(decoded[index], dtype=np.float64).T)
        ax.plot(LAGS, interval.mean, color=colour, label=name)
        ax.fill_between(LAGS, interval.low, interval.high, color=colour, alpha=0.15, linewidth=0)
    ax.set_xlabel("lag (trials)")
    ax.set_ylabel("choices of agent 0 decoded\n(mean, 95 % interval over tasks)")
    ax.legend(frameon=False, fontsize="small")


def _write(figure: matplotlib.figure.Figure, path: Path) -> None:
    """Write a PNG of few colours, in one motion."""
    from PIL import Image  # comes with matplotlib

    whole = io.BytesIO()
    figure.savefig(whole, dpi=70, format="png")
    picture = Image.open(whole).convert("RGB").quantize(_COLOURS_OF_FILE)
    write_atomically(path, lambda file: picture.save(file, optimize=True))
