"""Two pendulums, one hung on the other, whose tip shall rise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple

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
AT_TOP = 0.9  # least height of a tip that counts as at the top
_SPIN_SCALE = 8.0  # rad/s


class Arms(NamedTuple):
    """Lengths in m, masses in kg and gravity in m/s^2 of a double pendulum, tensors that broadcast."""

    length_1: Tensor
    length_2: Tensor
    mass_1: Tensor
    mass_2: Tensor
    gravity: Tensor


class Moments(NamedTuple):
    """Numbers of a double pendulum that its motion depends on, in the units of `Arms`."""

    inertia_1: Tensor
    inertia_2: Tensor
    coupling: Tensor
    weight_1: Tensor
    weight_2: Tensor

    @classmethod
    def of(cls, arms: Arms) -> Moments:
        """Those of these arms."""
        length_1, length_2, mass_1, mass_2, gravity = arms
        whole = mass_1 + mass_2
        return cls(
            whole * length_1.square(),
            mass_2 * length_2.square(),
            mass_2 * length_1 * length_2,
            whole * gravity * length_1,
            mass_2 * gravity * length_2,
        )


def motion(state: Tensor, moments: Moments, torque: Tensor, damping: float) -> Tensor:
    """Change (B, 4) per second of a state (B, 4), angles and their speeds; equations in `DoublePendulum`.

    Parameters
    ----------
    state
        (..., 4).
    moments
        Of the task, tensors (...).
    torque
        At the first joint, (...) in N m.
    damping
        Of both joints, in N m s.
    """
    angles, spins = state[..., :2], state[..., 2:]
    sine_1, sine_2 = torch.sin(angles).unbind(-1)
    squared_1, squared_2 = spins.square().unbind(-1)
    bend = angles[..., 0] - angles[..., 1]
    cross, turn = moments.coupling * torch.cos(bend), moments.coupling * torch.sin(bend)
    first = torque - turn * squared_2 + moments.weight_1 * sine_1
    second = turn * squared_1 + moments.weight_2 * sine_2
    if damping:
        friction = damping * (spins[..., 0] - spins[..., 1])
        first, second = first - damping * spins[..., 0] - friction, second + friction
    determinant = moments.inertia_1 * moments.inertia_2 - cross.square()  # > 0, as mass_1 is
    changes = torch.stack(
        [moments.inertia_2 * first - cross * second, moments.inertia_1 * second - cross * first], dim=-1
    )
    return torch.cat([spins, changes / determinant[..., None]], dim=-1)


class DoublePendulum(HiddenTaskEnv):
    """DoublePendulum-v0: massless arms with a point mass at the end of each, and a motor at the first joint.

    Task: ``{"length_1", "length_2", "mass_1", "mass_2", "gravity", "torque_ratio", "sign"}``: in m, kg and m/s^2; the
    largest torque as a fraction of gravity's largest, g ((m1 + m2) l1 + m2 l2); +1 or -1, the direction in which a
    positive action turns. With both angles from upright, d = theta1 - theta2, damping b of both joints and torque u,

        (m1 + m2) l1^2 theta1'' + m2 l1 l2 cos(d) theta2'' =
            u - b theta1' - b (theta1' - theta2') - m2 l1 l2 sin(d) theta2'^2 + (m1 + m2) g l1 sin theta1
        m2 l2^2 theta2'' + m2 l1 l2 cos(d) theta1'' =
            b (theta1' - theta2') + m2 l1 l2 sin(d) theta1'^2 + m2 g l2 sin theta2

    in steps of 0.05 s, each of several fourth-order Runge-Kutta steps. The observation is (cos theta1, sin theta1,
    cos theta2, sin theta2, theta1' / 8, theta2' / 8). The reward of a step is the height of the tip where it ends, from
    -1, hanging, to 1, upright. Episodes never terminate. A switch turns the motor over. The measure ``"at_top"`` is
    the fraction of an episode's steps that end with a height above 0.9.

    Parameters
    ----------
    num_individuals, num_lives, device, dtype
        As in `TensorMetaVectorEnv`.
    length, mass, gravity, torque_ratio
        Ranges (low, high), positive, on which tasks are uniform; of lengths and masses for each arm by itself.
    flip_probability
        Probability that a task's sign is -1, in [0, 1].
    damping
        b in N m s, >= 0.
    start
        ``"hanging"``: episodes begin within 0.1 rad of hanging down and 0.1 rad/s of rest. ``"uniform"``: at any angles
        and within 1 rad/s.
    num_substeps
        Runge-Kutta steps of a step, >= 1. Over 10 s, 4 keep the energy to 1e-3 of its range, 25 to 1e-6.
    permutations, switch_probability, switch_range, render_mode
        As in `HiddenParts`.
    max_episode_steps
        Steps per episode.
    """

    fields = ("length_1", "length_2", "mass_1", "mass_2", "gravity", "torque_ratio", "sign")
    measures = averaged = ("at_top",)
    births = Draw("uniform", (4,))
    render_fps = 1 / SECONDS_PER_STEP

    def __init__(
        self,
        num_individuals: int = 1,
        num_lives: int = 1,
        *,
        length: tuple[float, float] = (0.75, 1.25),
        mass: tuple[float, float] = (0.75, 1.25),
        gravity: tuple[float, float] = (8.0, 12.0),
        torque_ratio: tuple[float, float] = (0.5, 0.5),
        flip_probability: float = 0.5,
        damping: float = 0.0,
        start: Literal["hanging", "uniform"] = "hanging",
        num_substeps: int = 4,
        permutations: Permutations = "none",
        switch_probability: float = 0.0,
        switch_range: tuple[float, float] = (100, 300),
        render_mode: str | None = None,
        max_episode_steps: int | None = 200,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_probabilities(flip_probability=flip_probability)
        check_ranges({"length": length, "mass": mass, "gravity": gravity, "torque_ratio": torque_ratio})
        if damping < 0:
            raise ValueError(f"damping: got {damping}, expected a number >= 0")
        if num_substeps < 1:
            raise ValueError(f"num_substeps: got {num_substeps}, expected at least 1")
        largest = np.array([1.0, 1.0, 1.0, 1.0, np.inf, np.inf], dtype=np.float32)
        super().__init__(
            num_individuals,
            num_lives,
            gym.spaces.Box(-largest, largest, dtype=np.float32),
            gym.spaces.Box(-1.0, 1.0, (1,), np.float32),
            parts=HiddenParts(permutations, switch_probability, switch_range, render_mode),
            max_episode_steps=max_episode_steps,
            device=device,
            dtype=dtype,
        )
        self.flip_probability, self.damping = float(flip_probability), float(damping)
        self.start, self.num_substeps = start, num_substeps
        ranges = (length, length, mass, mass, gravity, torque_ratio)
        self._low, self._high = np.array(ranges, dtype=np.float64).T

    def _plain_task(self) -> Task:
        """Arms of 1 m and 1 kg."""
        return dict(zip(self.fields, (1.0, 1.0, 1.0, 1.0, 9.8, 0.5, 1), strict=True))

    def _sample_plain_tasks(self, num_tasks: int, rng: np.random.Generator) -> list[Task]:
        columns = rng.uniform(self._low, self._high, (num_tasks, len(self._low))).T.tolist()
        columns.append(draw_signs(num_tasks, rng, self.flip_probability))
        return [dict(zip(self.fields, row, strict=True)) for row in zip(*columns, strict=True)]

    def _check_values(self, values: Mapping[str, np.ndarray]) -> None:
        physical = np.stack([values[field] for field in self.fields[:-1]])
        if not ((physical > 0).all() and (np.abs(values["sign"]) == 1).all()):
            raise ValueError(f"task: got {dict(values)}, expected numbers > 0 and a sign of 1 or -1")

    def _begin(self, births: Tensor) -> Tensor:
        centred = 2.0 * births - 1.0
        if self.start == "hanging":
            angles, spins = math.pi + 0.1 * centred[..., :2], 0.1 * centred[..., 2:]
        else:
            angles, spins = math.pi * centred[..., :2], centred[..., 2:]
        return torch.cat([angles, spins, torch.zeros_like(spins[..., :1])], dim=-1)

    def _advance(self, state: Tensor, actions: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        *numbers, torque_ratio, sign = self.hidden()
        arms = Arms(*numbers)
        moments = Moments.of(arms)
        action = actions[..., 0].to(self.dtype).clamp(-1.0, 1.0)
        torque = sign * action * (torque_ratio * (moments.weight_1 + moments.weight_2))
        state, step = state[..., :4], SECONDS_PER_STEP / self.num_substeps
        for _ in range(self.num_substeps):
            one = motion(state, moments, torque, self.damping)
            two = motion(state + step / 2 * one, moments, torque, self.damping)
            three = motion(state + step / 2 * two, moments, torque, self.damping)
            four = motion(state + step * three, moments, torque, self.damping)
            state = state + step / 6 * (one + 2 * two + 2 * three + four)
        heights = torch.cos(state[..., :2])
        height = arms.length_1 * heights[..., 0] + arms.length_2 * heights[..., 1]
        height = height / (arms.length_1 + arms.length_2)
        after = torch.cat([state, (height > AT_TOP)[..., None].to(self.dtype)], dim=-1)
        return after, height, torch.zeros_like(height, dtype=torch.bool)

    def _observe(self, state: Tensor) -> Tensor:
        angle_1, angle_2, spin_1, spin_2, _ = state.unbind(-1)
        directions = [torch.cos(angle_1), torch.sin(angle_1), torch.cos(angle_2), torch.sin(angle_2)]
        return torch.stack([*directions, spin_1 / _SPIN_SCALE, spin_2 / _SPIN_SCALE], dim=-1)

    def _measure(self, state: Tensor) -> dict[str, Tensor]:
        return {"at_top": state[..., 4]}

    def _draw(self, state: np.ndarray, task: Mapping[str, float]) -> np.ndarray:
        return draw_arms(state[:2].tolist(), [task["length_1"], task["length_2"]])
