"""Lives of a population on tensors: individuals act together, and only their returns are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from maml_rl.envs.task_table import Task
from maml_rl.envs.tensor_env import TensorMetaVectorEnv
from maml_rl.policies import Params, Policy
from maml_rl.policies.learning_rules.fused import LANES
from maml_rl.policies.params import dtype_of
from maml_rl.samplers.rollout import NOISE_BLOCK, begin_lives
from maml_rl.shard import Streams

_WORTH_IT = 0.67
"""Fraction of a table of lives below which it is made smaller."""


def live(
    env: TensorMetaVectorEnv,
    policy: Policy,
    params: Params,
    tasks: Sequence[Task],
    streams: Streams,
    *,
    num_episodes: int,
    heartbeat: Callable[[], None] = lambda: None,
) -> tuple[np.ndarray, np.ndarray]:
    """Roll out lives of E episodes for P individuals on L tasks, each life with its own stream of random numbers.

    The same episodes, to rounding, as `maml_rl.samplers.rollout.rollout` gives in a `MetaEpisodeVectorEnv` on the
    family's arrays, without leaving the device at any step.

    Parameters
    ----------
    env
        The family, of P individuals in L lives.
    policy, params
        Parameters (P, ...) of the individuals.
    tasks
        One for each of the L lives.
    streams
        Generators of environment and action noise, L each, common to all individuals.
    num_episodes
        Episodes E of a life, >= 1.
    heartbeat
        Called once per step.

    Returns
    -------
    returns
        (P, L, E) float64.
    env_steps
        (P, L) int64.
    """
    shape, dtype = (env.num_individuals, env.num_lives), dtype_of(params)
    env.set_tasks(tasks)
    observed, _ = env.reset(options={"rngs": streams.environment})
    memory = _Lives(env, num_episodes)
    with torch.no_grad():
        state = begin_lives(policy, params, shape, streams.actions)
        noise = _action_noise(policy, streams.actions, env.num_individuals)
        batch = memory.begin(observed).to(dtype)
        going_on = _GoingOn(shape, device=env.device)
        while not memory.over:
            heartbeat()
            # Policies whose lives are over act too while others go on: nothing of it is kept.
            _, actions, state = policy.act(params, going_on.of(batch), state, going_on.of(next(noise)).to(batch))
            batch, ended = memory.step(going_on.whole(actions))
            batch = batch.to(dtype)
            if memory.any_ended:
                if policy.has_memory:
                    state = policy.begin_episode(params, state, going_on.of(batch), going_on.of(ended))
                params, state = going_on.leave_out(memory.alive, params, state)
    return memory.returns.cpu().numpy(), memory.env_steps.cpu().numpy()


class _GoingOn:
    """Rows and columns of a table (P, L) of lives that policies still act for: those that are over are left out.

    A row is an individual, a column a task: a table that is half empty becomes the smallest that holds what goes on.
    """

    def __init__(self, shape: tuple[int, int], *, device: torch.device) -> None:
        self._shape = shape
        self._rows, self._columns = (torch.arange(size, device=device) for size in shape)

    def of(self, values: Tensor) -> Tensor:
        """Entries (P', L', ...) of (P, L, ...)."""
        if self._is_whole:
            return values
        return values[self._rows[:, None], self._columns]

    def whole(self, entries: Tensor) -> Tensor:
        """Table (P, L, ...) of entries (P', L', ...), 0 elsewhere."""
        if self._is_whole:
            return entries
        values = entries.new_zeros((*self._shape, *entries.shape[2:]))
        values[self._rows[:, None], self._columns] = entries
        return values

    def leave_out(self, alive: Tensor, params: Params, state: Any) -> tuple[Params, Any]:
        """Parameters (P', ...) and state (P', L', ...) without rows and columns of lives (P, L) that are all over.

        Nothing is left out while that would save less than a third, or where fewer lives would be left than kernels
        take.
        """
        alive = self.of(alive)
        rows, columns = alive.any(1), alive.any(0)
        size = int(rows.sum()) * int(columns.sum())
        if size > _WORTH_IT * alive.numel() or size < LANES:
            return params, state
        self._rows, self._columns = self._rows[rows], self._columns[columns]
        kept = {name: values[rows] for name, values in params.items()}
        return kept, tree_map(lambda part: part[rows][:, columns], state)

    @property
    def _is_whole(self) -> bool:
        return (len(self._rows), len(self._columns)) == self._shape


class _Lives:
    """Several episodes of an environment one after another, with what meta-episodes show of them."""

    def __init__(self, env: TensorMetaVectorEnv, num_episodes: int) -> None:
        self.env, self._num_episodes = env, num_episodes
        shape = env.finished.shape
        space = env.single_action_space
        self._num_actions = int(space.n) if hasattr(space, "n") else int(np.prod(space.shape or ()))
        self._discrete = hasattr(space, "n")
        self._episode = torch.zeros(shape, dtype=torch.int64, device=env.device)
        self.returns = torch.zeros((*shape, num_episodes), dtype=torch.float64, device=env.device)
        self.env_steps = torch.zeros(shape, dtype=torch.int64, device=env.device)
        self.alive = torch.ones(shape, dtype=torch.bool, device=env.device)
        self.all_alive, self.over, self.any_ended = True, False, False

    def begin(self, observed: Tensor) -> Tensor:
        """Observations (P, L, O + A + 2) before the first action."""
        return torch.nn.functional.pad(observed.flatten(2), (0, self._num_actions + 2))

    def step(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Observations (P, L, O + A + 2) after actions (P, L, A*), and (P, L) bool where they ended an episode."""
        following, rewards, terminated, truncated, _ = self.env.step(actions)
        ended = terminated | truncated
        self.returns.scatter_add_(2, self._episode[..., None], rewards.double()[..., None])
        self.env_steps += self.alive
        self.any_ended = bool(ended.any())
        if self.any_ended:
            again = ended & (self._episode + 1 < self._num_episodes)
            self.alive = self.alive & ~(ended & ~again)
            self._episode += again
            self.all_alive, self.over = bool(self.alive.all()), not bool(self.alive.any())
            following, _ = self.env.reset(options={"reset_mask": again})
        if self._discrete:
            actions = torch.nn.functional.one_hot(actions, self._num_actions)
        parts = (following.flatten(2), actions.flatten(2).to(following), rewards[..., None], ended[..., None])
        return torch.cat([part.to(following) for part in parts], -1), ended


def _action_noise(policy: Policy, rngs: Sequence[np.random.Generator], num_individuals: int) -> Iterator[Tensor]:
    """Noise (P, L, ...) of every step, the same for all individuals, drawn in blocks of steps."""
    while True:
        per_life = [policy.draw_noise(rng, (NOISE_BLOCK, 1))[:, 0] for rng in rngs]
        whole = torch.from_numpy(np.stack(per_life, axis=1))  # (block, L, ...)
        for step in whole:
            yield step.expand(num_individuals, *step.shape)
