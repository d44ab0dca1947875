"""A pendulum to be swung up, or to an angle that only the reward tells of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from maml_rl.envs.control.control_pictures import draw_arms
from maml_rl.envs.hidden_tasks import (
    HiddenParts,
    HiddenTaskEnv,
    Permutations,
    check_ranges,
    draw_signs,
)
from maml_rl.envs.life_draws import Draw
from maml_rl.envs.task_table import Task
from maml_rl.utils.checks import check_probabilities

SECONDS_PER_STEP = 0.05
LARGEST_SPIN = 8.0  # rad/s
AT_TARGET = 0.95  # least cosine of the angle to the target


class PendulumSwingUp(HiddenTaskEnv):
    """PendulumSwingUp-v0: Gymnasium's Pendulum-v1 with a task, a rod whose motor is too weak to lift it at once.

    Task: ``{"length", "mass", "gravity", "torque_ratio", "sign", "target"}``: in m, kg and m/s^2; the largest torque as
    a fraction of gravity's largest, mass * gravity * length / 2; +1 or -1, the direction in which a positive action
    turns; and the angle from upright to be reached, in radians. Gymnasium's is (1, 1, 10, 0.4, 1, 0). The angle theta
    is counted from upright; each step of 0.05 s is

        u = sign * action * torque_ratio * mass * gravity * length / 2
        theta' += 0.05 * (3 gravity / (2 length) * sin theta + 3 u / (mass length^2)), clipped to [-8, 8]
        theta += 0.05 * theta'

    The observation is (cos theta, sin theta, theta' / 8); the target is never observed. The reward of a step is
    cos(theta - target) where it ends, and `target_bonus` where that exceeds 0.95, less `torque_cost` * action^2.
    Episodes never terminate. A switch turns the motor over. The measure ``"at_target"`` is the fraction of an episode's
    steps that end with cos(theta - target) > 0.95, ``"at_target_late"`` that of the second half of its steps: in the
    last of two episodes the last quarter of a life. Without `max_episode_steps` it is 0.

    Parameters
    ----------
    num_individuals, num_lives, device, dtype
        As in `TensorMetaVectorEnv`.
    length, mass, gravity, torque_ratio
        Ranges (low, high), positive, on which tasks are uniform.
    torque
        Largest torque of all tasks in N m, > 0, Gymnasium's being 2; ``None``: what `torque_ratio` says. With it,
        heavier rods are harder to lift.
    flip_probability
        Probability that a task's sign is -1, in [0, 1].
    target_angles
        ``"upright"``: 0. ``"two"``: 0 or pi, each for half of the tasks. ``"circle"``: uniform on [-pi, pi).
    start
        ``"hanging"``: episodes begin within 0.1 rad of hanging down and 0.1 rad/s of rest. ``"uniform"``: at any angle
        and within 1 rad/s, as Gymnasium's.
    target_bonus
        Reward, >= 0, of each step that ends at the target: without it turning round slowly obtains a third of what
        staying does.
    torque_cost
        Cost of an action of size 1, >= 0.
    permutations, switch_probability, switch_range, render_mode
        As in `HiddenParts`.
    max_episode_steps
        Steps per episode.
    """

    fields = ("length", "mass", "gravity", "torque_ratio", "sign", "target")
    measures = averaged = ("at_target", "at_target_late")
    births = Draw("uniform", (2,))
    render_fps = 1 / SECONDS_PER_STEP

    def __init__(
        self,
        num_individuals: int = 1,
        num_lives: int = 1,
        *,
        length: tuple[float, float] = (0.75, 1.25),
        mass: tuple[float, float] = (0.75, 1.25),
        gravity: tuple[float, float] = (8.0, 12.0),
        torque_ratio: tuple[float, float] = (0.4, 0.4),
        torque: float | None = None,
        flip_probability: float = 0.5,
        target_angles: Literal["upright", "two", "circle"] = "upright",
        start: Literal["hanging", "uniform"] = "hanging",
        torque_cost: float = 0.001,
        target_bonus: float = 0.0,
        permutations: Permutations = "none",
        switch_probability: float = 0.0,
        switch_range: tuple[float, float] = (100, 300),
        render_mode: str | None = None,
        max_episode_steps: int | None = 200,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_probabilities(flip_probability=flip_probability)
        ranges = (length, mass, gravity, torque_ratio)
        check_ranges(dict(zip(self.fields, ranges, strict=False)))
        if torque is not None and not 0 < torque < math.inf:
            raise ValueError(f"torque: got {torque}, expected a number > 0")
        for name, value in (("torque_cost", torque_cost), ("target_bonus", target_bonus)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: got {value}, expected a number >= 0")
        super().__init__(
            num_individuals,
            num_lives,
            gym.spaces.Box(-1.0, 1.0, (3,), np.float32),
            gym.spaces.Box(-1.0, 1.0, (1,), np.float32),
            parts=HiddenParts(permutations, switch_probability, switch_range, render_mode),
            max_episode_steps=max_episode_steps,
            device=device,
            dtype=dtype,
        )
        self.flip_probability, self.torque_cost = float(flip_probability), float(torque_cost)
        self.target_bonus, self.torque = float(target_bonus), torque
        self.target_angles, self.start = target_angles, start
        self._low, self._high = np.array(ranges, dtype=np.float64).T

    def _plain_task(self) -> Task:
        """Pendulum-v1."""
        return dict(zip(self.fields, (1.0, 1.0, 10.0, 0.4, 1, 0.0), strict=True))

    def _sample_plain_tasks(self, num_tasks: int, rng: np.random.Generator) -> list[Task]:
        physical = rng.uniform(self._low, self._high, (num_tasks, len(self._low))).T  # (F, M)
        if self.torque is not None:
            physical[3] = self.torque / (physical[:3].prod(axis=0) / 2)
        columns = physical.tolist()
        columns.append(draw_signs(num_tasks, rng, self.flip_probability))
        places = rng.random(num_tasks)
        targets = {"upright": 0 * places, "two": math.pi * (places < 0.5), "circle": math.pi * (2 * places - 1)}
        columns.append(targets[self.target_angles].tolist())
        return [dict(zip(self.fields, row, strict=True)) for row in zip(*columns, strict=True)]

    def _check_values(self, values: Mapping[str, np.ndarray]) -> None:
        physical = np.stack([values[field] for field in self.fields[:-2]])
        if not ((physical > 0).all() and (np.abs(values["sign"]) == 1).all() and np.isfinite(values["target"]).all()):
            raise ValueError(f"task: got {dict(values)}, expected numbers > 0, a sign of 1 or -1 and an angle")

    def _begin(self, births: Tensor) -> Tensor:
        centred = 2.0 * births - 1.0
        if self.start == "hanging":
            angle, spin = math.pi + 0.1 * centred[..., 0], 0.1 * centred[..., 1]
        else:
            angle, spin = math.pi * centred[..., 0], centred[..., 1]
        return torch.stack([angle, spin, torch.zeros_like(angle)], dim=-1)

    def _advance(self, state: Tensor, actions: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        length, mass, gravity, torque_ratio, sign, target = self.hidden()
        angle, spin, _ = state.unbind(-1)  # (P, L) each
        action = actions[..., 0].to(self.dtype).clamp(-1.0, 1.0)
        torque = sign * action * (torque_ratio * mass * gravity * length / 2)
        change = 3 * gravity / (2 * length) * torch.sin(angle) + 3 * torque / (mass * length.square())
        spin = (spin + SECONDS_PER_STEP * change).clamp(-LARGEST_SPIN, LARGEST_SPIN)
        angle = angle + SECONDS_PER_STEP * spin
        nearness = torch.cos(angle - target)
        after = torch.stack([angle, spin, (nearness > AT_TARGET).to(self.dtype)], dim=-1)
        never = torch.zeros_like(nearness, dtype=torch.bool)
        rewards = nearness + self.target_bonus * after[..., 2] - self.torque_cost * action.square()
        return after, rewards, never

    def _observe(self, state: Tensor) -> Tensor:
        angle, spin, _ = state.unbind(-1)
        return torch.stack([torch.cos(angle), torch.sin(angle), spin / LARGEST_SPIN], dim=-1)

    def _measure(self, state: Tensor) -> dict[str, Tensor]:
        limit, at_target = self.max_episode_steps, state[..., 2]
        if limit is None:  # an episode without an end has no second half
            return {"at_target": at_target, "at_target_late": torch.zeros_like(at_target)}
        late = self._elapsed > limit // 2
        return {"at_target": at_target, "at_target_late": at_target * late * limit / (limit - limit // 2)}  # means

    def _draw(self, state: np.ndarray, task: Mapping[str, float]) -> np.ndarray:
        return draw_arms(state[:1].tolist(), [task["length"]], target=task["target"])
