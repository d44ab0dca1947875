"""Models of people's choices against sums by hand, closed forms, simulation, and each other."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.choice_models import ChoiceModel
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.drifting_bandits import DriftingArms, draw_drifting_means, kalman_thompson
from maml_rl.analysis.kalman_models import ThompsonModel
from maml_rl.analysis.lagged_regression import LAGGED_TERMS, regress_on_past
from maml_rl.analysis.model_fits import fit_model
from maml_rl.analysis.people.catalogue import (
    BANDIT_MODELS,
    RewardAssumptions,
    assume,
    bandit_models,
    scaled,
    two_step_models,
)
from maml_rl.analysis.people.designs import BanditDesign, TwoStepDesign
from maml_rl.analysis.people.group_fits import fit_group, standard_errors
from maml_rl.analysis.people.recovery import draw_parameters, recover_models, recover_parameters
from maml_rl.analysis.two_step_choices import TwoStepChoices
from maml_rl.analysis.two_step_models import HybridModel, RepeatModel
from maml_rl.analysis.value_models import TDModel, TwoRatesModel
from maml_rl.analysis.win_stay_model import WinStayModel
from maml_rl.tests.builders import drifting_means
from maml_rl.utils.random import Purpose, generator

every_bandit_model = pytest.mark.parametrize("name", BANDIT_MODELS)


def of_bandit(name):
    """A model and typical parameters of it."""
    model = bandit_models()[name]
    return model, draw_parameters(model, generator(3, Purpose.STATISTICS))


def some_choices(num_arms=3, num_trials=12):
    rng = generator(4, Purpose.STATISTICS)
    return Choices(rng.integers(0, num_arms, (2, num_trials)), rng.normal(1.0, 0.5, (2, num_trials)), num_arms)


@every_bandit_model
def test_what_arms_are_called_does_not_matter(name):
    model, parameters = of_bandit(name)
    data, order = some_choices(), np.array([2, 0, 1])
    logs = model.trial_log_likelihoods(data, parameters)
    renamed = model.trial_log_likelihoods(Choices(order[data.choices], data.rewards, 3), parameters)
    np.testing.assert_allclose(logs, renamed, rtol=1e-9, atol=1e-12)


@every_bandit_model
def test_every_model_gives_all_arms_together_probability_one_and_missed_trials_none(name):
    model, parameters = of_bandit(name)
    data, total = some_choices(), 0.0
    for arm in range(3):
        choices = data.choices.copy()
        choices[:, -1] = arm
        choices[:, 5] = MISSED
        logs = model.trial_log_likelihoods(Choices(choices, data.rewards, 3), parameters)
        assert not logs[:, 5].any()
        total = total + np.exp(logs[:, -1])
    np.testing.assert_allclose(total, 1.0, rtol=1e-5)


@every_bandit_model
def test_trials_missed_at_the_end_change_nothing(name):
    model, parameters = of_bandit(name)
    data = some_choices()
    padding = ((0, 0), (0, 4))
    longer = Choices(np.pad(data.choices, padding, constant_values=MISSED), np.pad(data.rewards, padding), 3)
    logs = model.trial_log_likelihoods(longer, parameters)
    np.testing.assert_allclose(logs[:, :-4], model.trial_log_likelihoods(data, parameters), rtol=1e-9)
    assert longer.num_choices == data.num_choices


@pytest.mark.parametrize("name", ["two-rates", "kalman-thompson", "win-stay-lose-shift"])
@pytest.mark.parametrize("noise", [0.4, None])
def test_simulated_choices_are_as_frequent_as_they_are_likely(name, noise):
    model, parameters = of_bandit(name)
    means = np.tile([0.2, 0.5, 0.9], (1500, 6, 1))
    data, likely = model.simulate(means, parameters, noise, generator(5, Purpose.STATISTICS)), np.zeros(3)
    assert noise is not None or set(np.unique(data.rewards)) == {0.0, 1.0}
    for arm in range(3):
        choices = data.choices.copy()
        choices[:, -1] = arm
        likely[arm] = np.exp(model.trial_log_likelihoods(Choices(choices, data.rewards, 3), parameters)[:, -1]).mean()
    np.testing.assert_allclose(np.bincount(data.choices[:, -1], minlength=3) / 1500, likely, atol=4 * 0.5 / 1500**0.5)


def test_two_learning_rates_move_values_up_and_down():
    data = Choices(np.array([[0, 0, 1]]), np.array([[3.0, 1.0, 0.0]]), 2)
    values = TwoRatesModel(1.0).values(data, np.array([0.5, 2.0, 0.0, 0.25]))[0]
    np.testing.assert_allclose(values, [[1.0, 1.0], [2.0, 1.0], [1.75, 1.0]])
    same = np.array([0.3, 2.0, 0.5, 0.3])
    expected = TDModel().trial_log_likelihoods(some_choices(), same[:3])
    np.testing.assert_allclose(TwoRatesModel().trial_log_likelihoods(some_choices(), same), expected)


def test_win_stay_lose_shift_by_hand():
    data = Choices(np.array([[0, 0, MISSED, 1, 2]]), np.array([[2.0, 0.0, 0.0, 1.5, 0.0]]), 3)
    logs = WinStayModel(1.0).trial_log_likelihoods(data, np.array([0.9, 0.6]))[0]
    np.testing.assert_allclose(logs, np.log([1 / 3, 0.9, 1.0, 0.6 / 2, 0.1 / 2]))


def test_thompson_sampling_of_two_arms_is_a_probit():
    model, (phi, beta, kappa) = ThompsonModel(), (0.8, 6.0, 0.5)
    data = some_choices(num_arms=2)
    means, variances = model.known(data, (phi, beta, kappa))
    spread = np.sqrt(2.0 + (beta * phi) ** 2 * variances.sum(axis=2))  # (E, T)
    repeat = np.zeros((2, 12))
    repeat[:, 1:] = np.where(data.choices[:, :-1] == 0, kappa, -kappa)
    first = norm.cdf((beta * (means[..., 0] - means[..., 1]) + repeat) / spread)
    expected = np.log(np.where(data.choices == 0, first, 1.0 - first))
    found = model.trial_log_likelihoods(data, np.array([phi, beta, kappa]))
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_with_little_noise_it_is_thompson_s_rule():
    rng, num_draws = generator(6, Purpose.STATISTICS), 20_000
    data = Choices(np.array([[0, 1, 1, 2, 3]]), np.array([[1.2, 0.7, 0.9, 1.1, 1.0]]), 4)
    model = ThompsonModel()
    means, variances = (part[0, -1] for part in model.known(data, (1.0, 1e4, 0.0)))
    scores = kalman_thompson(np.tile(means, (num_draws, 1)), np.tile(np.sqrt(variances), (num_draws, 1)), rng)
    for arm in range(4):
        choices = data.choices.copy()
        choices[0, -1] = arm
        logs = model.trial_log_likelihoods(Choices(choices, data.rewards, 4), np.array([1.0, 1e4, 0.0]))
        assert math.exp(logs[0, -1]) == pytest.approx((scores.argmax(axis=1) == arm).mean(), abs=0.015)


def test_means_drift_as_those_of_the_environment_do():
    ours = draw_drifting_means(3, 20, 4, generator(7, Purpose.STATISTICS))
    np.testing.assert_array_equal(ours, drifting_means(3, 20, generator(7, Purpose.STATISTICS)))


def test_assumptions_follow_from_rewards_and_are_said():
    coins = {"a": Choices(np.array([[0, 1, MISSED]]), np.array([[1.0, 0.0, 0.0]]), 2)}
    own = assume(coins)
    assert (own.scale, own.initial_value, own.arms) == (1.0, 0.5, DriftingArms(1.0, 0.5, 0.0, 0.5))
    assert own.note.startswith("rewards: 0 and 1, divided by 1; an arm is expected to give 0.5 before")
    points = {"a": Choices(np.array([[0, 1]]), np.array([[40.0, 66.0]]), 2)}
    own = assume(points)
    assert (own.scale, own.initial_value) == (50.0, 53.0)
    assert own.arms == DriftingArms(centre=53.0)
    assert own.first_deviation == pytest.approx(RewardAssumptions().first_deviation)
    assert scaled(points, own.scale)["a"].rewards.tolist() == [[0.8, 1.32]]
    own = assume(points, scale=10.0, initial_value=60.0, arms=DriftingArms(0.9, 60.0, 1.0, 2.0))
    assert (own.scale, own.initial_value, own.arms.decay) == (10.0, 60.0, 0.9)
    assert "Kalman filters assume (as given) decay 0.9, centre 60" in own.note


FULL = np.array([0.4, 0.3, 3.0, 2.0, 0.6, 0.7, 0.2])


def some_two_step(second=True, num_trials=9):
    rng = generator(8, Purpose.STATISTICS)
    choices, seconds, actions = (rng.integers(2, size=(2, num_trials)) for _ in range(3))
    choices[0, 4] = MISSED
    return TwoStepChoices(choices, seconds, actions if second else None, rng.integers(2, size=(2, num_trials)))


def hybrid_by_hand(data, parameters, common=0.7):
    """Log likelihoods (E, T) of Daw et al. 2011's hybrid, one trial after the other, with the equations as written."""
    alpha1, alpha2, beta1, beta2, trace, weight, repeat = parameters
    logs = np.zeros(data.choices.shape)
    for episode in range(len(data)):
        first, second, last = {0: 0.0, 1: 0.0}, {(s, a): 0.0 for s in (0, 1) for a in (0, 1)}, None
        for trial in range(data.choices.shape[1]):
            a1, s, reward = (int(part[episode, trial]) for part in (data.choices, data.seconds, data.rewards))
            if a1 == MISSED:
                continue
            a2 = 0 if data.second_choices is None else int(data.second_choices[episode, trial])
            best = [max(second[state, a] for a in (0, 1)) for state in (0, 1)]
            if data.second_choices is None:
                best = [second[0, 0], second[1, 0]]
            net = [
                weight * (common * best[a] + (1 - common) * best[1 - a])
                + (1 - weight) * first[a]
                + repeat * (a == last)
                for a in (0, 1)
            ]
            logs[episode, trial] = beta1 * net[a1] - math.log(sum(math.exp(beta1 * value) for value in net))
            if data.second_choices is not None:
                total = sum(math.exp(beta2 * second[s, a]) for a in (0, 1))
                logs[episode, trial] += beta2 * second[s, a2] - math.log(total)
            error1 = second[s, a2] - first[a1]
            error2 = reward - second[s, a2]
            first[a1] += alpha1 * error1 + alpha1 * trace * error2
            second[s, a2] += alpha2 * error2
            last = a1
    return logs


@pytest.mark.parametrize("second", [True, False])
def test_the_hybrid_is_that_of_daw_and_its_ends_are_the_two_pure_learners(second):
    data = some_two_step(second)
    kept = [index for index in range(7) if second or index != 3]
    found = HybridModel(choice_at_stage_two=second).trial_log_likelihoods(data, FULL[kept])
    np.testing.assert_allclose(found, hybrid_by_hand(data, FULL), atol=1e-12)
    for name, weight, own in (("model-based", 1.0, (1, 2, 3, 6)), ("model-free", 0.0, (0, 1, 2, 3, 4, 6))):
        pure = FULL.copy()
        pure[5] = weight
        model = two_step_models(choice_at_stage_two=second)[name]
        alone = model.trial_log_likelihoods(data, FULL[[index for index in own if index in kept]])
        np.testing.assert_allclose(alone, hybrid_by_hand(data, pure), atol=1e-12)


def test_choices_without_values_are_repeated_or_not():
    data = TwoStepChoices(np.array([[0, 0, 1]]), np.array([[0, 0, 0]]), np.array([[1, 1, 0]]), np.ones((1, 3)))
    logs = RepeatModel().trial_log_likelihoods(data, np.array([1.0, 2.0]))[0]
    one, two = math.log(1 / (1 + math.exp(-1.0))), math.log(1 / (1 + math.exp(-2.0)))
    np.testing.assert_allclose(logs, [2 * math.log(0.5), one + two, one - 1.0 + two - 2.0])
    assert RepeatModel().trial_log_likelihoods(data, np.zeros(2)).sum() == pytest.approx(data.chance_log_likelihood)


@pytest.mark.parametrize("name", ["hybrid", "model-based", "model-free", "repeat"])
def test_simulated_trials_of_two_steps_are_as_frequent_as_they_are_likely(name):
    model = two_step_models()[name]
    parameters = draw_parameters(model, generator(9, Purpose.STATISTICS))
    probabilities = np.tile([[0.9, 0.4], [0.2, 0.6]], (4000, 5, 1, 1))
    data = model.simulate(probabilities, parameters, 0.7, generator(10, Purpose.STATISTICS))
    assert data.common.mean() == pytest.approx(0.7, abs=0.02)
    for first, second in np.ndindex(2, 2):
        choices, actions = data.choices.copy(), np.array(data.second_choices)
        choices[:, -1], actions[:, -1] = first, second
        changed = TwoStepChoices(choices, data.seconds, actions, data.rewards)
        likely = np.exp(model.trial_log_likelihoods(changed, parameters)[:, -1])
        # Stage two is likely given the state reached, which each choice reaches with its own probability.
        reached = np.where(choices[:, -1] == data.seconds[:, -1], 0.7, 0.3)
        given = np.where(data.choices[:, -1] == data.seconds[:, -1], 0.7, 0.3)
        made = (data.choices[:, -1] == first) & (np.array(data.second_choices)[:, -1] == second)
        assert made.mean() == pytest.approx((likely * reached / given).mean(), abs=0.05)


def test_two_step_trials_that_are_none_are_refused():
    with pytest.raises(ValueError, match=r"choices: got \[2\], expected 0 or 1"):
        TwoStepChoices(np.array([[2]]), np.array([[0]]), None, np.ones((1, 1)))
    with pytest.raises(ValueError, match="rewards: got shape"):
        TwoStepChoices(np.array([[1]]), np.array([[0]]), None, np.ones((1, 2)))
    with pytest.raises(ValueError, match="second_choices: got none, expected some; set choice_at_stage_two"):
        HybridModel().trial_log_likelihoods(some_two_step(second=False), FULL)
    with pytest.raises(ValueError, match="kind: got 'both', expected one of hybrid"):
        HybridModel("both")  # type: ignore[arg-type]


def test_standard_errors_are_those_of_the_closed_form():
    choices, rewards = np.zeros((60, 2), dtype=np.int64), np.full((60, 2), 2.0)
    choices[30:40, 1] = 1  # of 40 choices after a win 30 stay
    rewards[40:, 0] = 0.0
    choices[45:, 1] = 1  # of 20 after a loss 15 shift
    data = Choices(choices, rewards, 2)
    fit = fit_model(WinStayModel(), data, generator(0, Purpose.STATISTICS))
    np.testing.assert_allclose(fit.parameters, 0.75, atol=1e-4)
    errors = standard_errors(WinStayModel(), data, fit)
    np.testing.assert_allclose(errors, np.sqrt(0.75 * 0.25 / np.array([40, 20])), rtol=1e-3)
    assert fit.log_likelihood == pytest.approx(45 * math.log(0.75) + 15 * math.log(0.25) + 60 * math.log(0.5))
    assert fit.aic == pytest.approx(4.0 - 2.0 * fit.log_likelihood)
    assert fit.pseudo_r2 == pytest.approx(1.0 + fit.log_likelihood / (120 * math.log(2)))
    assert not fit.at_bound


def test_effects_of_earlier_trials_tell_planning_from_habit():
    design, sums = TwoStepDesign(num_trials=1500), {}
    for name, parameters in (("model-based", (0.5, 5.0, 3.0, 0.1)), ("model-free", (0.5, 0.5, 5.0, 3.0, 0.9, 0.1))):
        model = two_step_models()[name]
        data = design.play(model, np.array(parameters), generator(11, Purpose.STATISTICS))
        fit = regress_on_past(data, num_lags=3)
        assert fit.num_choices == 1497
        sums[name] = dict(zip(LAGGED_TERMS, fit.coefficients[:, 0] / fit.errors[:, 0], strict=True))
    assert sums["model-based"]["transition x outcome"] > 4.0 > abs(sums["model-based"]["outcome"])
    assert sums["model-free"]["outcome"] > 4.0 > abs(sums["model-free"]["transition x outcome"])
    with pytest.raises(ValueError, match="num_lags: got 9, expected fewer than the 9 trials"):
        regress_on_past(some_two_step(), num_lags=9)


def test_a_fit_does_not_depend_on_who_else_is_fitted():
    design = BanditDesign(num_trials=40)
    models: dict[str, ChoiceModel] = {"td": TDModel(), "wsls": WinStayModel()}
    subjects = {
        name: design.play(TDModel(), np.array([0.5, 4.0, 0.5]), generator(index, Purpose.STATISTICS))
        for index, name in enumerate("ab")
    }
    found = fit_group(models, subjects)
    alone = fit_group({"td": TDModel()}, {"a": subjects["a"]})
    np.testing.assert_array_equal(found.parameters("td")[0], alone.parameters("td")[0])
    assert found.log_evidences.shape == (2, 2)
    assert found.log_evidences[0, 0] == -0.5 * found.fits["td"][0].bic


@pytest.mark.slow
def test_recovery_finds_what_is_easy_and_says_how_well():
    models: dict[str, Any] = {"wsls": WinStayModel(), "td": TDModel()}
    found = recover_models(models, BanditDesign(), num_subjects=3, num_starts=1)
    assert found.log_evidences.shape == (2, 1, 3, 2)
    assert (np.diag(found.by_subject) > 0.6).all()
    np.testing.assert_allclose(found.by_group.sum(axis=1), 1.0)
    assert "| wsls | **" in "\n".join(found.table())
    assert (found + found).log_evidences.shape == (2, 2, 3, 2)
    assert (found + found).parameters["td"].true.shape == (6, 3)
    one = recover_parameters(WinStayModel(), BanditDesign(), num_subjects=8)
    assert (one.rank_correlations(8) > 0.6).all()
    assert one.table(group_size=4)[2].startswith("| stay after a win | 0.")


@pytest.mark.slow
@pytest.mark.parametrize("name", BANDIT_MODELS)
def test_parameters_of_every_bandit_model_are_recovered_from_many_trials(name):
    design = BanditDesign(num_trials=150, num_episodes=5)
    found = recover_parameters(bandit_models()[name], design, num_subjects=16)
    recovered = dict(zip(found.names, found.rank_correlations(16)[0], strict=True))
    if name == "bonus":  # where a bonus makes choices nearly certain, a preference for the last one changes few of them
        assert recovered.pop("perseveration") < 0.6
    assert min(recovered.values()) > 0.6, recovered


@pytest.mark.slow
def test_the_weight_of_planning_is_recovered_from_many_trials():
    found = recover_parameters(two_step_models()["hybrid"], TwoStepDesign(num_trials=1000), num_subjects=16)
    assert found.rank_correlations(16)[0, 5] > 0.7
