"""Analyses of contextual tasks recover what simulated agents do: remember, plan, repeat what paid, or nothing."""

from __future__ import annotations

from functools import cache
from typing import Any, cast

import numpy as np
import pytest
from scipy.special import expit, logit

from maml_rl.analysis.contextual_bandits import (
    exposure_numbers,
    first_pull_accuracy,
    mean_by_exposure,
    reward_by_pull,
    roll_out_bayes_agent,
    single_arm_accuracy,
)
from maml_rl.analysis.contextual_two_step import (
    PAIRINGS,
    ContextualTrials,
    contextual_two_step_trials,
    regress_choices,
    regress_stays,
    stay_table,
    trial_pairs,
    with_substitutes,
)
from maml_rl.analysis.logistic_regression import fit_logistic
from maml_rl.analysis.two_step import model_based_index, model_free_index
from maml_rl.envs import make_meta_env
from maml_rl.tests.sampling import consistent
from maml_rl.tests.test_contextual_bandit import roll_out as roll_out_bandit
from maml_rl.tests.test_contextual_bandit import tasks_of
from maml_rl.utils.random import Purpose, generator

CONFIDENCE = 0.9


def test_episodes_show_the_codes_of_the_task_s_order_and_exposures_count_them():
    env: Any = make_meta_env("ContextualBandit-v0", 5, {"num_contexts": 3, "bits": 4, "num_pulls": 2})
    env.set_tasks(env.sample_tasks(5, generator(0, Purpose.TASKS)))
    observations, *_ = roll_out_bandit(env, generator(0, Purpose.ACTIONS))
    codes, order = (np.stack([task[key] for task in env.tasks]) for key in ("codes", "order"))
    np.testing.assert_array_equal(observations[:, :, 0], np.take_along_axis(codes, order[..., np.newaxis], axis=1))
    exposures = exposure_numbers(order)
    for contexts, numbers in zip(order, exposures, strict=True):
        for context in range(3):
            np.testing.assert_array_equal(numbers[contexts == context], [1, 2, 3])


def test_means_by_exposure_and_by_pull_count_by_hand():
    choices = np.array([[[0, 1], [1, 1], [0, 0], [2, 0]]])  # (1, E, P)
    exposures, best = np.array([[1, 1, 2, 4]]), np.array([[0, 0, 0, 2]])
    found = mean_by_exposure(first_pull_accuracy(choices, best), exposures)
    np.testing.assert_array_equal(found, [0.5, 1.0, np.nan, 1.0])
    rewards = np.array([[[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [1.0, 0.0]]])
    np.testing.assert_allclose(reward_by_pull(rewards, exposures > 1), [1.0, 0.5])
    assert np.isnan(reward_by_pull(rewards, exposures > 4)).all()
    assert np.isnan(single_arm_accuracy(best, exposures > 4))


def test_a_bayes_agent_begins_at_chance_and_remembers():
    _, best, order = tasks_of(200)
    exposures, truth = exposure_numbers(order), np.take_along_axis(best, order, axis=1)
    found = {}
    for remembers in (True, False):
        rollout = roll_out_bayes_agent(
            order, best, 10, generator(0, Purpose.STATISTICS), num_arms=10, remembers=remembers
        )
        found[remembers] = mean_by_exposure(first_pull_accuracy(rollout.choices, truth), exposures)
        by_pull = [reward_by_pull(rollout.rewards, counted) for counted in (exposures == 1, exposures > 1)]
        assert by_pull[0][0] == pytest.approx(0.1 * 0.9 + 0.9 * 0.1, abs=0.035)
        assert by_pull[0][-1] > 0.5  # it learns within an episode
        assert (by_pull[1][0] > 0.75) == remembers
    assert found[True][0] == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 2000))
    assert found[True][1] > 0.6
    assert found[True][-1] > 0.95
    np.testing.assert_allclose(found[False], 0.1, atol=4 * np.sqrt(0.09 / 2000))


def test_a_bayes_agent_with_certain_rewards_tries_every_arm_once_and_never_errs_again():
    _, best, order = tasks_of(20, {"k": 4, "num_contexts": 3})
    rollout = roll_out_bayes_agent(order, best, 4, generator(0, Purpose.STATISTICS), num_arms=4, probabilities=(1, 0))
    first = exposure_numbers(order) == 1
    assert (rollout.rewards[first].max(axis=1) == 1).all()
    assert (rollout.rewards[~first] == 1).all()
    before = rollout.rewards[first].cumsum(axis=1) == 0
    for pulls, lost in zip(rollout.choices[first], before, strict=True):
        assert len(set(pulls[lost])) == lost.sum()


def test_coefficients_of_a_logistic_regression_are_recovered_and_finite_where_choices_are_certain():
    rng = generator(0, Purpose.STATISTICS)
    features, truth = rng.standard_normal((20_000, 3)), np.array([1.5, -0.5, 0.0])
    fit = fit_logistic(features, rng.random(20_000) < expit(features @ truth))
    assert (np.abs(fit.coefficients - truth) < 4 * fit.errors).all()
    assert (fit.errors < 0.04).all()
    certain = fit_logistic(features, features[:, 0] > 0)
    assert np.isfinite(certain.coefficients).all()
    assert certain.coefficients[0] > 10 * np.abs(certain.coefficients[1:]).max()


@cache
def trials_of(kind, num_envs=300):
    """Trials (N, 100) of an agent, read off its observations.

    An episodic agent follows what its rule makes of the recalled trial, an incremental one of the trial before, with
    the probability `CONFIDENCE`; where there is none, and if it is random, it tosses a coin.
    """
    env: Any = make_meta_env("ContextualTwoStep-v0", num_envs)
    env.set_tasks(env.sample_tasks(num_envs, generator(0, Purpose.TASKS)))
    rng, rows = generator(0, Purpose.ACTIONS), np.arange(num_envs)
    past: list[Any] = []
    steps: list[Any] = []
    for trial in range(100):
        first, _ = env.reset(**({"seed": 0} if trial == 0 else {}))
        which = env.recalled_trials if kind.startswith("episodic") else np.full(num_envs, trial - 1)
        choices = rng.integers(2, size=num_envs)
        if past and kind != "random":
            earlier, state, paid = (np.stack(part)[np.maximum(which, 0), rows] for part in zip(*past, strict=True))
            credited = state if kind.endswith("model-based") else earlier
            advised = np.where(paid > 0, credited, 1 - credited)
            followed = np.where(rng.random(num_envs) < CONFIDENCE, advised, 1 - advised)
            choices = np.where(which >= 0, followed, choices)
        second = env.step(choices)[0]
        rewards = env.step(choices)[1]
        past.append((choices, second[:, 1:3].argmax(axis=1), rewards))
        steps += [(first, choices, np.zeros(num_envs)), (second, choices, rewards)]
    return contextual_two_step_trials(*(np.stack(part, axis=1) for part in zip(*steps, strict=True)))


def test_trials_are_read_off_what_was_observed():
    trials = trials_of("random")
    assert (trials.recalled[:, :50] == -1).all()
    np.testing.assert_array_equal(np.sort(trials.recalled[:, 50:75]), np.tile(np.arange(25), (300, 1)))
    np.testing.assert_array_equal(np.sort(trials.recalled[:, 75:]), np.tile(np.arange(25, 50), (300, 1)))
    pairs = trial_pairs(trials, "cued-episodic")
    again = trials.seconds[:, 50:].ravel() == pairs.seconds
    np.testing.assert_array_equal(trials.rewarded[:, 50:].ravel()[again], pairs.rewarded[again])
    assert [len(trial_pairs(trials, pairing).choices) for pairing in PAIRINGS] == [300 * 49, 300 * 50, 300 * 50]


@pytest.mark.parametrize("rule", ["model-based", "model-free"])
@pytest.mark.parametrize("when", ["episodic", "incremental"])
def test_the_regression_finds_the_rule_of_an_agent_and_nothing_else(when, rule):
    trials = trials_of(f"{when} {rule}")
    for cued in (False, True):
        for name, (coefficient, error) in regress_choices(trials, cued=cued).items():
            truth = logit(CONFIDENCE) if name == f"{when} {rule}" else 0.0
            assert abs(coefficient - truth) < 4 * error, name
            assert error < 0.1


def test_a_random_agent_stays_half_of_the_time_for_no_reason():
    trials = trials_of("random")
    for cued in (False, True):
        assert all(abs(b) < 4 * error for b, error in regress_choices(trials, cued=cued).values())
    for pairing in PAIRINGS:
        pairs = trial_pairs(trials, pairing)
        np.testing.assert_allclose(stay_table(pairs), 0.5, atol=0.06)
        fit = regress_stays(pairs)
        assert (np.abs(fit.coefficients) < 4 * fit.errors).all()


@pytest.mark.parametrize(("when", "pairing"), [("episodic", "cued-episodic"), ("incremental", "cued-incremental")])
def test_the_interaction_is_that_of_model_based_agents_alone(when, pairing):
    tables, fits = {}, {}
    for rule in ("model-based", "model-free"):
        pairs = trial_pairs(trials_of(f"{when} {rule}"), pairing)
        tables[rule], fits[rule] = stay_table(pairs), regress_stays(pairs)
    np.testing.assert_allclose(tables["model-based"], [[0.9, 0.1], [0.1, 0.9]], atol=0.04)
    np.testing.assert_allclose(tables["model-free"], [[0.9, 0.9], [0.1, 0.1]], atol=0.04)
    assert model_based_index(tables["model-based"]) > 1.4 > 0.2 > abs(model_based_index(tables["model-free"]))
    assert model_free_index(tables["model-free"]) > 1.4 > 0.2 > abs(model_free_index(tables["model-based"]))
    for rule, term in (("model-based", 3), ("model-free", 1)):
        truth = np.zeros(4)
        truth[term] = logit(CONFIDENCE)
        assert (np.abs(fits[rule].coefficients - truth) < 4 * fits[rule].errors).all()


def test_only_both_trials_together_tell_recalled_reasons_from_recent_ones():
    """Trials recalled one after another have the rich state in common, so that one seems to explain the next choice."""
    trials = trials_of("episodic model-based")
    np.testing.assert_allclose(stay_table(trial_pairs(trials, "uncued-incremental")), 0.5, atol=0.06)
    alone = regress_stays(trial_pairs(trials, "cued-incremental"))
    assert alone.coefficients[3] > 6 * alone.errors[3]
    together, error = regress_choices(trials, cued=True)["incremental model-based"]
    assert abs(together) < 4 * error


@cache
def trials_of_learner(model_based, learning_rate, num_envs=600):
    """Trials (N, 100) of an agent that learns values incrementally and recalls no trial."""
    env: Any = make_meta_env("ContextualTwoStep-v0", num_envs)
    env.set_tasks(env.sample_tasks(num_envs, generator(0, Purpose.TASKS)))
    rng, rows, values = generator(0, Purpose.ACTIONS), np.arange(num_envs), np.full((num_envs, 2), 0.5)
    steps: list[Any] = []
    for trial in range(100):
        first, _ = env.reset(**({"seed": 0} if trial == 0 else {}))
        worths = 0.8 * values + 0.2 * values[:, ::-1] if model_based else values
        choices = (rng.random(num_envs) < expit(4.0 * (worths[:, 1] - worths[:, 0]))).astype(int)
        second = env.step(choices)[0]
        rewards = env.step(choices)[1]
        learned = second[:, 1:3].argmax(axis=1) if model_based else choices
        values[rows, learned] += learning_rate * (rewards - values[rows, learned])
        steps += [(first, choices, np.zeros(num_envs)), (second, choices, rewards)]
    return contextual_two_step_trials(*(np.stack(part, axis=1) for part in zip(*steps, strict=True)))


@pytest.mark.parametrize("model_based", [False, True])
@pytest.mark.parametrize("learning_rate", [0.1, 0.5])
def test_a_learner_that_recalls_no_trial_is_explained_as_well_by_a_substitute(model_based, learning_rate):
    trials = trials_of_learner(model_based, learning_rate)
    substituted = with_substitutes(trials, generator(0, Purpose.STATISTICS))
    own, other = regress_choices(trials, cued=True), regress_choices(substituted, cued=True)
    assert own["episodic model-based"][0] > 6 * own["episodic model-based"][1]  # though it recalls nothing
    for name in ("episodic model-based", "episodic model-free"):
        difference, error = own[name][0] - other[name][0], np.hypot(own[name][1], other[name][1])
        assert abs(difference) < 4 * error


@pytest.mark.parametrize("rule", ["model-based", "model-free"])
def test_an_agent_that_recalls_is_explained_beyond_substitutes(rule):
    trials = trials_of(f"episodic {rule}")
    substituted = with_substitutes(trials, generator(0, Purpose.STATISTICS))
    own, other = (regress_choices(part, cued=True)[f"episodic {rule}"][0] for part in (trials, substituted))
    assert own - other > 1.5


def test_substitutes_are_other_trials_of_the_quarter_not_recalled_before():
    trials = trials_of("random")
    found, own = with_substitutes(trials, generator(0, Purpose.STATISTICS)).recalled, trials.recalled
    np.testing.assert_array_equal(found < 0, own < 0)
    np.testing.assert_array_equal(found[:, 50:] < 25, own[:, 50:] < 25)
    kept = found[:, 50:] == own[:, 50:]
    np.testing.assert_array_equal(kept, np.tile(np.isin(np.arange(50), (24, 49)), (300, 1)))
    for trial in range(50, 100):
        assert not (found[:, trial, np.newaxis] == own[:, 50:trial]).any()
    two = found[:, 72][:, np.newaxis] == own[:, 73:75]  # three trials left: each of the others equally often
    assert consistent(two[:, 0].sum(), 300, 0.5)
    assert two.any(axis=1).all()


CODES = np.array([[1, 1], [1, -1]])
STEPS = np.array([[1, 0, 0, 0], [0, 1, 0, 1], [1, 0, 0, -1], [0, 1, 0, 0]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exposure_numbers(np.array(1)), r"contexts: got a number, expected \(..., E\)"),
        (lambda: mean_by_exposure(CODES, CODES[0]), r"values: got shape \(2, 2\), expected \(2,\), that of exposures"),
        (lambda: first_pull_accuracy(CODES, CODES), r"choices: got shape \(2, 2\), expected \(..., E, P\)"),
        (
            lambda: single_arm_accuracy(CODES, CODES[0]),
            r"best, counted: got shapes \(2, 2\), \(2,\), expected \(M, E\)",
        ),
        (lambda: reward_by_pull(CODES, CODES), r"rewards: got shape \(2, 2\), expected \(..., E, P\)"),
        (
            lambda: roll_out_bayes_agent(np.zeros(2), np.zeros((2, 1), int), 1, np.random.default_rng(0), num_arms=2),
            r"contexts, best: got shapes \(2,\), \(2, 1\), expected \(M, E\), \(M, C\)",
        ),
        (
            lambda: roll_out_bayes_agent(
                CODES * 0, CODES * 0, 1, np.random.default_rng(0), num_arms=2, probabilities=(0.1, 0.9)
            ),
            r"probabilities: got 0.1, 0.9, expected 0 <= other < best <= 1",
        ),
        (lambda: contextual_two_step_trials(STEPS, np.zeros(4, int), np.zeros(4)), r"got a cue that is no context of"),
        (
            lambda: trial_pairs(trials_of("random"), cast(Any, "cued")),
            r"pairing: got 'cued', expected one of uncued-incremental",
        ),
        (
            lambda: with_substitutes(ContextualTrials(*[np.array([[-1, -1], [-1, 0]])] * 4), np.random.default_rng(0)),
            r"trials: got different numbers of uncued trials, expected one for all",
        ),
        (lambda: fit_logistic(np.zeros((0, 1)), np.zeros(0)), r"features, outcomes: got shapes \(0, 1\), \(0,\)"),
        (lambda: fit_logistic(np.ones((2, 1)), np.full(2, 0.5)), r"features, outcomes: expected finite features"),
        (lambda: fit_logistic(np.ones((2, 1)), np.ones(2), penalty=0.0), r"penalty: got 0.0, expected a number > 0"),
    ],
)
def test_arrays_that_make_no_sense_are_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
