"""Ant task families: run in a direction, run at a velocity, go to a position."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Literal

import numpy as np

from maml_rl.envs.meta_env import Task
from maml_rl.envs.mujoco.mujoco_engine import MujocoVectorEnv
from maml_rl.envs.mujoco.running_tasks import DirectionTasks, RangeTasks, VelocityTasks

Rewards = Literal["rllab", "gymnasium"]
_WEIGHTS: dict[Rewards, tuple[float, float, float]] = {"rllab": (0.005, 0.0005, 0.05), "gymnasium": (0.5, 0.0005, 1.0)}
"""Weights of controls and contact forces in the costs, and the reward of a step survived."""


class AntVectorEnv(MujocoVectorEnv):
    """The robot of all Ant families: observation (125,), costs, survival reward, termination.

    Observation, in pytorch-maml-rl's order: qpos (15), qvel (14), external contact forces clipped to
    [-1, 1] (14 bodies x 6), rotation matrix (9) and position (3) of the torso. Reward: ``r_task -
    0.005 * |control|^2 - 0.0005 * |contact forces|^2 + 0.05``. An episode terminates when the torso's
    height leaves [0.2, 1.0] m or the state is not finite.

    Parameters
    ----------
    num_envs, max_episode_steps, normalization_scale, render_mode
        As in `MujocoVectorEnv`.
    rewards
        ``"rllab"``: the costs and the survival reward above, of MAML's authors (Finn et al. 2017). ``"gymnasium"``:
        those of Ant-v5, ``0.5 * |control|^2`` and 1. Full controls then cost 4 a step, as much as running at 4 m/s
        brings.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        rewards: Rewards = "rllab",
        max_episode_steps: int | None = 200,
        normalization_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self._control_weight, self._contact_weight, self._survival_reward = _WEIGHTS[rewards]
        super().__init__(
            num_envs,
            model_file="ant.xml",
            frame_skip=5,
            observation_size=125,
            normalization_scale=normalization_scale,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )
        torso = self.model.body("torso").id
        self._contact_forces, self._rotation, self._position = self._robots.watch(
            self.data.cfrc_ext, self.data.xmat[torso], self.data.xpos[torso], contact_forces=True
        )
        self._position_before = np.zeros((num_envs, 3))

    def _before_step(self) -> None:
        self._position_before = self._position.copy()

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        costs = self._control_weight * np.square(control).sum(axis=-1)
        costs += self._contact_weight * np.square(np.clip(self._contact_forces, -1.0, 1.0)).sum(axis=-1)
        height = self._qpos[:, 2]
        finite = np.isfinite(self._qpos).all(axis=-1) & np.isfinite(self._qvel).all(axis=-1)
        healthy = finite & (height >= 0.2) & (height <= 1.0)
        return self._task_reward() - costs + self._survival_reward, ~healthy

    def _observe(self) -> np.ndarray:
        parts = [
            self._qpos,
            self._qvel,
            np.clip(self._contact_forces, -1.0, 1.0),
            self._rotation,
            self._position,
        ]
        return np.concatenate(parts, axis=-1, dtype=np.float32)

    @property
    def _forward_velocity(self) -> np.ndarray:
        return (self._position[:, 0] - self._position_before[:, 0]) / self.control_seconds

    @abc.abstractmethod
    def _task_reward(self) -> np.ndarray:
        """Return the task's part of the reward (N,) of the step just made."""


class AntDirVectorEnv(DirectionTasks, AntVectorEnv):
    """AntDir-v2: run forward (+1) or backward (-1) along x, reward ``direction * velocity`` - costs + bonus."""

    def _task_reward(self) -> np.ndarray:
        return self._direction * self._forward_velocity


class AntVelVectorEnv(VelocityTasks, AntVectorEnv):
    """AntVel-v2: run at a target velocity in [low, high] m/s, reward ``1 - |velocity - target|`` - costs + bonus.

    Parameters
    ----------
    num_envs, rewards, max_episode_steps, normalization_scale, render_mode
        As in `AntVectorEnv`.
    low, high
        Range of target velocities in m/s; tasks are uniform on it.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        low: float = 0.0,
        high: float = 3.0,
        rewards: Rewards = "rllab",
        max_episode_steps: int | None = 200,
        normalization_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self._set_range(low, high)
        super().__init__(
            num_envs,
            rewards=rewards,
            max_episode_steps=max_episode_steps,
            normalization_scale=normalization_scale,
            render_mode=render_mode,
        )

    def _task_reward(self) -> np.ndarray:
        return 1.0 - np.abs(self._forward_velocity - self._velocity)


class AntPosVectorEnv(RangeTasks, AntVectorEnv):
    """AntPos-v1: go to a position in [low, high]^2 m, reward ``4 - L1 distance`` - costs + 0.05."""

    def __init__(
        self,
        num_envs: int = 1,
        *,
        low: float = -3.0,
        high: float = 3.0,
        max_episode_steps: int | None = 200,
        normalization_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self._set_range(low, high)
        super().__init__(
            num_envs,
            max_episode_steps=max_episode_steps,
            normalization_scale=normalization_scale,
            render_mode=render_mode,
        )

    def default_task(self) -> Task:
        """Stay at the origin."""
        return {"position": np.zeros(2)}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw target positions uniformly from [low, high]^2."""
        return [{"position": p} for p in rng.uniform(self.low, self.high, size=(num_tasks, 2))]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        self._target = np.array([np.asarray(task["position"], dtype=float) for task in tasks])

    def _task_reward(self) -> np.ndarray:
        return 4.0 - np.abs(self._position[:, :2] - self._target).sum(axis=-1)
