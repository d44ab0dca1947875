"""Models of choices on a bandit by the beliefs of a Kalman filter that knows how arms drift."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from maml_rl.analysis.choice_kernels import kalman_step, kalman_walk, probit_log_likelihoods
from maml_rl.analysis.choice_models import (
    BONUS,
    INVERSE_TEMPERATURE,
    PERSEVERATION,
    ParameterRange,
    checked_parameters,
    simulate_choices,
    was_last,
)
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.drifting_bandits import DriftingArms, check_arms
from maml_rl.analysis.value_models import State, ValueModel

SAMPLED_UNCERTAINTY = ParameterRange("sampled uncertainty", 0.0, 10.0, (0.2, 2.0), (0.0, np.inf))


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
    first_deviation
        Standard deviation of the belief about an arm never chosen, in points, > 0; by default that of a uniform
        distribution on [0, 2 * centre].
    """

    arms: DriftingArms = field(default_factory=DriftingArms)
    scale: float = 50.0
    first_deviation: float | None = None
    ranges: ClassVar[tuple[ParameterRange, ...]] = (BONUS, INVERSE_TEMPERATURE, PERSEVERATION)

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale: got {self.scale}, expected a finite number > 0")
        if self.first_deviation is not None and not (np.isfinite(self.first_deviation) and self.first_deviation > 0):
            raise ValueError(f"first_deviation: got {self.first_deviation}, expected a finite number > 0")
        check_arms(self.arms)

    def begin(self, shape: tuple[int, int]) -> State:
        """See `ValueModel.begin`: means and variances, arrays of `shape` (E, K)."""
        return np.full(shape, self.arms.centre / self.scale), np.full(shape, self._first_variance())

    def learn(self, state: State, arms: np.ndarray, rewards: np.ndarray, parameters: tuple[float, ...]) -> None:
        """See `ValueModel.learn`: `arms` and `rewards` (E,)."""
        kalman_step(*state, arms, rewards, self._drift())

    def known(self, data: Choices, parameters: tuple[float, ...]) -> State:
        """See `ValueModel.known`."""
        means, variances = kalman_walk(data.choices, data.rewards, data.num_arms, self._drift(), self._first_variance())
        return means, variances

    def values_of(self, state: State, parameters: tuple[float, ...]) -> np.ndarray:
        """See `ValueModel.values_of`: (..., K)."""
        means, variances = state
        return np.asarray(means + parameters[0] * np.sqrt(variances))

    def _drift(self) -> np.ndarray:
        own = self.arms
        step, payoff = own.drift_deviation / self.scale, own.payoff_deviation / self.scale
        return np.array([own.decay, own.centre / self.scale, step**2, payoff**2])

    def _first_variance(self) -> float:
        first = self.first_deviation
        deviation = 2.0 * self.arms.centre / np.sqrt(12.0) if first is None else first
        return float(deviation / self.scale) ** 2


@dataclass(frozen=True)
class ThompsonModel(KalmanModel):
    """Thompson sampling from a Kalman filter's beliefs: the arm with the largest of one draw for each is chosen.

    The draws are ``x_a ~ N(beta * m_a + kappa * [a was chosen last], 1 + (beta * phi * s_a)^2)``: noise of standard
    deviation ``1 / beta`` on every arm, and the belief's own, multiplied by phi, so that uncertain arms are chosen more
    at random (Gershman 2018; Speekenbrink & Konstantinidis 2015). With phi = 0 it is a probit; phi = 1 and large beta
    are Thompson's rule (1933). The probability that an arm's draw is the largest is an integral over that draw, exact
    for any number of arms to about 1e-6; for two arms it is
    ``Phi((mean_a - mean_b) / sqrt(variance_a + variance_b))``. Parameters: phi, beta, kappa.
    """

    ranges: ClassVar[tuple[ParameterRange, ...]] = (SAMPLED_UNCERTAINTY, INVERSE_TEMPERATURE, PERSEVERATION)

    def trial_log_likelihoods(self, data: Choices, parameters: np.ndarray) -> np.ndarray:
        """Log probability (E, T), in nats, of each choice given what came before it, with parameters (3,)."""
        numbers = checked_parameters(self, parameters)
        values, deviations = self._draws(self.known(data, numbers), numbers)
        return np.asarray(probit_log_likelihoods(values, deviations, data.choices, numbers[2]))

    def values_of(self, state: State, parameters: tuple[float, ...]) -> np.ndarray:
        """See `ValueModel.values_of`: means (..., K) of beliefs."""
        return state[0]

    def simulate(
        self, means: np.ndarray, parameters: np.ndarray, noise: float | None, rng: np.random.Generator
    ) -> Choices:
        """See `ChoiceModel.simulate`: `means` (E, T, K), `parameters` (3,)."""
        numbers = checked_parameters(self, parameters)
        state = self.begin((len(means), means.shape[2]))

        def choose(choices: np.ndarray, rewards: np.ndarray) -> np.ndarray:
            if choices.shape[1]:
                self.learn(state, choices[:, -1], rewards[:, -1], numbers)
            values, deviations = self._draws(state, numbers)
            drawn = values + numbers[2] * was_last(choices, means.shape[2])
            return np.asarray((drawn + deviations * rng.standard_normal(drawn.shape)).argmax(axis=1))

        return simulate_choices(choose, means, noise, rng)

    def _draws(self, state: State, parameters: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Means, but for perseveration, and standard deviations (..., K) of the draws."""
        (means, variances), (phi, beta, _) = state, parameters
        return beta * means, np.sqrt(1.0 + (beta * phi) ** 2 * variances)
