"""A point in the plane that moves to an unknown goal: the goal is the task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from maml_rl.envs.control.navigation_picture import draw_navigation
from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.utils.checks import check_low_high

MAX_MOVE = 0.1
GOAL_HALF_WIDTH = 0.01


class NavigationVectorEnv(MetaVectorEnv):
    """2DNavigation-v0: reward ``-|position - goal|`` after each move (Finn et al. 2017, section 5.1).

    Task: ``{"goal": (2,)}``, uniform on [low, high]^2. Episodes start at the origin; an action is
    a displacement, clipped to [-0.1, 0.1] per coordinate. An episode terminates when both
    coordinates are within 0.01 of the goal. The paper speaks of the squared distance; its code,
    pytorch-maml-rl and this one use the Euclidean distance.

    Parameters
    ----------
    num_envs
        Number of points N.
    low, high
        Range of the goal's coordinates.
    max_episode_steps
        Moves per episode; ``None``: no limit.
    render_mode
        ``"rgb_array"`` or ``None``.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        **MetaVectorEnv.metadata,
        "render_modes": ["rgb_array"],
        "render_fps": 20,
    }

    def __init__(
        self,
        num_envs: int = 1,
        *,
        low: float = -0.5,
        high: float = 0.5,
        max_episode_steps: int | None = 100,
        render_mode: str | None = None,
    ) -> None:
        check_low_high(low, high)
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {render_mode!r}, expected 'rgb_array' or None")
        farthest = np.finfo(np.float32).max if max_episode_steps is None else MAX_MOVE * (max_episode_steps + 1)
        super().__init__(
            num_envs,
            gym.spaces.Box(-farthest, farthest, (2,), np.float32),
            gym.spaces.Box(-MAX_MOVE, MAX_MOVE, (2,), np.float32),
            max_episode_steps=max_episode_steps,
        )
        self.low, self.high = float(low), float(high)
        self.render_mode = render_mode
        self._positions = np.zeros((num_envs, 2))
        self._trails: list[list[np.ndarray]] = [[] for _ in range(num_envs)]

    def default_task(self) -> Task:
        """The goal at the origin."""
        return {"goal": np.zeros(2)}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw goals uniformly from [low, high]^2."""
        return [{"goal": goal} for goal in rng.uniform(self.low, self.high, size=(num_tasks, 2))]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        goals = np.array([np.asarray(task["goal"], dtype=np.float64) for task in tasks])
        if goals.shape != (self.num_envs, 2):
            raise ValueError(f"task['goal']: got shape {goals.shape[1:]}, expected (2,)")
        self._goals = goals  # (N, 2)

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        self._positions[mask] = 0.0
        if self.render_mode is not None:
            for index in np.flatnonzero(mask):
                self._trails[index] = [np.zeros(2)]
        return self._positions.astype(np.float32)

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        moves = np.clip(actions, -MAX_MOVE, MAX_MOVE)
        self._positions = self._positions + np.where(active[:, None], moves, 0.0)
        if self.render_mode is not None:
            for index in np.flatnonzero(active):
                self._trails[index].append(self._positions[index])
        offsets = self._positions - self._goals
        rewards = -np.sqrt(np.square(offsets).sum(axis=-1))
        terminated = (np.abs(offsets) < GOAL_HALF_WIDTH).all(axis=-1)
        return self._positions.astype(np.float32), rewards, terminated

    def render(self) -> tuple[np.ndarray, ...]:
        """Return one RGB picture (240, 240, 3) uint8 of every point: its way, where it is, its goal."""
        if self.render_mode != "rgb_array":
            raise ValueError("render: got render_mode None, expected 'rgb_array'; pass it to make")
        half_width = 2.0 * max(abs(self.low), abs(self.high), MAX_MOVE)
        return tuple(
            draw_navigation(np.array(trail), goal, half_width=half_width)
            for trail, goal in zip(self._trails, self._goals, strict=True)
        )
