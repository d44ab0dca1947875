"""The delta-rule learner whose choices are most like an agent's: its learning rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from maml_rl.analysis.arms import check_choices

# Choices hardly change beyond this inverse temperature when values are of the order of 1.
_LARGEST_INVERSE_TEMPERATURE = 50.0
# Learning rates tried before the best one is refined.
_LEARNING_RATES = np.linspace(0.025, 0.975, 20)


@dataclass(frozen=True)
class DeltaRuleFit:
    """The delta-rule learner that explains choices best.

    Attributes
    ----------
    learning_rate
        In [0, 1]; means nothing where `inverse_temperature` is near 0.
    inverse_temperature
        In [0, 50]; 0: choices at random.
    log_likelihood
        Of all choices, in nats; ``-num_choices * log(k)`` is chance.
    """

    learning_rate: float
    inverse_temperature: float
    log_likelihood: float


def fit_learning_rate(
    choices: np.ndarray, rewards: np.ndarray, *, num_arms: int = 2, initial_value: float = 0.5
) -> DeltaRuleFit:
    """Fit ``V_c <- V_c + alpha * (r - V_c)``, ``p(a) ~ exp(beta * V_a)`` by maximum likelihood.

    The Rescorla-Wagner learner of Behrens et al. 2007 and of Wang et al. 2016's restless bandits: only the arm that
    was pulled learns. All episodes share alpha and beta, and values start anew in each; for a spread, fit agents or
    episodes one by one. For a given alpha the likelihood is concave in beta, so that only alpha needs a grid.

    Parameters
    ----------
    choices
        (T,) or (E, T), arms from 0 to `num_arms` - 1.
    rewards
        Of the shape of `choices`, finite, of the order of 1.
    num_arms
        Number of arms k, >= 2.
    initial_value
        Value of every arm before the first pull.

    Raises
    ------
    ValueError
        If the shapes differ or are others, a choice is not an arm, or a reward is not finite.
    """
    choices = np.atleast_2d(check_choices(choices, num_arms))
    rewards = np.atleast_2d(np.asarray(rewards, dtype=np.float64))
    if choices.ndim != 2 or rewards.shape != choices.shape:
        raise ValueError(f"rewards: got shape {rewards.shape} with choices {choices.shape}, expected (E, T) for both")
    if not np.isfinite(rewards).all():
        raise ValueError("rewards: got NaN or infinity, expected finite numbers")

    def best_temperature(learning_rate: float) -> DeltaRuleFit:
        values = _delta_rule_values(choices, rewards, learning_rate, num_arms, initial_value)

        def loss(inverse_temperature: float) -> float:
            logs = log_softmax(inverse_temperature * values, axis=-1)
            return -float(np.take_along_axis(logs, choices[..., None], axis=-1).sum())

        found = minimize_scalar(loss, bounds=(0.0, _LARGEST_INVERSE_TEMPERATURE), method="bounded")
        return DeltaRuleFit(float(learning_rate), float(found.x), -float(found.fun))

    best = max((best_temperature(rate) for rate in _LEARNING_RATES), key=lambda fit: fit.log_likelihood)
    spacing = _LEARNING_RATES[1] - _LEARNING_RATES[0]
    refined = minimize_scalar(
        lambda rate: -best_temperature(rate).log_likelihood,
        bounds=(max(0.0, best.learning_rate - spacing), min(1.0, best.learning_rate + spacing)),
        method="bounded",
    )
    return max((best, best_temperature(refined.x)), key=lambda fit: fit.log_likelihood)


def _delta_rule_values(
    choices: np.ndarray, rewards: np.ndarray, learning_rate: float, num_arms: int, initial_value: float
) -> np.ndarray:
    """Values (E, T, k) of the arms before each pull."""
    num_episodes, num_pulls = choices.shape
    values = np.full((num_episodes, num_pulls, num_arms), float(initial_value))
    rows = np.arange(num_episodes)
    for t in range(num_pulls - 1):
        values[:, t + 1] = values[:, t]
        errors = rewards[:, t] - values[rows, t, choices[:, t]]
        values[rows, t + 1, choices[:, t]] += learning_rate * errors
    return values
