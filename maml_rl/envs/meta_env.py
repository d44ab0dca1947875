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
from maml_rl.envs.task_family import TaskFamily
from maml_rl.envs.task_table import Task
from maml_rl.utils.checks import check_at_least

__all__ = ["MetaVectorEnv", "StepResult", "Task"]

StepResult = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]

_ONE_ROW_EACH = "return one row per sub-environment"


class MetaVectorEnv(TaskFamily, VectorEnv[Any, Any, Any]):
    """A batch of sub-environments that differ only in their task.

    Sub-environments are ordered task by task: with M tasks and B episodes per task, sub-environment
    ``m * B + b`` rolls out episode b of task m. A finished sub-environment is not reset; stepping it
    again changes nothing and its reward is 0, so that a shard steps on until its last episode ends.

    Subclasses implement `default_task`, `_sample_tasks`, `_apply_tasks`, `_reset` and `_step`, all on whole arrays;
    `_measure` if they name `measures`; and `_expected_rewards` where the mean reward is known.

    Parameters
    ----------
    num_envs
        Number of sub-environments N, >= 1.
    observation_space, action_space
        Spaces of one sub-environment.
    max_episode_steps
        Steps after which an episode is truncated, >= 1; ``None`` for families that always end by
        themselves.

    Attributes
    ----------
    reports_expected_rewards
        False unless the caller sets it: then `info` of every step has ``"expected_rewards"`` (N,), the mean of the
        reward just drawn given state and action, if the family knows it. An agent never observes it.
    """

    reports_expected_rewards: bool = False
    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        max_episode_steps: int | None,
    ) -> None:
        check_at_least(1, num_envs=num_envs, max_episode_steps=max_episode_steps)
        self.num_envs = num_envs
        self.single_observation_space = observation_space
        self.single_action_space = action_space
        self.observation_space = batch_space(observation_space, num_envs)
        self.action_space = batch_space(action_space, num_envs)
        self.max_episode_steps = max_episode_steps
        self.tasks: list[Task] = []
        self._rngs: list[np.random.Generator] = []
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._episode_index = np.full(num_envs, -1, dtype=np.int64)
        """Place (N,) of the present episode among those on its task since tasks or generators were given, from 0."""
        self._finished = np.ones(num_envs, dtype=bool)
        self._drawing = np.ones(num_envs, dtype=bool)
        self._observations = np.zeros((num_envs, *self._observation_shape), self._observation_dtype)
        self._measured: dict[str, np.ndarray] = {}

    @property
    def _observation_shape(self) -> tuple[int, ...]:
        return tuple(self.single_observation_space.shape or ())

    @property
    def _observation_dtype(self) -> Any:
        return self.single_observation_space.dtype

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

    def _measure(self) -> dict[str, np.ndarray]:
        """Values (N,) of every one of `measures` after the step just made."""
        return {}

    def _expected_rewards(self) -> np.ndarray | None:
        """Mean (N,) of the rewards just drawn, given states and actions; ``None``: the family does not know it."""
        return None

    @property
    def knows_expected_rewards(self) -> bool:
        """True if ``"expected_rewards"`` come where they are asked for."""
        return type(self)._expected_rewards is not MetaVectorEnv._expected_rewards

    @property
    def shows_tasks_to_random_actions(self) -> bool:
        """True if a few random actions obtain other rewards or observations in another task, which checkers look at."""
        return True

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
        self._episode_index[:] = -1
        self._finished[:] = True

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes, and return observations (N, O*) and an empty dict.

        Most families forget the episodes before. In one whose episodes follow each other on a task, the next one
        begins; with a seed or generators the first.

        Parameters
        ----------
        seed
            Seed of the batch; every sub-environment gets an independent stream spawned from it.
            A sequence gives one seed per sub-environment.
        options
            ``{"rngs": generators}``: one generator per task; sub-environments of a task share it.
            It takes the place of `seed` and makes the episodes a function of the generators alone.
            ``{"reset_mask": mask}``: boolean (N,), start only these sub-environments.

        """
        options = options or {}
        anew = "rngs" in options or seed is not None or not self._rngs
        if anew:
            self._rngs = self._generators(seed, options.get("rngs"))
        if not self.tasks:
            self.set_tasks([self.default_task()])
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, dtype=bool)), dtype=bool)
        if mask.shape != (self.num_envs,):
            raise ValueError(f"options['reset_mask']: got shape {mask.shape}, expected ({self.num_envs},)")
        self._elapsed[mask] = 0
        self._episode_index[mask] = 0 if anew else self._episode_index[mask] + 1
        self._finished[mask] = False
        self._drawing = mask
        observations = self._reset(mask)
        check_shape("_reset: observations", observations, self._observations.shape, _ONE_ROW_EACH)
        self._observations[mask] = observations[mask]
        self._measured = {name: np.where(mask, 0.0, values) for name, values in self._measured.items()}
        return self._observations.copy(), {}

    def _generators(
        self, seed: int | Sequence[int | None] | None, given: Sequence[np.random.Generator] | None
    ) -> list[np.random.Generator]:
        """One generator per task: those given, or one per sub-environment made of seeds."""
        if given is not None:
            if not given or self.num_envs % len(given):
                raise ValueError(
                    f"options['rngs']: got {len(given)}, expected a number that divides num_envs = {self.num_envs}"
                )
            return list(given)
        if seed is None or isinstance(seed, int | np.integer):
            sequences = np.random.SeedSequence(seed).spawn(self.num_envs)
        else:
            if len(seed) != self.num_envs:
                raise ValueError(f"seed: got {len(seed)} seeds, expected num_envs = {self.num_envs}")
            sequences = [np.random.SeedSequence(s) for s in seed]
        return [np.random.Generator(np.random.PCG64(s)) for s in sequences]

    def step(self, actions: np.ndarray) -> StepResult:
        """Advance every unfinished sub-environment by one step.

        Rows already finished repeat their last observation and measures, obtain 0 and report neither termination nor
        truncation again.

        Parameters
        ----------
        actions
            (N, A*).

        Returns
        -------
        observations (N, O*), rewards (N,), terminated (N,), truncated (N,) and a dict: each of `measures` (N,) and, if
        asked for and known, ``"expected_rewards"`` (N,). Numbers beside observations are float64.
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
        return self._observations.copy(), rewards, terminated, truncated, self._step_info(active)

    def _step_info(self, active: np.ndarray) -> dict[str, np.ndarray]:
        """Measures and expected rewards (N,) of the step just made; finished rows keep the former and expect 0."""
        if self.measures:
            values, before = self._measure(), self._measured
            self._measured = {
                name: np.where(active, np.asarray(values[name], dtype=np.float64), before.get(name, 0.0))
                for name in self.measures
            }
        info = dict(self._measured)
        if self.reports_expected_rewards and (expected := self._expected_rewards()) is not None:
            info["expected_rewards"] = np.where(active, expected, 0.0)
        return info

    def _out_of_time(self) -> np.ndarray:
        """(N,) bool: the episodes that this step cuts short; families with a clock of their own override it."""
        if self.max_episode_steps is None:
            return np.zeros(self.num_envs, dtype=bool)
        return self._elapsed >= self.max_episode_steps

    @property
    def finished(self) -> np.ndarray:
        """(N,) bool: the episodes that have ended."""
        return self._finished

    def _uniform(self, *shape: int) -> np.ndarray:
        """Uniform numbers on [0, 1) of shape (N, *shape), each task's from its own generator.

        A task none of whose sub-environments are being stepped or reset draws nothing (its numbers are 0): what happens
        to other tasks does not move its generator.
        """
        return self._draw(np.random.Generator.random, shape)

    def _normal(self, *shape: int) -> np.ndarray:
        """Standard normal numbers of shape (N, *shape); see `_uniform`."""
        return self._draw(np.random.Generator.standard_normal, shape)

    def _draw(self, draw: Callable[..., Any], shape: tuple[int, ...]) -> np.ndarray:
        per_group = self.num_envs // len(self._rngs)
        if self._drawing.all():
            if (per_group, shape) == (1, ()):  # half the time of arrays of one number
                return np.array([draw(rng) for rng in self._rngs])
            return np.concatenate([draw(rng, (per_group, *shape)) for rng in self._rngs])
        numbers = np.zeros((len(self._rngs), per_group, *shape))
        for index in np.flatnonzero(self._drawing.reshape(-1, per_group).any(1)):
            numbers[index] = draw(self._rngs[index], (per_group, *shape))
        return numbers.reshape(self.num_envs, *shape)
