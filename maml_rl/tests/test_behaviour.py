"""Behaviour analysis recovers what simulated agents do: planning, repeating what paid, a learning rate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from maml_rl.analysis.behaviour import choice_autocorrelation, cumulative_regret
from maml_rl.analysis.delta_rule import fit_learning_rate
from maml_rl.analysis.two_step import (
    model_based_index,
    model_free_index,
    stay_frequencies,
    stay_probabilities,
    two_step_trials,
)
from maml_rl.envs import make_meta_env
from maml_rl.tests.sampling import started
from maml_rl.utils.random import Purpose, generator

REWARDED_COMMON, REWARDED_UNCOMMON, UNREWARDED_COMMON, UNREWARDED_UNCOMMON = (0, 0), (0, 1), (1, 0), (1, 1)


def test_trials_of_the_two_step_task_are_read_off_its_steps():
    env = make_meta_env("TwoStep-v0", 3, {"num_trials": 5, "common_probability": 1.0})
    env.set_tasks([{"rich": 0}] * 3)
    observation, _ = env.reset(options={"rngs": [np.random.default_rng(i) for i in range(3)]})
    rng, rows = np.random.default_rng(0), []
    for _ in range(10):
        actions = rng.integers(2, size=3)
        following, rewards, *_ = env.step(actions)
        rows.append((observation, actions, rewards))
        observation = following
    observations, actions, rewards = (np.stack(parts, axis=1) for parts in zip(*rows, strict=True))
    choices, rewarded, common = two_step_trials(observations, actions, rewards)
    np.testing.assert_array_equal(choices, actions[:, ::2])
    np.testing.assert_array_equal(rewarded, rewards[:, 1::2] == 1)
    assert common.all()
    flipped = observations[:, 1::2][..., [0, 2, 1]]  # had every transition been the uncommon one
    uncommon = np.stack([observations[:, ::2], flipped], axis=2).reshape(observations.shape)
    assert not two_step_trials(uncommon, actions, rewards)[2].any()
    with pytest.raises(ValueError, match="do not alternate"):
        two_step_trials(observations[:, ::-1], actions, rewards)
    with pytest.raises(ValueError, match="observations, actions, rewards: got shapes"):
        two_step_trials(observations[:, :9], actions[:, :9], rewards[:, :9])


def play_two_step(model_based, *, num_episodes=200, learning_rate=0.6, inverse_temperature=4.0):
    """Choices, rewards, common transitions and better choices, each (E, T), of an agent on TwoStep-v0.

    A model-based agent learns what second states pay and looks ahead; a model-free one learns what choices pay.
    """
    env, _ = started("TwoStep-v0", num_episodes)
    rng, rows = generator(0, Purpose.ACTIONS), np.arange(num_episodes)
    values, trials = np.full((num_episodes, 2), 0.5), []
    for _ in range(100):
        worths = 0.8 * values + 0.2 * values[:, ::-1] if model_based else values
        choices = (rng.random(num_episodes) < expit(inverse_temperature * (worths[:, 1] - worths[:, 0]))).astype(int)
        better = choices == env.rich_states
        second = env.step(choices)[0][:, 1:].argmax(axis=1)
        rewards = env.step(np.zeros(num_episodes, dtype=int))[1]
        learned = second if model_based else choices
        values[rows, learned] += learning_rate * (rewards - values[rows, learned])
        trials.append((choices, rewards, second == choices, better))
    return tuple(np.stack(column, axis=1) for column in zip(*trials, strict=True))


def play_delta_rule(learning_rate, inverse_temperature, *, num_episodes=60, volatility=0.05):
    """Choices and rewards (E, T) of a delta-rule learner on arms that change places."""
    kwargs = {"low_volatility": volatility, "high_volatility": volatility}
    env, _ = started("RestlessBandit-Reversal-v0", num_episodes, kwargs)
    rng, rows = generator(2, Purpose.ACTIONS), np.arange(num_episodes)
    values, pulls = np.full((num_episodes, 2), 0.5), []
    for _ in range(100):
        difference = values[:, 1] - values[:, 0]
        choices = (rng.random(num_episodes) < expit(inverse_temperature * difference)).astype(int)
        rewards = env.step(choices)[1]
        values[rows, choices] += learning_rate * (rewards - values[rows, choices])
        pulls.append((choices, rewards))
    return tuple(np.stack(column, axis=1) for column in zip(*pulls, strict=True))


def test_a_model_based_agent_stays_after_rewarded_common_and_unrewarded_uncommon_trials():
    stay = stay_probabilities(*play_two_step(model_based=True)[:3])
    for high in (REWARDED_COMMON, UNREWARDED_UNCOMMON):
        for low in (REWARDED_UNCOMMON, UNREWARDED_COMMON):
            assert stay.low[high] > stay.high[low] + 0.1
    assert model_based_index(stay.mean) > 0.5
    assert abs(model_free_index(stay.mean)) < 0.15


def test_a_model_free_agent_stays_after_rewarded_trials_whatever_the_transition():
    stay = stay_probabilities(*play_two_step(model_based=False)[:3])
    for high in (REWARDED_COMMON, REWARDED_UNCOMMON):
        for low in (UNREWARDED_COMMON, UNREWARDED_UNCOMMON):
            assert stay.low[high] > stay.high[low] + 0.1
    assert model_free_index(stay.mean) > 0.5


@pytest.mark.parametrize("learning_rate", [0.3, 0.6])
def test_given_how_good_choices_were_only_a_model_based_agent_has_a_model_based_index(learning_rate):
    raw, given = [], []
    for model_based in (False, True):
        *trials, better = play_two_step(model_based, num_episodes=600, learning_rate=learning_rate)
        raw.append(model_based_index(stay_probabilities(*trials).mean))
        kinds = [model_based_index(stay_probabilities(*trials, among=among).mean) for among in (better, ~better)]
        given.append(np.mean(kinds))
    assert raw[0] > 0.2  # the better choice lasts, so that even this agent seems to plan a little
    assert abs(given[0]) < 0.1
    assert given[1] > 0.2


def test_stay_frequencies_count_by_hand():
    choices = np.array([0, 0, 1, 1, 0, 0])
    rewarded = np.array([1, 1, 0, 0, 1, 0])
    common = np.array([True, True, False, True, True, False])
    # Reward and common: stay, switch, stay. Neither: stay. Common without reward: switch. The last trial has no next.
    np.testing.assert_allclose(stay_frequencies(choices, rewarded, common), [[2 / 3, np.nan], [0.0, 1.0]])
    first = stay_frequencies(choices, rewarded, common, among=np.arange(6) < 2)
    np.testing.assert_allclose(first, [[0.5, np.nan], [np.nan, np.nan]])


def test_an_episode_without_trials_of_a_kind_is_left_out_of_that_kind():
    choices = np.array([[0, 0, 1], [0, 1, 1]])
    rewarded = np.array([[1, 1, 0], [0, 0, 0]])
    stay = stay_probabilities(choices, rewarded, np.ones((2, 3), dtype=bool))
    np.testing.assert_allclose(stay.mean, [[0.5, np.nan], [0.5, np.nan]])
    assert np.isnan(stay.low).all()  # one episode has no spread


@pytest.mark.parametrize("learning_rate", [0.15, 0.5, 0.85])
def test_the_learning_rate_of_a_delta_rule_learner_is_recovered(learning_rate):
    fit = fit_learning_rate(*play_delta_rule(learning_rate, inverse_temperature=4.0))
    assert fit.learning_rate == pytest.approx(learning_rate, abs=0.07)
    assert fit.inverse_temperature == pytest.approx(4.0, abs=0.5)


def test_the_fit_is_at_least_as_likely_as_the_truth_and_no_worse_than_chance():
    choices, rewards = play_delta_rule(0.4, 3.0, num_episodes=5)
    fit = fit_learning_rate(choices, rewards)
    values, truth = np.full((5, 2), 0.5), 0.0
    for choice, reward in zip(choices.T, rewards.T, strict=True):
        chosen, other = values[np.arange(5), choice], values[np.arange(5), 1 - choice]
        truth += np.log(expit(3.0 * (chosen - other))).sum()
        values[np.arange(5), choice] += 0.4 * (reward - chosen)
    assert fit.log_likelihood >= truth
    random = fit_learning_rate(np.array([0, 1, 1, 0, 1, 0]), np.zeros(6))
    assert random.log_likelihood >= -6 * np.log(2) - 1e-3


def test_regret_is_the_sum_of_lost_means():
    choices = np.array([[0, 1, 2], [2, 2, 0]])
    still = np.array([[[0.1, 0.5, 0.9]], [[1.0, 0.0, 0.25]]])  # (E, 1, k)
    np.testing.assert_allclose(cumulative_regret(choices, still), [[0.8, 1.2, 1.2], [0.75, 1.5, 1.5]])
    moving = np.array([[0.0, 1.0], [1.0, 0.0], [0.3, 0.7]])
    np.testing.assert_allclose(cumulative_regret(np.array([1, 1, 0]), moving), [0.0, 1.0, 1.4])


def test_random_choices_lose_a_sixth_per_pull_on_two_independent_arms():
    # E[max(p1, p2)] - 1/2 = 1/6: 16.7 in 100 pulls.
    env = make_meta_env("TwoArmedBandit-Independent-v0")
    means = np.array([task["mean"] for task in env.sample_tasks(4000, generator(0, Purpose.TASKS))])
    choices = generator(0, Purpose.ACTIONS).integers(2, size=(4000, 100))
    regret = cumulative_regret(choices, means[:, None])[:, -1]
    assert regret.mean() == pytest.approx(100 / 6, abs=4 * regret.std() / np.sqrt(4000))


def test_autocorrelation_of_two_arms_is_that_of_zeros_and_ones():
    choices = generator(0, Purpose.ACTIONS).integers(2, size=(3, 40)) * 5
    series = (choices - choices.mean(axis=1, keepdims=True)) / choices.std(axis=1, keepdims=True)
    expected = [(series[:, :-lag] * series[:, lag:]).mean(axis=1) for lag in (1, 2, 3)]
    np.testing.assert_allclose(choice_autocorrelation(choices, 3), np.transpose(expected))


def test_autocorrelation_finds_the_period_of_three_arms_and_nothing_in_random_choices():
    periodic = choice_autocorrelation(np.tile([0, 1, 2], 50), 6)
    np.testing.assert_allclose(periodic, [-0.5, -0.5, 1.0, -0.5, -0.5, 1.0], atol=1e-12)
    random = choice_autocorrelation(generator(0, Purpose.ACTIONS).integers(4, size=(100, 400)), 5)
    np.testing.assert_allclose(random.mean(axis=0), 0, atol=4 / np.sqrt(100 * 400) + 1 / 400)
    assert np.isnan(choice_autocorrelation(np.zeros(9, dtype=int), 2)).all()


def played_with_missed_trials(*, fraction=0.18, num_episodes=200):
    """Choices, rewards and common transitions of a random player, complete and with missed trials marked by -1."""
    rng = generator(0, Purpose.ACTIONS)
    choices, rewarded, common = rng.integers(2, size=(3, num_episodes, 200))
    return choices, rewarded, common, np.where(rng.random(choices.shape) < fraction, -1, choices)


def test_a_random_player_who_misses_trials_stays_half_of_the_time():
    _, rewarded, common, marked = played_with_missed_trials()
    stay = stay_probabilities(marked, rewarded, common)
    np.testing.assert_allclose(stay.mean, 0.5, atol=0.02)
    assert abs(model_based_index(stay.mean)) < 0.04
    assert abs(model_free_index(stay.mean)) < 0.04


def test_a_missed_trial_belongs_to_no_pair():
    choices = np.array([0, 0, -1, 0, 1, -1])
    rewarded, common = np.array([1.0, 0.0, np.nan, 1.0, 0.0, np.nan]), np.ones(6)  # what a missed trial pays is open
    # After reward: stay, switch. Without: only the pair into a missed trial and the pairs out of one, which count not.
    np.testing.assert_allclose(stay_frequencies(choices, rewarded, common), [[0.5, np.nan], [np.nan, np.nan]])
    among = stay_frequencies(choices, rewarded, common, among=np.arange(6) < 3)
    np.testing.assert_allclose(among, [[1.0, np.nan], [np.nan, np.nan]])


def test_autocorrelation_of_pairs_without_a_missed_trial_is_that_of_all_pairs():
    *_, marked = played_with_missed_trials(num_episodes=100)
    np.testing.assert_allclose(choice_autocorrelation(marked, 3).mean(axis=0), 0.0, atol=0.03)
    periodic = np.tile([0, 1, 2], 50)
    periodic[[3, 10, 17]] = -1
    np.testing.assert_allclose(choice_autocorrelation(periodic, 3), [-0.5, -0.5, 1.0], atol=0.01)
    short = choice_autocorrelation(np.array([[0, 1, -1, -1], [-1, -1, -1, -1]]), 2)
    np.testing.assert_allclose(short, [[-1.0, np.nan], [np.nan, np.nan]])


CHOICES = np.array([[0, 1, 1]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cumulative_regret(CHOICES, np.ones(2)), r"arm_means: got shape \(2,\), expected \(..., T, k\)"),
        (lambda: cumulative_regret(CHOICES, np.ones((4, 2))), r"arm_means: got shape \(4, 2\).* choices \(1, 3\)"),
        (lambda: cumulative_regret(CHOICES, np.ones((3, 1))), r"choices: got 0 to 1, expected arms from 0 to 0"),
        (lambda: cumulative_regret(CHOICES / 2, np.ones((3, 2))), r"choices: got float64 .* expected whole numbers"),
        (
            lambda: stay_frequencies(CHOICES, CHOICES[:, :2], CHOICES),
            r"rewarded: got shape \(1, 2\), expected \(1, 3\)",
        ),
        (lambda: stay_frequencies(CHOICES, CHOICES, CHOICES / 2), r"common: got \[0.0, 0.5\], expected 0 or 1"),
        (
            lambda: stay_frequencies(*CHOICES[None, 0, :1].repeat(3, 0)),
            r"choices: got shape \(1,\), expected at least two trials",
        ),
        (
            lambda: stay_probabilities(*CHOICES[:, :2].repeat(3, 0)),
            r"choices: got shape \(2,\), expected \(episodes, trials",
        ),
        (lambda: model_based_index(np.ones(4)), r"stay: got shape \(4,\), expected \(..., 2, 2\)"),
        (lambda: fit_learning_rate(CHOICES, np.ones(3)[:2]), r"rewards: got shape \(1, 2\) with choices \(1, 3\)"),
        (lambda: fit_learning_rate(CHOICES, CHOICES * np.nan), r"rewards: got NaN or infinity"),
        (lambda: stay_frequencies(CHOICES * np.nan, CHOICES, CHOICES), r"choices: got nan, .* -1 for a missed trial"),
        (lambda: stay_frequencies(CHOICES + 0.5, CHOICES, CHOICES), r"choices: got 0.5, expected arms from 0 on"),
        (lambda: stay_probabilities(CHOICES - 2, CHOICES, CHOICES), r"choices: got -2, expected arms from 0 on"),
        (lambda: stay_probabilities(CHOICES.astype(str), CHOICES, CHOICES), r"choices: got '0', which is not a number"),
        (lambda: stay_frequencies(CHOICES, CHOICES.astype(str), CHOICES), r"rewarded: got values of type <U"),
        (lambda: stay_frequencies(CHOICES, CHOICES * np.nan, CHOICES), r"rewarded: got \[nan\], expected 0 or 1"),
        (lambda: choice_autocorrelation(CHOICES * np.nan, 1), r"choices: got nan, expected arms from 0 on"),
        (lambda: choice_autocorrelation(np.array(["left", "right"]), 1), r"choices: got 'left', which is not a number"),
        (lambda: model_based_index(np.full((2, 2), "0.5")), r"stay: got values of type <U3, expected probabilities"),
        (lambda: model_free_index(np.full((2, 2), -1)), r"stay: got -1, expected probabilities in \[0, 1\]"),
        (
            lambda: two_step_trials(np.array([[[1, 0, 0], [0, 1, 0]]]), np.zeros((1, 2), int), np.full((1, 2), np.nan)),
            r"rewards: got NaN, infinity or text, expected finite numbers",
        ),
        (lambda: choice_autocorrelation(CHOICES, 3), r"max_lag: got 3, expected 1 to 2 with 3 trials"),
    ],
)
def test_arrays_that_make_no_sense_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
