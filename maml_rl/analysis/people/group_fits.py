"""Fits of several models to several subjects, with standard errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_rl.analysis.choice_models import Data, LikelihoodModel
from maml_rl.analysis.model_fits import ModelFit, fit_model
from maml_rl.utils.random import Purpose, generator

_STEP = 1e-3
"""Steps of second differences, in units of the ranges that searches start in."""


@dataclass(frozen=True)
class GroupFits:
    """Fits of M models to S subjects.

    Attributes
    ----------
    models
        By name.
    subjects
        Names of the subjects.
    fits
        By model, one for each subject in their order.
    errors
        By model, standard errors (S, Q), see `standard_errors`.
    """

    models: Mapping[str, LikelihoodModel[Any]]
    subjects: tuple[str, ...]
    fits: Mapping[str, tuple[ModelFit, ...]]
    errors: Mapping[str, np.ndarray]

    @property
    def log_evidences(self) -> np.ndarray:
        """Log evidence (S, M) of each model for each subject, approximated by ``-BIC / 2``."""
        return np.array([[-0.5 * fit.bic for fit in self.fits[name]] for name in self.models]).T

    def parameters(self, model: str) -> np.ndarray:
        """Parameters (S, Q) of a model."""
        return np.array([fit.parameters for fit in self.fits[model]])


def fit_group(
    models: Mapping[str, LikelihoodModel[Data]],
    subjects: Mapping[str, Data],
    *,
    num_starts: int = 3,
    seed: int = 0,
    show: Callable[[str], None] | None = None,
) -> GroupFits:
    """Fit every model to every subject, one by one.

    Parameters
    ----------
    models, subjects
        By name, at least one of each.
    num_starts
        Searches of each fit, see `maml_rl.analysis.model_fits.fit_model`.
    seed
        Of the searches' starting points, >= 0.
    show
        Takes a line for every model that has been fitted.
    """
    if not models or not subjects:
        raise ValueError(f"models, subjects: got {len(models)} and {len(subjects)}, expected at least one of each")
    fits, errors = {}, {}
    for number, (name, model) in enumerate(models.items()):
        found = []
        for index, data in enumerate(subjects.values()):
            rng = generator(seed, Purpose.STATISTICS, iteration=number, task=index)
            found.append(fit_model(model, data, rng, num_starts=num_starts))
        fits[name] = tuple(found)
        each = zip(subjects.values(), found, strict=True)
        errors[name] = np.array([standard_errors(model, data, fit) for data, fit in each])
        if show is not None:
            show(f"fitted {name} to {len(subjects)} subjects")
    return GroupFits(models, tuple(subjects), fits, errors)


def standard_errors(model: LikelihoodModel[Data], data: Data, fit: ModelFit) -> np.ndarray:
    """Standard errors (Q,) of fitted parameters, in their own units, by the curvature of the likelihood.

    The square roots of the diagonal of the inverse of the second derivatives of ``-log_likelihood`` by parameters that
    lie at no bound; given those that do. NaN at a bound, and everywhere if there is no maximum in all directions.
    """
    errors, free = np.full(len(fit.parameters), np.nan), np.flatnonzero(~fit.at_bounds)
    least, most, low, high = (
        np.array([ends[which] for ends in ((part.least, part.most, *part.start) for part in model.ranges)])[free]
        for which in range(4)
    )
    room = np.minimum(fit.parameters[free] - least, most - fit.parameters[free])
    steps = np.minimum(_STEP * (high - low), 0.5 * room)

    def loss(moves: np.ndarray) -> float:
        parameters = fit.parameters.copy()
        parameters[free] += moves * steps
        return -float(model.trial_log_likelihoods(data, parameters).sum())

    curvature = np.empty((len(free), len(free)))
    unit, here = np.eye(len(free)), loss(np.zeros(len(free)))
    for i in range(len(free)):
        curvature[i, i] = loss(unit[i]) - 2.0 * here + loss(-unit[i])
        for j in range(i):
            ahead, aside = unit[i] + unit[j], unit[i] - unit[j]
            curvature[i, j] = curvature[j, i] = 0.25 * (loss(ahead) + loss(-ahead) - loss(aside) - loss(-aside))
    if len(free) and np.linalg.eigvalsh(curvature).min() > 0:
        errors[free] = np.sqrt(np.diag(np.linalg.inv(curvature))) * steps
    return errors
