"""Meta-episodes of a shard, and the view that an evaluation keeps of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._pytree import tree_map

from maml_rl.actor_critic import ActorCriticData
from maml_rl.envs import MetaEpisodeVectorEnv, MetaVectorEnv, Task
from maml_rl.policies import Params, Policy
from maml_rl.samplers.recorders import EpisodeRecorder, Step
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
    measures
        Values (P, M, E) of the environment's measures at the last step of each episode, by name.
    """

    returns: np.ndarray
    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    mask: np.ndarray
    measures: Mapping[str, np.ndarray]

    @staticmethod
    def joined(parts: Sequence[MetaEpisodes], axis: int = 1) -> MetaEpisodes:
        """Those of one part behind the other's, of other tasks (1) or of other agents (0); zero behind the end."""
        longest = max(part.rewards.shape[2] for part in parts)

        def padded(array: np.ndarray) -> np.ndarray:
            widths = [(0, 0), (0, 0), (0, longest - array.shape[2]), *[(0, 0)] * (array.ndim - 3)]
            return np.pad(array, widths)

        returns, *traces, measures = zip(*parts, strict=True)
        observations, actions, rewards, mask = (np.concatenate([padded(x) for x in trace], axis) for trace in traces)
        joined = {name: np.concatenate([part[name] for part in measures], axis) for name in measures[0]}
        return MetaEpisodes(np.concatenate(returns, axis), observations, actions, rewards, mask, joined)


class MetaEpisodeBatch(NamedTuple):
    """Meta-episodes of a shard.

    Attributes
    ----------
    data
        (T, M, ...).
    rewards
        (T, M), as they were drawn.
    returns
        Undiscounted return of each episode (M, E).
    measures
        Of each episode's last step (M, E), by name.
    expected
        Means (T, M) of the rewards given states and actions, where the environment reports them.
    """

    data: ActorCriticData
    rewards: torch.Tensor
    returns: np.ndarray
    measures: Mapping[str, np.ndarray]
    expected: torch.Tensor | None = None

    @property
    def learned(self) -> torch.Tensor:
        """Rewards (T, M) that a learner's returns add: expected ones if they are known."""
        return self.rewards if self.expected is None else self.expected

    def part(self, tasks: slice) -> MetaEpisodeBatch:
        """Some of the tasks."""
        data = self.data.stretch(tasks.start, tasks.stop).each(lambda part, _: part.contiguous())
        measures = {name: values[tasks] for name, values in self.measures.items()}
        expected = None if self.expected is None else self.expected[:, tasks].contiguous()
        return MetaEpisodeBatch(data, self.rewards[:, tasks].contiguous(), self.returns[tasks], measures, expected)

    def meta_episodes(self, num_inputs: int) -> MetaEpisodes:
        """The same from outside, of one agent, in an environment that shows `num_inputs` numbers."""
        data = self.data
        parts = (data.observations[..., :num_inputs], data.actions, self.rewards, data.mask.bool())
        observations, actions, rewards, mask = (
            np.ascontiguousarray(part.transpose(0, 1).numpy())[np.newaxis] for part in parts
        )
        measures = {name: values[np.newaxis] for name, values in self.measures.items()}
        return MetaEpisodes(self.returns[np.newaxis], observations, actions, rewards, mask, measures)


class _MeasuredRecorder(EpisodeRecorder):
    """Keeps measures (N, E) at the last step of each episode beside all steps, and expected rewards, T times (N,)."""

    def begin(self, env: MetaVectorEnv, shape: tuple[int, int], state: Any) -> None:
        """See `Recorder.begin`."""
        super().begin(env, shape, state)
        assert isinstance(env, MetaEpisodeVectorEnv)
        self.each = {name: np.zeros((env.num_envs, env.num_episodes)) for name in env.measures}
        self._episode = np.zeros(env.num_envs, dtype=np.int64)
        self.expected: list[np.ndarray] = []

    def step(self, step: Step) -> None:
        """See `Recorder.step`."""
        super().step(step)
        self._episode += step.started
        if "expected_rewards" in step.info:
            self.expected.append(step.info["expected_rewards"])
        rows = np.flatnonzero(step.active) if self.each else ()
        for name, values in self.each.items():
            values[rows, self._episode[rows]] = step.info[name][rows]


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
    recorder = _MeasuredRecorder()
    episodes, _ = rollout(env, policy, params, tasks, streams, recorder=recorder, heartbeat=heartbeat)

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
    expected = torch.from_numpy(np.stack(recorder.expected)).to(rewards.dtype) if recorder.expected else None
    return MetaEpisodeBatch(data, rewards, returns, recorder.each, expected)
