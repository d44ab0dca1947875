"""Recovery: do fits find the parameters, and comparisons the model, that made simulated choices?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from maml_rl.analysis.choice_models import LikelihoodModel
from maml_rl.analysis.intervals import fraction_interval
from maml_rl.analysis.model_fits import ModelFit, fit_model
from maml_rl.analysis.people.designs import Design
from maml_rl.analysis.people.selection import compare_group
from maml_rl.analysis.regression import correlate
from maml_rl.utils.random import Purpose, generator


@dataclass(frozen=True)
class ParameterRecovery:
    """True and fitted parameters of S simulated subjects.

    Attributes
    ----------
    names
        Of the Q parameters.
    true, found, at_bounds
        (S, Q).
    """

    names: tuple[str, ...]
    true: np.ndarray
    found: np.ndarray
    at_bounds: np.ndarray

    def __add__(self, other: ParameterRecovery) -> ParameterRecovery:
        """The subjects of both, of the same model."""
        both = ((getattr(self, part), getattr(other, part)) for part in ("true", "found", "at_bounds"))
        return ParameterRecovery(self.names, *(np.concatenate(pair) for pair in both))

    def rank_correlations(self, group_size: int) -> np.ndarray:
        """Spearman's correlations (G, Q) within each of the G whole groups of `group_size` subjects, >= 4."""
        each = range(0, len(self.true) - group_size + 1, group_size)
        parts = [(self.true[first : first + group_size].T, self.found[first : first + group_size].T) for first in each]
        return np.array([[_rank_correlation(*column) for column in zip(*part, strict=True)] for part in parts])

    def table(self, *, group_size: int | None = None) -> list[str]:
        """Markdown, a row for every parameter.

        Columns: Pearson's r with its 95 % interval, Spearman's rho, which a few estimates at a bound do not spoil, its
        range over groups of `group_size`, median error, median absolute error, fraction of estimates at a bound.
        """
        lines = [
            f"| parameter | r [95 %] | rho | rho in groups of {group_size or len(self.true)} | median error "
            "| median size of errors | at a bound |",
            "|---|---|---|---|---|---|---|",
        ]
        overall = self.rank_correlations(len(self.true))[0]
        groups = self.rank_correlations(group_size or len(self.true))
        for index, name in enumerate(self.names):
            true, found = self.true[:, index], self.found[:, index]
            r, error = correlate(true, found), found - true
            lines.append(
                f"| {name} | {r.r:.2f} [{r.low:.2f}, {r.high:.2f}] | {overall[index]:.2f} "
                f"| {groups[:, index].min():.2f} to {groups[:, index].max():.2f} | {np.median(error):+.2f} "
                f"| {np.median(np.abs(error)):.2f} | {100 * self.at_bounds[:, index].mean():.0f} % |"
            )
        return lines


@dataclass(frozen=True)
class ModelRecovery:
    """Log evidences of M models for subjects that M models simulated, in G groups of S.

    Attributes
    ----------
    names
        Of the models.
    log_evidences
        (M, G, S, M): of the model that made the choices, group, subject, fitted model.
    parameters
        By model, those of its own subjects, group by group, and what fits of itself found.
    """

    names: tuple[str, ...]
    log_evidences: np.ndarray
    parameters: Mapping[str, ParameterRecovery]

    def __add__(self, other: ModelRecovery) -> ModelRecovery:
        """The groups of both, of the same models and sizes."""
        logs = np.concatenate([self.log_evidences, other.log_evidences], axis=1)
        return ModelRecovery(
            self.names, logs, {name: self.parameters[name] + other.parameters[name] for name in self.names}
        )

    @property
    def by_subject(self) -> np.ndarray:
        """Fraction (M, M) of each model's subjects for whom each fitted model is best."""
        best = self.log_evidences.argmax(axis=-1)  # (M, G, S)
        return np.asarray((best[..., np.newaxis] == np.arange(len(self.names))).mean(axis=(1, 2)))

    @property
    def by_group(self) -> np.ndarray:
        """Mean protected exceedance probability (M, M) of each fitted model over each model's groups."""
        found = [[compare_group(group).protected for group in groups] for groups in self.log_evidences]
        return np.asarray(np.mean(found, axis=1))

    def table(self) -> list[str]:
        """Markdown: the two confusion matrices, rows the model that made the choices, columns the fitted one."""
        _, num_groups, num_subjects, _ = self.log_evidences.shape
        return [
            *self.table_by_subject(),
            "",
            f"Protected exceedance probability of each column's model for a group of {num_subjects} subjects of the "
            f"row's model, mean of {num_groups} groups:",
            "",
            *self._matrix([[f"{value:.2f}" for value in row] for row in self.by_group]),
        ]

    def table_by_subject(self, *, best: str = "has the least BIC") -> list[str]:
        """Markdown: the confusion matrix of single subjects; `best` says what their model is chosen by."""
        total = self.log_evidences.shape[1] * self.log_evidences.shape[2]
        widest = fraction_interval(total // 2, total)
        half = 50 * float(widest.high - widest.low)
        return [
            f"Percent of {total} simulated subjects of each row's model for whom each column's model {best} "
            f"(95 % interval: up to ±{half:.0f}):",
            "",
            *self._matrix([[f"{100 * value:.0f}" for value in row] for row in self.by_subject]),
        ]

    def _matrix(self, cells: list[list[str]]) -> list[str]:
        lines = [f"| made by \\ best | {' | '.join(self.names)} |", "|---|" + "---|" * len(self.names)]
        for index, (name, row) in enumerate(zip(self.names, cells, strict=True)):
            row[index] = f"**{row[index]}**"
            lines.append(f"| {name} | {' | '.join(row)} |")
        return lines


def draw_parameters(model: LikelihoodModel[Any], rng: np.random.Generator) -> np.ndarray:
    """Parameters (Q,) of a simulated subject: uniform in the ranges that searches start in."""
    low, high = (np.array([part.start[end] for part in model.ranges]) for end in (0, 1))
    return rng.uniform(low, high)


def recover_parameters(
    model: LikelihoodModel[Any], design: Design, *, num_subjects: int = 14, num_starts: int = 2, seed: int = 0
) -> ParameterRecovery:
    """Simulate subjects with parameters of their own, fit the same model to each, and compare.

    Parameters
    ----------
    model
        With a `simulate` that the design can use.
    design
        The task.
    num_subjects
        >= 4.
    num_starts
        Searches of each fit.
    seed
        Of everything, >= 0.

    Raises
    ------
    ValueError
        If there are too few subjects to correlate.
    """
    if num_subjects < 4:
        raise ValueError(f"num_subjects: got {num_subjects}, expected at least 4")
    true, fits = [], []
    for subject in range(num_subjects):
        rng = generator(seed, Purpose.STATISTICS, task=subject)
        true.append(draw_parameters(model, rng))
        fits.append(fit_model(model, design.play(model, true[-1], rng), rng, num_starts=num_starts))
    return _recovery(model, true, fits)


def recover_models(
    models: Mapping[str, LikelihoodModel[Any]],
    design: Design,
    *,
    num_groups: int = 1,
    num_subjects: int = 14,
    num_starts: int = 2,
    seed: int = 0,
    show: Callable[[str], None] | None = None,
) -> ModelRecovery:
    """Let every model simulate groups of subjects, with parameters of their own, and fit all models to all of them.

    Parameters
    ----------
    models
        By name; each can simulate what the design needs.
    design
        The task.
    num_groups, num_subjects
        Groups of each model, and subjects of a group, >= 1.
    num_starts
        Searches of each fit.
    seed
        Of everything, >= 0.
    show
        Takes a line for every model.
    """
    found, parameters = np.empty((len(models), num_groups, num_subjects, len(models))), {}
    for number, (name, maker) in enumerate(models.items()):
        true, own = [], []
        for group, subject in np.ndindex(num_groups, num_subjects):
            rng = generator(seed, Purpose.STATISTICS, iteration=1 + number, task=group * num_subjects + subject)
            true.append(draw_parameters(maker, rng))
            data = design.play(maker, true[-1], rng)
            fits = [fit_model(model, data, rng, num_starts=num_starts) for model in models.values()]
            found[number, group, subject] = [-0.5 * fit.bic for fit in fits]
            own.append(fits[number])
        parameters[name] = _recovery(maker, true, own)
        if show is not None:
            show(f"simulated and fitted subjects of {name}")
    return ModelRecovery(tuple(models), found, parameters)


def _recovery(model: LikelihoodModel[Any], true: Sequence[np.ndarray], fits: Sequence[ModelFit]) -> ParameterRecovery:
    names = tuple(part.name for part in model.ranges)
    found, bounds = (np.array([getattr(fit, part) for fit in fits]) for part in ("parameters", "at_bounds"))
    return ParameterRecovery(names, np.array(true), found, bounds)


def _rank_correlation(true: np.ndarray, found: np.ndarray) -> float:
    """Spearman's, NaN where nothing varies."""
    return float(stats.spearmanr(true, found).statistic) if np.ptp(true) > 0 and np.ptp(found) > 0 else np.nan
