"""The inner loop, once: used by training, evaluation and video.

Functions here are batched over M tasks: data and adapted parameters carry a leading task dimension,
initial parameters do not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from maml_rl.episode import LearningData
from maml_rl.policies import Distribution, Params, Policy
from maml_rl.policies.policy import is_initial

STEP_SIZE = "fast_lr."
"""Beginning of the name of a parameter's learned step size."""


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
        Parameters of the policy that are meta-learned; the others stay as they are.
    objective
        A key of `INNER_OBJECTIVES`, see `inner_loss`.
    first_order
        Treat the inner gradients as constants: derivatives with respect to the initial parameters see
        ``phi = theta + constant`` (first-order MAML).
    adapted
        Those of the names that adapt: of the last layer only, it is "almost no inner loop" (Raghu et al. 2020, section
        5); ``None``: all.
    learns_step_sizes
        Whether every parameter that adapts has a step size of its own among the parameters (Meta-SGD, Li et al. 2017):
        of its shape, or one number (). It is meta-learned with them, and no task changes it.
    later_factor
        Factor of step sizes from the second step on, >= 0.
    """

    policy: Policy
    fast_lr: float
    names: tuple[str, ...]
    objective: str = "lvc"
    first_order: bool = False
    adapted: tuple[str, ...] | None = None
    learns_step_sizes: bool = False
    later_factor: float = 1.0

    def factor_of(self, step: int) -> float:
        """Factor of step sizes in this inner step, 0 the first."""
        return self.later_factor if step else 1.0

    @property
    def adapting(self) -> tuple[str, ...]:
        """Names of the parameters that adapt."""
        return self.names if self.adapted is None else self.adapted

    @property
    def step_size_names(self) -> tuple[str, ...]:
        """Names of the learned step sizes."""
        return tuple(STEP_SIZE + name for name in self.adapting) if self.learns_step_sizes else ()

    @property
    def meta_names(self) -> tuple[str, ...]:
        """Names of all that is meta-learned."""
        return self.names + self.step_size_names

    def split(self, params: Params) -> tuple[Params, Params]:
        """Return the learning and the frozen part of `params`; no task changes step sizes, so that they are frozen."""
        frozen = {name: value for name, value in params.items() if name not in set(self.names)}
        return {name: params[name] for name in self.names}, frozen


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of values (T, B) over the steps where mask (T, B) is 1: every step counts the same."""
    return (values * mask).sum() / mask.sum()


def for_every_task(policy: Policy, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of M tasks' tensors (M, ...) that gives the results (M, ...) of `function` for each task's own.

    By `torch.func.vmap`, or on the CPU one task after another if `policy` asks for it, see `Policy.reads_values`.
    """

    def all_tasks(*arguments: Any) -> Any:
        leaves, structure = tree_flatten(arguments)
        if not policy.reads_values or any(leaf.device.type != "cpu" for leaf in leaves):
            return torch.func.vmap(function)(*arguments)
        tasks = zip(*(leaf.unbind(0) for leaf in leaves), strict=True)
        found = [function(*tree_unflatten(list(parts), structure)) for parts in tasks]
        return tree_map(lambda *parts: torch.stack(parts), *found)

    return all_tasks


def policy_distribution(policy: Policy, params: Params, data: LearningData) -> Distribution:
    """Action distributions along the episodes of one task: data (T, B, ...), result (T, B, ...)."""
    state = data.state
    if is_initial(state):
        state = policy.initial_state(params, tuple(data.mask.shape[1:]))
    started = data.started if isinstance(data.started, Tensor) else None
    return policy.unroll(params, data.observations, started, state)


def _log_probabilities(log_probs: Tensor, data: LearningData) -> Tensor:
    return log_probs


def _ratios(log_probs: Tensor, data: LearningData) -> Tensor:
    return torch.exp((log_probs - data.log_probs) * data.mask)


def _credited_ratios(log_probs: Tensor, data: LearningData) -> Tensor:
    changes = (log_probs - data.log_probs) * data.mask  # (T, B)
    so_far = changes.cumsum(0)
    return torch.exp(so_far) - torch.exp(so_far - changes)


INNER_OBJECTIVES: Mapping[str, Callable[[Tensor, LearningData], Tensor]] = {
    "dice": _credited_ratios,
    "lvc": _ratios,
    "reinforce": _log_probabilities,
}
"""Factors (T, B) of the advantages by objective, of the logarithms (T, B) of the actions' probabilities."""

NEED_ALL_STEPS = frozenset({"dice"})
"""Objectives in which a step's factor depends on the steps before."""


def inner_loss(inner: InnerLoop, params: Params, data: LearningData) -> Tensor:
    """Loss that a task's adaptation descends: a mean over the steps of its episodes.

    ``"reinforce"``: ``-mean(log pi(a|s) * A)``, as pytorch-maml-rl does. ``"lvc"``:
    ``-mean(pi(a|s) / pi_old(a|s) * A)`` with pi_old the policy that rolled out the episodes, the low-variance
    curvature of Rothfuss et al. 2019 (ProMP, equation 8). ``"dice"``: ``-mean((W_t - W_{t-1}) * A_t)``, W_t the product
    of these ratios up to step t, which is the magic box of Foerster et al. 2018 for advantages (Farquhar et al. 2019).
    At pi_old all have the same gradient, so the same adaptation. Their Hessians differ: that of the second estimates
    the Hessian of the expected return because it knows that other parameters would have led to other actions, that of
    the third also because these would have led to other states, without bias and with more noise. With the first the
    meta-gradient does not see what exploration is good for.

    Each step weighs the same. An average per episode would weigh the steps of short episodes more,
    which is not a policy gradient of the return where episodes end early.
    """
    log_probs = policy_distribution(inner.policy, params, data).log_prob(data.actions)
    return -masked_mean(INNER_OBJECTIVES[inner.objective](log_probs, data) * data.advantages, data.mask)


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

    return for_every_task(inner.policy, torch.func.grad(loss))(adapting, others, data)


def adapt_step(inner: InnerLoop, step: int, learning: Params, gradients: Params, frozen: Params) -> Params:
    """``phi - factor_of(step) * fast_lr * gradient``, every value (M, ...); what has no gradient stays.

    `step` is 0 for the first. Learned step sizes take the place of `fast_lr`; they are in `frozen`, without task
    dimension.
    """
    factor = inner.factor_of(step)

    def moved(name: str) -> Tensor:
        size = frozen[STEP_SIZE + name] if inner.learns_step_sizes else inner.fast_lr
        return learning[name] - factor * size * gradients[name]

    return {name: moved(name) if name in gradients else learning[name] for name in inner.names}


def adaptation_path(
    inner: InnerLoop, params: Params, episodes: Sequence[LearningData], *, num_tasks: int | None = None
) -> list[Params]:
    """Learning parameters (M, ...) before every step of `adapt`, and after the last."""
    learning, frozen = inner.split(params)
    path = [expand(learning, num_tasks or episodes[0].mask.shape[0])]
    for step, data in enumerate(episodes):
        gradients = inner_gradient(inner, path[-1], frozen, data)
        if inner.first_order:
            gradients = {name: value.detach() for name, value in gradients.items()}
        path.append(adapt_step(inner, step, path[-1], gradients, frozen))
    return path


def adapt(
    inner: InnerLoop, params: Params, episodes: Sequence[LearningData], *, num_tasks: int | None = None
) -> Params:
    """Take one gradient step per element of `episodes`; return the learning parameters, (M, ...) each.

    ``phi_0 = theta;  phi_{k+1} = phi_k - factor_of(k) * fast_lr * grad inner_loss(phi_k, episodes_k)``
    (Finn et al. 2017, algorithm 3; their code halves steps after the first in tests). Differentiable with respect to
    `params`, learned step sizes among them, by `torch.func`, except that first-order MAML stops the derivative of the
    gradients; `linearise` gives the same derivative for less.

    Parameters
    ----------
    params
        Initial parameters theta, without task dimension.
    episodes
        What each step learns from, (M, T, B, ...); its length is the number of steps.
    num_tasks
        M; may be left out unless there are no steps.
    """
    return adaptation_path(inner, params, episodes, num_tasks=num_tasks)[-1]
