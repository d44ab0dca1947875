"""Files of fits: tables for other programs, figures for the eye."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np

from maml_rl.analysis.behaviour_plots import plot_stay_probabilities
from maml_rl.analysis.intervals import mean_interval
from maml_rl.analysis.lagged_regression import LAGGED_TERMS
from maml_rl.analysis.people.evidence import lagged_effects
from maml_rl.analysis.people.fit_plots import plot_comparison, plot_estimates, plot_evidences, plot_lagged_effects
from maml_rl.analysis.people.group_fits import GroupFits
from maml_rl.analysis.people.selection import compare_group
from maml_rl.utils.files import write_atomically

_COLUMNS = 4
_DPI = 110
_PARAMETERS = ("subject", "model", "parameter", "estimate", "standard_error", "least", "most", "at_bound")
_FITS = (
    *("subject", "model", "num_parameters", "num_choices", "log_likelihood", "chance_log_likelihood"),
    *("aic", "bic", "pseudo_r2", "at_bound"),
)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table of comma-separated values in one motion."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)

    write_atomically(path, write)


def write_fits(folder: Path, found: GroupFits) -> list[Path]:
    """Write ``parameters.csv``, ``fits.csv`` and ``models.csv``; return their paths.

    A line of the first is a parameter of a model and a subject: estimate, standard error (empty at a bound), bounds,
    whether it lies at one. Of the second, a model's fit to a subject. Of the third, a model's place in the group.
    """
    parameters, fits = [], []
    for name, model in found.models.items():
        for row, (subject, fit) in enumerate(zip(found.subjects, found.fits[name], strict=True)):
            for index, part in enumerate(model.ranges):
                error = found.errors[name][row, index]
                shown = "" if np.isnan(error) else f"{error:.6g}"
                own = (
                    part.name,
                    f"{fit.parameters[index]:.6g}",
                    shown,
                    part.least,
                    part.most,
                    int(fit.at_bounds[index]),
                )
                parameters.append((subject, name, *own))
            numbers = (fit.log_likelihood, fit.chance_log_likelihood, fit.aic, fit.bic, fit.pseudo_r2)
            texts = [f"{value:.6g}" for value in numbers]
            fits.append((subject, name, len(fit.parameters), fit.num_choices, *texts, int(fit.at_bound)))
    paths = [folder / f"{name}.csv" for name in ("parameters", "fits", "models")]
    write_table(paths[0], _PARAMETERS, parameters)
    write_table(paths[1], _FITS, fits)
    write_table(paths[2], ("model", "summed_bic", "best_for", "frequency", "exceedance", "protected"), _places(found))
    return paths


def _places(found: GroupFits) -> list[tuple[Any, ...]]:
    group, evidences = compare_group(found.log_evidences), found.log_evidences
    best, several = evidences.argmax(axis=1), len(found.subjects) > 1
    parts = (group.frequencies, group.exceedance, group.protected)
    return [
        (
            name,
            f"{-2.0 * evidences[:, index].sum():.6g}",
            int((best == index).sum()),
            *(f"{part[index]:.6g}" if several else "" for part in parts),
        )
        for index, name in enumerate(found.models)
    ]


def write_lags(path: Path, subjects: Sequence[str], effects: np.ndarray, errors: np.ndarray) -> None:
    """Write effects and errors (S, 4, L) of the lagged regression, a line for each subject, term and lag."""
    rows = [
        (subjects[index[0]], LAGGED_TERMS[index[1]], index[2] + 1, f"{effects[index]:.6g}", f"{errors[index]:.6g}")
        for index in np.ndindex(effects.shape)
    ]
    write_table(path, ("subject", "term", "lag", "log_odds", "standard_error"), rows)


def draw_models(found: GroupFits) -> matplotlib.figure.Figure:
    """Models in the group, and evidence of each subject."""
    figure = matplotlib.figure.Figure(figsize=(10, 1.6 + 0.45 * len(found.models)), layout="constrained")
    left, right = figure.subplots(1, 2)
    group = compare_group(found.log_evidences)
    plot_comparison(left, group.frequencies, group.protected, tuple(found.models))
    plot_evidences(right, found.log_evidences, tuple(found.models))
    return figure


def draw_parameters(found: GroupFits, model: str) -> matplotlib.figure.Figure:
    """Parameters of a model, every subject a point with its standard error."""
    parts, values = found.models[model].ranges, found.parameters(model)
    bounds = np.array([fit.at_bounds for fit in found.fits[model]])
    columns = min(_COLUMNS, len(parts))
    rows = -(-len(parts) // columns)
    figure = matplotlib.figure.Figure(figsize=(3.0 * columns, 2.6 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for index, part in enumerate(parts):
        plot_estimates(axes[index], values[:, index], found.errors[model][:, index], bounds[:, index], name=part.name)
    for ax in axes[len(parts) :]:
        ax.set_axis_off()
    figure.suptitle(f"{model}: estimates with standard errors; open: at a bound; dashed: median", fontsize="medium")
    return figure


def draw_planning(stays: np.ndarray, effects: np.ndarray) -> matplotlib.figure.Figure:
    """Draw `stays` (S, 2, 2), frequencies, and lagged `effects` (S, 4, L) of subjects, with intervals over them."""
    figure = matplotlib.figure.Figure(figsize=(11, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    plot_stay_probabilities(left, mean_interval(np.moveaxis(stays, 0, -1)), seeds=stays)
    left.set_title("bar: mean over subjects, line: its 95 % interval, points: each", fontsize="small")
    band = f"line: 95 % interval of the mean over {len(effects)} subjects" if len(effects) > 1 else "one subject"
    plot_lagged_effects(right, lagged_effects(effects), LAGGED_TERMS, band=band)
    return figure


def save_figures(folder: Path, figures: Mapping[str, matplotlib.figure.Figure]) -> list[Path]:
    """Write figures as ``NAME.png``; return their paths."""
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        write_atomically(paths[-1], lambda path, figure=figure: figure.savefig(path, dpi=_DPI))  # type: ignore[misc]
    return paths
