"""Agents whose memory learns the task: experience enters as the observations of a meta-episode."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from maml_rl.algorithms.algorithm import Algorithm, Mind
from maml_rl.envs import MetaEpisodeVectorEnv, MetaVectorEnv
from maml_rl.envs.meta_episode import Before
from maml_rl.episode import RecordedEpisode
from maml_rl.policies.params import dtype_of


class ExperiencedAlgorithm(Algorithm):
    """An algorithm whose agents adapt by what they live through; their parameters stay."""

    env: MetaEpisodeVectorEnv

    @property
    def task_env(self) -> MetaVectorEnv:
        """See `Algorithm.task_env`."""
        return self.env.env

    @property
    def episodes_per_step(self) -> int:
        """See `Algorithm.episodes_per_step`."""
        return 1

    def observed(self, shown: np.ndarray, before: Before | None) -> np.ndarray:
        """See `Algorithm.observed`: completed by previous action, reward and done."""
        return self.env.completed(shown, before)

    def learned(self, mind: Mind, episodes: Sequence[RecordedEpisode]) -> Mind:
        """See `Algorithm.learned`: the memory lives through the episodes, one after another."""
        with torch.no_grad():
            for episode in episodes:
                mind = self._lived(mind, episode)
        return mind

    def _lived(self, mind: Mind, episode: RecordedEpisode) -> Mind:
        params, state, before = mind.params, mind.state, mind.before
        dtype = dtype_of(params)
        over = 0 if before is None else int(before.episodes_over[0])
        last = len(episode.rewards) - 1
        for index, shown in enumerate(episode.observations):
            batch = torch.from_numpy(self.observed(shown[np.newaxis], before)).to(dtype)[None]
            if index == 0 and before is not None:
                state = self.next_episode(Mind(params, state), batch)
            _, state = self.policy.step(params, batch, state)
            before = Before(
                batch[0, :, : self.env.num_inputs].numpy(),
                episode.actions[index : index + 1],
                episode.rewards[index : index + 1],
                np.array([index == last]),
                np.array([over + (index == last)]),
                np.array([np.nan]) if before is None else before.rewards_before_the_next(),
            )
        return mind._replace(state=state, before=before)
