"""Meta-episodes: their rollout, and what workers of memory-based meta-learning tell of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch.utils._pytree import tree_map

from maml_rl.actor_critic import ActorCriticData
from maml_rl.envs import MetaEpisodeVectorEnv, Task
from maml_rl.policies import Params, Policy
from maml_rl.samplers.recorders import EpisodeRecorder
from maml_rl.samplers.rollout import Streams, rollout


@dataclass(frozen=True)
class RL2Report:
    """Report of a shard on its meta-episodes.

    Attributes
    ----------
    returns
        Undiscounted return (M, E) of each of the E episodes of each meta-episode.
    env_steps
        Environment steps of all.
    moments
        Number of steps, sums of their advantages, squared advantages, targets of the values and squared targets, (5,):
        what all shards together need to normalise.
    finite
        Whether all numbers are finite.
    """

    returns: np.ndarray
    env_steps: int
    moments: np.ndarray
    finite: bool


class MetaEpisodes(NamedTuple):
    """Meta-episodes of M tasks, as they looked from outside.

    Attributes
    ----------
    returns
        (M, E), undiscounted return of each episode.
    observations
        (M, T, O), of the task's environment, without what the agent sees beside them.
    actions
        (M, T, A) or (M, T).
    rewards
        (M, T).
    mask
        (M, T), False behind the end.
    """

    returns: np.ndarray
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    mask: np.ndarray


class Played(NamedTuple):
    """Meta-episodes (T, M, ...) of a shard, their rewards (T, M) and the return (M, E) of each episode in them."""

    data: ActorCriticData
    rewards: torch.Tensor
    returns: np.ndarray

    def part(self, tasks: slice) -> Played:
        """Some of the tasks."""
        data = tree_map(lambda part: part.contiguous(), self.data.of(tasks))
        return Played(data, self.rewards[:, tasks].contiguous(), self.returns[tasks])

    def meta_episodes(self, num_inputs: int) -> MetaEpisodes:
        """The same from outside, of an environment that shows `num_inputs` numbers."""
        data = self.data
        parts = (data.observations[..., :num_inputs], data.actions, self.rewards, data.mask.bool())
        return MetaEpisodes(self.returns, *(np.ascontiguousarray(part.transpose(0, 1).numpy()) for part in parts))


def play_meta_episodes(
    env: MetaEpisodeVectorEnv,
    policy: Policy,
    params: Params,
    tasks: Sequence[Task],
    streams: Streams,
    *,
    heartbeat: Callable[[], None],
) -> Played:
    """Roll out a meta-episode of every task; parameters as in `rollout`, advantages and targets are left 0."""
    episodes, _ = rollout(env, policy, params, tasks, streams, recorder=EpisodeRecorder(), heartbeat=heartbeat)

    def in_time(part: torch.Tensor) -> torch.Tensor:
        part = part.transpose(1, 2).flatten(0, 1)  # (A, T, B, ...) -> (M, T, ...)
        return part.transpose(0, 1).contiguous()

    mask = in_time(episodes.mask)
    state = tree_map(lambda part: part.flatten(0, 1), episodes.state)  # (A, B, ...) -> (M, ...)
    data = ActorCriticData(
        in_time(episodes.observations),
        in_time(episodes.actions),
        mask,
        in_time(episodes.log_probs),
        torch.zeros_like(mask),
        torch.zeros_like(mask),
        in_time(episodes.started),
        state,
    )
    rewards = in_time(episodes.rewards)
    returns = np.zeros((len(tasks), env.num_episodes))
    columns = np.broadcast_to(np.arange(len(tasks)), rewards.shape)
    np.add.at(returns, (columns, data.started.numpy().cumsum(0)), rewards.double().numpy())
    return Played(data, rewards, returns)
