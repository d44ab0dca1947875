"""Trials of Harlow's task: fixate a mark, then look at the one of two objects that is rewarded."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.utils.checks import check_at_least

FIXATION_REWARD = 0.2
_MOVES = np.array([-1, 1, 0])  # left, right, stay
_MANY_TASKS = 100_000


@dataclass(frozen=True)
class Course:
    """Course of an episode.

    Attributes
    ----------
    num_trials
        Trials K of an episode, >= 1.
    choosing
        False: a trial ends with its fixation, and there are no objects.
    wrong_reward
        Reward of the other object, in [-1, 0].
    """

    num_trials: int = 6
    choosing: bool = True
    wrong_reward: float = -1.0

    def __post_init__(self) -> None:
        check_at_least(1, num_trials=self.num_trials)
        if not -1.0 <= self.wrong_reward <= 0.0:
            raise ValueError(f"wrong_reward: got {self.wrong_reward}, expected a number from -1 to 0")


class HarlowVectorEnv(MetaVectorEnv):
    """Harlow's task (1949) for a gaze on a line, after Wang et al. 2018; families differ in what is observed.

    Two objects are an episode's, and one of them is rewarded in all of its K trials, wherever it stands. A trial:

    1. Fixation. A mark is in the middle, and the gaze is put to a place beside it, each within reach alike. Actions
       move the gaze by a place: 0 left, 1 right, and, if there is a third, 2 stay. Looking at the mark has reward 0.2.
    2. Choice. The mark is gone, and the objects stand `object_place` places left and right of the middle, sides drawn
       by the toss of a coin. The first object looked at is the choice: reward 1 or `wrong_reward`, and the next trial's
       fixation begins.

    Everything else has reward 0. An episode terminates after its last trial, whose objects are still seen then. The
    first choice is a guess; who remembers its outcome is right in all others. So an agent that was told the task
    obtains ``1.2 K``, one that learns from the first choice ``1.2 K - (1 - wrong_reward) / 2`` on average.

    Task: ``{"objects": [a, b], "rewarded": 0 or 1}``: two different numbers from 1 to `num_objects`, and which of the
    two is rewarded. Every `held_out_every`-th number is an object of the split ``"held-out"``, all others of
    ``"train"``.

    Measures: ``"fixated"`` and ``"chosen"``, the fractions of the episode's trials with a fixation and with a choice
    so far; ``"accuracy"`` and ``"later_accuracy"``, the fraction of choices that were right, of all and of those after
    the first; 0 before there are any.

    Parameters
    ----------
    num_envs
        Number of sub-environments N.
    observation_space
        Of one sub-environment.
    num_actions
        2 or 3, the third to stay.
    num_objects
        Number of objects, at least ``2 * held_out_every``.
    split
        The one that tasks are drawn from when none is named.
    course
        Of an episode.
    max_episode_steps
        Steps after which an episode is truncated.

    Attributes
    ----------
    object_place
        Distance of objects from the middle, in places.
    gaze_limit
        Farthest place of the gaze from the middle.
    held_out_every
        Of numbers of objects.
    """

    object_place: int
    gaze_limit: int
    held_out_every: int
    splits = ("train", "held-out")
    measures = ("fixated", "chosen", "accuracy", "later_accuracy")

    def __init__(
        self,
        num_envs: int,
        observation_space: gym.Space[Any],
        num_actions: int,
        *,
        num_objects: int,
        split: str,
        course: Course,
        max_episode_steps: int | None,
    ) -> None:
        check_at_least(2 * self.held_out_every, num_objects=num_objects)
        if split not in self.splits:
            raise ValueError(f"split: got {split!r}, expected one of {', '.join(map(repr, self.splits))}")
        actions = gym.spaces.Discrete(num_actions)
        super().__init__(num_envs, observation_space, actions, max_episode_steps=max_episode_steps)
        self.num_objects, self.split, self.course = num_objects, split, course
        self._rows = np.arange(num_envs)
        self._objects = np.zeros((num_envs, 2), dtype=np.int64)
        self._rewarded = np.zeros(num_envs, dtype=np.int64)
        self._sides = np.ones((num_envs, course.num_trials), dtype=np.int64)
        """Side (N, K) of each trial's first object: -1 left, 1 right."""
        self._starts = np.ones((num_envs, course.num_trials), dtype=np.int64)
        """Place (N, K) at which each trial's gaze begins."""
        self._gaze = np.zeros(num_envs, dtype=np.int64)
        self._fixating = np.ones(num_envs, dtype=bool)
        self._outcomes = np.zeros((num_envs, course.num_trials), dtype=np.int8)
        """(N, K): 1 right, -1 wrong, 0 not yet."""
        self._num_fixated = np.zeros(num_envs, dtype=np.int64)
        self._trial = np.zeros(num_envs, dtype=np.int64)

    @property
    def gaze(self) -> np.ndarray:
        """(N,): place of the gaze, 0 in the middle; like the next two for oracles, not for agents."""
        return self._gaze.copy()

    @property
    def fixating(self) -> np.ndarray:
        """(N,) bool: the mark is there, and the objects are not."""
        return self._fixating.copy()

    @property
    def object_sides(self) -> np.ndarray:
        """(N, 2): side of each object in the present trial, -1 left and 1 right."""
        first = self._sides[self._rows, np.minimum(self._trial, self.course.num_trials - 1)]
        return np.stack([first, -first], axis=1)

    def objects_of(self, split: str) -> np.ndarray:
        """Numbers (K,) of the objects of a split."""
        numbers = np.arange(1, self.num_objects + 1)
        return numbers[(numbers % self.held_out_every == 0) == (split == "held-out")]

    def default_task(self) -> Task:
        """The first of two objects of training."""
        return {"objects": self.objects_of("train")[:2].tolist(), "rewarded": 0}

    @property
    def num_distinct_tasks(self) -> int | None:
        """Ordered pairs of the split's objects, times two; ``None`` where they are too many to be met in training."""
        number = len(self.objects_of(self.split))
        distinct = 2 * number * (number - 1)
        return distinct if distinct <= _MANY_TASKS else None

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw two different objects of the split, and toss a coin for the rewarded one."""
        numbers = self.objects_of(split)
        first, other = rng.integers((len(numbers), len(numbers) - 1), size=(num_tasks, 2)).T
        objects = numbers[np.stack([first, other + (other >= first)], axis=1)]  # (M, 2)
        rewarded = rng.integers(2, size=num_tasks)
        return [
            {"objects": pair, "rewarded": index}
            for pair, index in zip(objects.tolist(), rewarded.tolist(), strict=True)
        ]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            objects, legal = task["objects"], range(1, self.num_objects + 1)
            if len(objects) != 2 or objects[0] == objects[1] or not all(number in legal for number in objects):
                raise ValueError(
                    f"task['objects']: got {list(objects)}, expected two different numbers from 1 to {self.num_objects}"
                )
            if task["rewarded"] not in (0, 1):
                raise ValueError(f"task['rewarded']: got {task['rewarded']}, expected 0 or 1")
        self._objects = np.array([task["objects"] for task in tasks], dtype=np.int64)
        self._rewarded = np.array([task["rewarded"] for task in tasks], dtype=np.int64)

    @abc.abstractmethod
    def _observe(self) -> np.ndarray:
        """Observations (N, O*) of the present gaze, mark and objects."""

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        sides, starts = np.moveaxis(self._uniform(self.course.num_trials, 2), -1, 0)  # (N, K, 2) -> two of (N, K)
        limit = self.gaze_limit
        places = np.floor(2 * limit * starts).astype(np.int64) - limit  # -limit ... limit - 1
        self._sides[mask] = np.where(sides < 0.5, -1, 1)[mask]
        self._starts[mask] = (places + (places >= 0))[mask]
        self._gaze[mask] = self._starts[mask, 0]
        self._fixating[mask] = True
        self._outcomes[mask] = 0
        self._num_fixated[mask] = self._trial[mask] = 0
        return self._observe()

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        course, last = self.course, self.course.num_trials - 1
        moved = np.clip(self._gaze + _MOVES[actions], -self.gaze_limit, self.gaze_limit)
        gaze = np.where(active, moved, self._gaze)
        fixates = active & self._fixating & (gaze == 0)
        chooses = active & ~self._fixating & (np.abs(gaze) == self.object_place)
        chosen = (np.sign(gaze) != self.object_sides[:, 0]).astype(np.int64)  # 0: the first object
        right = chooses & (chosen == self._rewarded)
        wrong = chooses & ~right
        self._outcomes[self._rows, np.minimum(self._trial, last)] += right.astype(np.int8) - wrong.astype(np.int8)
        self._num_fixated += fixates
        ended = chooses if course.choosing else fixates
        self._trial = self._trial + ended
        goes_on = ended & (self._trial <= last)
        self._gaze = np.where(goes_on, self._starts[self._rows, np.minimum(self._trial, last)], gaze)
        self._fixating = (self._fixating & ~(fixates & course.choosing)) | (chooses & goes_on)
        rewards = FIXATION_REWARD * fixates + right + course.wrong_reward * wrong
        return self._observe(), rewards, self._trial > last

    def _measure(self) -> dict[str, np.ndarray]:
        right, made = self._outcomes > 0, self._outcomes != 0
        return {
            "fixated": self._num_fixated / self.course.num_trials,
            "chosen": made.mean(1),
            "accuracy": right.sum(1) / np.maximum(made.sum(1), 1),
            "later_accuracy": right[:, 1:].sum(1) / np.maximum(made[:, 1:].sum(1), 1),
        }
