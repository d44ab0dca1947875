"""Figures of a study, as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np

from maml_rl.analysis import mean_interval
from maml_rl.analysis.plots import plot_adaptation, plot_training_curve
from maml_rl.studies.study import Cell
from maml_rl.utils.files import write_atomically


def draw_run(seeds: Sequence[Cell], path: Path) -> None:
    """Draw one run: its training, and its final policies on new tasks."""
    figure = matplotlib.figure.Figure(figsize=(10, 3.8), layout="constrained")
    curve, adaptation = figure.subplots(1, 2, width_ratios=(3, 2))
    columns = [cell.metrics() for cell in seeds]
    length = min(len(metrics["iteration"]) for metrics in columns)
    steps = np.mean([metrics["env_steps"][:length] for metrics in columns], axis=0)
    before, after = (
        np.stack([metrics[key][:length] for metrics in columns]) for key in ("return_before", "return_after")
    )
    config = seeds[0].config
    plot_training_curve(curve, steps, before, after, num_steps=config.num_steps)
    curve.set_title(f"{seeds[0].name}: {config.env_name}, seeds {', '.join(str(cell.seed) for cell in seeds)}")
    for cell in seeds:
        results = cell.folder / "results.npz"
        if results.exists():
            with np.load(results) as arrays:
                interval = mean_interval(arrays["returns"].mean(axis=-1, dtype=np.float64))
                num_steps = arrays["num_steps"]
            plot_adaptation(
                adaptation, num_steps, interval.mean, interval.low, interval.high, label=f"seed {cell.seed}"
            )
    if not adaptation.lines:
        adaptation.set_axis_off()
    write_atomically(path, lambda file: figure.savefig(file, dpi=110))
