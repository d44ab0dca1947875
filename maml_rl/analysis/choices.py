"""Choices and rewards of one agent or subject on bandits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maml_rl.analysis.arms import MISSED, check_choices
from maml_rl.utils.checks import check_at_least


@dataclass(frozen=True)
class Choices:
    """Choices and rewards of one agent or subject in E episodes of T trials.

    Attributes
    ----------
    choices
        (E, T), arms from 0 to K - 1; -1 in trials without a choice, from which nothing is learned. Shorter episodes end
        in such trials.
    rewards
        (E, T), finite; of the order of 1.
    num_arms
        Arms K, >= 2.
    """

    choices: np.ndarray
    rewards: np.ndarray
    num_arms: int

    def __post_init__(self) -> None:
        check_at_least(2, num_arms=self.num_arms)
        choices = np.atleast_2d(np.asarray(self.choices))
        check_choices(np.where(choices == MISSED, 0, choices), self.num_arms)
        rewards = np.atleast_2d(np.asarray(self.rewards, dtype=np.float64))
        if choices.ndim != 2 or rewards.shape != choices.shape:
            raise ValueError(
                f"rewards: got shape {rewards.shape} with choices {choices.shape}, expected (E, T) for both"
            )
        if not np.isfinite(rewards).all():
            raise ValueError("rewards: got NaN or infinity, expected finite numbers")
        object.__setattr__(self, "choices", np.ascontiguousarray(choices, dtype=np.int64))
        object.__setattr__(self, "rewards", np.ascontiguousarray(rewards))

    @property
    def num_choices(self) -> int:
        """Number of trials with a choice."""
        return int((self.choices != MISSED).sum())

    @property
    def chance_log_likelihood(self) -> float:
        """Log likelihood, in nats, of choices at random: ``-num_choices * log(K)``."""
        return -self.num_choices * float(np.log(self.num_arms))

    def __len__(self) -> int:
        return len(self.choices)

    def episodes(self, which: Sequence[int]) -> Choices:
        """Some of the episodes."""
        return Choices(self.choices[list(which)], self.rewards[list(which)], self.num_arms)
