"""Models of choices on a bandit by one value for each arm, which its rewards move.

All choose arm a with ``p(a) ~ exp(beta * v_a + kappa * [a was chosen last])``, inverse temperature beta, perseveration
kappa. They differ in the value v_a and in what it is that moves it.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from scipy.special import logsumexp

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.choice_models import (
    BONUS,
    FORGETTING,
    INVERSE_TEMPERATURE,
    LEARNING_RATE,
    PERSEVERATION,
    ParameterRange,
    check_initial_value,
    checked_parameters,
    simulate_softmax,
)
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.drifting_bandits import DriftingArms, check_arms

State = tuple[np.ndarray, ...]
"""Knowledge of a model, arrays (E, K)."""


class ValueModel(abc.ABC):
    """A model whose knowledge is changed by one trial after the other."""

    ranges: ClassVar[tuple[ParameterRange, ...]]

    @abc.abstractmethod
    def begin(self, shape: tuple[int, int]) -> State:
        """Knowledge before the first trial of some episodes, arrays of `shape` (E, K)."""

    @abc.abstractmethod
    def values_of(self, state: State, parameters: tuple[float, ...]) -> np.ndarray:
        """Value (E, K) of every arm."""

    @abc.abstractmethod
    def learn(self, state: State, arms: np.ndarray, rewards: np.ndarray, parameters: tuple[float, ...]) -> State:
        """Knowledge after a trial in which `arms` (E,), or `MISSED`, gave `rewards` (E,)."""

    def values(self, data: Choices, parameters: np.ndarray) -> np.ndarray:
        """Value (E, T, K) of every arm when each choice is due, with parameters (Q,)."""
        numbers, state = checked_parameters(self, parameters), self.begin((len(data), data.num_arms))
        values = np.empty((*data.choices.shape, data.num_arms))
        for trial, (arms, rewards) in enumerate(zip(data.choices.T, data.rewards.T, strict=True)):
            values[:, trial] = self.values_of(state, numbers)
            state = self.learn(state, arms, rewards, numbers)
        return values

    def trial_log_likelihoods(self, data: Choices, parameters: np.ndarray) -> np.ndarray:
        """Log probability (E, T), in nats, of each choice given what came before it, with parameters (Q,)."""
        _, beta, kappa, *_ = checked_parameters(self, parameters)
        chosen, learns = np.maximum(data.choices, 0), data.choices != MISSED
        rows, last = np.arange(len(data)), np.zeros((len(data), data.num_arms))
        logits = beta * self.values(data, parameters)
        for trial, (arm, learning) in enumerate(zip(chosen.T, learns.T, strict=True)):
            logits[:, trial] += kappa * last
            last[learning] = 0.0
            last[rows[learning], arm[learning]] = 1.0
        logs = logits - logsumexp(logits, axis=-1, keepdims=True)
        return np.asarray(np.take_along_axis(logs, chosen[..., None], axis=-1)[..., 0] * learns)

    def simulate(self, means: np.ndarray, parameters: np.ndarray, noise: float, rng: np.random.Generator) -> Choices:
        """See `maml_rl.analysis.choice_models.ChoiceModel.simulate`; `noise` is a standard deviation."""
        numbers, shape = checked_parameters(self, parameters), (len(means), means.shape[2])
        _, beta, kappa, *_ = numbers
        state = self.begin(shape)

        def values(choices: np.ndarray, rewards: np.ndarray) -> np.ndarray:
            nonlocal state
            if choices.shape[1]:
                state = self.learn(state, choices[:, -1], rewards[:, -1], numbers)
            return self.values_of(state, numbers)

        return simulate_softmax(values, beta, kappa, means, noise, rng)


@dataclass(frozen=True)
class TDModel(ValueModel):
    """Incremental learning: ``Q_a`` moves by ``alpha * (r - Q_a)`` whenever arm a gives reward r.

    Parameters: alpha, beta, kappa.

    Attributes
    ----------
    initial_value
        Of every arm before its first choice, in units of reward.
    """

    initial_value: float = 1.0
    ranges: ClassVar[tuple[ParameterRange, ...]] = (LEARNING_RATE, INVERSE_TEMPERATURE, PERSEVERATION)

    def __post_init__(self) -> None:
        check_initial_value(self.initial_value)

    def begin(self, shape: tuple[int, int]) -> State:
        """See `ValueModel.begin`: values, arrays of `shape` (E, K)."""
        return (np.full(shape, float(self.initial_value)),)

    def values_of(self, state: State, parameters: tuple[float, ...]) -> np.ndarray:
        """See `ValueModel.values_of`: (E, K)."""
        return state[0]

    def learn(self, state: State, arms: np.ndarray, rewards: np.ndarray, parameters: tuple[float, ...]) -> State:
        """See `ValueModel.learn`: `arms` and `rewards` (E,)."""
        rate = parameters[0] * _is_chosen(arms, state[0].shape)
        return (state[0] + rate * (rewards[:, np.newaxis] - state[0]),)


@dataclass(frozen=True)
class ForgettingModel(TDModel):
    """`TDModel` in which arms that are not chosen fall back towards the initial value, by a fraction phi a trial.

    Parameters: alpha, beta, kappa, phi (Ito & Doya 2009 and Niv et al. 2015, where values fall back to 0).
    """

    ranges: ClassVar[tuple[ParameterRange, ...]] = (LEARNING_RATE, INVERSE_TEMPERATURE, PERSEVERATION, FORGETTING)

    def learn(self, state: State, arms: np.ndarray, rewards: np.ndarray, parameters: tuple[float, ...]) -> State:
        """See `ValueModel.learn`: `arms` and `rewards` (E,)."""
        (values,) = super().learn(state, arms, rewards, parameters)
        fallen = parameters[3] * ~_is_chosen(arms, values.shape)
        return (values + fallen * (self.initial_value - values),)


@dataclass(frozen=True)
class BonusModel(TDModel):
    """`TDModel` with a bonus for arms of which nothing was seen for long: ``v_a = Q_a + phi * sqrt(trials since)``.

    The uncertainty of a mean that walks grows by the root of time; arms that were never chosen count from the
    beginning. Parameters: alpha, beta, kappa, phi (Daw et al. 2006; Speekenbrink & Konstantinidis 2015).
    """

    ranges: ClassVar[tuple[ParameterRange, ...]] = (LEARNING_RATE, INVERSE_TEMPERATURE, PERSEVERATION, BONUS)

    def begin(self, shape: tuple[int, int]) -> State:
        """See `ValueModel.begin`: values, and trials since the last choice; arrays of `shape` (E, K)."""
        return (*super().begin(shape), np.zeros(shape))

    def values_of(self, state: State, parameters: tuple[float, ...]) -> np.ndarray:
        """See `ValueModel.values_of`: (E, K)."""
        values, age = state
        return values + parameters[3] * np.sqrt(age)

    def learn(self, state: State, arms: np.ndarray, rewards: np.ndarray, parameters: tuple[float, ...]) -> State:
        """See `ValueModel.learn`: `arms` and `rewards` (E,)."""
        values, age = state
        return (*super().learn((values,), arms, rewards, parameters), (age + 1.0) * ~_is_chosen(arms, age.shape))


@dataclass(frozen=True)
class KalmanModel(ValueModel):
    """Beliefs of a Kalman filter that knows how arms drift: ``v_a = m_a + phi * s_a``, mean and standard deviation.

    Parameters: phi, beta, kappa; with phi > 0 an upper confidence bound. See
    `maml_rl.analysis.drifting_bandits.roll_out_drifting_bandit`, whose rules are its limits for large beta.

    Attributes
    ----------
    arms
        How arms drift, in points.
    scale
        Points of a unit of reward, > 0.
    """

    arms: DriftingArms = field(default_factory=DriftingArms)
    scale: float = 50.0
    ranges: ClassVar[tuple[ParameterRange, ...]] = (BONUS, INVERSE_TEMPERATURE, PERSEVERATION)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale: got {self.scale}, expected a finite number > 0")
        check_arms(self.arms)

    def begin(self, shape: tuple[int, int]) -> State:
        """See `ValueModel.begin`: means and variances, arrays of `shape` (E, K)."""
        centre = self.arms.centre / self.scale
        return np.full(shape, centre), np.full(shape, (2.0 * centre) ** 2 / 12.0)

    def values_of(self, state: State, parameters: tuple[float, ...]) -> np.ndarray:
        """See `ValueModel.values_of`: (E, K)."""
        means, variances = state
        return means + parameters[0] * np.sqrt(variances)

    def learn(self, state: State, arms: np.ndarray, rewards: np.ndarray, parameters: tuple[float, ...]) -> State:
        """See `ValueModel.learn`: `arms` and `rewards` (E,)."""
        (means, variances), own = state, self.arms
        noise, centre = (own.payoff_deviation / self.scale) ** 2, own.centre / self.scale
        gain = variances / (variances + noise) * _is_chosen(arms, means.shape)
        means = means + gain * (rewards[:, np.newaxis] - means)
        variances = variances * (1.0 - gain)
        drift = (own.drift_deviation / self.scale) ** 2
        return centre + own.decay * (means - centre), own.decay**2 * variances + drift


def _is_chosen(arms: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(E, K) bool, True where an arm was chosen; nowhere in a missed trial."""
    return np.asarray(arms[:, np.newaxis] == np.arange(shape[1]))
