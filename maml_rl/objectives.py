"""Terms of the outer loop that a worker evaluates: surrogates, KL, meta-gradient, curvature products.

All functions are pure and batched over the M tasks of a chunk: data carries a leading task
dimension, initial parameters do not. Results keep the task dimension, so that the caller can sum over
tasks in float64 and the sum does not depend on the way tasks are sharded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from maml_rl.adaptation import (
    InnerLoop,
    adaptation_path,
    expand,
    for_every_task,
    masked_mean,
    policy_distribution,
)
from maml_rl.episode import LearningData
from maml_rl.linearisation import linearise
from maml_rl.policies import Distribution, Params


def surrogate_loss(log_prob: Tensor, old_log_prob: Tensor, data: LearningData) -> Tensor:
    """``-mean(pi(a|s) / pi_old(a|s) * A)`` over one task's steps (Schulman et al. 2015, equation 14).

    Parameters
    ----------
    log_prob, old_log_prob
        Logarithms (T, B) of the probabilities of the actions under the new and the old policy.
    data
        Of one task, (T, B, ...).
    """
    return -masked_mean(torch.exp((log_prob - old_log_prob) * data.mask) * data.advantages, data.mask)


def credit_loss(log_prob: Tensor, data: LearningData, credit: Tensor) -> Tensor:
    """``-credit * mean(pi(a|s) / pi_old(a|s))`` over one task's steps before adaptation (Stadie et al. 2018).

    At pi_old its gradient is that of ``-credit * mean(log pi(a|s))``: episodes before adaptation are reinforced by what
    the task obtained after it, since they are what it adapted to.

    Parameters
    ----------
    log_prob
        Logarithms (T, B) of the probabilities of the actions.
    data
        Of one task, (T, B, ...).
    credit
        Advantage () of the return after adaptation.
    """
    return -credit * masked_mean(torch.exp((log_prob - data.log_probs) * data.mask), data.mask)


def _early_loss(inner: InnerLoop, frozen: Params) -> Callable[[Params, LearningData, Tensor], Tensor]:
    """`credit_loss` of one task as a function of the parameters before an inner step."""

    def loss(values: Params, data: LearningData, credit: Tensor) -> Tensor:
        log_prob = policy_distribution(inner.policy, {**frozen, **values}, data).log_prob(data.actions)
        return credit_loss(log_prob, data, credit)

    return loss


def _credit_losses(
    inner: InnerLoop, frozen: Params, path: Sequence[Params], train: Sequence[LearningData], credit: Tensor
) -> Tensor:
    """Sums (M,) over inner steps of each task's `credit_loss`."""
    with torch.no_grad():
        loss = for_every_task(inner.policy, _early_loss(inner, frozen))
        losses = [loss(*each, credit) for each in zip(path[:-1], train, strict=True)]
    return torch.stack(losses).sum(0) if losses else torch.zeros_like(credit)


def meta_gradient(
    inner: InnerLoop,
    params: Params,
    train: Sequence[LearningData],
    valid: LearningData,
    credit: Tensor | None = None,
) -> tuple[Params, Tensor, Distribution]:
    """Gradient of each task's surrogate loss through its inner loop, at the old parameters.

    ``J^T grad L(phi)`` with J from `linearise`: exactly the derivative of ``L(adapt(theta))``.

    Parameters
    ----------
    params
        Initial parameters, without task dimension.
    train, valid
        Episodes that each inner step learns from, and those after adaptation, (M, T, B, ...).
    credit
        Of each task's episodes before adaptation (M,), see `credit_loss`, which is added for every inner step;
        ``None``: none.

    Returns
    -------
    gradients
        Of the parameters in ``inner.names`` and learned step sizes, (M, ...) each.
    losses
        (M,).
    distributions
        Of the adapted policies along the validation episodes, (M, T, B, ...).
    """
    _, frozen = inner.split(params)

    def task_loss(values: Params, data: LearningData) -> tuple[Tensor, tuple[Tensor, Any]]:
        distribution = policy_distribution(inner.policy, {**frozen, **values}, data)
        log_prob = distribution.log_prob(data.actions)
        loss = surrogate_loss(log_prob, log_prob.detach(), data)
        return loss, (loss.detach(), type(distribution)(*(part.detach() for part in distribution)))

    adaptation = linearise(inner, params, train, num_tasks=valid.mask.shape[0])
    gradients, (losses, distributions) = for_every_task(inner.policy, torch.func.grad(task_loss, has_aux=True))(
        adaptation.learning, valid
    )
    early: list[Params] = []
    if credit is not None:
        slopes = for_every_task(inner.policy, torch.func.grad(_early_loss(inner, frozen)))
        early = [slopes(*each, credit) for each in zip(adaptation.points[:-1], train, strict=True)]
        losses = losses + _credit_losses(inner, frozen, adaptation.points, train, credit)
    return adaptation.transpose(gradients, early), losses, distributions


def surrogate(
    inner: InnerLoop,
    params: Params,
    train: Sequence[LearningData],
    valid: LearningData,
    old: Distribution,
    credit: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Surrogate losses (M,) and mean divergences ``KL(new || old)`` (M,) after adaptation.

    Parameters
    ----------
    old
        Distributions of the policies the validation episodes were sampled with, (M, T, B, ...).
    credit
        As for `meta_gradient`, (M,).
    """
    _, frozen = inner.split(params)

    def task_values(values: Params, data: LearningData, old: Any) -> tuple[Tensor, Tensor]:
        new = policy_distribution(inner.policy, {**frozen, **values}, data)
        loss = surrogate_loss(new.log_prob(data.actions), old.log_prob(data.actions), data)
        return loss, masked_mean(new.kl(old), data.mask)

    with torch.no_grad():
        path = adaptation_path(inner, params, train, num_tasks=valid.mask.shape[0])
        losses, divergences = for_every_task(inner.policy, task_values)(path[-1], valid, old)
        if credit is not None:
            losses = losses + _credit_losses(inner, frozen, path, train, credit)
    return losses, divergences


def linearised_curvature(
    inner: InnerLoop,
    params: Params,
    train: Sequence[LearningData],
    valid: LearningData,
    *,
    path: Sequence[Params] | None = None,
) -> Callable[[Params], Params]:
    """Linearise once, then multiply by the Hessian of each task's mean KL as often as wanted.

    At the old parameters the Hessian of the mean KL between old and new adapted policies is
    ``J^T F J``: J the derivative of the inner loop (`linearise`), F the Fisher information of the
    adapted policy in its own parameters. J and F are each one backward pass through a retained graph,
    so a product needs no third derivative.

    Parameters
    ----------
    path
        See `linearise`: where `train` is a sample, the adaptation that all the episodes gave.

    Returns
    -------
    product
        Maps a direction (shapes of `params`) to products (M, ...).
    """
    _, frozen = inner.split(params)
    num_tasks = valid.mask.shape[0]
    adaptation = linearise(inner, params, train, path=path, num_tasks=num_tasks)

    def distribution(values: Params, data: LearningData) -> Any:
        return policy_distribution(inner.policy, {**frozen, **values}, data)

    old = for_every_task(inner.policy, distribution)(adaptation.learning, valid)

    def divergence_gradient(learning: Params) -> Params:
        def divergence(values: Params, data: LearningData, old: Any) -> Tensor:
            return masked_mean(old.kl(distribution(values, data)), data.mask)

        return for_every_task(inner.policy, torch.func.grad(divergence))(learning, valid, old)

    _, fisher = torch.func.vjp(divergence_gradient, adaptation.learning)  # type: ignore[misc]

    def product(direction: Params) -> Params:
        moved = adaptation.forward(expand(direction, num_tasks))
        return adaptation.transpose(fisher(moved)[0])

    return product
