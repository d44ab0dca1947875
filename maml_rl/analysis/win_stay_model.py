"""Choices on a bandit by the last one and its reward alone: win-stay, lose-shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.choice_models import (
    ParameterRange,
    check_initial_value,
    checked_parameters,
    simulate_choices,
)
from maml_rl.analysis.choices import Choices

_LEAST = 1e-3


def _probability(name: str) -> ParameterRange:
    return ParameterRange(name, _LEAST, 1.0 - _LEAST, (0.3, 0.95), (0.0, 1.0))


@dataclass(frozen=True)
class WinStayModel:
    """Win-stay, lose-shift: after a win the choice is made again with one probability, after a loss left with another.

    Who shifts takes any other arm with equal probability; the first choice is any arm. A missed trial changes nothing.
    Parameters: probability of staying after a win, of shifting after a loss (Robbins 1952; Worthy et al. 2013).

    Attributes
    ----------
    initial_value
        Reward above which a trial counts as won; what an arm is expected to give before its first choice.
    """

    initial_value: float = 1.0
    ranges: ClassVar[tuple[ParameterRange, ...]] = (
        _probability("stay after a win"),
        _probability("shift after a loss"),
    )

    def __post_init__(self) -> None:
        check_initial_value(self.initial_value)

    def trial_log_likelihoods(self, data: Choices, parameters: np.ndarray) -> np.ndarray:
        """Log probability (E, T), in nats, of each choice given what came before it, with parameters (2,)."""
        made = data.choices != MISSED
        latest = np.maximum.accumulate(np.where(made, np.arange(data.choices.shape[1]), -1), axis=1)  # (E, T)
        before = np.concatenate([np.full((len(data), 1), -1), latest[:, :-1]], axis=1)
        known = before >= 0
        last, reward = (
            np.take_along_axis(part, np.maximum(before, 0), axis=1) for part in (data.choices, data.rewards)
        )
        stay = self._stay(reward, checked_parameters(self, parameters))
        repeated = np.where(data.choices == last, stay, (1.0 - stay) / (data.num_arms - 1))
        probabilities = np.where(known, repeated, 1.0 / data.num_arms)
        return np.asarray(np.log(np.maximum(probabilities, np.finfo(np.float64).tiny)) * made)

    def simulate(
        self, means: np.ndarray, parameters: np.ndarray, noise: float | None, rng: np.random.Generator
    ) -> Choices:
        """See `ChoiceModel.simulate`: `means` (E, T, K), `parameters` (2,)."""
        numbers, num_arms = checked_parameters(self, parameters), means.shape[2]

        def choose(choices: np.ndarray, rewards: np.ndarray) -> np.ndarray:
            if not choices.shape[1]:
                return rng.integers(num_arms, size=len(means))
            stays = rng.random(len(means)) < self._stay(rewards[:, -1], numbers)
            return (choices[:, -1] + np.where(stays, 0, rng.integers(1, num_arms, size=len(means)))) % num_arms

        return simulate_choices(choose, means, noise, rng)

    def _stay(self, rewards: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
        """Probability, in the shape of `rewards`, of making the choice again that gave them."""
        return np.where(rewards > self.initial_value, parameters[0], 1.0 - parameters[1])
