"""Computations that Meta-World's tasks make most often, bit for bit as they would, in a fraction of the time."""

from __future__ import annotations

import math
from typing import Any

import mujoco
import numpy as np
from metaworld.utils import reward_utils
from scipy.spatial.transform import Rotation

_LONG_TAIL_SCALE = float(np.sqrt(1 / 0.1 - 1))
_GAUSSIAN_SCALE = float(np.sqrt(-2 * np.log(0.1)))


class QuickRewards:
    """Stands in for the module `metaworld.utils.reward_utils`."""

    hamacher_product = staticmethod(reward_utils.hamacher_product)
    inverse_tolerance = staticmethod(reward_utils.inverse_tolerance)
    rect_prism_tolerance = staticmethod(reward_utils.rect_prism_tolerance)

    @staticmethod
    def tolerance(
        x: Any,
        bounds: tuple[float, float] = (0.0, 0.0),
        margin: float = 0.0,
        sigmoid: str = "gaussian",
        value_at_margin: float = 0.1,
    ) -> Any:
        """1 within bounds, less outside; quick for a number and the two most used slopes, 0.1 at the margin."""
        lower, upper = bounds
        known = sigmoid in ("long_tail", "gaussian") and value_at_margin == 0.1
        if not (known and isinstance(x, float) and margin > 0 and lower <= upper):
            return reward_utils.tolerance(x, bounds, margin, sigmoid, value_at_margin)  # type: ignore[arg-type]
        if lower <= x <= upper:
            return 1.0
        distance = float((lower - x if x < lower else x - upper) / margin)
        if sigmoid == "long_tail":
            return 1 / ((distance * _LONG_TAIL_SCALE) ** 2 + 1)
        return float(np.exp(-0.5 * (distance * _GAUSSIAN_SCALE) ** 2))


class QuickRotation:
    """Stands in for `scipy.spatial.transform.Rotation` of a matrix (3, 3) that is known to be a rotation."""

    def __init__(self, quaternion: np.ndarray) -> None:
        self._quaternion = quaternion

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> QuickRotation:
        """Quaternion of a rotation `matrix` (3, 3), by its largest component (Markley 2008)."""
        (m00, m01, m02), (m10, m11, m12), (m20, m21, m22) = matrix.tolist()
        trace = m00 + m11 + m22
        largest = max(m00, m11, m22, trace)
        if largest == m00 and largest != trace:
            q = (1 - trace + 2 * m00, m10 + m01, m20 + m02, m21 - m12)
        elif largest == m11 and largest != trace:
            q = (m01 + m10, 1 - trace + 2 * m11, m21 + m12, m02 - m20)
        elif largest == m22 and largest != trace:
            q = (m02 + m20, m12 + m21, 1 - trace + 2 * m22, m10 - m01)
        elif largest == trace:
            q = (m21 - m12, m02 - m20, m10 - m01, 1 + trace)
        else:  # NaN
            return cls(Rotation.from_matrix(matrix).as_quat())
        norm = math.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3])
        return cls(np.array([part / norm for part in q]))

    def as_quat(self) -> np.ndarray:
        """Quaternion (4,), the real part last."""
        return self._quaternion


class QuickArm:
    """Methods that stand in for those of `metaworld.sawyer_xyz_env.SawyerXYZEnv`, where a task has none of its own."""

    model: Any
    data: Any

    def _id(self, kind: str, name: str) -> int:
        known: dict[tuple[str, str], int] = self.__dict__.setdefault("_ids", {})
        if (kind, name) not in known:
            known[kind, name] = int(getattr(self.model, kind)(name).id)
        return known[kind, name]

    @property
    def tcp_center(self) -> np.ndarray:
        """Middle (3,) of the gripper's fingers."""
        sites = self.data.site_xpos
        return (sites[self._id("site", "rightEndEffector")] + sites[self._id("site", "leftEndEffector")]) / 2.0

    def get_endeff_pos(self) -> np.ndarray:
        """Position (3,) of the hand, which moves with the engine."""
        return self.data.xpos[self._id("body", "hand")]

    def get_body_com(self, body_name: str) -> np.ndarray:
        """Position (3,) of a body, which moves with the engine."""
        return self.data.xpos[self._id("body", body_name)]

    def _get_site_pos(self, site_name: str) -> np.ndarray:
        return self.data.site_xpos[self._id("site", site_name)].copy()

    def touching_object(self, object_geom_id: int) -> bool:
        """True if both pads press on a body's geometry."""
        contact = self.data.contact
        pairs = contact.geom.tolist()
        if not any(object_geom_id in pair for pair in pairs):
            return False
        addresses, force = contact.efc_address.tolist(), self.data.efc_force
        for pad in (self._id("geom", "leftpad_geom"), self._id("geom", "rightpad_geom")):
            pressing = [at for pair, at in zip(pairs, addresses, strict=True) if pad in pair and object_geom_id in pair]
            if not sum(force[at] for at in pressing) > 0:
                return False
        return True

    def set_xyz_action(self, action: np.ndarray) -> None:
        """Move the hand's target by an action (3,) float32, within its bounds."""
        step = np.minimum(np.maximum(action, np.float32(-1)), np.float32(1)) * self.action_scale  # type: ignore[attr-defined]
        mocap = self.data.mocap_pos
        mocap[0] = np.minimum(np.maximum(mocap[0] + step, self.mocap_low), self.mocap_high)  # type: ignore[attr-defined]
        self.data.mocap_quat[:] = (1.0, 0.0, 1.0, 0.0)

    def do_simulation(self, ctrl: Any, n_frames: int) -> None:
        """Run the engine."""
        self.data.ctrl[:] = ctrl
        mujoco.mj_step(self.model, self.data, n_frames)

    def _get_curr_obs_combined_no_goal(self) -> np.ndarray:
        xpos = self.data.xpos
        between = xpos[self._id("body", "rightclaw")] - xpos[self._id("body", "leftclaw")]
        apart = min(max(math.sqrt(between.dot(between)) / 0.1, 0.0), 1.0)
        observation = np.zeros(18)
        observation[:3] = xpos[self._id("body", "hand")]
        observation[3] = apart
        positions, quaternions = self._get_pos_objects(), self._get_quat_objects()  # type: ignore[attr-defined]
        for index in range(len(positions) // 3):
            at = 4 + 7 * index
            observation[at : at + 3] = positions[3 * index : 3 * index + 3]
            observation[at + 3 : at + 7] = quaternions[4 * index : 4 * index + 4]
        return observation

    def _get_obs(self) -> np.ndarray:
        now = self._get_curr_obs_combined_no_goal()
        observation = np.zeros(39)
        observation[:18], observation[18:36] = now, self._prev_obs  # type: ignore[has-type]
        if not self._partially_observable:  # type: ignore[attr-defined]
            observation[36:] = self._get_pos_goal()  # type: ignore[attr-defined]
        self._prev_obs = now
        return observation

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Observation (39,), reward, no end, whether time is up, and own measures, after an `action` (4,) float32."""
        self.set_xyz_action(action[:3])
        self.do_simulation([action[-1], -action[-1]], self.frame_skip)  # type: ignore[attr-defined]
        self.curr_path_length += 1  # type: ignore[attr-defined]
        mujoco.mj_forward(self.model, self.data)
        space = self.sawyer_observation_space  # type: ignore[attr-defined]
        observation = np.minimum(np.maximum(self._get_obs(), space.low), space.high)
        self._last_stable_obs = observation
        reward, info = self.evaluate_state(observation, action)  # type: ignore[attr-defined]
        over = self.curr_path_length == self.max_path_length  # type: ignore[attr-defined]
        return observation, reward, False, over, info
