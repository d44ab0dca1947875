"""Episodes of a shard: all of them step together through one batched policy call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from maml_rl.baseline import LinearFeatureBaseline
from maml_rl.envs.errors import check_shape
from maml_rl.envs.meta_env import MetaVectorEnv, StepResult, Task
from maml_rl.episode import Episodes, clip_rewards, discounted_returns, generalised_advantages, normalise
from maml_rl.policies import Params, Policy
from maml_rl.policies.params import dtype_of
from maml_rl.policies.policy import is_initial
from maml_rl.samplers.recorders import Recorder, Result, Step
from maml_rl.settings import ReturnSettings
from maml_rl.shard import Streams

NOISE_BLOCK = 128
"""Steps whose noise is drawn together: part of the results, never of the shard."""
_LONGEST = 100_000
"""Steps after which an episode without a limit counts as endless."""


def rollout(
    env: MetaVectorEnv,
    policy: Policy,
    params: Params,
    tasks: Sequence[Task],
    streams: Streams,
    *,
    recorder: Recorder[Result],
    state: Any = (),
    heartbeat: Callable[[], None] = lambda: None,
) -> tuple[Result, Any]:
    """Roll out ``env.num_envs / M`` episodes of each of M tasks to their end.

    Parameters
    ----------
    env
        Vector environment of N = M * B sub-environments.
    params
        One set of parameters per task, (M, ...) each; one for all tasks; or (P, ...) each, for ``M / P`` tasks one
        after the other. Shapes are then (P, B, ...) with B = N / P. Episodes have their float type.
    tasks
        The M tasks.
    streams
        Generators of environment and action noise, M each: the episodes are a function of these,
        tasks and parameters.
    recorder
        Decides what is kept.
    state
        State of the policy at the start, tensors (M, B, ...); ``()``: its initial state.
    heartbeat
        Called once per step.

    Returns
    -------
    result
        The recorder's.
    state
        State of the policy at the end of each episode, tensors (M, B, ...), ready for another one.
    """
    num_sets, dtype = _num_sets(policy, params, len(tasks)), dtype_of(params)
    shape = (num_sets, env.num_envs // num_sets)
    env.set_tasks(tasks)
    observations, _ = env.reset(options={"rngs": streams.environment})
    batch, started = _as_batch(observations, shape, dtype), np.zeros(env.num_envs, dtype=bool)
    noise = _action_noise(policy, streams.actions, env, num_sets, dtype)
    num_steps = 0
    with torch.no_grad():
        begin, state = _begin(policy, params, shape, streams.actions, state)
        recorder.begin(env, shape, begin)
        while not env.finished.all():
            heartbeat()
            if num_steps >= _LONGEST:
                raise RuntimeError(
                    f"an episode has not ended after {_LONGEST} steps; set a limit with env-kwargs.max_episode_steps"
                )
            active = ~env.finished
            distribution, sampled, after = policy.act(params, batch, state, next(noise))
            if policy.has_memory:
                state = after if active.all() else policy.keep(torch.from_numpy(active).reshape(shape), after, state)
            actions = sampled.numpy().reshape(env.num_envs, *sampled.shape[2:])  # (M, B, A*) -> (N, A*)
            result = env.step(actions)
            if num_steps == 0:
                _check_first_step(env, result)
            observations, rewards, terminated, truncated, info = result
            recorder.step(Step(batch, actions, rewards, active, started, distribution, state, info))
            batch = _as_batch(observations, shape, dtype)
            over = info.get("episode_over", terminated | truncated)
            if policy.has_memory and over.any():
                state = policy.begin_episode(params, state, batch, torch.from_numpy(over).reshape(shape))
            started = over & ~env.finished
            num_steps += 1
    return recorder.result(), state


def _check_first_step(env: MetaVectorEnv, result: StepResult) -> None:
    """Refuse what a family that overrides `reset` or `step` returns without a row for each sub-environment."""
    shapes = ((env.num_envs, *(env.single_observation_space.shape or ())), *[(env.num_envs,)] * 3)
    names = ("observations", "rewards", "terminated", "truncated")
    for name, array, shape in zip(names, result[:4], shapes, strict=True):
        check_shape(f"step: {name}", array, shape, "return one row per sub-environment")


def _num_sets(policy: Policy, params: Params, num_tasks: int) -> int:
    """Sets of parameters: as many as they lead with, or one for each task, expanded or not."""
    name, own = next(policy.named_parameters())
    return params[name].shape[0] if params[name].dim() > own.dim() else num_tasks


def _as_batch(observations: np.ndarray, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    batch = torch.from_numpy(observations).reshape(*shape, -1)  # (N, O*) -> (M, B, O)
    return batch if batch.dtype == torch.uint8 else batch.to(dtype)  # images stay small


def _begin(
    policy: Policy, params: Params, shape: tuple[int, int], rngs: Sequence[np.random.Generator], state: Any
) -> tuple[Any, Any]:
    """State that a learner begins with, and the one that the rollout begins with.

    A learner computes an initial state without noise itself, and differentiates it. Noise comes from a child of the
    generator of action noise, which stays as it is. The rollout's own state is a copy, which a policy may write into.
    """
    if not is_initial(state) or not policy.has_memory:
        return state, tree_map(torch.clone, state)
    noise = _initial_noise(policy, params, rngs, shape[0] * shape[1] // len(rngs))
    if noise is None:
        return (), policy.initial_state(params, shape)
    state = policy.initial_state(params, shape, noise.reshape(*shape, *noise.shape[1:]))
    return state, tree_map(torch.clone, state)


def begin_lives(policy: Policy, params: Params, shape: tuple[int, int], rngs: Sequence[np.random.Generator]) -> Any:
    """State (P, L, ...) of P individuals at the start of L lives, from the lives' generators of action noise (L)."""
    if not policy.has_memory:
        return ()
    noise = _initial_noise(policy, params, rngs, 1)
    return policy.initial_state(params, shape, None if noise is None else noise.expand(shape[0], *noise.shape))


def _initial_noise(policy: Policy, params: Params, rngs: Sequence[np.random.Generator], num_each: int) -> Tensor | None:
    """Noise (N, ...) for `Policy.initial_state`, `num_each` rows from each generator; ``None`` if it takes none."""
    noise: list[np.ndarray] = []
    for rng in rngs:
        drawn = policy.draw_initial_noise(rng.spawn(1)[0], (num_each,))
        if drawn is None:  # nor will it for other tasks
            return None
        noise.append(drawn)
    return torch.from_numpy(np.concatenate(noise)).to(next(iter(params.values())))


def _action_noise(
    policy: Policy, rngs: Sequence[np.random.Generator], env: MetaVectorEnv, num_sets: int, dtype: torch.dtype
) -> Iterator[Tensor]:
    """Noise (A, B, ...) of every step, drawn in blocks of steps that never depend on the shard."""
    block = min(NOISE_BLOCK, env.max_episode_steps or NOISE_BLOCK)
    shape, of_a_set = (block, env.num_envs // len(rngs)), len(rngs) // num_sets
    while True:
        per_task = [policy.draw_noise(rng, shape) for rng in rngs]
        sets = [np.concatenate(per_task[i : i + of_a_set], axis=1) for i in range(0, len(rngs), of_a_set)]
        whole = torch.from_numpy(np.stack(sets)).to(dtype)  # (A, block, B, ...)
        yield from whole.unbind(1)


def with_advantages(episodes: Episodes, baseline: LinearFeatureBaseline, settings: ReturnSettings) -> Episodes:
    """Return the episodes with normalised advantages over a baseline fitted to them, of rewards that may be clipped."""
    rewards = clip_rewards(episodes.rewards, settings.reward_clip)
    returns = discounted_returns(rewards, episodes.mask, settings.gamma)
    values = baseline.fit_predict(episodes.observations, returns, episodes.mask)
    advantages = generalised_advantages(
        rewards, values, episodes.mask, gamma=settings.gamma, gae_lambda=settings.gae_lambda
    )
    return replace(episodes, advantages=normalise(advantages, episodes.mask))
