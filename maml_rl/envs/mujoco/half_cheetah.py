"""HalfCheetah task families: run in a direction, run at a velocity."""

from __future__ import annotations

import abc

import numpy as np

from maml_rl.envs.mujoco.mujoco_engine import MujocoVectorEnv
from maml_rl.envs.mujoco.running_tasks import DirectionTasks, VelocityTasks


class HalfCheetahVectorEnv(MujocoVectorEnv):
    """The robot of all HalfCheetah families: observation (20,) or (11,), control cost, no termination.

    Observation: qpos without the x position (8), qvel (9), position of the torso (3). Reward:
    ``r_task(forward velocity) - 0.05 * |control|^2`` (Finn et al. 2017, the authors' code). The torso
    position is the one the engine computed at the start of its last sub-step, as in
    pytorch-maml-rl; with semi-implicit Euler steps of the slide joints it is ``qpos - h * qvel``.

    Parameters
    ----------
    num_envs, max_episode_steps, normalization_scale, render_mode
        As in `MujocoVectorEnv`.
    observe_velocities
        False: qvel is left out, and the position of the torso is that of now, so that a single observation tells no
        velocity: those of several steps do.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        observe_velocities: bool = True,
        max_episode_steps: int | None = 200,
        normalization_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self.observe_velocities = bool(observe_velocities)
        super().__init__(
            num_envs,
            model_file="half_cheetah.xml",
            frame_skip=5,
            observation_size=20 if observe_velocities else 11,
            normalization_scale=normalization_scale,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )
        self._torso_origin = self.model.body("torso").pos.copy()
        self._x_before = np.zeros(num_envs)
        self._just_reset = np.ones(num_envs, dtype=bool)

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        self._just_reset[mask] = True
        return super()._reset(mask)

    def _before_step(self) -> None:
        self._x_before = self._qpos[:, 0].copy()
        self._just_reset[:] = False

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        velocity = (self._qpos[:, 0] - self._x_before) / self.control_seconds
        control_cost = 0.05 * np.square(control).sum(axis=-1)
        return self._task_reward(velocity) - control_cost, np.zeros(self.num_envs, dtype=bool)

    def _observe(self) -> np.ndarray:
        observations = np.empty((self.num_envs, *self._observation_shape), dtype=np.float32)
        observations[:, :8] = self._qpos[:, 1:]
        lag = np.zeros(self.num_envs)
        if self.observe_velocities:
            observations[:, 8:17] = self._qvel
            lag = np.where(self._just_reset, 0.0, self.model.opt.timestep)
        observations[:, -3] = self._torso_origin[0] + self._qpos[:, 0] - lag * self._qvel[:, 0]
        observations[:, -2] = self._torso_origin[1]
        observations[:, -1] = self._torso_origin[2] + self._qpos[:, 1] - lag * self._qvel[:, 1]
        return observations

    @abc.abstractmethod
    def _task_reward(self, velocity: np.ndarray) -> np.ndarray:
        """Return the task's part of the reward (N,) from the forward velocity (N,) in m/s."""


class HalfCheetahDirVectorEnv(DirectionTasks, HalfCheetahVectorEnv):
    """HalfCheetahDir-v2: run forward (+1) or backward (-1), reward ``direction * velocity`` - control cost."""

    def _task_reward(self, velocity: np.ndarray) -> np.ndarray:
        return self._direction * velocity


class HalfCheetahVelVectorEnv(VelocityTasks, HalfCheetahVectorEnv):
    """HalfCheetahVel-v2: run at a target velocity, reward ``-|velocity - target|`` - control cost.

    Parameters
    ----------
    low, high
        Range of target velocities in m/s; tasks are uniform on it.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        low: float = 0.0,
        high: float = 2.0,
        observe_velocities: bool = True,
        max_episode_steps: int | None = 200,
        normalization_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self._set_range(low, high)
        super().__init__(
            num_envs,
            observe_velocities=observe_velocities,
            max_episode_steps=max_episode_steps,
            normalization_scale=normalization_scale,
            render_mode=render_mode,
        )

    def _task_reward(self, velocity: np.ndarray) -> np.ndarray:
        return -np.abs(velocity - self._velocity)
