"""The bootstrap over agents and tasks against closed forms, the one-way bootstrap and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from maml_rl.analysis.intervals import mean_interval
from maml_rl.analysis.two_way import two_way_bootstrap, two_way_interval


def rng(seed=0):
    return np.random.default_rng(seed)


def table_of(generator, num_agents, num_tasks, *, agents=1.0, tasks=1.0, residual=1.0):
    """Cells with these standard deviations between agents, between tasks and within both."""
    cells = residual * generator.standard_normal((num_agents, num_tasks))
    cells += agents * generator.standard_normal((num_agents, 1))
    return cells + tasks * generator.standard_normal(num_tasks)


def test_the_variance_of_resampled_means_is_the_closed_form():
    table = table_of(rng(), 6, 9)
    agents, tasks = table.mean(axis=1) - table.mean(), table.mean(axis=0) - table.mean()
    residual = table - table.mean() - agents[:, np.newaxis] - tasks
    expected = (agents**2).sum() / 6**2 + (tasks**2).sum() / 9**2 + (residual**2).sum() / 54**2
    means = two_way_bootstrap(table, np.mean, rng(1), num_resamples=40_000)
    assert means.var() == pytest.approx(expected, rel=0.03)
    assert means.mean() == pytest.approx(table.mean(), abs=0.02)


@pytest.mark.parametrize("axis", [0, 1])
def test_where_one_factor_is_constant_it_is_the_one_way_bootstrap(axis):
    scores = rng().standard_normal(12)
    table = np.repeat(np.expand_dims(scores, 1 - axis), 7, axis=1 - axis)
    means = two_way_bootstrap(table, np.mean, rng(1), num_resamples=20_000)
    one_way = scores[rng(2).integers(12, size=(20_000, 12))].mean(axis=1)
    np.testing.assert_allclose(
        np.quantile(means, [0.025, 0.5, 0.975]), np.quantile(one_way, [0.025, 0.5, 0.975]), atol=0.03
    )


def test_cells_of_an_agent_and_a_task_stay_together():
    table = np.stack([np.arange(12.0).reshape(3, 4), 2.0 * np.arange(12.0).reshape(3, 4)], axis=2)
    assert two_way_bootstrap(table, lambda cells: np.ptp(cells[..., 1] - 2.0 * cells[..., 0]), rng()).max() == 0.0


def test_the_interval_holds_the_true_mean_about_as_often_as_it_says_and_one_over_agents_does_not():
    generator, hits, one_way_hits = rng(), 0, 0
    for _ in range(200):
        table = table_of(generator, 30, 20)
        interval = two_way_interval(table, np.mean, generator, num_resamples=300)
        hits += bool(interval.low < 0.0 < interval.high)
        over_agents = mean_interval(table.mean(axis=1))
        one_way_hits += bool(over_agents.low < 0.0 < over_agents.high)
    assert 0.88 < hits / 200 < 0.99
    assert one_way_hits / 200 < 0.85


def test_a_statistic_may_have_several_numbers_and_equal_generators_give_equal_intervals():
    table = table_of(rng(), 5, 4)
    first, second = (two_way_interval(table, lambda cells: cells.mean(axis=0), rng(3), num_resamples=50) for _ in "ab")
    assert first.low.shape == first.mean.shape == (4,)
    np.testing.assert_array_equal(first.low, second.low)


def test_of_one_cell_no_interval_is_known():
    interval = two_way_interval(np.ones((1, 1)), np.mean, rng(), num_resamples=3)
    assert interval.mean == 1.0
    assert np.isnan([interval.low, interval.high]).all()


@pytest.mark.parametrize("shape", [(3,), (0, 3), (3, 0)])
def test_what_is_no_table_is_refused(shape):
    with pytest.raises(ValueError, match=r"table: got shape .*, expected \(A, N, ...\)"):
        two_way_interval(np.zeros(shape), np.mean, rng())


def test_a_confidence_that_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="confidence: got 95"):
        two_way_interval(np.zeros((2, 2)), np.mean, rng(), confidence=95)
