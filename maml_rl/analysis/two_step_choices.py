"""Trials of one agent or subject in the two-step task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maml_rl.analysis.arms import MISSED


@dataclass(frozen=True)
class TwoStepChoices:
    """Trials of one agent or subject in E episodes of T trials.

    Attributes
    ----------
    choices
        (E, T), the choice of stage one, 0 or 1; -1 in a missed trial, of which nothing else counts. Shorter episodes
        end in such trials. Choice a commonly leads to second state a.
    seconds
        (E, T), the second state, 0 or 1.
    second_choices
        (E, T), the choice of stage two, 0 or 1; ``None``: there is nothing to choose at stage two, as in `TwoStep-v0`.
    rewards
        (E, T), finite; of the order of 1.
    """

    choices: np.ndarray
    seconds: np.ndarray
    second_choices: np.ndarray | None
    rewards: np.ndarray

    def __post_init__(self) -> None:
        choices = np.atleast_2d(np.asarray(self.choices))
        made = choices != MISSED
        for name in ("choices", "seconds", "second_choices"):
            values = getattr(self, name)
            if values is None and name == "second_choices":
                continue
            values = np.atleast_2d(np.asarray(values))
            if values.shape != choices.shape or choices.ndim != 2 or choices.size == 0:
                raise ValueError(f"{name}: got shape {values.shape}, expected (E, T) for all, T >= 1")
            if not np.isin(values[made], (0, 1)).all():
                raise ValueError(f"{name}: got {np.unique(values[made])[:5].tolist()}, expected 0 or 1")
            cleaned = np.where(made, values, MISSED if name == "choices" else 0)
            object.__setattr__(self, name, np.ascontiguousarray(cleaned, dtype=np.int64))
        rewards = np.atleast_2d(np.asarray(self.rewards, dtype=np.float64))
        if rewards.shape != choices.shape or not np.isfinite(rewards[made]).all():
            raise ValueError(f"rewards: got shape {rewards.shape}, expected finite numbers {choices.shape}")
        object.__setattr__(self, "rewards", np.ascontiguousarray(np.where(made, rewards, 0.0)))

    @property
    def num_trials(self) -> int:
        """Number of trials that were not missed."""
        return int((self.choices != MISSED).sum())

    @property
    def num_choices(self) -> int:
        """Number of choices, one or two a trial."""
        return self.num_trials * (1 if self.second_choices is None else 2)

    @property
    def chance_log_likelihood(self) -> float:
        """Log likelihood, in nats, of choices at random."""
        return -self.num_choices * float(np.log(2))

    @property
    def common(self) -> np.ndarray:
        """(E, T) bool, True where the transition was the common one."""
        return np.asarray((self.seconds == self.choices) & (self.choices != MISSED))

    @property
    def rewarded(self) -> np.ndarray:
        """(E, T) bool, True where there was a reward above 0."""
        return np.asarray(self.rewards > 0)

    def __len__(self) -> int:
        return len(self.choices)

    def episodes(self, which: Sequence[int]) -> TwoStepChoices:
        """Some of the episodes."""
        rows = list(which)
        second = None if self.second_choices is None else self.second_choices[rows]
        return TwoStepChoices(self.choices[rows], self.seconds[rows], second, self.rewards[rows])
