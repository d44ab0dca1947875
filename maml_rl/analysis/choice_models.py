"""Parameters of models of choices, the contract of such models, choices by a softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

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
        Range that searches begin in.
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


class ChoiceModel(Protocol):
    """A model of choices; its second and third parameter are beta and kappa."""

    @property
    def ranges(self) -> tuple[ParameterRange, ...]:
        """Ranges of its Q parameters."""

    def trial_log_likelihoods(self, data: Choices, parameters: np.ndarray) -> np.ndarray:
        """Log probability (E, T), in nats, of each choice given what came before it, with parameters (Q,)."""

    def simulate(self, means: np.ndarray, parameters: np.ndarray, noise: float, rng: np.random.Generator) -> Choices:
        """Choices of the model with parameters (Q,) on arms with mean rewards `means` (E, T, K) and normal noise."""


def checked_parameters(model: ChoiceModel, parameters: np.ndarray) -> tuple[float, ...]:
    """Numbers of the `parameters` (Q,).

    Raises
    ------
    ValueError
        If there are too few or too many, one is not finite, or lies outside what its model means.
    """
    values = tuple(float(value) for value in parameters)
    if len(values) != len(model.ranges) or not np.isfinite(values).all():
        names = ", ".join(part.name for part in model.ranges)
        raise ValueError(f"parameters: got {list(values)}, expected finite numbers: {names}")
    for value, part in zip(values, model.ranges, strict=True):
        least, most = part.possible
        if not least <= value <= most:
            raise ValueError(f"parameters: got {part.name} {value}, expected {least:g} to {most:g}")
    return values


def check_initial_value(value: float) -> None:
    """Raise `ValueError` if the value of an arm before its first choice is not finite."""
    if not np.isfinite(value):
        raise ValueError(f"initial_value: got {value}, expected a finite number")


def simulate_softmax(
    values: Callable[[np.ndarray, np.ndarray], np.ndarray],
    beta: float,
    kappa: float,
    means: np.ndarray,
    noise: float,
    rng: np.random.Generator,
) -> Choices:
    """Choices on arms with mean rewards `means` (E, T, K) by `values` (E, K) of choices and rewards (E, t) so far."""
    num_episodes, num_trials, num_arms = means.shape
    rows, bonus = np.arange(num_episodes), np.zeros((num_episodes, num_arms))
    choices = np.empty((num_episodes, num_trials), dtype=np.int64)
    rewards = np.empty((num_episodes, num_trials))
    for trial in range(num_trials):
        logits = beta * values(choices[:, :trial], rewards[:, :trial]) + bonus
        chosen = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        choices[:, trial] = chosen
        rewards[:, trial] = means[rows, trial, chosen] + noise * rng.standard_normal(num_episodes)
        bonus[:] = 0.0
        bonus[rows, chosen] = kappa
    return Choices(choices, rewards, num_arms)
