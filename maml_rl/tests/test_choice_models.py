"""Likelihoods against enumeration and simulation, fits against the parameters that made the choices."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.choice_models import ChoiceModel
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.delta_rule import fit_learning_rate
from maml_rl.analysis.drifting_bandits import kalman_ucb, roll_out_drifting_bandit
from maml_rl.analysis.kalman_models import KalmanModel
from maml_rl.analysis.model_fits import ModelFit, cross_validated, fit_model, held_out, log_bayes_factor
from maml_rl.analysis.sampling_model import ForgettingSamplingModel, SamplingModel
from maml_rl.analysis.value_models import BonusModel, ForgettingModel, TDModel
from maml_rl.tests.builders import drifting_means
from maml_rl.utils.random import Purpose, generator

PARAMETERS = [(0.3, 2.0, 0.5), (0.9, 15.0, -1.0), (0.05, 0.0, 0.3), (0.6, 30.0, 2.0), (1.0, 5.0, 0.0)]
MODELS: list[ChoiceModel] = [TDModel(), SamplingModel(), SamplingModel(age="trials")]


def some_choices(num_episodes=2, num_trials=9, num_arms=3):
    rng = generator(3, Purpose.STATISTICS)
    choices = rng.integers(0, num_arms, (num_episodes, num_trials))
    return Choices(choices, rng.normal(1.0, 0.5, choices.shape), num_arms)


def enumerated(model, data, parameters):
    """Log probabilities (E, T) of the sampling model: the softmax of every combination of past rewards."""
    alpha, beta, kappa, *rest = parameters
    kept = 1 - (rest[0] if rest else 0.0)
    logs = np.empty(data.choices.shape)
    for episode, trial in np.ndindex(data.choices.shape):
        draws = []
        for arm in range(data.num_arms):
            past = [i for i in range(trial) if data.choices[episode, i] == arm]
            if model.age == "choices":
                idle = [trial - 1 - i - (len(past) - 1 - n) for n, i in enumerate(past)]  # trials of other arms since
                weights = [alpha * (1 - alpha) ** (len(past) - 1 - n) * kept ** idle[n] for n in range(len(past))]
                weighted = [(w, data.rewards[episode, i]) for w, i in zip(weights, past, strict=True)]
                weighted.append((1 - sum(weights), model.initial_value))
            else:
                weights = [(1 - alpha) ** (past[-1] - i) for i in past]  # but for a common factor
                weighted = [(w / sum(weights), data.rewards[episode, i]) for w, i in zip(weights, past, strict=True)]
            draws.append(weighted or [(1.0, model.initial_value)])
        probability = 0.0
        for combination in itertools.product(*draws):
            logits = np.array([beta * value for _, value in combination])
            if trial:
                logits[data.choices[episode, trial - 1]] += kappa
            odds = np.exp(logits - logits.max())
            weight = np.prod([weight for weight, _ in combination])
            probability += weight * odds[data.choices[episode, trial]] / odds.sum()
        logs[episode, trial] = np.log(probability)
    return logs


@pytest.mark.parametrize("parameters", PARAMETERS)
@pytest.mark.parametrize("age", ["choices", "trials"])
def test_the_sampling_likelihood_is_that_of_all_combinations_of_past_rewards(age, parameters):
    data, model = some_choices(), SamplingModel(age=age)
    exact = enumerated(model, data, parameters)
    np.testing.assert_allclose(model.trial_log_likelihoods(data, np.array(parameters)), exact, rtol=0, atol=1e-10)
    coarse = SamplingModel(age=age, spacing=0.5).trial_log_likelihoods(data, np.array(parameters))
    np.testing.assert_allclose(coarse, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("phi", [0.0, 0.3, 1.0])
def test_the_likelihood_of_sampling_that_forgets_is_that_of_all_combinations(phi):
    data, parameters = some_choices(), (0.4, 3.0, 0.5, phi)
    exact = enumerated(ForgettingSamplingModel(), data, parameters)
    found = ForgettingSamplingModel().trial_log_likelihoods(data, np.array(parameters))
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10)
    if phi == 0.0:
        np.testing.assert_array_equal(found, SamplingModel().trial_log_likelihoods(data, np.array(parameters[:3])))


def test_samples_that_are_forgotten_have_the_mean_of_averages_that_are():
    data, parameters = some_choices(1, 9), np.array([0.4, 3.0, 0.5, 0.2])
    values = ForgettingModel().values(data, parameters)[0, 8]
    choices, rewards = (np.repeat(part[:, :8], 40_000, 0) for part in (data.choices, data.rewards))
    rng = generator(4, Purpose.STATISTICS)
    drawn = ForgettingSamplingModel()._draw_values(choices, rewards, 3, (0.4, 0.2), rng)
    np.testing.assert_allclose(drawn.mean(axis=0), values, atol=0.01)
    with pytest.raises(ValueError, match="age: got 'trials', expected 'choices' where weights are forgotten"):
        ForgettingSamplingModel(age="trials")


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_probabilities_of_all_arms_sum_to_one(model):
    data = some_choices()
    for trial in (0, 1, 8):
        total = 0.0
        for arm in range(data.num_arms):
            choices = data.choices.copy()
            choices[:, trial] = arm
            changed = Choices(choices, data.rewards, data.num_arms)
            total = total + np.exp(model.trial_log_likelihoods(changed, np.array([0.4, 6.0, 0.7]))[:, trial])
        np.testing.assert_allclose(total, 1.0, rtol=1e-10)


def test_without_anything_to_average_both_models_are_the_same():
    data = some_choices()
    parameters = np.array([1.0, 3.0, 0.4])  # the last reward of every arm, for certain
    td, sampling = (model.trial_log_likelihoods(data, parameters) for model in MODELS[:2])
    np.testing.assert_allclose(td, sampling, rtol=0, atol=1e-10)


def test_without_perseveration_the_td_model_is_the_delta_rule():
    data = some_choices(4, 40, 2)
    fit = fit_learning_rate(data.choices, data.rewards, initial_value=1.0)
    logs = TDModel().trial_log_likelihoods(data, np.array([fit.learning_rate, fit.inverse_temperature, 0.0]))
    assert logs.sum() == pytest.approx(fit.log_likelihood, abs=1e-9)


@pytest.mark.parametrize("model", MODELS, ids=str)
def test_the_likelihood_is_that_of_the_simulated_model(model):
    """Calibration: what a model gives probability p happens in a share p of its simulations."""
    parameters = np.array([0.5, 4.0, 0.6])
    data = model.simulate(np.tile([0.5, 1.0, 1.5], (3000, 12, 1)), parameters, 0.4, generator(1, Purpose.STATISTICS))
    probabilities, hits = [], []
    for arm in range(3):
        choices = data.choices.copy()
        choices[:, -1] = arm
        logs = model.trial_log_likelihoods(Choices(choices, data.rewards, 3), parameters)[:, -1]
        probabilities.append(np.exp(logs))
        hits.append(data.choices[:, -1] == arm)
    p, hit = np.concatenate(probabilities), np.concatenate(hits)
    for low, high in itertools.pairwise(np.quantile(p, [0.0, 0.25, 0.5, 0.75, 1.0])):
        inside = (p >= low) & (p <= high)
        error = np.sqrt((p[inside] * (1 - p[inside])).sum()) / inside.sum()
        assert abs(p[inside].mean() - hit[inside].mean()) < 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("model", [TDModel(), SamplingModel(spacing=0.5)], ids=str)
def test_parameters_are_recovered(model):
    true = np.array([0.6, 8.0, 1.0])
    found = []
    for seed in range(9):
        rng = generator(seed, Purpose.STATISTICS)
        data = model.simulate(drifting_means(10, 150, rng) / 50, true, 0.08, rng)
        found.append(fit_model(model, data, rng).parameters)
    errors = np.median(np.abs(np.array(found) / true - 1.0), axis=0)
    assert (errors < 0.1).all(), errors


@pytest.mark.slow
def test_choices_speak_for_the_model_that_made_them():
    rng = generator(2, Purpose.STATISTICS)
    models: tuple[ChoiceModel, ...] = (TDModel(), SamplingModel(spacing=0.6))
    for index, model in enumerate(models):
        data = model.simulate(drifting_means(6, 150, rng) / 50, np.array([0.3, 8.0, 0.5]), 0.08, rng)
        fits = [fit_model(candidate, data, rng, num_starts=1) for candidate in models]
        assert (log_bayes_factor(fits[0], fits[1]) > 3.0) == (index == 0)
        assert log_bayes_factor(fits[0], fits[1]) == pytest.approx(fits[0].log_likelihood - fits[1].log_likelihood)
        assert fits[0].num_choices == 900
        asked = [cross_validated(candidate, data, rng, num_folds=2) for candidate in models]
        assert (asked[0] > asked[1]) == (index == 0)
        assert asked[index] < fits[index].log_likelihood


def test_an_episode_is_asked_about_with_parameters_of_other_folds():
    data, rng, start = some_choices(5, 30), generator(0, Purpose.STATISTICS), np.array([0.5, 2.0, 0.0])
    found = held_out(TDModel(), data, rng, num_folds=2, start=start)
    assert found.parameters.shape == (2, 3)
    other = fit_model(TDModel(), data.episodes([1, 3]), rng, start=start)
    np.testing.assert_array_equal(found.parameters[0], other.parameters)
    logs = TDModel().trial_log_likelihoods(data.episodes([0, 2, 4]), other.parameters).sum(axis=1)
    np.testing.assert_allclose(found.log_likelihoods[::2], logs)
    assert cross_validated(TDModel(), data, rng, num_folds=2, start=start) == found.log_likelihoods.sum()


@pytest.mark.parametrize("parameters", [(1.5, 1.0, 0.0), (0.5, -1.0, 0.0), (0.5, 1.0, np.nan)])
@pytest.mark.parametrize("model", MODELS, ids=str)
def test_impossible_parameters_are_refused(model, parameters):
    with pytest.raises(ValueError, match=r"parameters: got .*, expected (0 to|finite numbers: learning rate)"):
        model.trial_log_likelihoods(some_choices(), np.array(parameters))


@pytest.mark.parametrize("model", MODELS[:2], ids=str)
def test_a_missed_trial_is_as_if_it_had_not_been(model):
    data, parameters = some_choices(), np.array([0.4, 6.0, 0.7])
    choices, rewards = (np.insert(part, 4, MISSED, axis=1) for part in (data.choices, data.rewards))
    logs = model.trial_log_likelihoods(Choices(choices, rewards, data.num_arms), parameters)
    np.testing.assert_array_equal(logs[:, 4], 0.0)
    expected = model.trial_log_likelihoods(data, parameters)
    np.testing.assert_allclose(np.delete(logs, 4, axis=1), expected, rtol=1e-9, atol=1e-10)
    assert Choices(choices, rewards, data.num_arms).num_choices == data.num_choices == data.choices.size


def test_points_are_no_trouble():
    data, parameters = some_choices(), np.array([0.4, 20.0, 0.7])
    points = Choices(data.choices, 100 * data.rewards, data.num_arms)
    for age in ("choices", "trials"):
        model = SamplingModel(age=age, initial_value=50.0)
        with np.errstate(over="raise", invalid="raise"):
            assert np.isfinite(model.trial_log_likelihoods(points, parameters)).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"age": "trial"}, "age: got 'trial', expected 'choices' or 'trials'"),
        ({"spacing": 0.0}, "spacing: got 0.0, expected 0.05 to 1"),
        ({"spacing": 3.0}, "spacing: got 3.0"),
        ({"initial_value": np.nan}, "initial_value: got nan, expected a finite number"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        SamplingModel(**arguments)


@pytest.mark.parametrize(
    ("choices", "rewards", "num_arms", "words"),
    [
        ([[0, 1]], [[1.0]], 2, "rewards: got shape"),
        ([[0, 2]], [[1.0, 1.0]], 2, "choices: got 0 to 2"),
        ([[0, 1]], [[1.0, np.inf]], 2, "rewards: got NaN"),
        ([[0, 0]], [[1.0, 1.0]], 1, "num_arms: got 1"),
    ],
)
def test_choices_that_are_none_are_refused(choices, rewards, num_arms, words):
    with pytest.raises(ValueError, match=words):
        Choices(np.array(choices), np.array(rewards), num_arms)


def test_whole_numbers_are_numbers_too():
    data, parameters = some_choices(), np.array([0.4, 3.0, 0.5])
    means = np.random.default_rng(0).random((2, 9, 3))
    for model in (TDModel, SamplingModel):
        np.testing.assert_array_equal(
            model(1).trial_log_likelihoods(data, parameters), model(1.0).trial_log_likelihoods(data, parameters)
        )
        played = [model(one).simulate(means, parameters, 0.1, np.random.default_rng(1)).rewards for one in (1, 1.0)]
        np.testing.assert_array_equal(played[0], played[1])


def test_values_are_running_averages_of_what_arms_have_paid():
    data = Choices(np.array([[0, 0, MISSED, 1, 0]]), np.array([[2.0, 4.0, 9.0, 5.0, 1.0]]), 2)
    values = TDModel(1.0).values(data, np.array([0.5, 3.0, 0.0]))[0]
    assert values.tolist() == [[1.0, 1.0], [1.5, 1.0], [2.75, 1.0], [2.75, 1.0], [2.75, 3.0]]


def test_fits_refuse_rewards_of_another_order_and_nothing_to_fit():
    points = Choices(np.array([[0, 1, 1]]), np.array([[60.0, 40.0, 80.0]]), 2)
    with pytest.raises(ValueError, match="data: got rewards up to 80, expected the order of 1; divide them"):
        fit_model(TDModel(), points, np.random.default_rng(0))
    with pytest.raises(ValueError, match="data: got no choice at all"):
        fit_model(TDModel(), Choices(np.array([[MISSED]]), np.array([[0.0]]), 2), np.random.default_rng(0))
    short, long = (ModelFit(np.array([0.5, 1.0, 0.0]), -9.0, count, np.zeros(3, bool), -10.0) for count in (9, 10))
    with pytest.raises(ValueError, match="got fits to 9 and 10 choices, expected the same data"):
        log_bayes_factor(short, long)


def test_a_fit_says_whether_a_parameter_lies_at_a_bound():
    rng = generator(5, Purpose.STATISTICS)
    means = np.tile([0.2, 1.8], (4, 40, 1))
    greedy = TDModel().simulate(means, np.array([0.5, 100.0, 0.0]), 0.0, rng)
    assert fit_model(TDModel(), greedy, rng, num_starts=1).at_bound
    mixed = TDModel().simulate(means, np.array([0.5, 1.5, 0.2]), 0.1, rng)
    assert not fit_model(TDModel(), mixed, rng, num_starts=1).at_bound


EXPLORING: list[tuple[ChoiceModel, tuple[float, ...]]] = [
    (ForgettingModel(), (0.5, 4.0, 0.6, 0.2)),
    (BonusModel(), (0.5, 4.0, 0.6, 0.3)),
    (KalmanModel(), (0.8, 4.0, 0.6)),
]
every_exploring_model = pytest.mark.parametrize(
    ("model", "parameters"), EXPLORING, ids=lambda part: type(part).__name__
)


@every_exploring_model
def test_simulated_choices_are_as_frequent_as_they_are_likely(model, parameters):
    rng, numbers = generator(1, Purpose.STATISTICS), np.array(parameters)
    data = model.simulate(np.tile([0.5, 1.0, 1.5], (4000, 8, 1)), numbers, 0.4, rng)
    likely = np.zeros(3)
    for arm in range(3):
        choices = data.choices.copy()
        choices[:, -1] = arm
        likely[arm] = np.exp(model.trial_log_likelihoods(Choices(choices, data.rewards, 3), numbers)[:, -1]).mean()
    np.testing.assert_allclose(likely.sum(), 1.0, atol=1e-9)
    np.testing.assert_allclose(np.bincount(data.choices[:, -1], minlength=3) / 4000, likely, atol=4 * 0.5 / 4000**0.5)


def test_what_is_not_chosen_is_forgotten_or_gains_a_bonus():
    data = Choices(np.array([[0, 1, MISSED, 1]]), np.array([[3.0, 2.0, 0.0, 2.0]]), 2)
    forgetting = ForgettingModel(1.0).values(data, np.array([0.5, 3.0, 0.0, 0.5]))[0]
    np.testing.assert_allclose(forgetting, [[1.0, 1.0], [2.0, 1.0], [1.5, 1.5], [1.25, 1.25]])
    bonus = BonusModel(1.0).values(data, np.array([0.5, 3.0, 0.0, 0.1]))[0]
    expected = np.array([[1.0, 1.0], [2.0, 1.0], [2.0, 1.5], [2.0, 1.5]])
    np.testing.assert_allclose(bonus, expected + 0.1 * np.sqrt([[0, 0], [0, 1], [1, 0], [2, 1]]))
    same = np.array([0.4, 6.0, 0.7, 0.0])
    for model in (ForgettingModel(), BonusModel()):
        logs = model.trial_log_likelihoods(some_choices(), same)
        np.testing.assert_allclose(logs, TDModel().trial_log_likelihoods(some_choices(), same[:3]))


def test_a_kalman_agent_with_confidence_bounds_does_what_its_model_expects():
    rng = generator(4, Purpose.STATISTICS)
    rollout = roll_out_drifting_bandit(kalman_ucb(1.5), drifting_means(5, 60, rng), rng)
    data = Choices(rollout.choices, rollout.payoffs / 50.0, 4)
    logs = KalmanModel().trial_log_likelihoods(data, np.array([1.5, 1e6, 0.0]))
    np.testing.assert_allclose(logs[:, 0], -np.log(4))  # all arms are alike
    choices_by_chance = (np.isclose(logs[:, 1:], -np.log(3)) | np.isclose(logs[:, 1:], -np.log(2))).mean()
    assert np.isclose(logs[:, 1:], 0.0, atol=1e-6).mean() > 0.95 - choices_by_chance


def test_a_fourth_parameter_is_fitted():
    rng = generator(6, Purpose.STATISTICS)
    data = ForgettingModel().simulate(drifting_means(4, 60, rng) / 50.0, np.array([0.6, 8.0, 0.5, 0.3]), 0.08, rng)
    forgets = fit_model(ForgettingModel(), data, rng, num_starts=1)
    assert forgets.parameters.shape == (4,)
    assert forgets.log_likelihood > fit_model(TDModel(), data, rng, num_starts=1).log_likelihood + 3.0


@pytest.mark.slow
def test_fits_find_the_model_that_made_the_choices():
    makers = [
        (TDModel(), (0.6, 8.0, 0.5)),
        *((model, (*numbers[:1], 8.0, *numbers[2:])) for model, numbers in EXPLORING),
    ]
    for number, (maker, parameters) in enumerate(makers):
        rng = generator(number, Purpose.STATISTICS)
        data = maker.simulate(drifting_means(10, 150, rng) / 50.0, np.array(parameters), 0.08, rng)
        bics = [fit_model(candidate, data, rng, num_starts=1).bic for candidate, _ in makers]
        assert int(np.argmin(bics)) == number, bics
