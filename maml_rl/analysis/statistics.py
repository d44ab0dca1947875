"""How sure one can be of a mean, of a slope, of a difference; training seeds are the units."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

_NUM_ARRANGEMENTS = 10_000


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
    _check_confidence(confidence)
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
        Scores (n_k,) of the seeds of each stratum, for instance of each task family.
    rng
        Draws the resamples.
    confidence
        In (0, 1).
    num_resamples
        >= 1.

    Raises
    ------
    ValueError
        If a stratum is empty or `confidence` is no probability.

    Examples
    --------
    >>> interval = interquartile_mean_interval([np.arange(8.0)], np.random.default_rng(0))
    >>> float(interval.mean)
    3.5
    """
    groups = [_scores("strata", values) for values in strata]
    if not groups:
        raise ValueError("strata: got none, expected at least one array of scores")
    _check_confidence(confidence)
    mean = np.asarray(stats.trim_mean(np.concatenate(groups), 0.25))
    if all(len(values) == 1 for values in groups):
        return Interval(mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan))
    draws = [rng.choice(values, (num_resamples, len(values))) for values in groups]
    means = stats.trim_mean(np.concatenate(draws, axis=1), 0.25, axis=1)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(mean, np.asarray(low), np.asarray(high))


@dataclass(frozen=True)
class Line:
    """A line fitted to a learning curve.

    Attributes
    ----------
    slope, intercept
        ``value = intercept + slope * position``.
    r_squared
        Share of the variance that the line explains, in [0, 1]; NaN where nothing varies.
    residual_deviation
        ``sqrt(sum((value - line)**2) / (n - 2))``, how far values lie from the line; NaN for two values.
    """

    slope: float
    intercept: float
    r_squared: float
    residual_deviation: float


def fit_line(positions: np.ndarray, values: np.ndarray) -> Line:
    """Least-squares line through values (n,) at positions (n,), n >= 2.

    Examples
    --------
    >>> fit_line(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]))
    Line(slope=2.0, intercept=1.0, r_squared=1.0, residual_deviation=0.0)
    """
    positions, values = _scores("positions", positions), _scores("values", values)
    if len(positions) != len(values) or len(np.unique(positions)) < 2:
        raise ValueError("positions: expected as many as values, and at least two different ones")
    fit = stats.linregress(positions, values)
    r_squared = fit.rvalue**2 if np.ptp(values) > 0 else np.nan
    residuals = values - (fit.intercept + fit.slope * positions)
    deviation = math.sqrt(residuals @ residuals / (len(values) - 2)) if len(values) > 2 else math.nan
    return Line(float(fit.slope), float(fit.intercept), float(r_squared), deviation)


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
    """Pearson's correlation of two quantities of the same n individuals, (n,) each, n >= 4.

    Examples
    --------
    >>> correlate(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, -1.0, -2.0, -3.0])).r
    -1.0
    """
    first, second = _scores("first", first), _scores("second", second)
    if len(first) != len(second) or len(first) < 4:
        raise ValueError(f"first, second: got {len(first)} and {len(second)} values, expected as many, at least 4")
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return Correlation(math.nan, math.nan, math.nan, math.nan)
    found = stats.pearsonr(first, second)
    interval = found.confidence_interval(0.95)
    return Correlation(float(found.statistic), float(interval.low), float(interval.high), float(found.pvalue))


def share_interval(count: int, total: int) -> Interval:
    """Share of `count` among `total` > 0 with its 95 % interval (Wilson 1927).

    Examples
    --------
    >>> interval = share_interval(5, 10)
    >>> round(float(interval.low), 3), round(float(interval.high), 3)
    (0.237, 0.763)
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"count, total: got {count} of {total}, expected 0 <= count <= total and total >= 1")
    interval = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    return Interval(np.asarray(count / total), np.asarray(interval.low), np.asarray(interval.high))


@dataclass(frozen=True)
class Comparison:
    """How the scores of one condition differ from those of another.

    Attributes
    ----------
    difference
        Mean of the first minus mean of the second.
    low, high
        Welch's 95 % interval of the difference.
    welch_p
        Welch's t test, two-sided.
    permutation_p
        Permutation test of the difference of means, two-sided, exact up to 10,000 arrangements.
    probability_of_improvement
        Share of pairs in which the first is larger; ties count half (Agarwal et al. 2021, section 4).
    """

    difference: float
    low: float
    high: float
    welch_p: float
    permutation_p: float
    probability_of_improvement: float


def compare(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> Comparison:
    """Compare independent scores (n,) and (m,), n and m >= 2, one per seed.

    With few seeds a permutation test cannot give a small p whatever the scores are: see
    `smallest_permutation_p`.

    Examples
    --------
    >>> result = compare(np.array([4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0]), np.random.default_rng(0))
    >>> result.difference, round(result.permutation_p, 3), result.probability_of_improvement
    (3.0, 0.1, 1.0)
    """
    first, second = _scores("first", first), _scores("second", second)
    for name, values in (("first", first), ("second", second)):
        if len(values) < 2:
            raise ValueError(f"{name}: got {len(values)} score, expected at least 2")
    difference = float(first.mean() - second.mean())
    greater = first[:, None] - second
    improvement = float((greater > 0).mean() + 0.5 * (greater == 0).mean())
    if np.ptp(first) == 0 and np.ptp(second) == 0:
        certain = 1.0 if difference == 0 else 0.0
        welch_p, low, high = certain, difference, difference
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # that one of the two hardly varies
            welch = stats.ttest_ind(first, second, equal_var=False)
            interval = welch.confidence_interval(0.95)
        welch_p, low, high = float(welch.pvalue), float(interval.low), float(interval.high)
    permutation = stats.permutation_test(
        (first, second),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        vectorized=True,
        n_resamples=_NUM_ARRANGEMENTS,
        rng=rng,
    )
    return Comparison(difference, low, high, welch_p, float(permutation.pvalue), improvement)


def smallest_permutation_p(num_first: int, num_second: int) -> float:
    """Smallest ``permutation_p`` that `compare` can give to n and m scores: two of ``(n + m)! / (n! m!)`` arrangements.

    Beyond 10,000 arrangements it is two of the 10,001 that are looked at.

    Examples
    --------
    >>> smallest_permutation_p(3, 3)
    0.1
    """
    arrangements = math.comb(num_first + num_second, num_first)
    return min(1.0, 2.0 / (arrangements if arrangements <= _NUM_ARRANGEMENTS else _NUM_ARRANGEMENTS + 1))


def holm(p_values: np.ndarray) -> np.ndarray:
    """P values (n,) corrected for n tests (Holm 1979): the chance of any false positive stays what it is for one.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = _scores("p_values", p_values)
    order = np.argsort(p_values)
    scaled = p_values[order] * (len(p_values) - np.arange(len(p_values)))
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected


def _scores(name: str, values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"{name}: got shape {values.shape}, expected finite numbers along one axis")
    return values


def _check_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence: got {confidence}, expected a number between 0 and 1")
