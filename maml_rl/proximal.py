"""The outer loss of ProMP, clipped and penalised, and its gradient through the inner loop.

Functions here are pure and batched over the M tasks of a chunk, as in `maml_rl.objectives`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from maml_rl.adaptation import InnerLoop, adaptation_path, for_every_task, masked_mean, policy_distribution
from maml_rl.episode import LearningData
from maml_rl.linearisation import linearise
from maml_rl.policies import Distribution, Params


class ProximalWeights(NamedTuple):
    """Coefficients of the parts of ProMP's outer loss.

    Attributes
    ----------
    clip_range
        See `clipped_loss`.
    inner_kl_coefs
        K coefficients of the divergences of the policies before the inner steps.
    entropy_coef
        Coefficient of the entropy after adaptation, >= 0.
    """

    clip_range: float
    inner_kl_coefs: Sequence[float]
    entropy_coef: float = 0.0


class ProximalTerms(NamedTuple):
    """Parts of ProMP's outer loss of M tasks.

    Attributes
    ----------
    losses
        Clipped surrogate losses with the penalties and the bonus (M,).
    divergences
        Mean ``KL(new || old)`` (M,) of the adapted policies.
    clipped
        Fraction (M,) of the steps whose probability ratio is outside the clip range.
    entropies
        Mean entropies (M,) of the adapted policies, in nats.
    inner_divergences
        Mean ``KL(old || new)`` (K, M) of the policies before each inner step.
    """

    losses: Tensor
    divergences: Tensor
    clipped: Tensor
    entropies: Tensor
    inner_divergences: Tensor


def clipped_loss(log_prob: Tensor, old_log_prob: Tensor, data: LearningData, clip_range: float) -> Tensor:
    """``-mean(min(r A, clip(r, 1 - c, 1 + c) A))`` over one task's steps, r the probability ratio, c the clip range.

    Schulman et al. 2017, equation 7; as in ProMP (Rothfuss et al. 2019, equation 11).

    Parameters
    ----------
    log_prob, old_log_prob
        Logarithms (T, B) of the probabilities of the actions under the new and the old policy.
    data
        Of one task, (T, B, ...).
    clip_range
        c, in (0, 1).
    """
    ratios = torch.exp((log_prob - old_log_prob) * data.mask)
    gains = torch.minimum(ratios * data.advantages, ratios.clamp(1 - clip_range, 1 + clip_range) * data.advantages)
    return -masked_mean(gains, data.mask)


def distributions_along(
    inner: InnerLoop, params: Params, points: Sequence[Params], episodes: Sequence[LearningData]
) -> list[Distribution]:
    """Distributions of the policies with parameters `points` (M, ...) along their episodes (M, T, B, ...)."""
    _, frozen = inner.split(params)

    def distribution(values: Params, data: LearningData) -> Any:
        return policy_distribution(inner.policy, {**frozen, **values}, data)

    with torch.no_grad():
        along = for_every_task(inner.policy, distribution)
        return [along(point, data) for point, data in zip(points, episodes, strict=True)]


def _after(
    inner: InnerLoop, params: Params, data: LearningData, old: Any, weights: ProximalWeights
) -> tuple[Tensor, ...]:
    """Loss, divergence, clipped fraction and entropy () of one task's adapted policy."""
    new = policy_distribution(inner.policy, params, data)
    log_prob, old_log_prob = new.log_prob(data.actions), old.log_prob(data.actions)
    entropy = masked_mean(new.entropy(), data.mask)
    loss = clipped_loss(log_prob, old_log_prob, data, weights.clip_range) - weights.entropy_coef * entropy
    outside = ((log_prob - old_log_prob).exp() - 1.0).abs() > weights.clip_range
    return loss, masked_mean(new.kl(old), data.mask), masked_mean(outside.to(data.mask), data.mask), entropy


def _before(inner: InnerLoop, params: Params, data: LearningData, old: Any) -> Tensor:
    """Divergence () of one task's policy before an inner step."""
    return masked_mean(old.kl(policy_distribution(inner.policy, params, data)), data.mask)


def proximal_terms(
    inner: InnerLoop,
    params: Params,
    episodes: Sequence[LearningData],
    old: Sequence[Distribution],
    weights: ProximalWeights,
) -> ProximalTerms:
    """ProMP's outer loss of each task and its parts (Rothfuss et al. 2019, algorithm 1).

    ``L_clip(phi_K) - b * H(phi_K) + mean over k of c_k * KL(pi_old,k || pi_phi_k)``. The policies that rolled out the
    episodes before the inner steps may not be left far behind, for these episodes are the steps' data. The entropy H,
    with coefficient b, is not in the paper.

    Parameters
    ----------
    params
        Initial parameters, without task dimension.
    episodes
        Those that each of the K inner steps learns from, and those after adaptation, (M, T, B, ...).
    old
        Distributions of the policies that rolled them out, (M, T, B, ...).
    weights
        What the parts count.
    """
    _, frozen = inner.split(params)

    def after(values: Params, data: LearningData, old: Any) -> tuple[Tensor, ...]:
        return _after(inner, {**frozen, **values}, data, old, weights)

    def before(values: Params, data: LearningData, old: Any) -> Tensor:
        return _before(inner, {**frozen, **values}, data, old)

    with torch.no_grad():
        path = adaptation_path(inner, params, episodes[:-1], num_tasks=episodes[-1].mask.shape[0])
        losses, divergences, clipped, entropies = for_every_task(inner.policy, after)(path[-1], episodes[-1], old[-1])
        earlier = for_every_task(inner.policy, before)
        early = [earlier(*each) for each in zip(path[:-1], episodes[:-1], old[:-1], strict=True)]
    for divergence, coef in zip(early, weights.inner_kl_coefs, strict=True):
        losses = losses + coef / len(early) * divergence
    inner_divergences = torch.stack(early) if early else losses.new_zeros(0, len(losses))
    return ProximalTerms(losses, divergences, clipped, entropies, inner_divergences)


def proximal_gradient(
    inner: InnerLoop,
    params: Params,
    episodes: Sequence[LearningData],
    old: Sequence[Distribution],
    weights: ProximalWeights,
) -> Params:
    """Gradient of the loss of `proximal_terms` through each task's inner loop.

    Of the parameters in ``inner.names`` and learned step sizes, (M, ...) each; arguments as there.
    """
    _, frozen = inner.split(params)

    def loss(values: Params, data: LearningData, old: Any) -> Tensor:
        return _after(inner, {**frozen, **values}, data, old, weights)[0]

    def divergence(values: Params, data: LearningData, old: Any) -> Tensor:
        return _before(inner, {**frozen, **values}, data, old)

    adaptation = linearise(inner, params, episodes[:-1], num_tasks=episodes[-1].mask.shape[0])
    gradients = for_every_task(inner.policy, torch.func.grad(loss))(adaptation.learning, episodes[-1], old[-1])
    if not any(weights.inner_kl_coefs):
        return adaptation.transpose(gradients)
    early = []
    for each in zip(adaptation.points[:-1], episodes[:-1], old[:-1], weights.inner_kl_coefs, strict=True):
        weight = each[-1] / len(weights.inner_kl_coefs)
        slopes = for_every_task(inner.policy, torch.func.grad(divergence))(*each[:-1])
        early.append({name: weight * value for name, value in slopes.items()})
    return adaptation.transpose(gradients, early)
