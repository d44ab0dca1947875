"""The contract of task families on tensors: a population of individuals that live the same lives."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from maml_rl.envs.life_draws import Draw, LifeDraws, RestartedDraws
from maml_rl.envs.task_family import TaskFamily
from maml_rl.envs.task_table import Task
from maml_rl.utils.checks import check_at_least

TensorStepResult = tuple[Tensor, Tensor, Tensor, Tensor, dict[str, Tensor]]


class TensorMetaVectorEnv(TaskFamily):
    """P individuals in L lives each, all of which step together; sub-environment (p, l) is individual p in life l.

    A life is a task and a stream of random numbers. Both are common to all individuals: how an episode begins, and what
    chance does in it, is a function of the life, of the number of its episodes and steps so far, and of what the
    individual did. Hence individuals are compared on equal terms, and no result depends on how many of them there are.

    Arrays lead with (P, L): parameters (P, D) act on observations (P, L, O) by one batched product and no reshape, and
    (P, L) -> N = P * L is a view. A finished sub-environment is not reset; stepping it again changes nothing, and its
    reward is 0. Nothing in `step` waits for the device.

    Subclasses name their `births` and `noise` and implement `default_task`, `_sample_tasks`, `_apply_tasks`, `_begin`,
    `_advance` and `_observe`: pure functions of tensors, apart from the tasks that `_apply_tasks` stores.

    Parameters
    ----------
    num_individuals
        Number of individuals P, >= 1.
    num_lives
        Number of lives L, >= 1.
    observation_space, action_space
        Spaces of one sub-environment.
    max_episode_steps
        Steps after which an episode is truncated, >= 1; ``None`` for families that always end by themselves.
    device, dtype
        Where the tensors are, and the type of those that are numbers.

    Attributes
    ----------
    births
        Random numbers that the beginning of an episode takes.
    averaged
        Those of `measures` that are means over an episode's steps so far; the others are values of its last step.
    noise
        Random numbers that a step takes; ``None``: chance has no part in it.
    render_modes, render_fps, render_mode
        Ways in which the family can be drawn, pictures of a second of its time, and the way it was made with.
    """

    births: Draw
    noise: Draw | None = None
    averaged: tuple[str, ...] = ()
    render_modes: tuple[str, ...] = ()
    render_fps: float = 20
    render_mode: str | None = None

    def __init__(
        self,
        num_individuals: int,
        num_lives: int,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        max_episode_steps: int | None,
        device: torch.device | str,
        dtype: torch.dtype,
    ) -> None:
        check_at_least(1, num_individuals=num_individuals, num_lives=num_lives, max_episode_steps=max_episode_steps)
        self.num_individuals, self.num_lives = num_individuals, num_lives
        self.single_observation_space, self.single_action_space = observation_space, action_space
        self.max_episode_steps = max_episode_steps
        self.device, self.dtype = torch.device(device), dtype
        self.tasks: list[Task] = []
        shape = (num_individuals, num_lives)
        self._like = torch.zeros((), device=self.device, dtype=dtype)
        self._elapsed, self._episodes, self._steps = (
            torch.zeros(shape, dtype=torch.int64, device=self.device) for _ in range(3)
        )
        self._finished = torch.ones(shape, dtype=torch.bool, device=self.device)
        self._num_steps = 0  # calls of `step` since lives began
        self._births: RestartedDraws | None = None
        self._noise: RestartedDraws | None = None
        self._state: Tensor | None = None
        self._measured: dict[str, Tensor] = {}

    @property
    def num_envs(self) -> int:
        """Number of sub-environments N = P * L."""
        return self.num_individuals * self.num_lives

    @property
    def finished(self) -> Tensor:
        """(P, L) bool: the episodes that have ended."""
        return self._finished

    @abc.abstractmethod
    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        """Store the parameters of L tasks as tensors (L, ...).

        Raises `KeyError` or `ValueError` when a task is not one of this family.
        """

    @abc.abstractmethod
    def _begin(self, births: Tensor) -> Tensor:
        """States (P, L, S) of episodes that begin with these random numbers (P, L, *births.shape)."""

    @abc.abstractmethod
    def _advance(self, state: Tensor, actions: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Following states (P, L, S), rewards (P, L) and terminated (P, L) of actions (P, L, A*) in states (P, L, S).

        `noise` is (P, L, *noise.shape), or ``None`` without noise. Rows that have ended are ignored by the caller.
        """

    @abc.abstractmethod
    def _observe(self, state: Tensor) -> Tensor:
        """Observations (P, L, O*) of states (P, L, S)."""

    def _measure(self, state: Tensor) -> dict[str, Tensor]:
        """Values (P, L) of every one of `measures` in states (P, L, S) just reached."""
        return {}

    def _noise_events(self) -> Tensor:
        """Index (P, L) of the noise that the next step of each life takes; at most the steps of the life so far."""
        return self._steps

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Give every life its task, common to all individuals; L must be a multiple of ``len(tasks)``.

        Lives ``m * L / M`` to ``(m + 1) * L / M`` get task m.
        """
        if not tasks or self.num_lives % len(tasks):
            raise ValueError(f"tasks: got {len(tasks)}, expected a number that divides num_lives = {self.num_lives}")
        per_life = [task for task in tasks for _ in range(self.num_lives // len(tasks))]
        self._apply_tasks(per_life)
        self.tasks = per_life
        self._finished = torch.ones_like(self._finished)

    def reset(self, *, options: dict[str, Any] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Start new episodes, and return observations (P, L, O*) and an empty dict.

        Parameters
        ----------
        options
            ``{"rngs": generators}``: one generator per life, or a number that divides L; the lives of the
            sub-environments that are started begin anew. Without it they go on.
            ``{"reset_mask": mask}``: boolean (P, L), start only these sub-environments.
        """
        options = options or {}
        if "rngs" not in options and self._births is None:
            raise ValueError("options['rngs']: got none, expected one generator per life at the first reset")
        if not self.tasks:
            self.set_tasks([self.default_task()])
        mask = options.get("reset_mask", torch.ones_like(self._finished))
        if mask.shape != self._finished.shape or mask.dtype != torch.bool:
            raise ValueError(
                f"options['reset_mask']: got {mask.dtype} {tuple(mask.shape)}, "
                f"expected torch.bool {tuple(self._finished.shape)}"
            )
        if "rngs" in options:
            self._start_lives(options["rngs"], mask)
        assert self._births is not None
        begun = self._begin(self._births.at(self._episodes))
        self._state = begun if self._state is None else _where(mask, begun, self._state)
        self._episodes = self._episodes + mask
        self._elapsed = self._elapsed.masked_fill(mask, 0)
        self._finished = self._finished & ~mask
        self._measured = {name: values.masked_fill(mask, 0.0) for name, values in self._measured.items()}
        return self._observe(self._state), {}

    def _start_lives(self, rngs: Sequence[np.random.Generator], mask: Tensor) -> None:
        """Begin the lives of these rows (P, L) anew; the first time those of all."""
        if not rngs or self.num_lives % len(rngs):
            raise ValueError(
                f"options['rngs']: got {len(rngs)}, expected a number that divides num_lives = {self.num_lives}"
            )
        some = self._births is not None and not bool(mask.all())
        wanted = mask.any(0).cpu().numpy() if some else None

        def draws(draw: Draw, before: RestartedDraws | None) -> RestartedDraws:
            new = LifeDraws(rngs, self.num_lives, draw, self._like, wanted=wanted)
            if not some or before is None:
                return RestartedDraws(new)
            before.restart(mask, new)
            return before

        self._births = draws(self.births, self._births)
        self._noise = None if self.noise is None else draws(self.noise, self._noise)
        if some:
            self._episodes, self._steps = self._episodes.masked_fill(mask, 0), self._steps.masked_fill(mask, 0)
            return
        self._episodes, self._steps = torch.zeros_like(self._episodes), torch.zeros_like(self._steps)
        self._num_steps, self._state = 0, None
        self._measured = {name: self._like.expand(self._finished.shape) for name in self.measures}

    def step(self, actions: Tensor) -> TensorStepResult:
        """Advance every unfinished sub-environment by one step.

        Rows already finished repeat their last observation and measures, obtain 0 and report neither termination nor
        truncation again.

        Parameters
        ----------
        actions
            (P, L, A*), on the environment's device.

        Returns
        -------
        observations (P, L, O*), rewards (P, L), terminations (P, L), truncations (P, L) and a dict with each of
        `measures` (P, L).
        """
        self._check_step(actions)
        assert self._state is not None
        active = ~self._finished
        self._num_steps += 1
        noise = None if self._noise is None else self._noise.at(self._noise_events(), needed=self._num_steps)
        after, rewards, terminated = self._advance(self._state, actions, noise)
        self._state = _where(active, after, self._state)
        self._steps, self._elapsed = self._steps + active, self._elapsed + active
        terminated = terminated & active
        truncated = torch.zeros_like(active)
        if self.max_episode_steps is not None:
            truncated = (self._elapsed >= self.max_episode_steps) & active & ~terminated
        self._finished = self._finished | terminated | truncated
        if self.measures:
            values = {name: values.to(self.dtype) for name, values in self._measure(self._state).items()}
            for name in self.averaged:
                values[name] = self._measured[name] + (values[name] - self._measured[name]) / self._elapsed.clamp(min=1)
            self._measured = {n: torch.where(active, values[n], old) for n, old in self._measured.items()}
        rewards = torch.where(active, rewards, torch.zeros_like(rewards))
        return self._observe(self._state), rewards, terminated, truncated, dict(self._measured)

    def _check_step(self, actions: Tensor) -> None:
        if self._state is None:
            raise ValueError("step: got no episode, expected one; call reset first")
        if actions.shape[:2] != self._finished.shape:
            raise ValueError(
                f"actions: got shape {tuple(actions.shape)}, expected to lead with {tuple(self._finished.shape)}, "
                "the individuals and lives"
            )

    def pictures(self) -> tuple[np.ndarray, ...]:
        """An RGB picture (H, W, 3) uint8 of each of the N sub-environments.

        Raises
        ------
        ValueError
            If the family draws none, or was not made to, or no episode has begun.
        """
        if self.render_mode is None:
            raise ValueError("render: got render_mode None, expected 'rgb_array'; pass it to make")
        raise ValueError("render: got no episode, expected one; call reset first")


def _where(mask: Tensor, chosen: Tensor, other: Tensor) -> Tensor:
    """States (P, L, S): `chosen` in the rows of mask (P, L), else `other`."""
    return torch.where(mask[..., None], chosen, other)
