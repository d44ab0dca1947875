"""Recorders: each keeps of a rollout what its caller needs."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from maml_rl.envs.meta_env import MetaVectorEnv
from maml_rl.episode import Episodes
from maml_rl.policies import Distribution

Result = TypeVar("Result")


class Step(NamedTuple):
    """One step of all N = M * B sub-environments.

    Attributes
    ----------
    observations
        (M, B, O), as the policy saw them.
    actions
        (N, A) float or (N,) int64.
    rewards
        (N,) float64.
    active
        (N,) bool: the others had ended before.
    started
        (N,) bool, where an episode of a meta-episode began with this step, after another.
    distribution
        Over actions, (M, B).
    state
        State of the policy after the step, tensors (M, B, ...).
    info
        As the environment gave it.
    """

    observations: Tensor
    actions: np.ndarray
    rewards: np.ndarray
    active: np.ndarray
    started: np.ndarray
    distribution: Distribution
    state: Any
    info: Mapping[str, Any]


class Recorder(abc.ABC, Generic[Result]):
    """Sees every step of one rollout; a new one is made for the next."""

    def begin(self, env: MetaVectorEnv, shape: tuple[int, int], state: Any) -> None:
        """Prepare for episodes of shape (M, B) that `env` has just begun.

        `state` is the one that a learner has to begin with, tensors (M, B, ...); ``()``: the policy's initial state.
        """

    @abc.abstractmethod
    def step(self, step: Step) -> None:
        """Keep of a step, which `env` has just made, what is wanted."""

    @abc.abstractmethod
    def result(self) -> Result:
        """All that was kept."""


class _Measures:
    """Values (N,) of the environment's measures, those of every episode's last step at the end."""

    def __init__(self, env: MetaVectorEnv) -> None:
        self.values = {name: np.zeros(env.num_envs) for name in getattr(env, "measures", ())}

    def step(self, step: Step) -> None:
        for name, values in self.values.items():
            np.copyto(values, step.info[name], where=step.active)


class EpisodeRecorder(Recorder[Episodes]):
    """Keeps whole episodes, to learn from; their advantages are left 0."""

    def __init__(self) -> None:
        self._rows: list[tuple[np.ndarray, ...]] = []
        self._distributions: list[Any] = []

    def begin(self, env: MetaVectorEnv, shape: tuple[int, int], state: Any) -> None:
        """See `Recorder.begin`."""
        self._shape, self._state, self._measures = shape, state, _Measures(env)

    def step(self, step: Step) -> None:
        """See `Recorder.step`."""
        flat = step.observations.numpy().reshape(len(step.active), -1)  # (M, B, O) -> (N, O)
        self._rows.append((flat, step.actions, step.rewards, step.active, step.started))
        self._distributions.append(step.distribution)
        self._measures.step(step)

    def result(self) -> Episodes:
        """T rows of (N, ...) and distributions (M, B) as tensors (M, T, B, ...), zero where an episode had ended."""
        observations, actions, rewards, active, started = (
            _by_task(rows, self._shape) for rows in zip(*self._rows, strict=True)
        )
        if not active.all():
            for values in (observations, actions, rewards):
                values[~active] = 0
        whole = type(self._distributions[0])(
            *(torch.stack(parts, 1) for parts in zip(*self._distributions, strict=True))
        )
        mask, taken = torch.from_numpy(active).to(whole[0].dtype), torch.from_numpy(actions)
        return Episodes(
            torch.from_numpy(observations),
            taken,
            torch.from_numpy(rewards).to(mask.dtype),
            mask,
            whole.log_prob(taken) * mask,
            torch.zeros_like(mask),
            torch.from_numpy(started),
            self._state,
            {name: torch.from_numpy(value).reshape(self._shape) for name, value in self._measures.values.items()},
        )


def _by_task(arrays: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """T arrays (M * B, ...) -> (M, T, B, ...), contiguous."""
    stacked = np.empty((shape[0], len(arrays), shape[1], *arrays[0].shape[1:]), arrays[0].dtype)
    for step, array in enumerate(arrays):
        stacked[:, step] = array.reshape(*shape, *array.shape[1:])
    return stacked


@dataclass(frozen=True)
class Returns:
    """Outcome of episodes, without their steps.

    Attributes
    ----------
    returns
        Undiscounted return (M, B, E) of each of the E episodes of a meta-episode.
    env_steps
        Steps (M, B) of all of them.
    measures
        Values (M, B) of the environment's measures at the last step, by name.
    """

    returns: np.ndarray
    env_steps: np.ndarray
    measures: Mapping[str, np.ndarray]


class ReturnRecorder(Recorder[Returns]):
    """Keeps returns and measures only: its memory does not depend on the length of episodes.

    Parameters
    ----------
    num_episodes
        Episodes E of a meta-episode that are told apart, >= 1; the last one takes in all that follow.
    """

    def __init__(self, num_episodes: int = 1) -> None:
        self._num_episodes = num_episodes

    def begin(self, env: MetaVectorEnv, shape: tuple[int, int], state: Any) -> None:
        """See `Recorder.begin`."""
        self._shape, self._measures = shape, _Measures(env)
        self._returns = np.zeros((env.num_envs, self._num_episodes))
        self._env_steps = np.zeros(env.num_envs, dtype=np.int64)
        self._episode, self._rows = np.zeros(env.num_envs, dtype=np.int64), np.arange(env.num_envs)

    def step(self, step: Step) -> None:
        """See `Recorder.step`."""
        self._episode = np.minimum(self._episode + step.started, self._num_episodes - 1)
        self._returns[self._rows, self._episode] += step.rewards
        self._env_steps += step.active
        self._measures.step(step)

    def result(self) -> Returns:
        """See `Recorder.result`."""
        return Returns(
            self._returns.reshape(*self._shape, -1),
            self._env_steps.reshape(self._shape),
            {name: values.reshape(self._shape) for name, values in self._measures.values.items()},
        )


class StateRecorder(Recorder[Tensor]):
    """Keeps the policy's state after every step, tensors (M, T, B, H); that of an episode that has ended stays.

    Parameters
    ----------
    read
        Makes of a state (M, B, ...) what is kept (M, B, H), such as `Policy.remembered`.
    """

    def __init__(self, read: Callable[[Any], Tensor]) -> None:
        self._read = read
        self._states: list[Tensor] = []

    def step(self, step: Step) -> None:
        """See `Recorder.step`."""
        self._states.append(self._read(step.state))

    def result(self) -> Tensor:
        """See `Recorder.result`."""
        return torch.stack(self._states, 1)
