"""Claims about agents of a drifting bandit: decided by reliable scores alone."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.drifting_claims import SAMPLING, TD, difference, preference, relate
from benchmarks.drifting_fits import MODELS, NAMES, NUM_REPEATS, baseline_agents, fit_each, simulated_agents
from benchmarks.drifting_memory import HALF_LIVES, choice_traces
from maml_rl.analysis.reliability import reliability
from maml_rl.tests.builders import drifting_means
from maml_rl.utils.random import Purpose, generator


def scores(noise, num_agents=100, num_tasks=40, slope=-1.0):
    """Preferences and a measure (A, N) of agents that differ by one trait, with this noise in every task."""
    rng = generator(0, Purpose.STATISTICS)
    trait = rng.standard_normal((num_agents, 1))
    return tuple(one * trait + noise * rng.standard_normal((num_agents, num_tasks)) for one in (1.0, slope))


@pytest.mark.slow
def test_a_correlation_of_reliable_scores_is_decided():
    preferred, measure = scores(1.0)
    found = relate("measure", preferred, measure, 0)
    assert found.verdict(reliability(preferred)) == "negative"
    assert found.power > 0.99
    assert found.r.high < found.between_halves.mean + 0.2 < 0.0
    unrelated = relate("measure", preferred, scores(1.0)[1][::-1], 0)
    assert "no correlation shown" in unrelated.verdict(reliability(preferred))


def test_a_correlation_of_noise_is_undecidable_and_says_how_many_tasks_would_do():
    preferred, measure = scores(20.0)
    found = relate("measure", preferred, measure, 0)
    assert found.verdict(reliability(preferred)).startswith("undecidable with these tasks;")
    assert found.tasks_needed > 40


def test_a_measure_of_unknown_reliability_decides_nothing():
    preferred, measure = scores(1.0)
    found = relate("measure", preferred, measure.mean(axis=1, keepdims=True), 0)
    assert found.verdict(reliability(preferred)) == "undecidable: the measure's reliability is not known"
    assert np.isnan(found.between_halves.mean)


def test_differences_are_those_of_the_agents():
    logs = np.zeros((6, 8, len(NAMES)))
    logs[..., SAMPLING] = np.where(np.arange(6) < 4, 1.0, -1.0)[:, np.newaxis]
    table = preference(logs)
    np.testing.assert_array_equal(table, logs[..., SAMPLING] - logs[..., TD])
    found = difference(table, 0)
    assert float(found.mean.mean) == pytest.approx(1 / 3)
    assert float(found.better.mean) == pytest.approx(4 / 6)
    assert float(found.reliability.mean) == 1.0


@pytest.mark.slow
def test_simulated_agents_are_fitted_best_by_what_they_were_simulated_with():
    means = drifting_means(4, 150, generator(1, Purpose.TASKS))
    parameters = np.full((1, len(NAMES), 4), np.nan)
    parameters[0, NAMES.index("TD"), :3] = (0.5, 10.0, 1.0)
    parameters[0, NAMES.index("TD") + 1 :, :3] = (0.3, 15.0, 0.5)
    for name in ("forgetting", "sampling that forgets"):
        parameters[0, NAMES.index(name), 3] = 0.2
    parameters[0, NAMES.index("TD + bonus"), 3] = 0.1
    agents = simulated_agents(means, parameters)
    assert len(agents) == len(MODELS)
    chosen = [NAMES.index(name) - 1 for name in ("forgetting", "TD + bonus")]
    found = fit_each([agents[index] for index in chosen], 1, print)
    best = found.log_likelihoods.sum(axis=1).argmax(axis=1)
    assert [NAMES[index] for index in best] == ["forgetting", "TD + bonus"]
    assert len(baseline_agents(means[:1, :5])) == 3 * NUM_REPEATS


def test_traces_fade_to_a_half_in_their_half_life():
    chosen = np.zeros((1, 30, 2))
    chosen[0, 0, 1] = 1.0
    traces = choice_traces(chosen).reshape(1, 30, 2, len(HALF_LIVES))
    assert not traces[0, 0].any()
    assert not traces[:, :, 0].any()
    for index, half_life in enumerate(HALF_LIVES):
        assert traces[0, 1 + half_life, 1, index] == pytest.approx(0.5 * traces[0, 1, 1, index])
