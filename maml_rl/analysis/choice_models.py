"""Parameters of models of choices, the contract of such models, simulated choices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from maml_rl.analysis.choices import Choices


class ParameterRange(NamedTuple):
    """Range of a model's parameter.

    Attributes
    ----------
    name
        Words for it.
    least, most
        Ends of its range in fits.
    start
        Range that searches begin in, and that parameters are drawn from when recovery is tested.
    possible
        Range outside which it means nothing.
    """

    name: str
    least: float
    most: float
    start: tuple[float, float]
    possible: tuple[float, float] = (-np.inf, np.inf)


LEARNING_RATE = ParameterRange("learning rate", 1e-3, 1.0 - 1e-3, (0.05, 0.95), (0.0, 1.0))
INVERSE_TEMPERATURE = ParameterRange("inverse temperature", 0.0, 100.0, (0.5, 20.0), (0.0, np.inf))
"""Per unit of reward, which is of the order of 1."""
PERSEVERATION = ParameterRange("perseveration", -10.0, 10.0, (-1.0, 2.0))
BONUS = ParameterRange("uncertainty bonus", -10.0, 10.0, (0.0, 1.0))
FORGETTING = ParameterRange("forgetting", 0.0, 1.0, (0.0, 0.5), (0.0, 1.0))


class ChoiceData(Protocol):
    """Choices that a model is fitted to: of one agent or subject, in E episodes."""

    @property
    def rewards(self) -> np.ndarray:
        """Rewards (E, T), of the order of 1."""

    @property
    def num_choices(self) -> int:
        """Number of choices."""

    @property
    def chance_log_likelihood(self) -> float:
        """Log likelihood, in nats, of choices at random."""

    def __len__(self) -> int:
        """Number of episodes."""

    def episodes(self, which: Any) -> Any:
        """Some of the episodes."""


Data = TypeVar("Data", bound=ChoiceData)
ModelledData = TypeVar("ModelledData", bound=ChoiceData, contravariant=True)


class LikelihoodModel(Protocol[ModelledData]):
    """A model of choices that can be fitted; it defines how likely they are, given its parameters."""

    @property
    def ranges(self) -> tuple[ParameterRange, ...]:
        """Ranges of its Q parameters."""

    def trial_log_likelihoods(self, data: ModelledData, parameters: np.ndarray) -> np.ndarray:
        """Log probability (E, T), in nats, of each trial's choices given what came before, with parameters (Q,)."""


class ChoiceModel(LikelihoodModel[Choices], Protocol):
    """A model of choices on a bandit, which it can also make."""

    def simulate(
        self, means: np.ndarray, parameters: np.ndarray, noise: float | None, rng: np.random.Generator
    ) -> Choices:
        """Choices of the model with parameters (Q,) on arms with mean rewards `means` (E, T, K).

        `noise` is the standard deviation of normal noise; ``None``: rewards are 1 with the probability of the mean,
        else 0.
        """


def checked_parameters(model: LikelihoodModel[Any], parameters: np.ndarray) -> tuple[float, ...]:
    """Numbers of the `parameters` (Q,).

    Raises
    ------
    ValueError
        If there are too few or too many, one is not finite, or lies outside what its model means.
    """
    values = tuple(float(value) for value in parameters)
    ranges = model.ranges
    if len(values) != len(ranges) or not all(map(math.isfinite, values)):
        names = ", ".join(part.name for part in ranges)
        raise ValueError(f"parameters: got {list(values)}, expected finite numbers: {names}")
    for value, part in zip(values, ranges, strict=True):
        least, most = part.possible
        if not least <= value <= most:
            raise ValueError(f"parameters: got {part.name} {value}, expected {least:g} to {most:g}")
    return values


def check_initial_value(value: float) -> None:
    """Raise `ValueError` if the value of an arm before its first choice is not finite."""
    if not np.isfinite(value):
        raise ValueError(f"initial_value: got {value}, expected a finite number")


def simulate_choices(
    choose: Callable[[np.ndarray, np.ndarray], np.ndarray],
    means: np.ndarray,
    noise: float | None,
    rng: np.random.Generator,
) -> Choices:
    """Choices on arms with mean rewards `means` (E, T, K) by `choose`, arms (E,) of choices and rewards (E, t) so far.

    `noise` as in `ChoiceModel.simulate`.
    """
    num_episodes, num_trials, num_arms = means.shape
    rows = np.arange(num_episodes)
    choices = np.empty((num_episodes, num_trials), dtype=np.int64)
    rewards = np.empty((num_episodes, num_trials))
    for trial in range(num_trials):
        chosen = choose(choices[:, :trial], rewards[:, :trial])
        mean = means[rows, trial, chosen]
        drawn = rng.random(num_episodes) < mean if noise is None else mean + noise * rng.standard_normal(num_episodes)
        choices[:, trial], rewards[:, trial] = chosen, drawn
    return Choices(choices, rewards, num_arms)


def simulate_softmax(
    values: Callable[[np.ndarray, np.ndarray], np.ndarray],
    beta: float,
    kappa: float,
    means: np.ndarray,
    noise: float | None,
    rng: np.random.Generator,
) -> Choices:
    """Choices on arms with mean rewards `means` (E, T, K) by `values` (E, K) of choices and rewards (E, t) so far."""

    def choose(choices: np.ndarray, rewards: np.ndarray) -> np.ndarray:
        logits = beta * values(choices, rewards) + kappa * was_last(choices, means.shape[2])
        return np.asarray((logits + rng.gumbel(size=logits.shape)).argmax(axis=1))

    return simulate_choices(choose, means, noise, rng)


def was_last(choices: np.ndarray, num_arms: int) -> np.ndarray:
    """(E, K) bool, True for the arm that was last of `choices` (E, t), none of which is missed; t may be 0."""
    last = choices[:, -1:] if choices.shape[1] else np.full((len(choices), 1), -1)
    return np.asarray(last == np.arange(num_arms))
