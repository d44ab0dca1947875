"""Walker2D task families: walk in a direction, walk at a velocity, walk with another body."""

from __future__ import annotations

import numpy as np

from maml_rl.envs.mujoco.planar_robots import PlanarVectorEnv
from maml_rl.envs.mujoco.random_parameters import RandomParameterTasks
from maml_rl.envs.mujoco.running_tasks import DirectionTasks, VelocityTasks
from maml_rl.utils.checks import check_at_least


class Walker2DVectorEnv(PlanarVectorEnv):
    """The robot of all Walker2D families: observation (17,), upright from 0.8 to 2 m and within 1 rad.

    The model is that of Gymnasium's Walker2d-v5, whose feet have equal friction, unlike that of the version that was
    used in the papers. A step of the engine takes 2 ms.

    Parameters
    ----------
    num_envs, terminate_when_unhealthy, normalization_scale, max_episode_steps, render_mode
        As in `PlanarVectorEnv`.
    frame_skip
        Engine steps per control step.
    upright_bonus
        Reward of a step that ends upright.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        frame_skip: int = 8,
        upright_bonus: float = 1.0,
        terminate_when_unhealthy: bool = True,
        max_episode_steps: int | None = 200,
        normalization_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        check_at_least(1, frame_skip=frame_skip)
        super().__init__(
            num_envs,
            model_file="walker2d_v5.xml",
            frame_skip=frame_skip,
            observation_size=17,
            upright_bonus=upright_bonus,
            terminate_when_unhealthy=terminate_when_unhealthy,
            normalization_scale=normalization_scale,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )

    def _upright(self) -> np.ndarray:
        height, angle = self._qpos[:, 1], self._qpos[:, 2]
        upright: np.ndarray = (height > 0.8) & (height < 2.0) & (np.abs(angle) < 1.0)
        return upright


class Walker2DDirVectorEnv(DirectionTasks, Walker2DVectorEnv):
    """Walker2DDir-v0: walk forward (+1) or backward (-1), reward ``direction * velocity`` + bonus - control cost.

    As in ProMP (Rothfuss et al. 2019, the authors' code), 8 engine steps per control step.
    """

    def _task_reward(self, velocity: np.ndarray) -> np.ndarray:
        return self._direction * velocity


class Walker2DVelVectorEnv(VelocityTasks, Walker2DVectorEnv):
    """Walker2DVel-v0: walk at a target velocity, reward ``-|velocity - target|`` + bonus - control cost.

    As in ProMP (Rothfuss et al. 2019, the authors' code), with targets up to 10 m/s, which no walker reaches, and a
    bonus of 15 that makes falling expensive all the same.

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
        high: float = 10.0,
        frame_skip: int = 8,
        upright_bonus: float = 15.0,
        terminate_when_unhealthy: bool = True,
        max_episode_steps: int | None = 200,
        normalization_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self._set_range(low, high)
        super().__init__(
            num_envs,
            frame_skip=frame_skip,
            upright_bonus=upright_bonus,
            terminate_when_unhealthy=terminate_when_unhealthy,
            max_episode_steps=max_episode_steps,
            normalization_scale=normalization_scale,
            render_mode=render_mode,
        )

    def _task_reward(self, velocity: np.ndarray) -> np.ndarray:
        return -np.abs(velocity - self._velocity)


class WalkerRandParamsVectorEnv(RandomParameterTasks, Walker2DVectorEnv):
    """WalkerRandParams-v0: walk forward with another body, reward ``velocity`` + bonus - control cost.

    As in rand_param_envs, 5 engine steps per control step.

    Parameters
    ----------
    log_scale_limit
        Largest exponent of the factors, see `RandomParameterTasks`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        log_scale_limit: float = 3.0,
        frame_skip: int = 5,
        upright_bonus: float = 1.0,
        terminate_when_unhealthy: bool = True,
        max_episode_steps: int | None = 200,
        normalization_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self._set_limit(log_scale_limit)
        super().__init__(
            num_envs,
            frame_skip=frame_skip,
            upright_bonus=upright_bonus,
            terminate_when_unhealthy=terminate_when_unhealthy,
            max_episode_steps=max_episode_steps,
            normalization_scale=normalization_scale,
            render_mode=render_mode,
        )

    def _task_reward(self, velocity: np.ndarray) -> np.ndarray:
        return velocity
