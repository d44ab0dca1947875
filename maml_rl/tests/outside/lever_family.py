"""A task family: a lever is pushed to an angle that the task knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from maml_rl.envs import MetaVectorEnv, Task, register_meta_env
from maml_rl.studies.displays.registry import register_display

_SIZE = 32


class LeverVectorEnv(MetaVectorEnv):
    """Reward ``-|angle - target|``; the target is the task. Measures whether the lever is near it."""

    metadata: dict[str, Any] = {**MetaVectorEnv.metadata, "render_modes": ["rgb_array"]}  # noqa: RUF012
    measures = ("success",)

    def __init__(self, num_envs: int = 1, *, max_episode_steps: int | None = 4, render_mode: str | None = None) -> None:
        observation, action = (gym.spaces.Box(-1.0, 1.0, (size,), np.float32) for size in (2, 1))
        super().__init__(num_envs, observation, action, max_episode_steps=max_episode_steps)
        self.render_mode = render_mode
        self._angles, self._targets, self._rewards = np.zeros((3, num_envs))

    def default_task(self) -> Task:
        """A target to the right."""
        return {"target": 0.5}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        return [{"target": target} for target in rng.uniform(-1.0, 1.0, num_tasks).tolist()]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        self._targets = np.array([task["target"] for task in tasks])

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        self._angles = np.where(mask, 0.1 * self._uniform(), self._angles)
        self._rewards = np.where(mask, 0.0, self._rewards)
        return self._observed()

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        push = np.clip(actions[:, 0], -0.5, 0.5)
        self._angles = np.where(active, np.clip(self._angles + push, -1.0, 1.0), self._angles)
        self._rewards = np.where(active, -np.abs(self._angles - self._targets), self._rewards)
        return self._observed(), self._rewards, np.zeros(self.num_envs, dtype=bool)

    def _observed(self) -> np.ndarray:
        return np.stack([self._angles, 0.5 * self._rewards], axis=1).astype(np.float32)

    def _measure(self) -> dict[str, np.ndarray]:
        return {"success": np.abs(self._angles - self._targets) < 0.4}

    def render(self) -> tuple[np.ndarray, ...]:
        """A black picture of every lever, with a white column where it is and a grey one at the target."""
        pictures = np.zeros((self.num_envs, _SIZE, _SIZE, 3), np.uint8)
        for values, grey in ((self._targets, 128), (self._angles, 255)):
            columns = np.round((values + 1.0) / 2.0 * (_SIZE - 1)).astype(int)
            pictures[np.arange(self.num_envs), :, columns] = grey
        return tuple(pictures)


register_display("lever", "lever_display:LeverDisplay")
register_meta_env("Lever-v0", f"{__name__}:LeverVectorEnv", displays=["lever"])
