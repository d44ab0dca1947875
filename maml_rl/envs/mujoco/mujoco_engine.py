"""Batches of MuJoCo robots, stepped on the engine itself."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv


def gymnasium_model_path(name: str) -> str:
    """Return the path of a robot's XML file shipped with Gymnasium, e.g. ``"half_cheetah.xml"``."""
    return str(Path(gym.__file__).parent / "envs" / "mujoco" / "assets" / name)


def _engine_state(data: mujoco.MjData) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """View the stretch of the engine's memory from qpos to the end of ctrl as one array.

    The engine keeps qpos, qvel, qacc_warmstart and ctrl one after another, with a little padding, so that
    a robot is moved in or out by one copy: a third of the time of `mj_setState` and `mj_getState`, which
    matters beside an engine step of some 30 microseconds.

    Returns
    -------
    span
        (S,) float64, shares the engine's memory.
    offsets
        (offset, size) of the four parts in it.
    """
    parts = [data.qpos, data.qvel, data.qacc_warmstart, data.ctrl]
    addresses = [int(part.__array_interface__["data"][0]) for part in parts]
    offsets = [((address - addresses[0]) // 8, part.size) for address, part in zip(addresses, parts, strict=True)]
    length = sum(offsets[-1])
    if [offset for offset, _ in offsets] != sorted(offset for offset, _ in offsets) or length > 4 * sum(
        size for _, size in offsets
    ):
        raise RuntimeError(f"mujoco {mujoco.__version__}: unknown layout of MjData; install mujoco==3.3.0")
    return np.lib.stride_tricks.as_strided(data.qpos, (length,), (8,)), offsets


class _Renderer(mujoco.Renderer):
    """A renderer whose deletion is quiet also if it could not be made, as on a machine without libEGL."""

    _gl_context = None
    _mjr_context = None


class MujocoVectorEnv(MetaVectorEnv):
    """N copies of one robot, simulated one after another in a single `mujoco.MjData`.

    Each copy is one row of a state matrix that holds qpos, qvel, qacc_warmstart and ctrl. Because the solver's
    warm start is part of the row, a copy's trajectory is bit for bit what a `MjData` of its own
    would give; because all copies share one `MjData`, the engine's working memory stays in cache.

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

    _record: Callable[[int], None] | None = None
    """Copies what observation and reward need from `self.data`, called after robot i moved; not all need it."""

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
        if not (np.isfinite(normalization_scale) and normalization_scale > 0):
            raise ValueError(f"normalization_scale: got {normalization_scale}, expected a number > 0")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {render_mode!r}, expected 'rgb_array' or None")
        self.model = mujoco.MjModel.from_xml_path(gymnasium_model_path(model_file))
        self.data = mujoco.MjData(self.model)
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
        self._span, offsets = _engine_state(self.data)
        self._state = np.zeros((num_envs, len(self._span)))
        self._qpos, self._qvel, self._warmstart, self._ctrl = (
            self._state[:, offset : offset + size] for offset, size in offsets
        )
        # Assigned through memoryviews, which takes a third of the time of assigning through arrays.
        self._data_span = self._span.data
        self._rows = [row.data for row in self._state]
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
        for group in self._groups(np.flatnonzero(mask).tolist()):
            for index in group:
                self._data_span[:] = self._rows[index]
                mujoco.mj_forward(self.model, self.data)
                self._rows[index][:] = self._data_span
                if self._record is not None:
                    self._record(index)
        return self._observe()

    def _initial_noise(self) -> tuple[np.ndarray, np.ndarray]:
        """Deviations of positions (N, nq) and velocities (N, nv) from the model's, where episodes begin."""
        return 0.2 * self._uniform(self.model.nq) - 0.1, 0.1 * self._normal(self.model.nv)

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        control = self.control_from_action(actions)
        self._ctrl[active] = control[active]
        self._before_step()
        self._simulate(range(self.num_envs) if active.all() else np.flatnonzero(active).tolist())
        rewards, terminated = self._outcome(control)
        return self._observe(), rewards, terminated

    def _simulate(self, indices: Iterable[int]) -> None:
        model, data, span, frame_skip = self.model, self.data, self._data_span, self.frame_skip
        rows, record, step = self._rows, self._record, mujoco.mj_step
        for group in self._groups(indices):
            for index in group:
                row = rows[index]
                span[:] = row
                step(model, data, frame_skip)
                row[:] = span
                if record is not None:
                    record(index)

    def _groups(self, indices: Iterable[int]) -> Iterator[Iterable[int]]:
        """Robots in groups that share a model, which `self.model` is while the group is simulated; here all do."""
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
        for group in self._groups(range(self.num_envs)):
            for index in group:
                self._data_span[:] = self._rows[index]
                mujoco.mj_forward(self.model, self.data)
                self._renderer.update_scene(self.data, camera="track")
                frames.append(self._renderer.render())
        return tuple(frames)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
