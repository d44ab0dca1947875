"""The drifting bandit and the baseline agents that know how it drifts."""

from __future__ import annotations

import numpy as np
import pytest

from maml_rl.analysis.drifting_bandits import (
    DriftingArms,
    kalman_greedy,
    kalman_thompson,
    kalman_ucb,
    roll_out_drifting_bandit,
)
from maml_rl.envs import EnvironmentArgumentError, make_meta_env
from maml_rl.tests.builders import drifting_means
from maml_rl.tests.sampling import started
from maml_rl.utils.random import Purpose, generator

ENV = "DriftingBandit-v0"
FIXATE = 4


def test_a_trial_is_fixation_and_choice():
    env, tasks = started(ENV, 3, {"payoff_deviation": 0.0, "num_trials": 4})
    means = np.stack([task["means"] for task in tasks]) / 50  # (N, T, K)
    for trial in range(4):
        observations, rewards, terminated, _, _ = env.step(np.array([FIXATE, 0, FIXATE]))
        np.testing.assert_array_equal(observations, [[0.0, 1.0]] * 3)
        np.testing.assert_array_equal(rewards, [0.0, -1.0, 0.0])
        assert not terminated.any()
        observations, rewards, terminated, _, _ = env.step(np.array([2, 3, FIXATE]))
        np.testing.assert_array_equal(observations, [[1.0, 0.0]] * 3)
        np.testing.assert_allclose(rewards, [means[0, trial, 2], means[1, trial, 3], -1.0])
        assert terminated.all() == (trial == 3)


def test_arms_drift_as_they_should():
    means = drifting_means(4000, 60, generator(0, Purpose.TASKS))
    first, last = means[:, 0], means[:, -1]
    assert ((first >= 0) & (first <= 100)).all()
    assert first.mean() == pytest.approx(50, abs=1)
    moves = means[:, 1:] - (50 + 0.9836 * (means[:, :-1] - 50))
    assert moves.std() == pytest.approx(2.8, rel=0.01)
    assert moves.mean() == pytest.approx(0.0, abs=0.02)
    share = 0.9836**59
    variance = share**2 * 10_000 / 12 + 2.8**2 * (1 - share**2) / (1 - 0.9836**2)
    assert last.var() == pytest.approx(variance, rel=0.03)


def test_payoffs_scatter_around_their_means():
    env, tasks = started(ENV, 4000, {"num_trials": 1, "drift_deviation": 0.0})
    env.step(np.full(4000, FIXATE))
    _, rewards, *_ = env.step(np.full(4000, 1))
    errors = 50 * rewards - [task["means"][0, 1] for task in tasks]
    assert errors.std() == pytest.approx(4.0, rel=0.05)


def test_beliefs_of_the_filter_are_those_of_a_normal_distribution_conditioned_on_all_payoffs():
    arms = DriftingArms(decay=0.9, centre=20.0, drift_deviation=3.0, payoff_deviation=2.0)
    rng = generator(1, Purpose.STATISTICS)
    num_trials, beliefs = 12, []

    def at_random(means, deviations, rng):
        beliefs.append((means[0].copy(), deviations[0].copy()))
        return rng.random(means.shape)

    play = roll_out_drifting_bandit(at_random, rng.normal(20, 9, (1, num_trials, 2)), rng, arms=arms)
    variances = [40.0**2 / 12]
    for _ in range(num_trials - 1):
        variances.append(0.9**2 * variances[-1] + 9.0)
    prior = np.array([[0.9 ** abs(i - j) * variances[min(i, j)] for i in range(num_trials)] for j in range(num_trials)])
    for trial, (means, deviations) in enumerate(beliefs):
        for arm in range(2):
            seen = np.flatnonzero(play.choices[0, :trial] == arm)
            gain = prior[trial, seen] @ np.linalg.inv(prior[np.ix_(seen, seen)] + 4.0 * np.eye(len(seen)))
            assert means[arm] == pytest.approx(20 + gain @ (play.payoffs[0, seen] - 20), rel=1e-9)
            assert deviations[arm] ** 2 == pytest.approx(prior[trial, trial] - gain @ prior[seen, trial], rel=1e-9)


def test_baseline_agents_obtain_what_they_are_known_to():
    means = drifting_means(1500, 150, generator(2, Purpose.TASKS))
    best = means.max(axis=2).sum(axis=1) / 50
    assert best.mean() == pytest.approx(207.8, abs=1.5)
    behind = {}
    for name, rule in (("greedy", kalman_greedy), ("Thompson", kalman_thompson), ("UCB", kalman_ucb())):
        play = roll_out_drifting_bandit(rule, means, generator(3, Purpose.STATISTICS))
        behind[name] = (best - play.payoffs.sum(axis=1) / 50).mean()
    assert behind["UCB"] == pytest.approx(207.8 - 200.5, abs=0.6)
    assert behind["Thompson"] == pytest.approx(207.8 - 196.9, abs=1.0)
    assert behind["greedy"] > behind["Thompson"]


@pytest.mark.parametrize(
    ("env_kwargs", "words"),
    [
        ({"num_arms": 0}, "num_arms: got 0, expected at least 1"),
        ({"num_trials": 0}, "num_trials: got 0, expected at least 1"),
        ({"decay": 1.5}, r"decay: got 1.5, expected a number in \[0, 1\]"),
        ({"centre": 0.0}, "centre: got 0.0, expected a number > 0"),
        ({"payoff_scale": -1.0}, "payoff_scale: got -1.0, expected a number > 0"),
        ({"penalty": -1.0}, "penalty: got -1.0, expected a number >= 0"),
        ({"drift_deviation": -1.0}, "drift_deviation: got -1.0, expected a number >= 0"),
    ],
)
def test_impossible_arguments_are_refused(env_kwargs, words):
    with pytest.raises(EnvironmentArgumentError, match=words):
        make_meta_env(ENV, 1, env_kwargs)


def test_a_task_of_another_size_is_refused():
    env = make_meta_env(ENV, 1)
    with pytest.raises(ValueError, match=r"task\['means'\]: got shape \(3, 4\), expected finite numbers \(150, 4\)"):
        env.set_tasks([{"means": np.zeros((3, 4))}])


def test_baseline_agents_refuse_what_is_no_bandit():
    rng = generator(0, Purpose.STATISTICS)
    with pytest.raises(ValueError, match=r"means: got shape \(3, 4\)"):
        roll_out_drifting_bandit(kalman_greedy, np.zeros((3, 4)), rng)
    with pytest.raises(ValueError, match=r"arms: got .*, expected decay"):
        roll_out_drifting_bandit(kalman_greedy, np.zeros((1, 3, 4)), rng, arms=DriftingArms(decay=2.0))
    with pytest.raises(ValueError, match=r"bonus: got -1, expected a finite number >= 0"):
        kalman_ucb(-1)
