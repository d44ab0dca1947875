"""A pole to be balanced on a cart, whose masses, length, gravity and motor are the task."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from maml_rl.envs.life_draws import Draw
from maml_rl.envs.task_table import Task
from maml_rl.envs.tensor_env import TensorMetaVectorEnv
from maml_rl.utils.checks import check_probabilities

SECONDS_PER_STEP = 0.02
LARGEST_POSITION = 2.4  # m
LARGEST_ANGLE = math.radians(12.0)
_FIELDS = ("length", "pole_mass", "cart_mass", "gravity", "force", "sign")


class CartPoleControl(TensorMetaVectorEnv):
    """CartPoleControl-v0: Gymnasium's CartPole-v1 with a task (Barto, Sutton and Anderson 1983).

    Task: ``{"length", "pole_mass", "cart_mass", "gravity", "force", "sign"}``: half the pole's length in m, masses in
    kg, gravity in m/s^2, the motor's force in N, and +1 or -1, the direction in which action 1 pushes. All are uniform
    on their ranges, but for the sign. With the total mass M, the pole's angle theta and the force F, each step of
    0.02 s is an Euler step of

        u = (F + pole_mass * length * theta'^2 * sin theta) / M
        theta'' = (gravity * sin theta - u * cos theta) / (length * (4/3 - pole_mass * cos^2 theta / M))
        x'' = u - pole_mass * length * theta'' * cos theta / M

    The observation is (x, x', theta, theta'), the reward 1 per step. An episode terminates when |x| exceeds 2.4 m or
    |theta| 12 degrees; it begins uniform on [-0.05, 0.05] in all four.

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
    max_episode_steps
        Steps per episode.
    """

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
        max_episode_steps: int | None = 500,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_probabilities(flip_probability=flip_probability)
        ranges = (length, pole_mass, cart_mass, gravity, force)
        for name, (low, high) in zip(_FIELDS, ranges, strict=False):
            if not 0 < low <= high < math.inf:
                raise ValueError(f"{name}: got ({low}, {high}), expected 0 < low <= high")
        largest = np.array([2 * LARGEST_POSITION, np.inf, 2 * LARGEST_ANGLE, np.inf], dtype=np.float32)
        super().__init__(
            num_individuals,
            num_lives,
            gym.spaces.Box(-largest, largest, dtype=np.float32),
            gym.spaces.Box(-1.0, 1.0, (1,), np.float32) if continuous else gym.spaces.Discrete(2),
            max_episode_steps=max_episode_steps,
            device=device,
            dtype=dtype,
        )
        self.flip_probability, self.continuous = float(flip_probability), continuous
        self._low, self._high = np.array(ranges, dtype=np.float64).T  # (5, 2) -> two of (5,)

    def default_task(self) -> Task:
        """CartPole-v1."""
        return dict(zip(_FIELDS, (0.5, 0.1, 1.0, 9.8, 10.0, 1), strict=True))

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        values = rng.uniform(self._low, self._high, (num_tasks, len(self._low)))
        signs = np.where(rng.random(num_tasks) < self.flip_probability, -1, 1)
        rows = zip(values.tolist(), signs.tolist(), strict=True)
        return [dict(zip(_FIELDS, (*row, sign), strict=True)) for row, sign in rows]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        values = np.array([[task[field] for field in _FIELDS] for task in tasks], dtype=np.float64)  # (L, 6)
        if not ((values[:, :-1] > 0).all() and (np.abs(values[:, -1]) == 1).all()):
            raise ValueError(f"task: got {list(tasks)}, expected numbers > 0 and a sign of 1 or -1")
        length, pole_mass, cart_mass, gravity, force, sign = torch.from_numpy(values).to(self._like).unbind(-1)
        self._length, self._pole_mass, self._gravity = length, pole_mass, gravity
        self._total_mass, self._moment = pole_mass + cart_mass, pole_mass * length
        self._push = sign * force

    def _begin(self, births: Tensor) -> Tensor:
        return 0.1 * births - 0.05

    def _advance(self, state: Tensor, actions: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        position, velocity, angle, spin = state.unbind(-1)  # (P, L) each
        chosen = actions.to(self.dtype)
        force = self._push * (chosen[..., 0].clamp(-1.0, 1.0) if self.continuous else 2.0 * chosen - 1.0)
        cosine, sine = torch.cos(angle), torch.sin(angle)
        common = (force + self._moment * spin.square() * sine) / self._total_mass
        inertia = self._length * (4.0 / 3.0 - self._pole_mass * cosine.square() / self._total_mass)
        spin_change = (self._gravity * sine - cosine * common) / inertia
        velocity_change = common - self._moment * spin_change * cosine / self._total_mass
        change = torch.stack([velocity, velocity_change, spin, spin_change], dim=-1)
        after = state + SECONDS_PER_STEP * change
        terminated = (after[..., 0].abs() > LARGEST_POSITION) | (after[..., 2].abs() > LARGEST_ANGLE)
        return after, torch.ones_like(position), terminated

    def _observe(self, state: Tensor) -> Tensor:
        return state
