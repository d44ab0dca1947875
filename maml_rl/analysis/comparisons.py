"""Comparisons of the scores of two conditions; training seeds are the units."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from maml_rl.analysis.intervals import check_scores

_NUM_ARRANGEMENTS = 10_000


@dataclass(frozen=True)
class Comparison:
    """Difference of the scores of two conditions.

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
        Fraction of pairs in which the first is larger; ties count half (Agarwal et al. 2021, section 4).
    """

    difference: float
    low: float
    high: float
    welch_p: float
    permutation_p: float
    probability_of_improvement: float


def compare(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> Comparison:
    """Compare independent scores, first (n,) and second (m,), n and m >= 2, one per seed.

    With few seeds a permutation test cannot give a small p whatever the scores are: see
    `smallest_permutation_p`.

    Examples
    --------
    >>> result = compare(np.array([4.0, 5.0, 6.0]), np.array([1.0, 2.0, 3.0]), np.random.default_rng(0))
    >>> result.difference, round(result.permutation_p, 3), result.probability_of_improvement
    (3.0, 0.1, 1.0)
    """
    first, second = check_scores("first", first), check_scores("second", second)
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
    """`p_values` (n,) corrected for n tests (Holm 1979): the chance of any false positive stays what it is for one.

    Examples
    --------
    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = check_scores("p_values", p_values)
    order = np.argsort(p_values)
    scaled = p_values[order] * (len(p_values) - np.arange(len(p_values)))
    corrected = np.empty_like(p_values)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected
