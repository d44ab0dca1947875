"""Tasks of running robots: a direction, or a target on a range."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_rl.envs.meta_env import Task
from maml_rl.envs.mujoco.mujoco_engine import MujocoVectorEnv
from maml_rl.utils.checks import check_low_high


class DirectionTasks(MujocoVectorEnv):
    """Task: ``{"direction": d}``, forward (+1) or backward (-1)."""

    def default_task(self) -> Task:
        """Forward."""
        return {"direction": 1}

    @property
    def num_distinct_tasks(self) -> int:
        """Forward and backward."""
        return 2

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw directions from {-1, +1} with equal probability."""
        return [{"direction": int(d)} for d in 2 * rng.integers(0, 2, size=num_tasks) - 1]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        self._direction = np.array([float(task["direction"]) for task in tasks])


class RangeTasks(MujocoVectorEnv):
    """Targets that are uniform on a range [low, high]."""

    def _set_range(self, low: float, high: float) -> None:
        check_low_high(low, high)
        self.low, self.high = float(low), float(high)


class VelocityTasks(RangeTasks):
    """Task: ``{"velocity": v}``, a target in m/s."""

    def default_task(self) -> Task:
        """Stand still."""
        return {"velocity": 0.0}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw target velocities uniformly from [low, high]."""
        return [{"velocity": float(v)} for v in rng.uniform(self.low, self.high, size=num_tasks)]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        self._velocity = np.array([float(task["velocity"]) for task in tasks])
