"""The contract every task family fulfils: a vector environment whose sub-environments each carry a task."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from maml_rl.envs.errors import check_shape

Task = dict[str, Any]
StepResult = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]

_ONE_ROW_EACH = "return one row per sub-environment"


class MetaVectorEnv(VectorEnv[Any, Any, Any], abc.ABC):
    """A batch of sub-environments that differ only in their task.

    Sub-environments are ordered task by task: with M tasks and B episodes per task, sub-environment
    ``m * B + b`` plays episode b of task m. A finished sub-environment is not reset; stepping it
    again changes nothing and pays 0, so that a shard steps on until its last episode ends.

    Subclasses implement `sample_tasks`, `_apply_tasks`, `_reset` and `_step`, all on whole arrays.

    Parameters
    ----------
    num_envs
        Number of sub-environments N, >= 1.
    observation_space, action_space
        Spaces of one sub-environment.
    max_episode_steps
        Steps after which an episode is truncated, >= 1; ``None`` for families that always end by
        themselves.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        max_episode_steps: int | None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs: got {num_envs}, expected at least 1")
        if max_episode_steps is not None and max_episode_steps < 1:
            raise ValueError(f"max_episode_steps: got {max_episode_steps}, expected at least 1")
        self.num_envs = num_envs
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self.max_episode_steps = max_episode_steps
        self.tasks: list[Task] = []
        self._rngs: list[np.random.Generator] = []
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._finished = np.ones(num_envs, dtype=bool)
        self._drawing = np.ones(num_envs, dtype=bool)
        self._observations = np.zeros((num_envs, *self._observation_shape), self._observation_dtype)

    @property
    def _observation_shape(self) -> tuple[int, ...]:
        return tuple(self.single_observation_space.shape or ())

    @property
    def _observation_dtype(self) -> Any:
        return self.single_observation_space.dtype

    @abc.abstractmethod
    def sample_tasks(self, num_tasks: int, rng: np.random.Generator) -> list[Task]:
        """Draw `num_tasks` tasks from the family's distribution, using only `rng`."""

    @property
    def num_distinct_tasks(self) -> int | None:
        """Number of different tasks that `sample_tasks` draws from; ``None`` if no two draws are alike.

        Of a family with a number, every evaluation plays the tasks of training again.
        """
        return None

    @abc.abstractmethod
    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        """Store the tasks' parameters as arrays, one row per sub-environment.

        Raises `KeyError` or `ValueError` when a task is not one of this family.
        """

    @abc.abstractmethod
    def _reset(self, mask: np.ndarray) -> np.ndarray:
        """Start the episodes `mask` (N,) selects and return observations (N, O*).

        Draws only by `_uniform` and `_normal`.
        """

    @abc.abstractmethod
    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Advance the sub-environments selected by `active` (N,).

        Returns observations (N, O*), rewards (N,), terminated (N,); rows that are not active are
        ignored by the caller.
        """

    def set_tasks(self, tasks: Sequence[Task]) -> None:
        """Give every sub-environment its task; N must be a multiple of ``len(tasks)``.

        Sub-environments ``m * N / M`` to ``(m + 1) * N / M`` get task m.
        """
        if not tasks or self.num_envs % len(tasks):
            raise ValueError(f"tasks: got {len(tasks)}, expected a number that divides num_envs = {self.num_envs}")
        episodes_per_task = self.num_envs // len(tasks)
        per_env = [task for task in tasks for _ in range(episodes_per_task)]
        self._apply_tasks(per_env)
        self.tasks = per_env
        self._finished[:] = True

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes.

        Parameters
        ----------
        seed
            Seed of the batch; every sub-environment gets an independent stream spawned from it.
            A sequence gives one seed per sub-environment.
        options
            ``{"rngs": generators}``: one generator per task; sub-environments of a task share it.
            It takes the place of `seed` and makes the episodes a function of the generators alone.
            ``{"reset_mask": mask}``: boolean (N,), start only these sub-environments.

        Returns
        -------
        observations (N, O*) and an empty dict.
        """
        options = options or {}
        if "rngs" in options:
            self._rngs = list(options["rngs"])
            if not self._rngs or self.num_envs % len(self._rngs):
                raise ValueError(
                    f"options['rngs']: got {len(self._rngs)}, expected a number that divides num_envs = {self.num_envs}"
                )
        elif seed is not None or not self._rngs:
            if seed is None or isinstance(seed, int | np.integer):
                sequences = np.random.SeedSequence(seed).spawn(self.num_envs)
            else:
                if len(seed) != self.num_envs:
                    raise ValueError(f"seed: got {len(seed)} seeds, expected num_envs = {self.num_envs}")
                sequences = [np.random.SeedSequence(s) for s in seed]
            self._rngs = [np.random.Generator(np.random.PCG64(s)) for s in sequences]
        if not self.tasks:
            self.set_tasks([self.default_task()])
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, dtype=bool)), dtype=bool)
        if mask.shape != (self.num_envs,):
            raise ValueError(f"options['reset_mask']: got shape {mask.shape}, expected ({self.num_envs},)")
        self._elapsed[mask] = 0
        self._finished[mask] = False
        self._drawing = mask
        observations = self._reset(mask)
        check_shape("_reset: observations", observations, self._observations.shape, _ONE_ROW_EACH)
        self._observations[mask] = observations[mask]
        return self._observations.copy(), {}

    def step(self, actions: np.ndarray) -> StepResult:
        """Advance every unfinished sub-environment by one step.

        Returns observations (N, O*), rewards (N,) float64, terminations (N,), truncations (N,) and
        an empty dict. Rows already finished repeat their last observation, pay 0 and report
        neither termination nor truncation again.
        """
        active = self._drawing = ~self._finished
        observations, rewards, terminated = self._step(np.asarray(actions), active)
        check_shape("_step: observations", observations, self._observations.shape, _ONE_ROW_EACH)
        check_shape("_step: rewards", rewards, active.shape, _ONE_ROW_EACH)
        check_shape("_step: terminated", terminated, active.shape, _ONE_ROW_EACH)
        rewards = np.where(active, rewards, 0.0)
        terminated = terminated & active
        self._elapsed[active] += 1
        out_of_time = self._out_of_time()
        check_shape("_out_of_time", out_of_time, active.shape, _ONE_ROW_EACH)
        truncated = out_of_time & active & ~terminated
        if active.all():
            self._observations[...] = observations
        else:
            self._observations[active] = observations[active]
        self._finished |= terminated | truncated
        return self._observations.copy(), rewards, terminated, truncated, {}

    def _out_of_time(self) -> np.ndarray:
        """(N,) bool: which episodes this step cuts short; families with a clock of their own override it."""
        if self.max_episode_steps is None:
            return np.zeros(self.num_envs, dtype=bool)
        return self._elapsed >= self.max_episode_steps

    @property
    def finished(self) -> np.ndarray:
        """(N,) bool: which episodes have ended."""
        return self._finished

    @abc.abstractmethod
    def default_task(self) -> Task:
        """The task a sub-environment has before `set_tasks` is called; needs no random draw."""

    def _uniform(self, *shape: int) -> np.ndarray:
        """Uniform numbers on [0, 1) of shape (N, *shape), each task's from its own generator.

        A task none of whose sub-environments are being stepped or reset draws nothing (its numbers are 0): what happens
        to other tasks does not move its generator.
        """
        return self._draw(np.random.Generator.random, shape)

    def _normal(self, *shape: int) -> np.ndarray:
        """Standard normal numbers of shape (N, *shape); see `_uniform`."""
        return self._draw(np.random.Generator.standard_normal, shape)

    def _draw(self, draw: Callable[..., np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        per_group = self.num_envs // len(self._rngs)
        if self._drawing.all():
            return np.concatenate([draw(rng, (per_group, *shape)) for rng in self._rngs])
        numbers = np.zeros((len(self._rngs), per_group, *shape))
        for index in np.flatnonzero(self._drawing.reshape(-1, per_group).any(1)):
            numbers[index] = draw(self._rngs[index], (per_group, *shape))
        return numbers.reshape(self.num_envs, *shape)
