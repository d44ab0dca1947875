"""Intervals, tests and corrections against closed forms, enumeration and simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from maml_rl.analysis.comparisons import compare, holm, smallest_permutation_p
from maml_rl.analysis.intervals import fraction_interval, interquartile_mean_interval
from maml_rl.analysis.regression import correlate, fit_line

SCORES = arrays(np.float64, st.integers(2, 4), elements=st.integers(-9, 9).map(lambda x: 12.0 * x))  # exact means


def rng():
    return np.random.default_rng(0)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    values = np.array([-1000.0, -500.0, 1.0, 2.0, 3.0, 4.0, 500.0, 1000.0])
    assert interquartile_mean_interval([values], rng()).mean == 2.5


def test_resamples_stay_within_their_stratum():
    low, high = np.zeros(20), np.ones(20)
    apart = interquartile_mean_interval([low, high], rng())
    assert (float(apart.mean), float(apart.low), float(apart.high)) == (0.5, 0.5, 0.5)
    mixed = interquartile_mean_interval([np.concatenate([low, high])], rng())
    assert mixed.low < 0.45 < 0.55 < mixed.high


def test_where_each_stratum_has_one_score_the_bootstrap_knows_no_interval():
    interval = interquartile_mean_interval([np.array([1.0]), np.array([3.0])], rng())
    assert interval.mean == 2.0
    assert np.isnan([interval.low, interval.high]).all()


def test_the_bootstrap_interval_holds_the_true_value_about_as_often_as_it_says():
    generator = rng()
    hits = 0
    for _ in range(300):
        interval = interquartile_mean_interval([generator.standard_normal(30)], generator, num_resamples=400)
        hits += bool(interval.low < 0.0 < interval.high)
    assert 0.88 < hits / 300 < 0.98


@settings(max_examples=30)
@given(SCORES, SCORES)
def test_a_comparison_is_that_of_definitions(first, second):
    result = compare(first, second, rng())
    assert result.difference == pytest.approx(first.mean() - second.mean())
    wins = [(a > b) + 0.5 * (a == b) for a in first for b in second]
    assert result.probability_of_improvement == pytest.approx(np.mean(wins))
    everything = np.concatenate([first, second])
    splits = list(combinations(range(len(everything)), len(first)))
    differences = np.array(
        [everything[list(chosen)].mean() - np.delete(everything, list(chosen)).mean() for chosen in splits]
    )
    one_sided = min(np.mean(differences >= result.difference), np.mean(differences <= result.difference))
    assert result.permutation_p == pytest.approx(min(1.0, 2 * one_sided))


@settings(max_examples=30)
@given(SCORES, SCORES)
def test_a_comparison_turned_round_is_the_same(first, second):
    forth, back = compare(first, second, rng()), compare(second, first, rng())
    assert forth.difference == -back.difference
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low))
    assert forth.welch_p == pytest.approx(back.welch_p)
    assert forth.probability_of_improvement == pytest.approx(1.0 - back.probability_of_improvement)


@pytest.mark.parametrize(("num_first", "num_second"), [(2, 2), (3, 3), (2, 5), (5, 5), (10, 10)])
def test_scores_that_do_not_overlap_have_the_smallest_p_there_is(num_first, num_second):
    first, second = 100.0 + np.arange(num_first), np.arange(num_second, dtype=float)
    expected = smallest_permutation_p(num_first, num_second)
    assert compare(first, second, rng()).permutation_p == pytest.approx(expected)


def test_welch_s_test_is_that_of_the_formula():
    first, second = np.array([3.0, 5.0, 4.0, 8.0]), np.array([1.0, 2.0, 1.5])
    variances = first.var(ddof=1) / 4, second.var(ddof=1) / 3
    degrees = sum(variances) ** 2 / (variances[0] ** 2 / 3 + variances[1] ** 2 / 2)
    draws = rng().standard_t(degrees, 400_000)
    statistic = (first.mean() - second.mean()) / np.sqrt(sum(variances))
    result = compare(first, second, rng())
    assert result.welch_p == pytest.approx(np.mean(np.abs(draws) > statistic), abs=0.003)
    assert result.welch_p < 0.05
    assert 0 < result.low < result.difference < result.high


@pytest.mark.parametrize(("second", "p"), [(2.0, 1.0), (1.0, 0.0)])
def test_scores_that_do_not_vary_are_compared_without_a_warning(second, p):
    result = compare(np.full(3, 2.0), np.full(3, second), rng())
    assert (result.welch_p, result.low, result.high) == (p, 2.0 - second, 2.0 - second)


@given(arrays(np.float64, st.integers(1, 8), elements=st.floats(0, 1)))
def test_holm_rejects_what_its_step_down_procedure_rejects(p_values):
    rejected, ordered = set(), np.argsort(p_values)
    for rank, index in enumerate(ordered):
        if p_values[index] * (len(p_values) - rank) > 0.05:
            break
        rejected.add(int(index))
    assert set(np.flatnonzero(holm(p_values) <= 0.05).tolist()) == rejected


def test_a_line_is_recovered():
    positions = np.arange(50.0)
    line = fit_line(positions, 3.0 - 0.5 * positions)
    assert (line.slope, line.intercept, line.r_squared) == pytest.approx((-0.5, 3.0, 1.0))
    noisy = fit_line(positions, rng().standard_normal(50))
    assert noisy.r_squared < 0.2
    assert np.isnan(fit_line(positions, np.zeros(50)).r_squared)


def test_a_correlation_has_the_interval_of_fisher_s_transformation():
    rng = np.random.default_rng(0)
    first = rng.normal(size=40)
    second = 0.5 * first + rng.normal(size=40)
    found = correlate(first, second)
    assert found.r == pytest.approx(np.corrcoef(first, second)[0, 1])
    reach = 1.959964 / np.sqrt(37)
    expected = np.tanh(np.arctanh(found.r) + np.array([-reach, reach]))
    np.testing.assert_allclose([found.low, found.high], expected, rtol=1e-5)
    t = found.r * np.sqrt(38 / (1 - found.r**2))
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 38))
    assert np.isnan(correlate(first, np.ones(40)).r)


def test_the_interval_of_a_share_holds_where_the_share_is_extreme():
    for count, low, high in ((0, 0.0, 0.2775), (10, 0.7225, 1.0)):
        interval = fraction_interval(count, 10)
        assert float(interval.mean) == count / 10
        assert (float(interval.low), float(interval.high)) == pytest.approx((low, high), abs=1e-4)


def test_the_deviation_of_residuals_is_that_of_the_noise_around_the_line():
    positions = np.arange(20_000.0)
    line = fit_line(positions, 5.0 + 0.3 * positions + 2.0 * rng().standard_normal(20_000))
    assert line.residual_std == pytest.approx(2.0, rel=0.02)
    by_hand = fit_line(np.arange(4.0), np.array([1.0, -1.0, -1.0, 1.0]))  # slope 0, mean 0
    assert by_hand.residual_std == pytest.approx(np.sqrt(4 / 2))
    assert np.isnan(fit_line(np.arange(2.0), np.arange(2.0)).residual_std)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: interquartile_mean_interval([], rng()), "strata"),
        (lambda: interquartile_mean_interval([np.array([])], rng()), "strata"),
        (lambda: interquartile_mean_interval([np.ones(3)], rng(), confidence=95.0), "confidence"),
        (lambda: compare(np.ones(1), np.ones(3), rng()), "first: got 1 score"),
        (lambda: compare(np.ones(3), np.array([1.0, np.nan]), rng()), "second"),
        (lambda: fit_line(np.zeros(3), np.ones(3)), "positions"),
        (lambda: holm(np.ones((2, 2))), "p_values"),
        (lambda: correlate(np.ones(3), np.ones(3)), "first, second: got 3 and 3 values"),
        (lambda: fraction_interval(3, 2), "count, total: got 3 of 2"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
