"""Hopper task family: hop with another body."""

from __future__ import annotations

import numpy as np

from maml_rl.envs.mujoco.planar_robots import PlanarVectorEnv
from maml_rl.envs.mujoco.random_parameters import RandomParameterTasks


class HopperRandParamsVectorEnv(RandomParameterTasks, PlanarVectorEnv):
    """HopperRandParams-v0: hop forward with another body, reward ``velocity`` + 1 - control cost.

    The robot is Gymnasium's Hopper-v5, observation (11,): upright above 0.7 m, within 0.2 rad, and while no other
    number of its state reaches 100. As in rand_param_envs, 4 engine steps of 2 ms per control step.

    Parameters
    ----------
    num_envs, terminate_when_unhealthy, normalization_scale, max_episode_steps, render_mode
        As in `PlanarVectorEnv`.
    log_scale_limit
        Largest exponent of the factors, see `RandomParameterTasks`.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        log_scale_limit: float = 3.0,
        terminate_when_unhealthy: bool = True,
        max_episode_steps: int | None = 200,
        normalization_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self._set_limit(log_scale_limit)
        super().__init__(
            num_envs,
            model_file="hopper.xml",
            frame_skip=4,
            observation_size=11,
            upright_bonus=1.0,
            terminate_when_unhealthy=terminate_when_unhealthy,
            normalization_scale=normalization_scale,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )

    def _upright(self) -> np.ndarray:
        others = np.concatenate([self._qpos[:, 2:], self._qvel], axis=-1)
        moderate = (np.abs(others) < 100.0).all(axis=-1)
        upright: np.ndarray = moderate & (self._qpos[:, 1] > 0.7) & (np.abs(self._qpos[:, 2]) < 0.2)
        return upright

    def _task_reward(self, velocity: np.ndarray) -> np.ndarray:
        return velocity
