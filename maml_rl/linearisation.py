"""The derivative of the inner loop: products with it and with its transpose, through retained graphs.

Functions here are batched over M tasks: data and adapted parameters carry a leading task dimension,
initial parameters do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from maml_rl.adaptation import STEP_SIZE, InnerLoop, adapt_step, expand, inner_gradient
from maml_rl.episode import LearningData
from maml_rl.policies import Params

Product = Callable[[Params], Params]


class LinearisedStep(NamedTuple):
    """One inner step of M tasks and the derivative of its gradient.

    Attributes
    ----------
    gradients
        Of `inner_loss` in the parameters that adapt, (M, ...) each.
    products
        ``P H`` of every task as a function of values (M, ...) and its transpose. H is the Hessian of `inner_loss`; P
        leaves of a vector what belongs to parameters that adapt. ``None`` for first-order MAML, where H counts as 0.
    """

    gradients: Params
    products: tuple[Product, Product] | None


@dataclass(frozen=True)
class LinearisedAdaptation:
    """The inner loops of M tasks around their initial parameters, and their derivative.

    With ``H_k`` the Hessian of `inner_loss` at ``phi_k`` and a_k the size of a step, the Jacobian of the adapted
    parameters with respect to the initial ones is ``J = (I - a_{K-1} P H_{K-1}) ... (I - a_0 P H_0)``. A learned step
    size changes a step by minus its gradient, times `InnerLoop.factor_of` the step.

    Attributes
    ----------
    points
        ``phi_0 ... phi_K``, (M, ...) each: the last are the adapted parameters.
    steps
        The K steps, first step first.
    frozen
        Parameters that no task changes, learned step sizes among them.
    inner
        The inner loop this is the derivative of.
    """

    points: tuple[Params, ...]
    steps: tuple[LinearisedStep, ...]
    frozen: Params
    inner: InnerLoop

    @property
    def learning(self) -> Params:
        """The adapted parameters, (M, ...) each."""
        return self.points[-1]

    def forward(self, direction: Params) -> Params:
        """``J v``: how adapted parameters move when the initial ones and step sizes move along `direction` (M, ...)."""
        inner = self.inner
        moved = {name: direction[name] for name in inner.names}
        for index, step in enumerate(self.steps):
            change = step.products[0](moved) if step.products else {}
            moved = adapt_step(inner, index, moved, change, self.frozen)
            for name in inner.adapting if inner.learns_step_sizes else ():
                size, gradient = inner.factor_of(index) * direction[STEP_SIZE + name], step.gradients[name]
                moved[name] = moved[name] - size.reshape(*size.shape, *[1] * (gradient.dim() - size.dim())) * gradient
        return moved

    def transpose(self, gradient: Params, at_points: Sequence[Params] = ()) -> Params:
        """``J^T g``: a gradient at the adapted parameters (M, ...), carried back to the initial ones and step sizes.

        Parameters
        ----------
        gradient
            At ``phi_K``, (M, ...) each.
        at_points
            Gradients at ``phi_0 ... phi_{K-1}``, (M, ...) each, that are carried back with it; empty: none.
        """
        sizes: Params = {}
        for index in reversed(range(len(self.steps))):
            step = self.steps[index]
            for name in self.inner.step_size_names:
                part = self.inner.factor_of(index) * self._step_size_gradient(name, step, gradient)
                sizes[name] = sizes[name] + part if name in sizes else part
            if step.products is not None:
                gradient = self._through(index, step.products[1], gradient)
            if at_points:
                gradient = {name: value + at_points[index][name] for name, value in gradient.items()}
        if not self.steps:
            num_tasks = len(next(iter(gradient.values())))
            sizes = expand(
                {name: torch.zeros_like(self.frozen[name]) for name in self.inner.step_size_names}, num_tasks
            )
        return {**gradient, **sizes}

    def _through(self, index: int, transposed: Product, gradient: Params) -> Params:
        """``(I - P H)^T g`` with the step sizes on the left of P H."""
        if not self.inner.learns_step_sizes:
            return adapt_step(self.inner, index, gradient, transposed(gradient), self.frozen)
        factor = self.inner.factor_of(index)
        scaled = {
            name: factor * self.frozen[STEP_SIZE + name] * value if name in self.inner.adapting else value
            for name, value in gradient.items()
        }
        carried = transposed(scaled)
        return {name: value - carried[name] for name, value in gradient.items()}

    def _step_size_gradient(self, name: str, step: LinearisedStep, gradient: Params) -> torch.Tensor:
        own = name.removeprefix(STEP_SIZE)
        part = -step.gradients[own] * gradient[own]  # (M, ...)
        return part if self.frozen[name].shape == part.shape[1:] else part.flatten(1).sum(1)


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
        As for `maml_rl.adaptation.adapt`.
    path
        ``phi_0 ... phi_K`` of an adaptation already made, (M, ...) each: the Hessians are taken there
        although `episodes` may be only a sample of what it learnt from.
    """
    learning, frozen = inner.split(params)
    points = [expand(learning, num_tasks or episodes[0].mask.shape[0])] if path is None else list(path)
    steps = []
    for index, data in enumerate(episodes):
        products = None
        if inner.first_order:
            gradients = inner_gradient(inner, points[index], frozen, data)
        else:
            gradients, pull = torch.func.vjp(  # type: ignore[misc]
                lambda values, data=data: inner_gradient(inner, values, frozen, data), points[index]
            )
            products = _both_ways(inner, pull, gradients)
        gradients = {name: value.detach() for name, value in gradients.items()}
        steps.append(LinearisedStep(gradients, products))
        if path is None:
            points.append(adapt_step(inner, index, points[-1], gradients, frozen))
    return LinearisedAdaptation(tuple(points), tuple(steps), frozen, inner)
