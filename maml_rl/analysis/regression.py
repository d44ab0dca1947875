"""Lines through learning curves, and correlations of two quantities."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from maml_rl.analysis.intervals import check_scores


@dataclass(frozen=True)
class Line:
    """A line fitted to a learning curve.

    Attributes
    ----------
    slope, intercept
        ``value = intercept + slope * position``.
    r_squared
        Fraction of the variance that the line explains, in [0, 1]; NaN where nothing varies.
    residual_std
        ``sqrt(sum((value - line)**2) / (N - 2))``, standard deviation of values around the line; NaN for two values.
    """

    slope: float
    intercept: float
    r_squared: float
    residual_std: float


def fit_line(positions: np.ndarray, values: np.ndarray) -> Line:
    """Least-squares line through `values` (N,) at `positions` (N,), N >= 2.

    Examples
    --------
    >>> fit_line(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    Line(slope=2.0, intercept=1.0, r_squared=1.0, residual_std=0.0)
    """
    positions, values = check_scores("positions", positions), check_scores("values", values)
    if len(positions) != len(values) or len(np.unique(positions)) < 2:
        raise ValueError("positions: expected as many as values, and at least two different ones")
    fit = stats.linregress(positions, values)
    r_squared = fit.rvalue**2 if np.ptp(values) > 0 else np.nan
    residuals = values - (fit.intercept + fit.slope * positions)
    residual_std = math.sqrt(residuals @ residuals / (len(values) - 2)) if len(values) > 2 else math.nan
    return Line(float(fit.slope), float(fit.intercept), float(r_squared), residual_std)


@dataclass(frozen=True)
class Correlation:
    """Pearson's correlation of two quantities.

    Attributes
    ----------
    r
        In [-1, 1]; NaN where one of them does not vary.
    low, high
        95 % interval, by Fisher's transformation.
    p
        Two-sided, of no correlation between normal quantities.
    """

    r: float
    low: float
    high: float
    p: float


def correlate(first: np.ndarray, second: np.ndarray) -> Correlation:
    """Pearson's correlation of a first (N,) and a second (N,) quantity of the same N individuals, N >= 4.

    Examples
    --------
    >>> correlate(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, -1.0, -2.0, -3.0])).r
    -1.0
    """
    first, second = check_scores("first", first), check_scores("second", second)
    if len(first) != len(second) or len(first) < 4:
        raise ValueError(f"first, second: got {len(first)} and {len(second)} values, expected as many, at least 4")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return Correlation(math.nan, math.nan, math.nan, math.nan)
    found = stats.pearsonr(first, second)
    interval = found.confidence_interval(0.95)
    return Correlation(float(found.statistic), float(interval.low), float(interval.high), float(found.pvalue))
