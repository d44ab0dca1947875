"""Logistic regression of choices on what may have caused them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

_MOST_STEPS = 100
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class LogisticFit:
    """Coefficients of a logistic regression.

    Attributes
    ----------
    coefficients, errors
        (D,) each, in log odds per unit of a feature: posterior mode, and standard deviation by the curvature there.
    """

    coefficients: np.ndarray
    errors: np.ndarray


def fit_logistic(features: np.ndarray, outcomes: np.ndarray, *, penalty: float = 1.0) -> LogisticFit:
    """Coefficients w that maximise ``sum_n log p(outcome_n | features_n @ w) - penalty / 2 * |w|^2``.

    The probability of outcome 1 is ``1 / (1 + exp(-features_n @ w))``; an intercept is a feature that is always 1. The
    penalty, a normal prior with variance ``1 / penalty``, keeps coefficients finite where choices can be told without
    error; of thousands of trials it takes next to nothing. By Newton's method.

    Parameters
    ----------
    features
        (n, D), finite; of the order of 1.
    outcomes
        (n,), 0 or 1.
    penalty
        > 0.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is out of its range.

    Examples
    --------
    Three of four, the log odds of which are log 3:

    >>> fit = fit_logistic(np.ones((4000, 1)), np.arange(4000) % 4 > 0, penalty=1e-6)
    >>> round(float(fit.coefficients[0]), 4), round(float(np.log(3)), 4)
    (1.0986, 1.0986)
    """
    features, outcomes = np.asarray(features, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    if features.ndim != 2 or outcomes.shape != features.shape[:1] or len(outcomes) == 0:
        raise ValueError(f"features, outcomes: got shapes {features.shape}, {outcomes.shape}, expected (n, D), (n,)")
    if not np.isfinite(features).all() or not np.isin(outcomes, (0.0, 1.0)).all():
        raise ValueError("features, outcomes: expected finite features, and outcomes 0 or 1")
    if not penalty > 0:
        raise ValueError(f"penalty: got {penalty}, expected a number > 0")
    weights = np.zeros(features.shape[1])
    loss = _loss(features, outcomes, weights, penalty)
    for _ in range(_MOST_STEPS):
        gradient = features.T @ (expit(features @ weights) - outcomes) + penalty * weights
        direction = np.linalg.solve(_curvature(features, weights, penalty), gradient)
        decrease, size = float(gradient @ direction), 1.0
        if decrease < _TOLERANCE:
            break
        while (new := _loss(features, outcomes, weights - size * direction, penalty)) > loss - 1e-4 * size * decrease:
            size /= 2
            if size < 1e-9:
                break
        weights, loss = weights - size * direction, new
    covariance = np.linalg.inv(_curvature(features, weights, penalty))
    return LogisticFit(weights, np.sqrt(np.diag(covariance)))


def _loss(features: np.ndarray, outcomes: np.ndarray, weights: np.ndarray, penalty: float) -> float:
    odds = features @ weights  # (n,)
    return float(np.logaddexp(0.0, odds).sum() - outcomes @ odds + penalty / 2 * weights @ weights)


def _curvature(features: np.ndarray, weights: np.ndarray, penalty: float) -> np.ndarray:
    """Second derivative (D, D) of the loss."""
    p = expit(features @ weights)
    return features.T @ (features * (p * (1 - p))[:, np.newaxis]) + penalty * np.eye(features.shape[1])
