"""Models of choices on a bandit by one value for each arm, which its rewards move.

All choose arm a with ``p(a) ~ exp(beta * v_a + kappa * [a was chosen last])``, inverse temperature beta, perseveration
kappa. They differ in the value v_a and in what it is that moves it.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from maml_rl.analysis.choice_kernels import age_step, age_walk, delta_step, delta_walk, softmax_log_likelihoods
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

State = tuple[np.ndarray, ...]
"""Knowledge of a model, arrays (E, K), or (E, T, K) of every trial."""


class ValueModel(abc.ABC):
    """A model whose knowledge is changed by one trial after the other; its second and third parameter: beta, kappa."""

    ranges: ClassVar[tuple[ParameterRange, ...]]

    @abc.abstractmethod
    def begin(self, shape: tuple[int, int]) -> State:
        """Knowledge before the first trial of some episodes, arrays of `shape` (E, K)."""

    @abc.abstractmethod
    def learn(self, state: State, arms: np.ndarray, rewards: np.ndarray, parameters: tuple[float, ...]) -> None:
        """Change knowledge by a trial in which `arms` (E,), or `MISSED`, gave `rewards` (E,)."""

    @abc.abstractmethod
    def known(self, data: Choices, parameters: tuple[float, ...]) -> State:
        """Knowledge when each choice is due, arrays (E, T, K): what `learn` makes of the trials before."""

    @abc.abstractmethod
    def values_of(self, state: State, parameters: tuple[float, ...]) -> np.ndarray:
        """Value of every arm, in the shape of the knowledge's arrays (..., K)."""

    def values(self, data: Choices, parameters: np.ndarray) -> np.ndarray:
        """Value (E, T, K) of every arm when each choice is due, with parameters (Q,)."""
        numbers = checked_parameters(self, parameters)
        return self.values_of(self.known(data, numbers), numbers)

    def trial_log_likelihoods(self, data: Choices, parameters: np.ndarray) -> np.ndarray:
        """Log probability (E, T), in nats, of each choice given what came before it, with parameters (Q,)."""
        numbers = checked_parameters(self, parameters)
        values = self.values_of(self.known(data, numbers), numbers)
        return np.asarray(softmax_log_likelihoods(values, data.choices, numbers[1], numbers[2]))

    def simulate(
        self, means: np.ndarray, parameters: np.ndarray, noise: float | None, rng: np.random.Generator
    ) -> Choices:
        """See `ChoiceModel.simulate`: `means` (E, T, K), `parameters` (Q,)."""
        numbers = checked_parameters(self, parameters)
        _, beta, kappa, *_ = numbers
        state = self.begin((len(means), means.shape[2]))

        def values(choices: np.ndarray, rewards: np.ndarray) -> np.ndarray:
            if choices.shape[1]:
                self.learn(state, choices[:, -1], rewards[:, -1], numbers)
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

    def rule(self, parameters: tuple[float, ...]) -> tuple[float, float, float]:
        """Learning rates of positive and of negative prediction errors, and forgetting."""
        return parameters[0], parameters[0], 0.0

    def begin(self, shape: tuple[int, int]) -> State:
        """See `ValueModel.begin`: values, arrays of `shape` (E, K)."""
        return (np.full(shape, float(self.initial_value)),)

    def learn(self, state: State, arms: np.ndarray, rewards: np.ndarray, parameters: tuple[float, ...]) -> None:
        """See `ValueModel.learn`: `arms` and `rewards` (E,)."""
        delta_step(state[0], arms, rewards, self._rule(parameters))

    def known(self, data: Choices, parameters: tuple[float, ...]) -> State:
        """See `ValueModel.known`."""
        return (delta_walk(data.choices, data.rewards, data.num_arms, self._rule(parameters)),)

    def values_of(self, state: State, parameters: tuple[float, ...]) -> np.ndarray:
        """See `ValueModel.values_of`: (..., K)."""
        return state[0]

    def _rule(self, parameters: tuple[float, ...]) -> np.ndarray:
        return np.array([*self.rule(parameters), self.initial_value])


@dataclass(frozen=True)
class TwoRatesModel(TDModel):
    """`TDModel` that learns from positive prediction errors at another rate than from negative ones.

    Parameters: alpha of positive errors, beta, kappa, alpha of negative errors (Frank et al. 2007; Niv et al. 2012).
    """

    ranges: ClassVar[tuple[ParameterRange, ...]] = (
        LEARNING_RATE._replace(name="learning rate, positive errors"),
        INVERSE_TEMPERATURE,
        PERSEVERATION,
        LEARNING_RATE._replace(name="learning rate, negative errors"),
    )

    def rule(self, parameters: tuple[float, ...]) -> tuple[float, float, float]:
        """See `TDModel.rule`."""
        return parameters[0], parameters[3], 0.0


@dataclass(frozen=True)
class ForgettingModel(TDModel):
    """`TDModel` in which arms that are not chosen fall back towards the initial value, by a fraction phi a trial.

    Parameters: alpha, beta, kappa, phi (Ito & Doya 2009 and Niv et al. 2015, where values fall back to 0).
    """

    ranges: ClassVar[tuple[ParameterRange, ...]] = (LEARNING_RATE, INVERSE_TEMPERATURE, PERSEVERATION, FORGETTING)

    def rule(self, parameters: tuple[float, ...]) -> tuple[float, float, float]:
        """See `TDModel.rule`."""
        return parameters[0], parameters[0], parameters[3]


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

    def learn(self, state: State, arms: np.ndarray, rewards: np.ndarray, parameters: tuple[float, ...]) -> None:
        """See `ValueModel.learn`: `arms` and `rewards` (E,)."""
        super().learn(state, arms, rewards, parameters)
        age_step(state[1], arms)

    def known(self, data: Choices, parameters: tuple[float, ...]) -> State:
        """See `ValueModel.known`."""
        return (*super().known(data, parameters), age_walk(data.choices, data.num_arms))

    def values_of(self, state: State, parameters: tuple[float, ...]) -> np.ndarray:
        """See `ValueModel.values_of`: (..., K)."""
        return state[0] + parameters[3] * np.sqrt(state[1])
