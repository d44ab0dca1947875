"""Batches of MuJoCo robots, stepped on the engine itself."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv
from maml_rl.envs.mujoco.robot_batch import RobotBatch

_LARGEST_SCALE = 1e6
"""Largest unit of actions, and one over the smallest: what float32 holds with room to spare."""


def gymnasium_model_path(name: str) -> str:
    """Return the path of a robot's XML file shipped with Gymnasium, e.g. ``"half_cheetah.xml"``."""
    return str(Path(gym.__file__).parent / "envs" / "mujoco" / "assets" / name)


class _Renderer(mujoco.Renderer):
    """A renderer whose deletion is quiet also if it could not be made, as on a machine without libEGL."""

    _gl_context = None
    _mjr_context = None


class MujocoVectorEnv(MetaVectorEnv):
    """N copies of one robot, a `RobotBatch`.

    Actions live in [-normalization_scale, normalization_scale] and are mapped linearly onto the
    actuators' control range, as pytorch-maml-rl's ``NormalizedActionWrapper`` does.

    Parameters
    ----------
    num_envs
        Number of robots N.
    model_file
        File name of the robot among Gymnasium's assets.
    frame_skip
        Engine steps per control step.
    observation_size
        Length of an observation.
    normalization_scale
        Action that maps to full control, > 0.
    max_episode_steps
        Control steps per episode.
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
        num_envs: int,
        *,
        model_file: str,
        frame_skip: int,
        observation_size: int,
        normalization_scale: float,
        max_episode_steps: int | None,
        render_mode: str | None,
    ) -> None:
        if not 1.0 / _LARGEST_SCALE <= normalization_scale <= _LARGEST_SCALE:
            raise ValueError(
                f"normalization_scale: got {normalization_scale}, expected a number in [{1.0 / _LARGEST_SCALE:g}, "
                f"{_LARGEST_SCALE:g}], such as 1 or 10"
            )
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {render_mode!r}, expected 'rgb_array' or None")
        self.model = mujoco.MjModel.from_xml_path(gymnasium_model_path(model_file))
        self._robots = RobotBatch(num_envs, self.model)
        self.data = self._robots.data
        self.frame_skip = frame_skip
        self.control_seconds = float(self.model.opt.timestep) * frame_skip
        self.normalization_scale = float(normalization_scale)
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": round(1.0 / self.control_seconds)}
        scale = np.float32(normalization_scale)
        super().__init__(
            num_envs,
            gym.spaces.Box(-np.inf, np.inf, (observation_size,), np.float32),
            gym.spaces.Box(-scale, scale, (self.model.nu,), np.float32),
            max_episode_steps=max_episode_steps,
        )
        self._low = self.model.actuator_ctrlrange[:, 0].copy()
        self._high = self.model.actuator_ctrlrange[:, 1].copy()
        robots = self._robots
        self._qpos, self._qvel, self._warmstart, self._ctrl = robots.qpos, robots.qvel, robots.warmstart, robots.ctrl
        self._initial_qpos = self.data.qpos.copy()
        self._renderer: _Renderer | None = None

    def control_from_action(self, actions: np.ndarray) -> np.ndarray:
        """Map actions (N, A) in [-scale, scale], clipped to it, onto the actuators' control range."""
        scaled = np.clip(actions, -self.normalization_scale, self.normalization_scale)
        return self._low + 0.5 * (scaled / self.normalization_scale + 1.0) * (self._high - self._low)

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        position_noise, velocity_noise = self._initial_noise()
        self._qpos[mask] = (self._initial_qpos + position_noise)[mask]
        self._qvel[mask] = velocity_noise[mask]
        self._warmstart[mask] = 0.0
        self._ctrl[mask] = 0.0
        for group in self._groups(np.flatnonzero(mask)):
            self._robots.settle(group)
        return self._observe()

    def _initial_noise(self) -> tuple[np.ndarray, np.ndarray]:
        """Deviations of positions (N, nq) and velocities (N, nv) from the model's, where episodes begin."""
        return 0.2 * self._uniform(self.model.nq) - 0.1, 0.1 * self._normal(self.model.nv)

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        control = self.control_from_action(actions)
        self._ctrl[active] = control[active]
        self._before_step()
        for group in self._groups(np.flatnonzero(active)):
            self._robots.advance(group, self.frame_skip)
        rewards, terminated = self._outcome(control)
        return self._observe(), rewards, terminated

    def _groups(self, indices: np.ndarray) -> Iterator[np.ndarray]:
        """Robots (n,) in groups that share a model, which `self.model` is while the group moves; here all do."""
        yield indices

    def _before_step(self) -> None:
        """Remember what the reward needs of the state before the step; nothing by default."""

    @abc.abstractmethod
    def _outcome(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return rewards (N,) and terminated (N,) of the step just made with `control` (N, A)."""

    @abc.abstractmethod
    def _observe(self) -> np.ndarray:
        """Return observations (N, O)."""

    def render(self) -> tuple[np.ndarray, ...]:
        """Return one RGB picture (height, width, 3) uint8 of every robot, seen by its tracking camera."""
        if self.render_mode != "rgb_array":
            raise ValueError("render: got render_mode None, expected 'rgb_array'; pass it to make")
        if self._renderer is None:
            self._renderer = _Renderer(self.model, height=240, width=320)
            # Two thirds of the time where no GPU draws, for a shadow that is hardly seen.
            self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
        frames = []
        for group in self._groups(np.arange(self.num_envs)):
            for index in group:
                self._robots.load(index)
                self._renderer.update_scene(self.data, camera="track")
                frames.append(self._renderer.render())
        return tuple(frames)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
