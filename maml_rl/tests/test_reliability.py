"""Reliabilities of simulated agents whose reliability is known; powers against simulation and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from maml_rl.analysis.reliability import (
    correlation_power,
    detectable_correlation,
    reliability,
    split_half_reliability,
    tasks_for_reliability,
    variance_components,
)
from maml_rl.tests.test_two_way import rng, table_of


def test_components_are_those_that_cells_were_made_with():
    found = [variance_components(table_of(rng(seed), 40, 30, agents=0.5, tasks=2.0)) for seed in range(60)]
    assert np.mean([one.agents for one in found]) == pytest.approx(0.25, rel=0.1)
    assert np.mean([one.tasks for one in found]) == pytest.approx(4.0, rel=0.1)
    assert np.mean([one.residual for one in found]) == pytest.approx(1.0, rel=0.02)


def test_the_reliability_is_the_one_that_agents_were_made_with():
    true = 0.25 / (0.25 + 1.0 / 16)  # 0.8
    table = table_of(rng(), 4000, 16, agents=0.5)
    assert float(reliability(table).mean) == pytest.approx(true, abs=0.01)
    assert variance_components(table).reliability(16) == pytest.approx(float(reliability(table).mean), abs=1e-12)
    assert split_half_reliability(table, rng(1), num_splits=20) == pytest.approx(true, abs=0.01)


def test_the_reliability_is_the_correlation_of_two_sets_of_tasks():
    generator = rng()
    agents, tasks = 0.5 * generator.standard_normal((5000, 1)), generator.standard_normal(16)
    first, second = (agents + tasks + generator.standard_normal((5000, 16)) for _ in range(2))
    r = np.corrcoef(first.mean(axis=1), second.mean(axis=1))[0, 1]
    assert float(reliability(first).mean) == pytest.approx(r, abs=0.02)


def test_tasks_alone_do_not_change_the_reliability():
    table = table_of(rng(), 10, 8)
    harder = reliability(table + 100.0 * np.arange(8))
    assert float(harder.mean) == pytest.approx(float(reliability(table).mean), abs=1e-9)


def test_the_interval_holds_the_true_reliability_as_often_as_it_says():
    true, generator, hits = 0.25 / (0.25 + 1.0 / 10), rng(), 0
    for _ in range(400):
        found = reliability(table_of(generator, 30, 10, agents=0.5))
        hits += bool(found.low < true < found.high)
    assert 0.92 < hits / 400 < 0.98


@pytest.mark.parametrize("true", [0.08, 0.3, 0.7])
def test_the_prophecy_is_the_reliability_of_more_tasks(true):
    components = variance_components(np.array([[0.0, 1.0], [1.0, 0.0]]))
    single = true / (10.0 - 9.0 * true)  # reliability of one task, if that of ten is the true one
    components = type(components)(single, 0.0, 1.0 - single)
    needed = int(tasks_for_reliability(true, 10))
    assert components.reliability(10) == pytest.approx(true)
    assert components.reliability(needed) >= 0.5 - 1e-9
    assert needed == 1 or components.reliability(needed - 1) < 0.5


def test_the_power_is_how_often_simulated_agents_show_the_correlation():
    generator, reliabilities, seen = rng(), (0.5, 0.8), 0
    critical = math.tanh(1.959964 / math.sqrt(57))
    for _ in range(4000):
        true = generator.multivariate_normal([0.0, 0.0], [[1.0, 0.6], [0.6, 1.0]], size=60)
        noise = np.sqrt(1.0 / np.array(reliabilities) - 1.0) * generator.standard_normal((60, 2))
        seen += abs(np.corrcoef((true + noise).T)[0, 1]) > critical
    assert correlation_power(0.6, 60, reliabilities=reliabilities) == pytest.approx(seen / 4000, abs=0.03)


def test_the_detectable_correlation_has_the_power_asked_for():
    found = detectable_correlation(100, reliabilities=(0.4, 0.9), power=0.8)
    assert correlation_power(found, 100, reliabilities=(0.4, 0.9)) == pytest.approx(0.8, abs=1e-4)


def test_without_reliability_nothing_is_seen():
    assert detectable_correlation(100, reliabilities=(-0.2, 1.0)) == math.inf
    assert correlation_power(0.9, 100, reliabilities=(-0.2, 1.0)) == pytest.approx(0.05)
    assert np.isnan(float(reliability(np.ones((3, 3))).mean))


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"table: got shape \(3,\), expected finite numbers \(A, N\)"):
        reliability(np.zeros(3))
    with pytest.raises(ValueError, match="reliability, target: got"):
        tasks_for_reliability(1.2, 10)
    with pytest.raises(ValueError, match="r, significance: got"):
        correlation_power(1.0, 10)
    with pytest.raises(ValueError, match="power, significance: got"):
        detectable_correlation(10, power=1.0)
    with pytest.raises(ValueError, match=r"reliabilities: got \(2\.0, 1\.0\), expected at most 1"):
        detectable_correlation(10, reliabilities=(2.0, 1.0))
