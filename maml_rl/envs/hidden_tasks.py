"""Tensor families whose tasks have hidden parts: orders of what is observed and done, and a switch in mid-life."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from maml_rl.envs.signed_orders import ACTION_ORDER, OBSERVATION_ORDER, TaskOrders, draw_order, identity, num_numbers
from maml_rl.envs.task_table import Task
from maml_rl.envs.tensor_env import TensorMetaVectorEnv, TensorStepResult
from maml_rl.utils.checks import check_probabilities

Permutations = Literal["none", "train", "held-out", "all"]
_SWITCH_STEP, _AFTER = "switch_step", "after"
_FEWEST_OBSERVED = 3  # of fewer numbers there are too few signed permutations to hold some out


@dataclass(frozen=True)
class HiddenParts:
    """Keywords of all families with hidden parts.

    Attributes
    ----------
    permutations
        Signed permutations of what is observed, and of actions, that tasks are drawn with: none; or, told by that of
        the observation, those not held out, those held out (a fixed quarter) or all.
    switch_probability
        Fraction of tasks that switch in mid-life, in [0, 1].
    switch_range
        First and last step of a life, (low, high), after which tasks switch; whole numbers >= 0.
    render_mode
        ``"rgb_array"`` or ``None``.
    """

    permutations: Permutations = "none"
    switch_probability: float = 0.0
    switch_range: tuple[float, float] = (100, 300)
    render_mode: str | None = None

    def __post_init__(self) -> None:
        if self.permutations not in ("none", "train", "held-out", "all"):
            raise ValueError(f"permutations: got {self.permutations!r}, expected none, train, held-out or all")
        check_probabilities(switch_probability=self.switch_probability)
        low, high = self.switch_range
        if not (0 <= low <= high and low == int(low) and high == int(high)):
            raise ValueError(f"switch_range: got ({low}, {high}), expected whole numbers with 0 <= low <= high")
        if self.render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {self.render_mode!r}, expected 'rgb_array' or None")


class HiddenTaskEnv(TensorMetaVectorEnv):
    """A tensor family whose task is a row of numbers, parts of which an agent cannot observe.

    Beside the family's `fields` a task may hold

    - ``observation_order``: signed indices from 1, such as ``[2, -1, 3]``: what is observed in place of 1, 2, 3;
    - ``action_order``: the same for the numbers of an action; for discrete ones, the action done in place of each;
    - ``switch_step``: number of steps of the life, over all its episodes, after which it changes; ``None``: never;
    - ``after``: values of `fields` from then on.

    Nothing of this is observed but by its consequences. Tasks are drawn with orders if `permutations` is not "none", in
    the splits "train", "held-out" and "all", and with a switch, which changes the sign of `switched_sign`, if
    `switch_probability` > 0.

    Subclasses name `fields` and implement `_plain_task`, `_sample_plain_tasks`, `_check_values`, `_draw`, and what
    `TensorMetaVectorEnv` asks for but `_apply_tasks`; they read their task by `hidden`.

    Parameters
    ----------
    num_individuals, num_lives, observation_space, action_space, max_episode_steps, device, dtype
        As in `TensorMetaVectorEnv`. Bounds of permuted numbers are widened to the widest.
    parts
        Keywords of all such families.

    Attributes
    ----------
    fields
        Names of a task's numbers.
    switched_sign
        The one that is 1 or -1 and turns over at a drawn switch.
    """

    fields: tuple[str, ...]
    switched_sign: str = "sign"
    render_modes = ("rgb_array",)

    def __init__(
        self,
        num_individuals: int,
        num_lives: int,
        observation_space: gym.spaces.Box,
        action_space: gym.spaces.Box | gym.spaces.Discrete,
        *,
        parts: HiddenParts,
        max_episode_steps: int | None,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        self.parts, self.render_mode = parts, parts.render_mode
        if parts.permutations != "none":
            if num_numbers(observation_space) < _FEWEST_OBSERVED:
                raise ValueError(f"permutations: got {observation_space}, expected at least {_FEWEST_OBSERVED} numbers")
            widest = max(np.abs(observation_space.low).max(), np.abs(observation_space.high).max())
            observation_space = gym.spaces.Box(-widest, widest, observation_space.shape, np.float32)
            self.splits, self.split = ("train", "held-out", "all"), parts.permutations
        self._spaces = (observation_space, action_space)
        super().__init__(
            num_individuals,
            num_lives,
            *self._spaces,
            max_episode_steps=max_episode_steps,
            device=device,
            dtype=dtype,
        )

    @abc.abstractmethod
    def _plain_task(self) -> Task:
        """Default value of every one of `fields`."""

    @abc.abstractmethod
    def _sample_plain_tasks(self, num_tasks: int, rng: np.random.Generator) -> list[Task]:
        """Draw the `fields` of tasks."""

    @abc.abstractmethod
    def _check_values(self, values: Mapping[str, np.ndarray]) -> None:
        """Raise `ValueError` unless these values (L,) of `fields` are possible."""

    @abc.abstractmethod
    def _draw(self, state: np.ndarray, task: Mapping[str, float]) -> np.ndarray:
        """An RGB picture (H, W, 3) uint8 of a state (S,) with the present values of `fields`."""

    def default_task(self) -> Task:
        """The family's default: orders and switches, where there are any, change nothing."""
        return self._complete(self._plain_task())

    def _complete(self, task: Task) -> Task:
        """The task with all keys that sampled tasks have, in their order."""
        complete = {field: task[field] for field in self.fields}
        if self.parts.permutations != "none":
            complete[OBSERVATION_ORDER] = task.get(OBSERVATION_ORDER, identity(num_numbers(self._spaces[0])))
            complete[ACTION_ORDER] = task.get(ACTION_ORDER, identity(num_numbers(self._spaces[1])))
        if self.parts.switch_probability > 0:
            complete[_SWITCH_STEP] = task.get(_SWITCH_STEP)
            complete[_AFTER] = task.get(_AFTER) or {self.switched_sign: task[self.switched_sign]}
        return {**complete, **{key: value for key, value in task.items() if key not in complete}}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        tasks = self._sample_plain_tasks(num_tasks, rng)
        parts = self.parts
        if parts.permutations != "none":
            observed, done = self._spaces
            signed = isinstance(done, gym.spaces.Box)
            for task in tasks:
                task[OBSERVATION_ORDER] = draw_order(num_numbers(observed), rng, split)
                task[ACTION_ORDER] = draw_order(num_numbers(done), rng, signed=signed)
        if parts.switch_probability > 0:
            low, high = map(int, parts.switch_range)
            switches = rng.random(num_tasks) < parts.switch_probability
            for task, switch, step in zip(tasks, switches, rng.integers(low, high + 1, num_tasks), strict=True):
                task[_SWITCH_STEP] = int(step) if switch else None
                task[_AFTER] = {self.switched_sign: -task[self.switched_sign] if switch else task[self.switched_sign]}
        return tasks

    def task_features(self, tasks: Sequence[Task]) -> np.ndarray:
        """See `TaskFamily.task_features`; the step of a switch that never comes is -1."""
        complete = [self._complete(task) for task in tasks]
        return super().task_features(
            [{**task, _SWITCH_STEP: -1} if task.get(_SWITCH_STEP, -1) is None else task for task in complete]
        )

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        changed = [task.get(_AFTER) or {} for task in tasks]
        for after in changed:
            if unknown := set(after) - set(self.fields):
                raise ValueError(f"task['after']: got {sorted(unknown)}, expected some of {', '.join(self.fields)}")
        steps = [task.get(_SWITCH_STEP) for task in tasks]
        never = np.iinfo(np.int64).max
        self._orders = TaskOrders(tasks, *self._spaces, self._like)
        self._before = self._values(tasks)
        self._after = self._values([{**task, **after} for task, after in zip(tasks, changed, strict=True)])
        self._switch_steps: Tensor | None = None
        if any(step is not None for step in steps):
            self._switch_steps = torch.tensor([never if s is None else int(s) for s in steps], device=self.device)

    def _values(self, tasks: Sequence[Task]) -> Tensor:
        """(F, L)."""
        values = {field: np.array([task[field] for task in tasks], dtype=np.float64) for field in self.fields}
        self._check_values(values)
        return torch.from_numpy(np.stack(list(values.values()))).to(self._like)

    def hidden(self) -> tuple[Tensor, ...]:
        """Values of each of `fields` in the step that is next: (L,) each, or (P, L) where some life switches."""
        if self._switch_steps is None:
            return self._before.unbind()
        over = self._steps >= self._switch_steps  # (P, L)
        return torch.where(over, self._after[:, None], self._before[:, None]).unbind()

    def reset(self, *, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """See `TensorMetaVectorEnv.reset`."""
        observations, info = super().reset(options=options)
        return self._orders.observations(observations), info

    def step(self, actions: Tensor) -> TensorStepResult:
        """See `TensorMetaVectorEnv.step`."""
        self._check_step(actions)
        observations, *rest = super().step(self._orders.actions(actions))
        return (self._orders.observations(observations), *rest)  # type: ignore[return-value]

    def pictures(self) -> tuple[np.ndarray, ...]:
        """See `TensorMetaVectorEnv.pictures`."""
        if self.render_mode is None or self._state is None:
            return super().pictures()
        states = self._state.flatten(0, 1).double().cpu().numpy()  # (N, S)
        shape = self._finished.shape
        rows = torch.stack([value.expand(shape).flatten() for value in self.hidden()], -1).double().cpu().numpy()
        return tuple(
            self._draw(state, dict(zip(self.fields, row.tolist(), strict=True)))
            for state, row in zip(states, rows, strict=True)
        )


def check_ranges(ranges: Mapping[str, tuple[float, float]], *, positive: bool = True) -> None:
    """Refuse what are no ranges (low, high) of numbers > 0, or >= 0 unless `positive`."""
    for name, (low, high) in ranges.items():
        if low < 0 or (positive and low == 0) or not low <= high < np.inf:
            raise ValueError(f"{name}: got ({low}, {high}), expected 0 {'<' if positive else '<='} low <= high")


def draw_signs(num_tasks: int, rng: np.random.Generator, probability: float) -> list[int]:
    """A sign for each of some tasks, -1 with this probability."""
    return [-1 if flipped else 1 for flipped in rng.random(num_tasks) < probability]
