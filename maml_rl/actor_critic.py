"""Loss of a policy with values along episodes of B tasks, and its parts: pure functions.

All sums run over environment steps and are not divided, so that the parts of a minibatch may lie with several
workers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from maml_rl.policies import Distribution, Params, Policy
from maml_rl.policies.distributions import Categorical
from maml_rl.policies.policy import is_initial
from maml_rl.policies.recurrence import Order


class ActorCriticData(NamedTuple):
    """Meta-episodes of B tasks as a learner needs them.

    Attributes
    ----------
    observations
        (T, B, O).
    actions
        (T, B, A) float, or (T, B) int64.
    mask
        (T, B), 1 where there is a step.
    log_probs
        (T, B), of the actions under the policy that took them.
    advantages
        (T, B), normalised.
    targets
        (T, B), what the values ought to have been.
    started
        (T, B) bool, where an episode of a meta-episode begins after another; ``()``: nowhere.
    state
        State of the policy at the start, tensors (B, ...); ``()``: its initial state.
    """

    observations: Tensor
    actions: Tensor
    mask: Tensor
    log_probs: Tensor
    advantages: Tensor
    targets: Tensor
    started: Any = ()
    state: Any = ()

    def each(self, function: Callable[[Tensor, int], Tensor]) -> ActorCriticData:
        """A function of every tensor and of its tasks' dimension: 1 in (T, B, ...), 0 in the state (B, ...)."""
        state = () if is_initial(self.state) else tree_map(lambda part: function(part, 0), self.state)
        steps = (function(part, 1) if isinstance(part, Tensor) else part for part in self[:-1])
        return ActorCriticData._make((*steps, state))

    def of(self, tasks: Sequence[int]) -> ActorCriticData:
        """Copy of the part of some tasks."""
        index = torch.tensor(tasks, dtype=torch.int64)
        return self.each(lambda part, dim: part.index_select(dim, index))

    def stretch(self, start: int, stop: int) -> ActorCriticData:
        """View of the part of consecutive tasks."""
        return self.each(lambda part, dim: part.narrow(dim, start, stop - start))


PARTS = ("policy_loss", "value_loss", "entropy", "kl", "clipped")
"""Names of the parts of the loss."""


class Weights(NamedTuple):
    """Coefficients of the parts of the loss, documented on `maml_rl.settings.RL2Settings`."""

    value_coef: float
    entropy_coef: float
    clip_range: float | None


def distribution_and_values(
    policy: Policy, params: Params, data: ActorCriticData, backprop_steps: int | None = None, *, order: Order = 2
) -> tuple[Distribution, Tensor]:
    """Distributions and values (T, B) along the episodes, from a memory as it is at the start of a task.

    With `backprop_steps` gradients do not pass from one stretch of that many steps into the one before (Williams & Peng
    1990); the values are the same. With `order` 1 they are to be differentiated at most once.
    """
    state = data.state
    if is_initial(state):
        state = policy.initial_state(params, tuple(data.mask.shape[1:]))
    distributions, values = [], []
    for start in range(0, len(data.mask), backprop_steps or len(data.mask)):
        if start > 0:
            state = tree_map(lambda part: part.detach(), state)
        stretch = slice(start, start + (backprop_steps or len(data.mask)))
        started = data.started[stretch] if isinstance(data.started, Tensor) else None
        part, value, state = policy.unroll_with_values(params, data.observations[stretch], started, state, order=order)
        distributions.append(part)
        values.append(value)
    if len(values) == 1:
        return distributions[0], values[0]
    whole = type(distributions[0])(*(torch.cat(parts) for parts in zip(*distributions, strict=True)))
    return whole, torch.cat(values)


def actor_critic_loss(
    distribution: Distribution, values: Tensor, data: ActorCriticData, weights: Weights, *, order: Order = 2
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum over steps of ``-min(r A, clip(r) A) + value_coef (V - target)^2 / 2 - entropy_coef H``.

    ``r = pi(a) / pi_old(a)``. With a clip range this is PPO's (Schulman et al. 2017, equations 7 and 9); without one
    and with the policy that acted, its gradient is that of ``-log pi(a) A``: advantage actor-critic
    (Mnih et al. 2016; Wang et al. 2016, equation 4).

    Parameters
    ----------
    distribution, values
        What `distribution_and_values` gives along `data`.
    data, weights
        See `ActorCriticData`, `Weights`.
    order
        Derivatives wanted, see `maml_rl.policies.recurrence.Order`; with 1 choices are compiled on the CPU in float32.

    Returns
    -------
    loss
        Scalar.
    parts
        Sums over steps that are not differentiated: ``policy_loss``, ``value_loss``, ``entropy``, ``kl`` (an estimate,
        Schulman 2020: ``r - 1 - log r``) and ``clipped`` (steps whose ratio is outside the range).
    """
    on_cpu = values.dtype == torch.float32 and values.device.type == "cpu"
    if order == 1 and on_cpu and isinstance(distribution, Categorical):
        from maml_rl.actor_critic_kernel import CategoricalLoss  # numba takes 100 MB, which nobody else need pay

        steps = (data.actions, data.mask, data.log_probs, data.advantages, data.targets)
        clip_range = math.inf if weights.clip_range is None else weights.clip_range
        coefficients = (weights.value_coef, weights.entropy_coef, clip_range)
        loss, sums = CategoricalLoss.apply(distribution.logits, values, steps, coefficients)
        return loss, dict(zip(PARTS, sums, strict=True))
    log_ratios = (distribution.log_prob(data.actions) - data.log_probs) * data.mask
    ratios = torch.exp(log_ratios)
    gains = ratios * data.advantages
    outside = torch.zeros_like(ratios)
    if weights.clip_range is not None:
        clipped = ratios.clamp(1.0 - weights.clip_range, 1.0 + weights.clip_range)
        gains = torch.minimum(gains, clipped * data.advantages)
        outside = (clipped != ratios).to(ratios)
    policy_loss = -(gains * data.mask).sum()
    value_loss = 0.5 * ((values - data.targets).square() * data.mask).sum()
    entropy = (distribution.entropy() * data.mask).sum()
    loss = policy_loss + weights.value_coef * value_loss - weights.entropy_coef * entropy
    estimate = ((ratios - 1.0 - log_ratios) * data.mask).sum()
    parts = (policy_loss, value_loss, entropy, estimate, outside.sum())
    return loss, {name: part.detach() for name, part in zip(PARTS, parts, strict=True)}


def divergence(
    distribution: Distribution, values: Tensor, data: ActorCriticData, old: tuple[Any, Tensor], *, value_coef: float
) -> tuple[Tensor, Tensor]:
    """Sums over steps of how far policies and values have moved from `old`, what `distribution_and_values` gave then.

    The second is ``KL(old || new) + value_coef (V_old - V)^2 / 2``: values count as means of a normal distribution,
    which gives a natural gradient step a scale for them too. The first is the policies' part alone.
    """
    kl = (old[0].kl(distribution) * data.mask).sum()
    return kl, kl + value_coef * 0.5 * ((values - old[1]).square() * data.mask).sum()
