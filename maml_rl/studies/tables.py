"""Tables of a study, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_rl.analysis import mean_interval
from maml_rl.studies.study import Cell

_LAST = 10


def table_of_cells(done: Sequence[Cell]) -> list[str]:
    """One row per run and seed."""
    lines = [
        "Training: mean of the last ten iterations. New tasks: mean return of the final policy on tasks not seen in "
        "training, after 0, 1, 2, ... gradient steps, with its 95 % interval over tasks.",
        "",
        "| run | seed | env | iterations | env steps | minutes | before | after | new tasks, by gradient steps |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in done:
        metrics = cell.metrics()
        before, after = (metrics[key][-_LAST:].mean() for key in ("return_before", "return_after"))
        lines.append(
            f"| {cell.name} | {cell.seed} | {cell.config.env_name} | {len(metrics['iteration'])} "
            f"| {metrics['env_steps'][-1] / 1e6:.1f} M | {metrics['seconds'][-1] / 60:.0f} | {three_figures(before)} "
            f"| {three_figures(after)} | {_test_summary(cell)} |"
        )
    return lines


def _test_summary(cell: Cell) -> str:
    path = cell.folder / "results.npz"
    if not path.exists():
        return "not evaluated"
    with np.load(path) as results:
        interval = mean_interval(results["returns"].mean(axis=-1, dtype=np.float64))  # (S, N, B) -> (S,)
    rows = zip(interval.mean, interval.low, interval.high, strict=True)
    return "; ".join(f"{three_figures(mean)} [{three_figures(low)}, {three_figures(high)}]" for mean, low, high in rows)


def three_figures(value: float) -> str:
    """Three significant figures, but never more than two decimals."""
    return f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"
