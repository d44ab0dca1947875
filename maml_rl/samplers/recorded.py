"""Episodes that anyone has recorded, as a learner has its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from maml_rl.episode import Episodes, RecordedEpisode
from maml_rl.policies import Params, Policy
from maml_rl.policies.params import dtype_of


def recorded_episodes(
    recorded: Sequence[RecordedEpisode], policy: Policy, params: Params, *, continuous: bool
) -> Episodes:
    """Episodes (1, T, B, ...) of one task, without advantages yet.

    Their actions count as the policy's own with `params`, whoever chose them.

    Parameters
    ----------
    recorded
        B episodes.
    policy, params
        The policy, and its parameters without task dimension; their float type is that of the episodes.
    continuous
        Whether actions are numbers, and not indices.
    """
    observations, actions, rewards, mask = (torch.from_numpy(part)[None] for part in _padded(recorded, continuous))
    dtype = dtype_of(params)
    if observations.dtype != torch.uint8:
        observations = observations.to(dtype)
    actions = actions.to(dtype) if actions.is_floating_point() else actions
    with torch.no_grad():
        state = policy.initial_state(params, (len(recorded),))
        log_probs = policy.unroll(params, observations[0], None, state).log_prob(actions[0])[None]
    mask = mask.to(dtype)
    return Episodes(observations, actions, rewards.to(dtype), mask, log_probs * mask, torch.zeros_like(mask))


def _padded(recorded: Sequence[RecordedEpisode], continuous: bool) -> tuple[np.ndarray, ...]:
    """Observations (T, B, O), actions (T, B, A) or (T, B), rewards and mask (T, B) of B episodes, 0 behind the end."""
    longest, count = max(len(episode.rewards) for episode in recorded), len(recorded)
    first = recorded[0]
    observations = np.zeros((longest, count, first.observations[0].size), first.observations.dtype)
    kind = (np.float64, first.actions.shape[1:]) if continuous else (np.int64, ())
    actions = np.zeros((longest, count, *kind[1]), kind[0])
    rewards, mask = np.zeros((longest, count)), np.zeros((longest, count))
    for index, episode in enumerate(recorded):
        length = len(episode.rewards)
        observations[:length, index] = episode.observations.reshape(length, -1)
        actions[:length, index] = episode.actions
        rewards[:length, index], mask[:length, index] = episode.rewards, 1.0
    return observations, actions, rewards, mask
