"""What workers of memory-based meta-learning make and tell of the meta-episodes they have played."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from maml_rl.actor_critic import ActorCriticData


@dataclass(frozen=True)
class RL2Report:
    """What a shard tells of its meta-episodes.

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
