"""Robots that walk or hop in a plane, pushed forward by a task and kept upright by a bonus."""

from __future__ import annotations

import abc

import numpy as np

from maml_rl.envs.mujoco.mujoco_engine import MujocoVectorEnv


class PlanarVectorEnv(MujocoVectorEnv):
    """Observation, reward and termination that Gymnasium's Walker2d-v5 and Hopper-v5 have in common.

    Observation: qpos without the x position, qvel clipped to [-10, 10]. Reward: ``r_task(forward velocity) +
    bonus * [upright] - 0.001 * |control|^2``. Episodes begin within 0.005 of the model's positions and of rest.

    Parameters
    ----------
    num_envs, model_file, frame_skip, normalization_scale, max_episode_steps, render_mode
        As in `MujocoVectorEnv`.
    observation_size
        Numbers of positions and velocities together, without x.
    upright_bonus
        Reward of a step that ends upright.
    terminate_when_unhealthy
        Whether an episode ends when the robot is not upright any more, as in all published families.
    """

    def __init__(
        self,
        num_envs: int,
        *,
        model_file: str,
        frame_skip: int,
        observation_size: int,
        upright_bonus: float,
        terminate_when_unhealthy: bool,
        normalization_scale: float,
        max_episode_steps: int | None,
        render_mode: str | None,
    ) -> None:
        super().__init__(
            num_envs,
            model_file=model_file,
            frame_skip=frame_skip,
            observation_size=observation_size,
            normalization_scale=normalization_scale,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )
        self.upright_bonus = float(upright_bonus)
        self.terminate_when_unhealthy = bool(terminate_when_unhealthy)
        self._x_before = np.zeros(num_envs)

    def _initial_noise(self) -> tuple[np.ndarray, np.ndarray]:
        return 0.01 * self._uniform(self.model.nq) - 0.005, 0.01 * self._uniform(self.model.nv) - 0.005

    def _before_step(self) -> None:
        self._x_before = self._qpos[:, 0].copy()

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        velocity = (self._qpos[:, 0] - self._x_before) / self.control_seconds
        upright = self._upright()
        rewards = self._task_reward(velocity) + self.upright_bonus * upright
        rewards -= 0.001 * np.square(control).sum(axis=-1)
        fallen = ~upright if self.terminate_when_unhealthy else np.zeros_like(upright)
        return rewards, fallen

    def _observe(self) -> np.ndarray:
        parts = [self._qpos[:, 1:], np.clip(self._qvel, -10.0, 10.0)]
        return np.concatenate(parts, axis=-1, dtype=np.float32)

    @abc.abstractmethod
    def _upright(self) -> np.ndarray:
        """(N,) bool: robots that have not fallen."""

    @abc.abstractmethod
    def _task_reward(self, velocity: np.ndarray) -> np.ndarray:
        """Return the task's part of the reward (N,) from the forward velocity (N,) in m/s."""
