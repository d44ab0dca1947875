"""Means, interquartile means and fractions with their confidence intervals; independent units stand side by side."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Mean over the last axis and Student's t interval: ``mean ± t_{N-1} * s / sqrt(N)``.

    Parameters
    ----------
    values
        (..., N), one number per independent unit. Episodes of one task are not such units: average
        them first.
    confidence
        Probability that an interval made this way holds the true mean, in (0, 1).

    Raises
    ------
    ValueError
        If there are no units or `confidence` is not a probability.

    Examples
    --------
    >>> interval = mean_interval(np.array([1.0, 2.0, 3.0]))
    >>> [round(float(x), 3) for x in (interval.low, interval.mean, interval.high)]
    [-0.484, 2.0, 4.484]
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim == 0 or values.shape[-1] == 0:
        raise ValueError(f"values: got shape {values.shape}, expected at least one unit along the last axis")
    check_confidence(confidence)
    count = values.shape[-1]
    with np.errstate(invalid="ignore"):  # infinity among the values gives NaN, without a warning
        return _interval(values, count, confidence)


def _interval(values: np.ndarray, count: int, confidence: float) -> Interval:
    mean = values.mean(axis=-1)
    if count == 1:
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    half_width = stats.t.ppf(0.5 + confidence / 2, count - 1) * values.std(axis=-1, ddof=1) / np.sqrt(count)
    return Interval(mean, mean - half_width, mean + half_width)


def interquartile_mean_interval(
    strata: Sequence[np.ndarray],
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
) -> Interval:
    """Interquartile mean of all scores and its stratified bootstrap interval (Agarwal et al. 2021, section 4).

    The lowest and the highest quarter of all scores are left out of the mean. A resample draws as many
    units as there are, with replacement, within each stratum. With three seeds the interval is
    honest about nothing but the spread of these three: read it beside the scores themselves. Where no
    stratum has more than one score, nothing can be resampled, and the ends are NaN.

    Parameters
    ----------
    strata
        Scores (N,) of the seeds of each stratum, for instance of each task family.
    rng
        Draws the resamples.
    confidence
        In (0, 1).
    num_resamples
        >= 1.

    Raises
    ------
    ValueError
        If a stratum is empty or `confidence` is not a probability.

    Examples
    --------
    >>> interval = interquartile_mean_interval([np.arange(8.0)], np.random.default_rng(0))
    >>> float(interval.mean)
    3.5
    """
    groups = [check_scores("strata", values) for values in strata]
    if not groups:
        raise ValueError("strata: got none, expected at least one array of scores")
    check_confidence(confidence)
    mean = np.asarray(stats.trim_mean(np.concatenate(groups), 0.25))
    if all(len(values) == 1 for values in groups):
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    draws = [rng.choice(values, (num_resamples, len(values))) for values in groups]
    means = stats.trim_mean(np.concatenate(draws, axis=1), 0.25, axis=1)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(mean, np.asarray(low), np.asarray(high))


def fraction_interval(count: int, total: int) -> Interval:
    """Fraction `count` of `total` > 0 with its 95 % interval (Wilson 1927).

    Examples
    --------
    >>> interval = fraction_interval(5, 10)
    >>> round(float(interval.low), 3), round(float(interval.high), 3)
    (0.237, 0.763)
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"count, total: got {count} of {total}, expected 0 <= count <= total and total >= 1")
    interval = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    return Interval(np.asarray(count / total), np.asarray(interval.low), np.asarray(interval.high))


def check_scores(name: str, values: np.ndarray) -> np.ndarray:
    """Return `values` (N,) as float64; raise `ValueError` unless they are finite numbers along one axis."""
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"{name}: got shape {values.shape}, expected finite numbers along one axis")
    return values


def check_confidence(confidence: float) -> None:
    """Raise `ValueError` unless it is a probability."""
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence: got {confidence}, expected a number between 0 and 1")
