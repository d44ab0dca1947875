"""Plays the episodes of a shard: all of them step together through one batched policy call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from maml_rl.baseline import LinearFeatureBaseline
from maml_rl.envs.errors import check_shape
from maml_rl.envs.meta_env import MetaVectorEnv, StepResult, Task
from maml_rl.episode import Episodes, clip_rewards, discounted_returns, generalised_advantages, normalise
from maml_rl.policies import Distribution, Params, Policy

_NOISE_BLOCK = 128
_LONGEST = 100_000
"""Steps after which an episode without a limit counts as endless."""


@dataclass(frozen=True)
class Streams:
    """The generators of one collection, one per task each."""

    environment: Sequence[np.random.Generator]
    actions: Sequence[np.random.Generator]


def play_episodes(
    env: MetaVectorEnv,
    policy: Policy,
    params: Params,
    tasks: Sequence[Task],
    streams: Streams,
    *,
    state: Any = (),
    num_sets: int | None = None,
    heartbeat: Callable[[], None] = lambda: None,
) -> tuple[Episodes, Any]:
    """Play ``env.num_envs / M`` episodes of each of M tasks to their end; advantages are left 0.

    Parameters
    ----------
    env
        Vector environment of N = M * B sub-environments.
    params
        One set of parameters per task, (M, ...) each, or one for all tasks.
    tasks
        The M tasks.
    streams
        Generators of environment and action noise, M each: the episodes are a function of these,
        tasks and parameters.
    state
        What the policy remembers at the start, tensors (M, B, ...); ``()``: its initial state.
    num_sets
        Sets of parameters A, if not one per task: (A, ...) each, for ``M / A`` tasks one after the other. Shapes are
        then (A, B, ...) with B = N / A.
    heartbeat
        Called once per step.

    Returns
    -------
    episodes
        As recorded, with the state they began with.
    state
        What the policy remembers at the end of each episode, tensors (M, B, ...).
    """
    num_sets = num_sets or len(tasks)
    shape = (num_sets, env.num_envs // num_sets)
    env.set_tasks(tasks)
    observations, _ = env.reset(options={"rngs": streams.environment})
    begin = state
    if policy.has_memory and not state:
        state = policy.initial_state(params, shape)
    noise = np.empty(0)
    rows: list[tuple[np.ndarray, ...]] = []
    distributions: list[Distribution] = []
    with torch.no_grad():
        while not env.finished.all():
            heartbeat()
            if len(rows) >= _LONGEST:
                raise RuntimeError(
                    f"an episode has not ended after {_LONGEST} steps; set a limit with env-kwargs.max_episode_steps"
                )
            if len(rows) % _NOISE_BLOCK == 0:
                noise = _draw_noise(policy, streams.actions, env, num_sets)
            active = ~env.finished
            batch = torch.from_numpy(observations).reshape(*shape, -1)  # (N, O*) -> (M, B, O)
            if batch.dtype != torch.uint8:  # images stay small
                batch = batch.float()
            distribution, after = policy.step(params, batch, state)
            if policy.has_memory:
                state = _where(torch.from_numpy(active).reshape(shape), after, state)
            sampled = distribution.sample(torch.from_numpy(noise[:, len(rows) % _NOISE_BLOCK]))
            actions = sampled.numpy().reshape(env.num_envs, *sampled.shape[2:])  # (M, B, A*) -> (N, A*)
            result = env.step(actions)
            if not rows:
                _check_first_step(env, result)
            next_observations, rewards = result[:2]
            flat = batch.numpy().reshape(env.num_envs, -1)  # (M, B, O) -> (N, O)
            rows.append((flat, actions, rewards, active))
            distributions.append(distribution)
            observations = next_observations
    return replace(_stack(rows, distributions, shape), state=begin), state


def _check_first_step(env: MetaVectorEnv, result: StepResult) -> None:
    """Refuse what a family that overrides `reset` or `step` returns without a row for each sub-environment."""
    shapes = ((env.num_envs, *(env.single_observation_space.shape or ())), *[(env.num_envs,)] * 3)
    for name, array, shape in zip(
        ("observations", "rewards", "terminated", "truncated"), result[:4], shapes, strict=True
    ):
        check_shape(f"step: {name}", array, shape, "return one row per sub-environment")


def _where(active: Tensor, after: Any, before: Any) -> Any:
    """States of running episodes move on, those of finished ones stay: active (M, B), states (M, B, ...)."""
    if bool(active.all()):
        return after
    return tree_map(
        lambda new, old: torch.where(active.reshape(*active.shape, *[1] * (new.dim() - 2)), new, old), after, before
    )


def _draw_noise(policy: Policy, rngs: Sequence[np.random.Generator], env: MetaVectorEnv, num_sets: int) -> np.ndarray:
    """Noise of the next block of steps, (A, block, B, ...); the block never depends on the shard."""
    block = min(_NOISE_BLOCK, env.max_episode_steps or _NOISE_BLOCK)
    shape = (block, env.num_envs // len(rngs))
    per_task = [policy.distribution.draw_noise(rng, shape, policy.output_size) for rng in rngs]
    of_a_set = len(rngs) // num_sets
    return np.stack([np.concatenate(per_task[i : i + of_a_set], axis=1) for i in range(0, len(rngs), of_a_set)])


def _stack(
    rows: Sequence[tuple[np.ndarray, ...]], distributions: Sequence[Distribution], shape: tuple[int, int]
) -> Episodes:
    """T rows of (N, ...) and distributions (M, B) -> tensors (M, T, B, ...), zero where an episode had ended."""
    active = _by_task([row[-1] for row in rows], shape)

    def column(index: int) -> Tensor:
        values = _by_task([row[index] for row in rows], shape)
        if not active.all():
            values[~active] = 0
        return torch.from_numpy(values)

    actions = column(1)
    mask = torch.from_numpy(active.astype(np.float32))
    played = type(distributions[0])(*(torch.stack(parts, 1) for parts in zip(*distributions, strict=True)))
    log_probs = played.log_prob(actions) * mask
    return Episodes(column(0), actions, column(2).float(), mask, log_probs, torch.zeros_like(mask))


def _by_task(arrays: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """T arrays (M * B, ...) -> (M, T, B, ...), contiguous."""
    stacked = np.empty((shape[0], len(arrays), shape[1], *arrays[0].shape[1:]), arrays[0].dtype)
    for step, array in enumerate(arrays):
        stacked[:, step] = array.reshape(*shape, *array.shape[1:])
    return stacked


def with_advantages(
    episodes: Episodes,
    baseline: LinearFeatureBaseline,
    *,
    gamma: float,
    gae_lambda: float,
    reward_clip: float | None = None,
) -> Episodes:
    """Return the episodes with normalised advantages over a baseline fitted to them, of rewards that may be cut."""
    rewards = clip_rewards(episodes.rewards, reward_clip)
    returns = discounted_returns(rewards, episodes.mask, gamma)
    values = baseline.fit_predict(episodes.observations, returns, episodes.mask)
    advantages = generalised_advantages(rewards, values, episodes.mask, gamma=gamma, gae_lambda=gae_lambda)
    return replace(episodes, advantages=normalise(advantages, episodes.mask))
