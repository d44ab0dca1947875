"""A pole to be balanced on a cart, whose masses, length, gravity and motor are the task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from maml_rl.envs.control.control_pictures import draw_cart_pole
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

SECONDS_PER_STEP = 0.02
LARGEST_POSITION = 2.4  # m
LARGEST_ANGLE = math.radians(12.0)
_FIELDS = ("length", "pole_mass", "cart_mass", "gravity", "force", "sign")


class CartPoleControl(HiddenTaskEnv):
    """CartPoleControl-v0: Gymnasium's CartPole-v1 with a task (Barto, Sutton and Anderson 1983).

    Task: ``{"length", "pole_mass", "cart_mass", "gravity", "force", "sign"}``: half the pole's length in m, masses in
    kg, gravity in m/s^2, the motor's force in N, and +1 or -1, the direction in which action 1 pushes. All are uniform
    on their ranges, but for the sign. With the total mass M, the pole's angle theta and the force F, each step of
    0.02 s is an Euler step of

        u = (F + pole_mass * length * theta'^2 * sin theta) / M
        theta'' = (gravity * sin theta - u * cos theta) / (length * (4/3 - pole_mass * cos^2 theta / M))
        x'' = u - pole_mass * length * theta'' * cos theta / M

    The observation is (x, x', theta, theta'), the reward 1 per step; with a hidden target, which is in the task as
    ``"target_position"`` and never observed, it is 1 - |x - target| / 4.8 m. An episode terminates when |x| exceeds
    2.4 m or |theta| 12 degrees, with the reward of a fall; it begins uniform on [-0.05, 0.05] in all four. A switch
    turns the motor over.

    Parameters
    ----------
    num_individuals, num_lives, device, dtype
        As in `TensorMetaVectorEnv`.
    length, pole_mass, cart_mass, gravity, force
        Ranges (low, high), positive.
    flip_probability
        Probability that a task's sign is -1, in [0, 1].
    continuous
        True: an action (1,) scales the force by a number in [-1, 1]. False: it is 0 or 1.
    target
        ``"hidden"``: the reward tells of a place where the cart shall be. ``"none"``: it does not.
    target_position
        Range of that place in m, within (-2.4, 2.4).
    fall_reward
        Reward of the step that terminates an episode; CartPole-v1 has 1, as in all others.
    permutations, switch_probability, switch_range, render_mode
        As in `HiddenParts`.
    max_episode_steps
        Steps per episode.
    """

    fields: tuple[str, ...] = _FIELDS
    render_fps = 1 / SECONDS_PER_STEP

    births = Draw("uniform", (4,))

    def __init__(
        self,
        num_individuals: int = 1,
        num_lives: int = 1,
        *,
        length: tuple[float, float] = (0.25, 1.0),
        pole_mass: tuple[float, float] = (0.05, 0.5),
        cart_mass: tuple[float, float] = (0.5, 2.0),
        gravity: tuple[float, float] = (5.0, 15.0),
        force: tuple[float, float] = (5.0, 15.0),
        flip_probability: float = 0.5,
        continuous: bool = False,
        target: Literal["none", "hidden"] = "none",
        target_position: tuple[float, float] = (-1.2, 1.2),
        fall_reward: float = 1.0,
        permutations: Permutations = "none",
        switch_probability: float = 0.0,
        switch_range: tuple[float, float] = (100, 300),
        render_mode: str | None = None,
        max_episode_steps: int | None = 500,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_probabilities(flip_probability=flip_probability)
        ranges = (length, pole_mass, cart_mass, gravity, force)
        check_ranges(dict(zip(_FIELDS, ranges, strict=False)))
        left, right = target_position
        if not -LARGEST_POSITION < left <= right < LARGEST_POSITION:
            raise ValueError(
                f"target_position: got ({left}, {right}), expected low <= high within {LARGEST_POSITION} of the middle"
            )
        largest = np.array([2 * LARGEST_POSITION, np.inf, 2 * LARGEST_ANGLE, np.inf], dtype=np.float32)
        super().__init__(
            num_individuals,
            num_lives,
            gym.spaces.Box(-largest, largest, dtype=np.float32),
            gym.spaces.Box(-1.0, 1.0, (1,), np.float32) if continuous else gym.spaces.Discrete(2),
            parts=HiddenParts(permutations, switch_probability, switch_range, render_mode),
            max_episode_steps=max_episode_steps,
            device=device,
            dtype=dtype,
        )
        self.flip_probability, self.continuous = float(flip_probability), continuous
        self.fall_reward = float(fall_reward)
        self.target_position = target_position if target == "hidden" else None
        if target == "hidden":
            self.fields = (*_FIELDS, "target_position")
        self._low, self._high = np.array(ranges, dtype=np.float64).T  # (5, 2) -> two of (5,)

    def _plain_task(self) -> Task:
        """CartPole-v1, to be kept in the middle."""
        return dict(zip(self.fields, (0.5, 0.1, 1.0, 9.8, 10.0, 1, 0.0), strict=False))

    def _sample_plain_tasks(self, num_tasks: int, rng: np.random.Generator) -> list[Task]:
        columns = rng.uniform(self._low, self._high, (num_tasks, len(self._low))).T.tolist()
        columns.append(draw_signs(num_tasks, rng, self.flip_probability))
        if self.target_position is not None:
            columns.append(rng.uniform(*self.target_position, num_tasks).tolist())
        return [dict(zip(self.fields, row, strict=True)) for row in zip(*columns, strict=True)]

    def _check_values(self, values: Mapping[str, np.ndarray]) -> None:
        physical = np.stack([values[field] for field in _FIELDS[:-1]])
        if not ((physical > 0).all() and (np.abs(values["sign"]) == 1).all()):
            raise ValueError(f"task: got {dict(values)}, expected numbers > 0 and a sign of 1 or -1")

    def _begin(self, births: Tensor) -> Tensor:
        return 0.1 * births - 0.05

    def _advance(self, state: Tensor, actions: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        length, pole_mass, cart_mass, gravity, push, sign, *target = self.hidden()
        total_mass, moment = pole_mass + cart_mass, pole_mass * length
        _, velocity, angle, spin = state.unbind(-1)  # (P, L) each
        chosen = actions.to(self.dtype)
        force = sign * push * (chosen[..., 0].clamp(-1.0, 1.0) if self.continuous else 2.0 * chosen - 1.0)
        cosine, sine = torch.cos(angle), torch.sin(angle)
        common = (force + moment * spin.square() * sine) / total_mass
        inertia = length * (4.0 / 3.0 - pole_mass * cosine.square() / total_mass)
        spin_change = (gravity * sine - cosine * common) / inertia
        velocity_change = common - moment * spin_change * cosine / total_mass
        change = torch.stack([velocity, velocity_change, spin, spin_change], dim=-1)
        after = state + SECONDS_PER_STEP * change
        position = after[..., 0]
        terminated = (position.abs() > LARGEST_POSITION) | (after[..., 2].abs() > LARGEST_ANGLE)
        rewards = torch.ones_like(position)
        if target:
            rewards = rewards - (position - target[0]).abs() / (2 * LARGEST_POSITION)
        return after, torch.where(terminated, self.fall_reward, rewards), terminated

    def _observe(self, state: Tensor) -> Tensor:
        return state

    def _draw(self, state: np.ndarray, task: Mapping[str, float]) -> np.ndarray:
        return draw_cart_pole(state[0], state[2], length=2 * task["length"], target=task.get("target_position"))
