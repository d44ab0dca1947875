"""Any Gymnasium environment as a task family: a task is a setting of some of its attributes or arguments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from maml_rl.envs.errors import MissingPackageError, check_shape
from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.envs.sweep import parse_sweeps
from maml_rl.utils.field_words import did_you_mean
from maml_rl.utils.modules import check_may_import


class AttributeSweepVectorEnv(MetaVectorEnv):
    """AttributeSweep-v0: N copies of an ordinary environment whose tasks differ in swept parameters.

    Task: ``{name: value}`` for every swept name. An attribute is set on ``env.unwrapped`` before each
    reset; an argument rebuilds the copy, and only when its value changes. Values an environment
    derives from an attribute in its constructor are *not* derived again: sweep those too, or sweep
    an argument. Copies are seeded from the family's generators, so that episodes are a function of
    the generators if the environment is a function of its seed. Continuous actions are clipped to
    the action space; discrete observations become one-hot vectors. Copies are stepped one by one.

    Parameters
    ----------
    num_envs
        Number of copies N.
    env_id
        Id of a registered Gymnasium environment.
    attributes
        Swept attributes of ``env.unwrapped``. A range is a tuple ``(low, high)`` or a mapping
        ``{"low": low, "high": high}`` (drawn uniformly); a list holds the values to choose from.
    arguments
        Swept keyword arguments of the environment's constructor, in the same notation.
    env_kwargs
        Keyword arguments all copies share.
    max_episode_steps
        Steps per episode; ``None``: the environment's own limit, if it has one.
    render_mode
        Passed to the copies.

    Examples
    --------
    >>> import numpy as np
    >>> env = AttributeSweepVectorEnv(
    ...     4, env_id="CartPole-v1", attributes={"length": (0.25, 1.0), "gravity": [5.0, 9.8, 20.0]}
    ... )
    >>> env.set_tasks(env.sample_tasks(2, np.random.default_rng(0)))
    >>> observations, _ = env.reset(seed=0)
    >>> observations.shape
    (4, 4)
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        env_id: str,
        attributes: Mapping[str, Any] | None = None,
        arguments: Mapping[str, Any] | None = None,
        env_kwargs: Mapping[str, Any] | None = None,
        max_episode_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        if ":" in env_id:  # Gymnasium imports what stands before it
            check_may_import(env_id.partition(":")[0], field="env_id", value=env_id)
        self.env_id = env_id
        self._attributes = parse_sweeps("attributes", attributes)
        self._arguments = parse_sweeps("arguments", arguments)
        self._check_names(env_kwargs or {})
        optional = {"render_mode": render_mode, "max_episode_steps": max_episode_steps}
        self._make_kwargs = {**(env_kwargs or {}), **{k: v for k, v in optional.items() if v is not None}}
        default_arguments = {name: sweep.middle for name, sweep in self._arguments.items()}
        first = self._make(default_arguments)
        self._check_attributes(first)
        self._spaces = (first.observation_space, first.action_space)
        super().__init__(
            num_envs,
            _flat_observation_space(first.observation_space),
            _supported_action_space(first.action_space),
            max_episode_steps=max_episode_steps or (first.spec.max_episode_steps if first.spec else None),
        )
        self.render_mode = render_mode
        self.metadata = {**first.metadata, "autoreset_mode": self.metadata["autoreset_mode"]}
        self._default_task: Task = {
            **{name: getattr(first.unwrapped, name) for name in self._attributes},
            **default_arguments,
        }
        self._copies: list[gym.Env[Any, Any] | None] = [first, *[None] * (num_envs - 1)]
        self._copy_arguments: list[dict[str, Any]] = [default_arguments for _ in range(num_envs)]
        self._cut_short = np.zeros(num_envs, dtype=bool)

    def default_task(self) -> Task:
        """The environment's own attributes; of an argument the middle of its range or its first value."""
        return dict(self._default_task)

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw every swept parameter independently, uniformly from its range or list."""
        sweeps = {**self._attributes, **self._arguments}
        return [{name: sweep.sample(rng) for name, sweep in sweeps.items()} for _ in range(num_tasks)]

    @property
    def num_distinct_tasks(self) -> int | None:
        """Combinations of the listed values; ``None`` if a parameter has a range."""
        sizes = [sweep.size for sweep in (*self._attributes.values(), *self._arguments.values())]
        return None if None in sizes else math.prod(size for size in sizes if size is not None)

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        expected = self._default_task.keys()
        for task in tasks:
            if task.keys() != expected:
                raise KeyError(f"task: got keys {sorted(task)}, expected {sorted(expected)}")

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        observations = self._observations.copy()
        seeds = (self._uniform() * 2**31).astype(np.int64)
        for index in np.flatnonzero(mask).tolist():
            copy = self._copy(index)
            for name in self._attributes:
                setattr(copy.unwrapped, name, self.tasks[index][name])
            observation, _ = copy.reset(seed=int(seeds[index]))
            observations[index] = self._encode(observation)
        return observations

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        observations = self._observations.copy()
        rewards = np.zeros(self.num_envs)
        terminated = np.zeros(self.num_envs, dtype=bool)
        self._cut_short[:] = False
        space = self.single_action_space
        if isinstance(space, gym.spaces.Box):
            actions = np.clip(actions, space.low, space.high).astype(space.dtype, copy=False)
        for index in np.flatnonzero(active).tolist():
            action = actions[index] if isinstance(space, gym.spaces.Box) else int(actions[index])
            observation, reward, ended, cut_short, _ = self._copies[index].step(action)  # type: ignore[union-attr]
            for name, value in (("reward", reward), ("terminated", ended), ("truncated", cut_short)):
                check_shape(f"step of {self.env_id}: {name}", value, (), "return a number, or wrap the environment")
            observations[index] = self._encode(observation)
            rewards[index], terminated[index], self._cut_short[index] = reward, ended, cut_short
        return observations, rewards, terminated

    def _out_of_time(self) -> np.ndarray:
        return super()._out_of_time() | self._cut_short

    def _encode(self, observation: Any) -> Any:
        space = self._spaces[0]
        check_shape(
            f"reset or step of {self.env_id}: observation",
            observation,
            tuple(space.shape or ()),
            "make it agree with observation_space, or wrap the environment",
        )
        if isinstance(space, gym.spaces.Discrete):
            return np.arange(space.n) == observation - space.start
        return observation

    def _make(self, arguments: Mapping[str, Any]) -> gym.Env[Any, Any]:
        kwargs = {**self._make_kwargs, **arguments}
        try:
            return gym.make(self.env_id, disable_env_checker=True, **kwargs)
        except gym.error.DependencyNotInstalled as error:
            raise MissingPackageError(f"{self.env_id} needs more packages: {str(error).splitlines()[0]}") from error
        except Exception as error:  # whatever that environment makes of impossible values
            reason = (str(error).splitlines() or [""])[0]
            raise ValueError(
                f"arguments, env_kwargs: {self.env_id!r} cannot be made with {kwargs}: {type(error).__name__}: {reason}"
            ) from error

    def _copy(self, index: int) -> gym.Env[Any, Any]:
        arguments = {name: self.tasks[index][name] for name in self._arguments}
        copy = self._copies[index]
        if copy is None or self._copy_arguments[index] != arguments:
            if copy is not None:
                copy.close()
            copy = self._make(arguments)
            spaces = (copy.observation_space, copy.action_space)
            if spaces != self._spaces:
                raise ValueError(
                    f"arguments: {arguments} gives spaces {spaces}, expected {self._spaces}; "
                    "all tasks of a family share their spaces"
                )
            self._copies[index], self._copy_arguments[index] = copy, arguments
        return copy

    def _check_names(self, env_kwargs: Mapping[str, Any]) -> None:
        if self.env_id not in gym.registry and ":" not in self.env_id:
            hint = did_you_mean(self.env_id, gym.registry)
            raise ValueError(f"env_id: unknown environment {self.env_id!r}{hint}")
        if not self._attributes and not self._arguments:
            raise ValueError("attributes, arguments: got neither, expected at least one swept parameter")
        for name in self._arguments:
            if name in self._attributes or name in env_kwargs:
                raise ValueError(f"arguments: {name!r} is also in attributes or env_kwargs; name it once")

    def _check_attributes(self, env: gym.Env[Any, Any]) -> None:
        inner = env.unwrapped
        for name, sweep in self._attributes.items():
            if not hasattr(inner, name):
                known = [word for word in dir(inner) if not word.startswith("_")]
                hint = did_you_mean(name, known)
                raise ValueError(f"attributes: {type(inner).__name__} has no attribute {name!r}{hint}")
            if isinstance(getattr(inner, name), int | float | np.number):
                for value in sweep.values:
                    if not isinstance(value, int | float | np.number):
                        raise ValueError(f"attributes[{name!r}]: got {value!r}, expected numbers")
            try:
                setattr(inner, name, getattr(inner, name))
            except AttributeError as error:
                raise ValueError(
                    f"attributes: {type(inner).__name__}.{name} is read-only; sweep an argument instead"
                ) from error

    def render(self) -> tuple[Any, ...]:
        """Return one picture per copy; needs ``render_mode`` and a `reset` before."""
        if self.render_mode is None:
            raise ValueError("render: got render_mode None, expected e.g. 'rgb_array'; pass it to make")
        return tuple(None if copy is None else copy.render() for copy in self._copies)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the copies."""
        for copy in self._copies:
            if copy is not None:
                copy.close()


def _flat_observation_space(space: gym.Space[Any]) -> gym.Space[Any]:
    if isinstance(space, gym.spaces.Discrete):
        return gym.spaces.Box(0.0, 1.0, (int(space.n),), np.float32)
    if not isinstance(space, gym.spaces.Box):
        raise ValueError(f"observation space: got {space}, expected Box or Discrete; wrap the environment")
    return space


def _supported_action_space(space: gym.Space[Any]) -> gym.Space[Any]:
    if not isinstance(space, gym.spaces.Box | gym.spaces.Discrete):
        raise ValueError(f"action space: got {space}, expected Box or Discrete; wrap the environment")
    return space
