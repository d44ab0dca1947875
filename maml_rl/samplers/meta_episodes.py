"""Meta-episodes of a shard, and the view that an evaluation keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils._pytree import tree_map

from maml_rl.actor_critic import ActorCriticData
from maml_rl.envs import MetaEpisodeVectorEnv, Task
from maml_rl.policies import Params, Policy
from maml_rl.samplers.recorders import EpisodeRecorder
from maml_rl.samplers.rollout import rollout
from maml_rl.shard import Streams


class MetaEpisodes(NamedTuple):
    """Meta-episodes of P agents on M tasks each, as seen from outside.

    Attributes
    ----------
    returns
        (P, M, E), undiscounted return of each episode.
    observations
        (P, M, T, O), of the task's environment, without what the agent sees beside them.
    actions
        (P, M, T, A) or (P, M, T).
    rewards
        (P, M, T).
    mask
        (P, M, T), False behind the end.
    """

    returns: np.ndarray
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    mask: np.ndarray

    @staticmethod
    def joined(parts: Sequence[MetaEpisodes], axis: int = 1) -> MetaEpisodes:
        """Those of one part behind the other's, of other tasks (1) or of other agents (0); zero behind the end."""
        longest = max(part.rewards.shape[2] for part in parts)

        def padded(array: np.ndarray) -> np.ndarray:
            widths = [(0, 0), (0, 0), (0, longest - array.shape[2]), *[(0, 0)] * (array.ndim - 3)]
            return np.pad(array, widths)

        returns, *traces = zip(*parts, strict=True)
        return MetaEpisodes(
            np.concatenate(returns, axis), *(np.concatenate([padded(x) for x in trace], axis) for trace in traces)
        )


class MetaEpisodeBatch(NamedTuple):
    """Meta-episodes (T, M, ...) of a shard, their rewards (T, M) and the return (M, E) of each episode in them."""

    data: ActorCriticData
    rewards: torch.Tensor
    returns: np.ndarray

    def part(self, tasks: slice) -> MetaEpisodeBatch:
        """Some of the tasks."""
        data = tree_map(lambda part: part.contiguous(), self.data.of(tasks))
        return MetaEpisodeBatch(data, self.rewards[:, tasks].contiguous(), self.returns[tasks])

    def meta_episodes(self, num_inputs: int) -> MetaEpisodes:
        """The same from outside, of one agent, in an environment that shows `num_inputs` numbers."""
        data = self.data
        parts = (data.observations[..., :num_inputs], data.actions, self.rewards, data.mask.bool())
        traces = (np.ascontiguousarray(part.transpose(0, 1).numpy())[np.newaxis] for part in parts)
        return MetaEpisodes(self.returns[np.newaxis], *traces)


def roll_out_meta_episodes(
    env: MetaEpisodeVectorEnv,
    policy: Policy,
    params: Params,
    tasks: Sequence[Task],
    streams: Streams,
    *,
    heartbeat: Callable[[], None],
) -> MetaEpisodeBatch:
    """Roll out a meta-episode of every task; parameters as in `rollout`, advantages and targets are left 0."""
    episodes, _ = rollout(env, policy, params, tasks, streams, recorder=EpisodeRecorder(), heartbeat=heartbeat)

    def in_time(part: torch.Tensor) -> torch.Tensor:
        part = part.transpose(1, 2).flatten(0, 1)  # (P, T, B, ...) -> (M, T, ...)
        return part.transpose(0, 1).contiguous()

    mask = in_time(episodes.mask)
    state = tree_map(lambda part: part.flatten(0, 1), episodes.state)  # (P, B, ...) -> (M, ...)
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
    return MetaEpisodeBatch(data, rewards, returns)
