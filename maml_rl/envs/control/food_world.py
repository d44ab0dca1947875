"""A point that moves to food, which jumps away when it is eaten."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from maml_rl.envs.control.control_pictures import draw_food_world
from maml_rl.envs.hidden_tasks import (
    HiddenParts,
    HiddenTaskEnv,
    Permutations,
    check_ranges,
    draw_signs,
)
from maml_rl.envs.life_draws import Draw
from maml_rl.envs.task_table import Task
from maml_rl.envs.tensor_env import TensorStepResult
from maml_rl.utils.checks import check_probabilities

SECONDS_PER_STEP = 0.05
_EATEN = 6  # index in the state


class FoodWorld(HiddenTaskEnv):
    """FoodWorld-v0: a point mass in the box [-1, 1]^2, and food or poison in it.

    Task: ``{"force", "drag", "sign", "reward_sign"}``: the largest acceleration in 1/s^2, the drag in 1/s; +1 or -1,
    the direction in which actions push; and +1 for food or -1 for poison, of which the reward alone tells. Each step of
    0.05 s of position x, velocity v and action a, clipped to [-1, 1]^2, is

        v <- exp(-0.05 drag) v + 0.05 sign force a
        x <- x + 0.05 v, mirrored at the walls as v is

    When the point comes within `radius` of it, food is eaten and jumps to a new place, uniform in the box: the k-th of
    a life is the same for all individuals. The observation is (x, y, v_x, v_y, food x - x, food y - y, distance). With
    the distances d and d' to the food before and after the step, before it jumps, the reward is

        reward_sign * (distance_reward * (d - d') + food_reward * eaten)

    so the jump costs nothing. Episodes begin at rest, at a random place, and never terminate. A switch makes food of
    poison, or the reverse. The measure ``"eaten"`` counts what has been eaten in the episode.

    Parameters
    ----------
    num_individuals, num_lives, device, dtype
        As in `TensorMetaVectorEnv`.
    force, drag
        Ranges (low, high) on which tasks are uniform; force is positive, drag >= 0.
    flip_probability, poison_probability
        Probability that a task's sign or reward_sign is -1, in [0, 1].
    radius
        Distance at which food is eaten, in (0, 1).
    food_reward, distance_reward
        Reward for eating, > 0, and for coming nearer by 1, >= 0. By default eating is worth more than crossing the box.
    sparse
        True: only eating counts.
    permutations, switch_probability, switch_range, render_mode
        As in `HiddenParts`.
    max_episode_steps
        Steps per episode.
    """

    fields = ("force", "drag", "sign", "reward_sign")
    switched_sign = "reward_sign"
    measures = ("eaten",)
    births = Draw("uniform", (4,))
    noise = Draw("uniform", (2,))
    render_fps = 1 / SECONDS_PER_STEP

    def __init__(
        self,
        num_individuals: int = 1,
        num_lives: int = 1,
        *,
        force: tuple[float, float] = (2.0, 5.0),
        drag: tuple[float, float] = (1.0, 3.0),
        flip_probability: float = 0.5,
        poison_probability: float = 0.25,
        radius: float = 0.1,
        food_reward: float = 1.0,
        distance_reward: float = 0.3,
        sparse: bool = False,
        permutations: Permutations = "none",
        switch_probability: float = 0.0,
        switch_range: tuple[float, float] = (100, 300),
        render_mode: str | None = None,
        max_episode_steps: int | None = 200,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        check_probabilities(flip_probability=flip_probability, poison_probability=poison_probability)
        check_ranges({"force": force})
        check_ranges({"drag": drag}, positive=False)
        if not 0 < radius < 1:
            raise ValueError(f"radius: got {radius}, expected a number between 0 and 1")
        if not (food_reward > 0 and distance_reward >= 0):
            raise ValueError(
                f"food_reward, distance_reward: got {food_reward}, {distance_reward}, expected numbers > 0 and >= 0"
            )
        largest = np.array([1.0, 1.0, np.inf, np.inf, 2.0, 2.0, 3.0], dtype=np.float32)
        super().__init__(
            num_individuals,
            num_lives,
            gym.spaces.Box(-largest, largest, dtype=np.float32),
            gym.spaces.Box(-1.0, 1.0, (2,), np.float32),
            parts=HiddenParts(permutations, switch_probability, switch_range, render_mode),
            max_episode_steps=max_episode_steps,
            device=device,
            dtype=dtype,
        )
        self.flip_probability, self.poison_probability = float(flip_probability), float(poison_probability)
        self.radius, self.food_reward = float(radius), float(food_reward)
        self.distance_reward = 0.0 if sparse else float(distance_reward)
        self._low, self._high = np.array((force, drag), dtype=np.float64).T
        self._eaten_in_life = torch.zeros_like(self._steps)

    def _plain_task(self) -> Task:
        """Food."""
        return dict(zip(self.fields, (4.0, 2.0, 1, 1), strict=True))

    def _sample_plain_tasks(self, num_tasks: int, rng: np.random.Generator) -> list[Task]:
        columns = rng.uniform(self._low, self._high, (num_tasks, len(self._low))).T.tolist()
        columns.extend(draw_signs(num_tasks, rng, p) for p in (self.flip_probability, self.poison_probability))
        return [dict(zip(self.fields, row, strict=True)) for row in zip(*columns, strict=True)]

    def _check_values(self, values: Mapping[str, np.ndarray]) -> None:
        force, drag, *signs = values.values()
        if not ((force > 0).all() and (drag >= 0).all() and (np.abs(signs) == 1).all()):
            raise ValueError(f"task: got {dict(values)}, expected a force > 0, a drag >= 0 and signs of 1 or -1")

    def reset(self, *, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """See `TensorMetaVectorEnv.reset`."""
        result = super().reset(options=options)
        self._eaten_in_life = self._eaten_in_life * (self._steps > 0)  # 0 where a life has just begun
        return result

    def step(self, actions: Tensor) -> TensorStepResult:
        """See `TensorMetaVectorEnv.step`."""
        before = self._state
        result = super().step(actions)
        assert before is not None
        assert self._state is not None
        self._eaten_in_life = self._eaten_in_life + (self._state[..., _EATEN] - before[..., _EATEN]).long()
        return result

    def _noise_events(self) -> Tensor:
        return self._eaten_in_life

    def _begin(self, births: Tensor) -> Tensor:
        places = 2.0 * births - 1.0
        rest = torch.zeros_like(places[..., :2])
        return torch.cat([places[..., :2], rest, places[..., 2:], rest[..., :1]], dim=-1)

    def _advance(self, state: Tensor, actions: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        assert noise is not None
        force, drag, sign, reward_sign = self.hidden()
        position, velocity, food, eaten_before = state.split([2, 2, 2, 1], dim=-1)
        push = (sign * force)[..., None] * actions.to(self.dtype).clamp(-1.0, 1.0)
        velocity = torch.exp(-SECONDS_PER_STEP * drag)[..., None] * velocity + SECONDS_PER_STEP * push
        moved = position + SECONDS_PER_STEP * velocity
        outside = moved.abs() > 1.0
        velocity = torch.where(outside, -velocity, velocity)
        moved = torch.where(outside, 2.0 * moved.sign() - moved, moved).clamp(-1.0, 1.0)
        distance = _length(moved - food)
        eaten = distance < self.radius
        nearer = _length(position - food) - distance
        rewards = reward_sign * (self.distance_reward * nearer + self.food_reward * eaten)
        food = torch.where(eaten[..., None], 2.0 * noise - 1.0, food)
        after = torch.cat([moved, velocity, food, eaten_before + eaten[..., None]], dim=-1)
        return after, rewards, torch.zeros_like(eaten)

    def _observe(self, state: Tensor) -> Tensor:
        to_food = state[..., 4:6] - state[..., :2]
        return torch.cat([state[..., :4], to_food, _length(to_food)[..., None]], dim=-1)

    def _measure(self, state: Tensor) -> dict[str, Tensor]:
        return {"eaten": state[..., _EATEN]}

    def _draw(self, state: np.ndarray, task: Mapping[str, float]) -> np.ndarray:
        (x, y), food = state[:2], state[4:6]
        return draw_food_world(
            (x, y),
            (food[0], food[1]),
            radius=self.radius,
            num_eaten=math.floor(state[_EATEN]),
            is_food=task["reward_sign"] > 0,
        )


def _length(vectors: Tensor) -> Tensor:
    """(..., 2) -> (...)."""
    return vectors.square().sum(-1).sqrt()
