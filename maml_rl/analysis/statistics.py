"""How sure one can be of a mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """Means with their confidence intervals, three arrays of one shape.

    Attributes
    ----------
    mean, low, high
        Sample mean and the ends of its interval; the ends are NaN where one unit alone was measured.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_interval(values: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Mean over the last axis and Student's t interval: ``mean ± t_{n-1} * s / sqrt(n)``.

    Parameters
    ----------
    values
        (..., n), one number per independent unit. Episodes of one task are no such units: average
        them first.
    confidence
        Probability that an interval made this way holds the true mean, in (0, 1).

    Raises
    ------
    ValueError
        If there are no units or `confidence` is no probability.

    Examples
    --------
    >>> interval = mean_interval(np.array([1.0, 2.0, 3.0]))
    >>> [round(float(x), 3) for x in (interval.low, interval.mean, interval.high)]
    [-0.484, 2.0, 4.484]
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"values: got shape {values.shape}, expected at least one unit along the last axis")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence: got {confidence}, expected a number between 0 and 1")
    count = values.shape[-1]
    with np.errstate(invalid="ignore"):  # infinity among the values gives NaN, without a warning
        return _interval(values, count, confidence)


def _interval(values: np.ndarray, count: int, confidence: float) -> Interval:
    mean = values.mean(axis=-1)
    if count == 1:
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    half_width = stats.t.ppf(0.5 + confidence / 2, count - 1) * values.std(axis=-1, ddof=1) / np.sqrt(count)
    return Interval(mean, mean - half_width, mean + half_width)
