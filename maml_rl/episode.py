"""Episodes of a shard as tensors: masks, returns, advantages."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map


@dataclass(frozen=True)
class Episodes:
    """B episodes of each of M tasks, padded with zeros to the longest, T steps.

    Attributes
    ----------
    observations
        (M, T, B, O), float, or bytes as an image has them.
    actions
        (M, T, B, A) float, or (M, T, B) int64.
    rewards
        (M, T, B).
    mask
        (M, T, B), 1 where the step belongs to an episode and 0 on padding.
    log_probs
        (M, T, B), logarithm of the probability (density) with which each action was taken; 0 on padding.
    advantages
        (M, T, B), normalised per task; 0 on padding.
    started
        (M, T, B) bool, where an episode of a meta-episode begins after another; ``()``: nowhere.
    state
        State of the policy at the start, tensors (M, B, ...); ``()``: its initial state.
    measures
        Values (M, B) of the environment's measures at the last step of every episode, by name.
    """

    observations: Tensor
    actions: Tensor
    rewards: Tensor
    mask: Tensor
    log_probs: Tensor
    advantages: Tensor
    started: Any = ()
    state: Any = ()
    measures: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def num_tasks(self) -> int:
        """M."""
        return self.mask.shape[0]

    @property
    def num_steps(self) -> int:
        """Environment steps in all, padding not counted."""
        return int(self.mask.sum(dtype=torch.float64).item())

    def returns(self) -> Tensor:
        """Undiscounted return of every episode (M, B)."""
        return self.rewards.sum(1)

    def is_finite(self) -> Tensor:
        """(M,) bool: whether all numbers of a task's episodes are finite."""
        checks = [self.observations, self.rewards, self.log_probs, self.advantages]
        if self.actions.is_floating_point():
            checks.append(self.actions)
        return torch.stack([x.isfinite().flatten(1).all(1) for x in checks]).all(0)

    def learning_data(self, tasks: slice) -> LearningData:
        """The part of some tasks that a loss needs."""
        parts = LearningData(*(getattr(self, name) for name in LearningData._fields))
        return cast(LearningData, tree_map(lambda part: part[tasks], parts))


class RecordedEpisode(NamedTuple):
    """An episode that anyone has recorded.

    Attributes
    ----------
    observations
        (T, *O), before each action.
    actions
        (T, *A); of a discrete space (T,) whole numbers.
    rewards
        (T,).
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray


@dataclass(frozen=True)
class CollectReport:
    """Statistics of a shard's episodes.

    Attributes
    ----------
    returns
        Mean undiscounted return (K + 1, M) float64 of each task's episodes after 0 ... K inner steps.
    env_steps
        Environment steps made.
    finite
        Whether every observation, action and reward was a finite number.
    """

    returns: np.ndarray
    env_steps: int
    finite: bool


_GOLDEN_RATIO = 0.5 * (math.sqrt(5.0) - 1.0)


class LearningData(NamedTuple):
    """Data of a policy-gradient loss; (M, T, B, ...), or (T, B, ...) of one task; see `Episodes`."""

    observations: Tensor
    actions: Tensor
    mask: Tensor
    log_probs: Tensor
    advantages: Tensor
    started: Any = ()
    state: Any = ()


def subsample_steps(data: LearningData, num_samples: int | None) -> LearningData:
    """Keep one time step of each of several equal stretches of every episode, `num_samples` per task or more.

    Time steps instead of episodes, because neighbouring steps tell nearly the same, episodes do not. Where in its
    stretch a step lies differs from stretch to stretch and from episode to episode: an even spacing near the
    period of a gait sees the same posture again and again. No sample for a policy with memory, which needs the steps
    before. ``None`` keeps all. T is here the longest episode of the task itself, so that the sample does not depend on
    the tasks that share its shard; that episode keeps nothing but real steps, so that no task is left without any.

    Parameters
    ----------
    data
        (M, T, B, ...).
    num_samples
        Steps wanted per task, >= 1.
    """
    length, num_episodes = data.mask.shape[1:]
    if num_samples is None or num_samples >= length * num_episodes:
        return data
    count = -(-num_samples // num_episodes)
    device = data.mask.device
    lengths = data.mask.amax(2).sum(1).long()[:, None, None]  # (M, 1, 1)
    stretches = torch.arange(count, device=device)[:, None]  # (count, 1)
    episodes = torch.arange(num_episodes, device=device)  # (B,)
    # Quadratic Weyl sequences: spread evenly over [0, 1), without a period, and without a generator.
    offsets = (_GOLDEN_RATIO * stretches.square() + math.sqrt(2.0) * (episodes + 0.5)) % 1.0  # (count, B)
    spread = ((stretches + offsets) * lengths / count).long()  # (M, count, B)
    kept = torch.where(lengths > count, torch.minimum(spread, lengths - 1), stretches)
    tasks = torch.arange(len(lengths), device=device)[:, None, None]
    steps: LearningData = tree_map(lambda part: part[tasks, kept, episodes], data._replace(state=()))
    return steps._replace(state=data.state)


def clip_rewards(rewards: Tensor, limit: float | None) -> Tensor:
    """Clip rewards (M, T, B), or of any other shape, to [-limit, limit]; ``None``: as they are."""
    return rewards if limit is None else rewards.clamp(-limit, limit)


def discounted_returns(rewards: Tensor, mask: Tensor, gamma: float) -> Tensor:
    """``R_t = r_t + gamma * R_{t+1}`` along dimension 1 of rewards and mask (M, T, B); 0 on padding."""
    returns = torch.zeros_like(rewards)
    tail = torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        tail = (rewards[:, t] + gamma * tail) * mask[:, t]
        returns[:, t] = tail
    return returns


def generalised_advantages(rewards: Tensor, values: Tensor, mask: Tensor, *, gamma: float, gae_lambda: float) -> Tensor:
    """Generalised advantage estimates (M, T, B) of episodes that are worth 0 after their end.

    ``A_t = delta_t + gamma * lambda * A_{t+1}`` with ``delta_t = r_t + gamma * V_{t+1} - V_t``
    (Schulman et al. 2016, equation 16). Does not bootstrap at a time limit: all families here have a
    fixed horizon, which is part of the task.

    Parameters
    ----------
    rewards, values, mask
        (M, T, B).
    gamma, gae_lambda
        In [0, 1].
    """
    advantages, next_values = torch.zeros_like(rewards), torch.zeros_like(rewards)
    next_values[:, :-1] = (values * mask)[:, 1:]
    deltas = rewards + gamma * next_values - values
    advantage = torch.zeros_like(rewards[:, 0])
    for t in range(rewards.shape[1] - 1, -1, -1):
        advantage = (deltas[:, t] + gamma * gae_lambda * advantage) * mask[:, t]
        advantages[:, t] = advantage
    return advantages


def normalise(advantages: Tensor, mask: Tensor, *, epsilon: float = 1e-8) -> Tensor:
    """Shift and scale each task's advantages (M, T, B) to mean 0, standard deviation 1 where mask (M, T, B) is 1."""
    count = mask.sum((1, 2), keepdim=True).clamp(min=1.0)
    centred = (advantages - (advantages * mask).sum((1, 2), keepdim=True) / count) * mask
    standard_deviation = torch.sqrt(centred.square().sum((1, 2), keepdim=True) / count)
    return centred / (standard_deviation + epsilon)
