"""Many copies of one Meta-World task in a single simulation."""

from __future__ import annotations

from typing import Any, NamedTuple

import mujoco
import numpy as np
from metaworld import env_dict

from maml_rl.envs.manipulation.quick_tasks import quick_class

_STATE = int(mujoco.mjtState.mjSTATE_INTEGRATION)


class Arm(NamedTuple):
    """One copy, between two of its steps.

    Attributes
    ----------
    state
        What the engine integrates (S,) float64, solver's warm start included.
    attributes
        The upstream environment's own.
    places
        Positions of bodies and sites in the model, which tasks move: (nbody, 3) and (nsite, 3).
    """

    state: np.ndarray
    attributes: dict[str, Any]
    places: tuple[np.ndarray, np.ndarray]


class SharedArm:
    """An upstream environment that all copies use in turn: a copy is moved in, makes its step, and is moved out.

    Observations and rewards are bit for bit those of an upstream environment for each copy. The beginning of an episode
    is a function of the goal alone and computed once for each: upstream simulates 100 control steps for it.

    Parameters
    ----------
    name
        Upstream's name of the task, such as ``"reach-v3"``.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        task_class: Any = env_dict.ALL_V3_ENVIRONMENTS[name]
        self.env = quick_class(task_class)()
        self.model, self.data = self.env.model, self.env.data
        self.env._set_task_called = self.env._freeze_rand_vec = self.env._partially_observable = True
        self._first = self._moved_out(mujoco.mj_stateSize(self.model, _STATE))
        self._goal_size = int(self.env._random_reset_space.low.size)
        self._beginnings: dict[bytes, tuple[Arm, np.ndarray]] = {}

    def begin(self, goal: np.ndarray) -> tuple[Arm, np.ndarray]:
        """A copy at the start of an episode with this goal (K,) or more numbers, and its observation (39,) float64."""
        goal = goal[: self._goal_size]
        key = goal.tobytes()
        if key not in self._beginnings:
            self._move_in(self._copy(self._first))
            self.env._last_rand_vec = goal.copy()
            observation, _ = self.env.reset()
            self._beginnings[key] = self._moved_out(len(self._first.state)), observation
        beginning, observation = self._beginnings[key]
        return self._copy(beginning), observation

    def step(self, arm: Arm, action: np.ndarray) -> tuple[np.ndarray, float, bool]:
        """Move a copy by an action (4,) float32: its observation (39,) float64, reward and success."""
        self._move_in(arm)
        observation, reward, _, _, info = self.env.step(action)
        mujoco.mj_getState(self.model, self.data, arm.state, _STATE)
        return observation, float(reward), bool(info["success"])

    def show(self, arm: Arm) -> None:
        """Move a copy in, all of its geometry computed."""
        self._move_in(arm)
        mujoco.mj_forward(self.model, self.data)

    def _move_in(self, arm: Arm) -> None:
        mujoco.mj_setState(self.model, self.data, arm.state, _STATE)
        self.model.body_pos[:], self.model.site_pos[:] = arm.places
        self.env.__dict__ = arm.attributes

    def _moved_out(self, size: int) -> Arm:
        state = np.empty(size)
        mujoco.mj_getState(self.model, self.data, state, _STATE)
        return Arm(state, dict(self.env.__dict__), (self.model.body_pos.copy(), self.model.site_pos.copy()))

    def _copy(self, arm: Arm) -> Arm:
        """The same with arrays of its own, but for those that follow the engine, as upstream's do."""
        attributes = {
            name: value.copy() if isinstance(value, np.ndarray) and not self._is_live(value) else value
            for name, value in arm.attributes.items()
        }
        return Arm(arm.state.copy(), attributes, arm.places)

    def _is_live(self, array: np.ndarray) -> bool:
        data = self.data
        return any(
            np.may_share_memory(array, part)
            for part in (data.xpos, data.xquat, data.site_xpos, data.geom_xpos, data.qpos, data.qvel, data.mocap_pos)
        )
