"""The inner loop, once: used by training, evaluation and video.

Functions here are batched over M tasks: data and adapted parameters carry a leading task dimension,
initial parameters do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maml_rl.episode import LearningData
from maml_rl.policies import Distribution, Params, Policy
from maml_rl.policies.policy import is_initial


@dataclass(frozen=True)
class InnerLoop:
    """Rule by which a task's parameters follow from the initial ones.

    Attributes
    ----------
    policy
        Gives the arithmetic, not the values.
    fast_lr
        Inner step size, > 0.
    names
        Parameters that are meta-learned; the others stay as they are.
    objective
        ``"lvc"`` or ``"reinforce"``, see `inner_loss`.
    first_order
        Treat the inner gradients as constants: derivatives with respect to the initial parameters see
        ``phi = theta + constant`` (first-order MAML).
    adapted
        Those of the names that adapt: of the last layer only, it is "almost no inner loop" (Raghu et al. 2020, section
        5); ``None``: all.
    """

    policy: Policy
    fast_lr: float
    names: tuple[str, ...]
    objective: str = "lvc"
    first_order: bool = False
    adapted: tuple[str, ...] | None = None

    @property
    def adapting(self) -> tuple[str, ...]:
        """Names of the parameters that adapt."""
        return self.names if self.adapted is None else self.adapted

    def split(self, params: Params) -> tuple[Params, Params]:
        """Return the learning and the frozen part of `params`."""
        frozen = {name: value for name, value in params.items() if name not in set(self.names)}
        return {name: params[name] for name in self.names}, frozen


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (T, B) over the steps where mask (T, B) is 1: every step counts the same."""
    return (values * mask).sum() / mask.sum()


def policy_distribution(policy: Policy, params: Params, data: LearningData) -> Distribution:
    """Action distributions along the episodes of one task: data (T, B, ...), result (T, B, ...)."""
    state = data.state
    if is_initial(state):
        state = policy.initial_state(params, tuple(data.mask.shape[1:]))
    started = data.started if isinstance(data.started, Tensor) else None
    return policy.unroll(params, data.observations, started, state)


def inner_loss(inner: InnerLoop, params: Params, data: LearningData) -> Tensor:
    """Loss that a task's adaptation descends: a mean over the steps of its episodes.

    ``"reinforce"``: ``-mean(log pi(a|s) * A)``, as pytorch-maml-rl does. ``"lvc"``:
    ``-mean(pi(a|s) / pi_old(a|s) * A)`` with pi_old the policy that rolled out the episodes, the low-variance
    curvature of Rothfuss et al. 2019 (ProMP, equation 8). At pi_old both have the same gradient, so the
    same adaptation. Their Hessians differ: only the second one's estimates the Hessian of the expected
    return, because it knows that other parameters would have led to other episodes. With the first the
    meta-gradient does not see what exploration is good for.

    Each step weighs the same. An average per episode would weigh the steps of short episodes more,
    which is not a policy gradient of the return where episodes end early.
    """
    log_probs = policy_distribution(inner.policy, params, data).log_prob(data.actions)
    if inner.objective == "reinforce":
        return -masked_mean(log_probs * data.advantages, data.mask)
    ratios = torch.exp((log_probs - data.log_probs) * data.mask)
    return -masked_mean(ratios * data.advantages, data.mask)


def expand(params: Params, num_tasks: int) -> Params:
    """Give every parameter a leading task dimension M, without copying."""
    return {name: value.expand(num_tasks, *value.shape) for name, value in params.items()}


def inner_gradient(inner: InnerLoop, learning: Params, frozen: Params, data: LearningData) -> Params:
    """Gradient of each task's `inner_loss` in those of its own parameters that adapt.

    learning (M, ...), data (M, T, B, ...).
    """
    adapting = {name: learning[name] for name in inner.adapting}
    others = {name: value for name, value in learning.items() if name not in adapting}

    def loss(values: Params, rest: Params, task_data: LearningData) -> Tensor:
        return inner_loss(inner, {**frozen, **rest, **values}, task_data)

    return torch.func.vmap(torch.func.grad(loss))(adapting, others, data)


def adapt_step(inner: InnerLoop, learning: Params, gradients: Params) -> Params:
    """``phi - fast_lr * gradient``, every value (M, ...); what has no gradient stays."""
    return {
        name: learning[name] - inner.fast_lr * gradients[name] if name in gradients else learning[name]
        for name in inner.names
    }


def adapt(
    inner: InnerLoop, params: Params, episodes: Sequence[LearningData], *, num_tasks: int | None = None
) -> Params:
    """Take one gradient step per element of `episodes`; return the learning parameters, (M, ...) each.

    ``phi_0 = theta;  phi_{k+1} = phi_k - fast_lr * grad inner_loss(phi_k, episodes_k)``
    (Finn et al. 2017, algorithm 3). Differentiable with respect to `params` by `torch.func`, except
    that first-order MAML stops the derivative of the gradients; `linearise` gives the same derivative
    for less.

    Parameters
    ----------
    params
        Initial parameters theta, without task dimension.
    episodes
        What each step learns from, (M, T, B, ...); its length is the number of steps.
    num_tasks
        M; may be left out unless there are no steps.
    """
    learning, frozen = inner.split(params)
    learning = expand(learning, num_tasks or episodes[0].mask.shape[0])
    for data in episodes:
        gradients = inner_gradient(inner, learning, frozen, data)
        if inner.first_order:
            gradients = {name: value.detach() for name, value in gradients.items()}
        learning = adapt_step(inner, learning, gradients)
    return learning


Product = Callable[[Params], Params]


@dataclass(frozen=True)
class LinearisedAdaptation:
    """The inner loops of M tasks around their initial parameters, and their derivative.

    With ``H_k`` the Hessian of `inner_loss` at ``phi_k``, the Jacobian of the adapted parameters with
    respect to the initial ones is ``J = (I - fast_lr * P H_{K-1}) ... (I - fast_lr * P H_0)``, where P leaves of a
    vector what belongs to parameters that adapt.

    Attributes
    ----------
    learning
        The adapted parameters, (M, ...) each.
    products
        ``P H_k`` of every task as a function of values (M, ...) and its transpose, first step first; empty for
        first-order MAML, where J is the identity.
    inner
        The inner loop this is the derivative of.
    """

    learning: Params
    products: tuple[tuple[Product, Product], ...]
    inner: InnerLoop

    def forward(self, direction: Params) -> Params:
        """``J v``: how adapted parameters move when the initial ones move along `direction` (M, ...)."""
        for product, _ in self.products:
            direction = adapt_step(self.inner, direction, product(direction))
        return direction

    def transpose(self, gradient: Params) -> Params:
        """``J^T g``: a gradient at the adapted parameters (M, ...), carried back to the initial ones."""
        for _, transposed in reversed(self.products):
            gradient = adapt_step(self.inner, gradient, transposed(gradient))
        return gradient


def _both_ways(inner: InnerLoop, pull: Callable[[Params], tuple[Params]], gradients: Params) -> tuple[Product, Product]:
    """``P H`` and its transpose ``H P`` from the second, `pull`, which a backward pass through the gradient gives.

    If all parameters adapt both are H. Else the first is the derivative of the second in the vector it is applied to,
    again a backward pass through a retained graph.
    """

    def transposed(values: Params) -> Params:
        return pull({name: values[name] for name in gradients})[0]

    if inner.adapted is None:
        return transposed, transposed
    zeros = {name: torch.zeros_like(value) for name, value in gradients.items()}
    _, push = torch.func.vjp(lambda values: pull(values)[0], zeros)  # type: ignore[misc]
    return (lambda values: push(values)[0]), transposed


def linearise(
    inner: InnerLoop,
    params: Params,
    episodes: Sequence[LearningData],
    *,
    path: Sequence[Params] | None = None,
    num_tasks: int | None = None,
) -> LinearisedAdaptation:
    """Adapt M tasks and keep what their derivative needs, so that products with it are cheap.

    Each ``H_k v`` is one backward pass through the retained graph of a gradient (Pearlmutter 1994):
    nothing is traced or recomputed per product.

    Parameters
    ----------
    params, episodes, num_tasks
        As for `adapt`.
    path
        ``phi_0 ... phi_K`` of an adaptation already made, (M, ...) each: the Hessians are taken there
        although `episodes` may be only a sample of what it learnt from.
    """
    learning, frozen = inner.split(params)
    learning = expand(learning, num_tasks or episodes[0].mask.shape[0])
    products = []
    for index, data in enumerate(episodes):
        if path is not None:
            learning = path[index]
        if inner.first_order:
            gradients = inner_gradient(inner, learning, frozen, data)
        else:
            gradients, pull = torch.func.vjp(  # type: ignore[misc]
                lambda values, data=data: inner_gradient(inner, values, frozen, data), learning
            )
            products.append(_both_ways(inner, pull, gradients))
        learning = adapt_step(inner, learning, {k: v.detach() for k, v in gradients.items()})
    return LinearisedAdaptation(path[-1] if path else learning, tuple(products), inner)
