"""Humanoid task family: run in a direction on the plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_rl.envs.meta_env import Task
from maml_rl.envs.mujoco.mujoco_engine import MujocoVectorEnv


class HumanoidDirVectorEnv(MujocoVectorEnv):
    """HumanoidDir-v0: run in a direction on the plane.

    Task: ``{"angle": a}``, in radians from the x axis, uniform on [0, 2 pi), as in ProMP (Rothfuss et al. 2019) and
    PEARL (Rakelly et al. 2019). Reward: ``1.25 * velocity of the centre of mass along the direction + 5 [upright] -
    0.1 * |control|^2 - min(10, 5e-7 * |contact forces|^2)``, which along x is that of Gymnasium's Humanoid-v5; upright
    is a root between 1 and 2 m. Observation (348,), Humanoid-v5's: qpos without x and y (22), qvel (23), and of the 13
    bodies inertia (10 each) and velocity (6) in the frame of the centre of mass, forces of the actuators (17), contact
    forces (6 of each body); that of the papers has 28 zeros more, for the world and the free joint.

    Parameters
    ----------
    num_envs, normalization_scale, max_episode_steps, render_mode
        As in `MujocoVectorEnv`.
    terminate_when_unhealthy
        Whether an episode ends when the robot is not upright any more, as in the papers.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        terminate_when_unhealthy: bool = True,
        max_episode_steps: int | None = 200,
        normalization_scale: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            num_envs,
            model_file="humanoid.xml",
            frame_skip=5,
            observation_size=348,
            normalization_scale=normalization_scale,
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )
        self.terminate_when_unhealthy = bool(terminate_when_unhealthy)
        self._mass_fractions = self.model.body_mass / self.model.body_mass.sum()
        data = self.data
        self._inertias, self._velocities, self._actuator_forces, self._contact_forces, self._centres = (
            self._robots.watch(
                data.cinert[1:], data.cvel[1:], data.qfrc_actuator[6:], data.cfrc_ext, data.xipos, contact_forces=True
            )
        )
        self._centre_before = np.zeros((num_envs, 2))

    def default_task(self) -> Task:
        """Along x."""
        return {"angle": 0.0}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw angles uniformly from [0, 2 pi)."""
        return [{"angle": float(angle)} for angle in rng.uniform(0.0, 2.0 * np.pi, size=num_tasks)]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        angles = np.array([float(task["angle"]) for task in tasks])
        self._direction = np.stack([np.cos(angles), np.sin(angles)], axis=-1)

    def _initial_noise(self) -> tuple[np.ndarray, np.ndarray]:
        return 0.02 * self._uniform(self.model.nq) - 0.01, 0.02 * self._uniform(self.model.nv) - 0.01

    def _before_step(self) -> None:
        self._centre_before = self._centre

    @property
    def _centre(self) -> np.ndarray:
        """Centre of mass (N, 2) on the plane."""
        return self._mass_fractions @ self._centres.reshape(self.num_envs, -1, 3)[..., :2]

    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        velocity = (self._centre - self._centre_before) / self.control_seconds
        upright = (self._qpos[:, 2] > 1.0) & (self._qpos[:, 2] < 2.0)
        rewards = 1.25 * (self._direction * velocity).sum(axis=-1) + 5.0 * upright
        rewards -= 0.1 * np.square(control).sum(axis=-1)
        rewards -= np.minimum(5e-7 * np.square(self._contact_forces).sum(axis=-1), 10.0)
        return rewards, ~upright if self.terminate_when_unhealthy else np.zeros_like(upright)

    def _observe(self) -> np.ndarray:
        parts = [
            self._qpos[:, 2:],
            self._qvel,
            self._inertias,
            self._velocities,
            self._actuator_forces,
            self._contact_forces[:, 6:],
        ]
        return np.concatenate(parts, axis=-1, dtype=np.float32)
