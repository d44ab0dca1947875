"""Harlow's task on a strip of cells: a gaze sees the cells around it, and objects are numbers."""

from __future__ import annotations

from typing import Literal

import gymnasium as gym
import numpy as np

from maml_rl.envs.behaviour.harlow_trials import Course, HarlowVectorEnv

WINDOW = 9
"""Cells that are seen; with four places of the gaze on either side of the middle the strip has 17."""
_MOST_OBJECTS = 100_000


class HarlowStripVectorEnv(HarlowVectorEnv):
    """HarlowStrip-v0: Harlow's task for a gaze on 17 cells, of which it sees the nine around it.

    Trials, rewards, tasks, splits and measures are those of `HarlowVectorEnv`. The mark is in the middle cell, objects
    are three cells left and right of it. The gaze begins one to four cells from the mark, so that it always sees the
    mark, and from the mark both objects. A faultless episode of six trials takes about 33 steps.

    Observation (9 * C,) of zeros and ones, from the leftmost cell seen to the rightmost: 1 if the mark is in the cell,
    then the code of the object in it. Without one the code is zero. With `codes` "bits", C is 1 + 10 for 1,000
    objects: the object's number in binary, lowest bit first. With "number", C is 2: the object's number, divided by
    `num_objects`, which tells neighbours much worse apart. Every fifth number is held out.

    Parameters
    ----------
    num_envs
        Number of sub-environments N.
    codes
        ``"bits"`` or ``"number"``, see above.
    num_objects
        Number of objects, 10 to 100,000.
    num_trials
        Trials of an episode, >= 1.
    can_stay
        True: a third action leaves the gaze where it is.
    wrong_reward
        Reward of the choice of the other object, in [-1, 0].
    split
        ``"train"`` or ``"held-out"``: objects that tasks have when no split is named.
    max_episode_steps
        Steps after which an episode is truncated; ``None``: no limit.

    Examples
    --------
    >>> env = HarlowStripVectorEnv(1)
    >>> observations, _ = env.reset(seed=0)
    >>> observations.reshape(9, 11)[:, 0].sum()  # the mark is seen
    np.float32(1.0)
    """

    object_place = 3
    gaze_limit = 4
    held_out_every = 5

    def __init__(
        self,
        num_envs: int = 1,
        *,
        codes: Literal["bits", "number"] = "bits",
        num_objects: int = 1000,
        num_trials: int = 6,
        can_stay: bool = False,
        wrong_reward: float = -1.0,
        split: Literal["train", "held-out"] = "train",
        max_episode_steps: int | None = 250,
    ) -> None:
        if codes not in ("bits", "number"):
            raise ValueError(f"codes: got {codes!r}, expected one of 'bits', 'number'")
        if num_objects > _MOST_OBJECTS:
            raise ValueError(f"num_objects: got {num_objects}, expected at most {_MOST_OBJECTS}")
        self.codes = codes
        self._table = _code_table(codes, num_objects)
        super().__init__(
            num_envs,
            gym.spaces.Box(0.0, 1.0, (WINDOW * (1 + self._table.shape[1]),), np.float32),
            2 + can_stay,
            num_objects=num_objects,
            split=split,
            course=Course(num_trials, wrong_reward=wrong_reward),
            max_episode_steps=max_episode_steps,
        )

    def _observe(self) -> np.ndarray:
        windows = np.zeros((self.num_envs, WINDOW, 1 + self._table.shape[1]), np.float32)
        middle = WINDOW // 2 - self._gaze  # (N,), where the strip's middle is in the window
        fixating, rows = np.flatnonzero(self._fixating), np.flatnonzero(~self._fixating)
        windows[fixating, middle[fixating], 0] = 1.0
        sides = self.object_sides[rows]
        for index in (0, 1):
            cells = middle[rows] + sides[:, index] * self.object_place
            seen = (cells >= 0) & (cells < WINDOW)
            windows[rows[seen], cells[seen], 1:] = self._table[self._objects[rows[seen], index]]
        return windows.reshape(self.num_envs, -1)  # (N, 9, C) -> (N, 9 * C)


def _code_table(codes: str, num_objects: int) -> np.ndarray:
    """Codes (1 + num_objects, C) float32 of the objects, by number; that of 0, no object, is zero."""
    numbers = np.arange(1 + num_objects)[:, None]
    if codes == "number":
        return (numbers / num_objects).astype(np.float32)
    return (numbers >> np.arange(num_objects.bit_length()) & 1).astype(np.float32)
