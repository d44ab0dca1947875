"""Surrogate, KL and curvature against closed forms and explicit Hessians."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils._pytree import tree_map

from maml_rl.adaptation import adapt, masked_mean, policy_distribution
from maml_rl.objectives import linearised_curvature, meta_gradient, surrogate
from maml_rl.tests.builders import (
    POLICIES_AND_OBJECTIVES,
    POLICY_SPECS,
    flat,
    hessian,
    pick,
    random_like,
    spec_id,
    tiny_data,
    tiny_inner,
    tiny_policy,
    unflat,
    with_garbage,
)

pytestmark = [
    pytest.mark.numerical,
    pytest.mark.usefixtures("float64"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]
every_policy = pytest.mark.parametrize("spec", POLICY_SPECS, ids=spec_id)
every_policy_and_objective = pytest.mark.parametrize(("spec", "objective"), POLICIES_AND_OBJECTIVES)
TASKS = 2


def case(spec, num_steps=1, *, num_tasks=TASKS, **inner_settings):
    """Inner loop, parameters, training episodes of each step, validation episodes."""
    policy, params = tiny_policy(spec)
    train = [tiny_data(spec, seed, num_tasks=num_tasks) for seed in range(1, num_steps + 1)]
    return tiny_inner(policy, **inner_settings), params, train, tiny_data(spec, 9, num_tasks=num_tasks)


def flat_tasks(values, names):
    """Values (M, ...) -> (M, P)."""
    return torch.stack([flat({k: v[m] for k, v in values.items()}, names) for m in range(len(values[names[0]]))])


def everything(inner, params, train, valid, old=None):
    """All that a worker evaluates on these episodes, one row per task."""
    gradients, losses, distributions = meta_gradient(inner, params, train, valid)
    moved = {k: v + 0.1 for k, v in params.items()}
    new_losses, divergences = surrogate(inner, moved, train, valid, old or distributions)
    product = linearised_curvature(inner, params, train, valid)(random_like(params, inner.names, 4))
    return {
        "loss": losses,
        "gradient": flat_tasks(gradients, inner.names),
        "new loss": new_losses,
        "kl": divergences,
        "curvature": flat_tasks(product, inner.names),
    }


@every_policy_and_objective
@pytest.mark.parametrize(
    ("num_steps", "first_order"), [(1, False), pytest.param(2, False, marks=pytest.mark.slow), (2, True)]
)
def test_the_curvature_is_the_hessian_of_the_mean_divergence(spec, num_steps, first_order, objective):
    inner, params, train, valid = case(spec, num_steps, first_order=first_order, objective=objective)
    theta = flat(params, inner.names)
    product = linearised_curvature(inner, params, train, valid)
    columns = [product(unflat(e, params, inner.names)) for e in torch.eye(len(theta))]
    matrices = torch.stack([flat_tasks(column, inner.names) for column in columns], -1)  # (M, P, P)
    _, _, old = meta_gradient(inner, params, train, valid)

    for task in range(TASKS):
        data, old_task = pick(valid, task), pick(old, task)

        def divergence(vector, task=task, data=data, old_task=old_task):
            phi = adapt(inner, unflat(vector, params, inner.names), [pick(d, slice(task, task + 1)) for d in train])
            new = policy_distribution(inner.policy, {k: v[0] for k, v in phi.items()}, data)
            return masked_mean(new.kl(old_task), data.mask)

        assert_close(matrices[task], hessian(divergence)(theta), rtol=1e-8, atol=1e-10)
    assert_close(matrices, matrices.mT)
    assert torch.linalg.eigvalsh(matrices).min() > -1e-12
    assert torch.linalg.eigvalsh(matrices).max() > 1e-2


@every_policy
def test_at_the_old_parameters_the_loss_is_minus_the_mean_advantage_and_the_divergence_is_zero(spec):
    inner, params, train, valid = case(spec)
    _, losses, old = meta_gradient(inner, params, train, valid)
    expected = -(valid.advantages * valid.mask).sum((1, 2)) / valid.mask.sum((1, 2))
    new_losses, divergences = surrogate(inner, params, train, valid, old)
    assert_close(losses, expected)
    assert_close(new_losses, expected)
    assert_close(divergences, torch.zeros(TASKS), rtol=0, atol=1e-15)


@every_policy
def test_away_from_the_old_parameters_every_step_is_weighted_by_its_ratio(spec):
    inner, params, train, valid = case(spec)
    _, _, old = meta_gradient(inner, params, train, valid)
    moved = {k: v + 0.1 for k, v in params.items()}
    losses, divergences = surrogate(inner, moved, train, valid, old)
    phi = adapt(inner, moved, train)
    for task in range(TASKS):
        data = pick(valid, task)
        new = policy_distribution(inner.policy, {k: v[task] for k, v in phi.items()}, data)
        before, now = pick(old, task).log_prob(data.actions).exp(), new.log_prob(data.actions).exp()
        steps = data.mask == 1
        assert_close(losses[task], -(now / before * data.advantages)[steps].mean())
        assert_close(divergences[task], new.kl(pick(old, task))[steps].mean())
        assert divergences[task] > 1e-6


@every_policy
def test_padding_never_changes_loss_gradient_divergence_or_curvature(spec):
    inner, params, train, valid = case(spec, 2)
    garbage = [with_garbage(data, seed) for seed, data in enumerate([*train, valid], 20)]
    assert garbage[0].mask.numel() > train[0].mask.numel()
    assert_close(everything(inner, params, garbage[:-1], garbage[-1]), everything(inner, params, train, valid))


@every_policy
def test_the_order_of_tasks_is_irrelevant(spec):
    inner, params, train, valid = case(spec, num_tasks=4)
    order = torch.tensor([2, 0, 3, 1])
    expected = {k: v[order] for k, v in everything(inner, params, train, valid).items()}
    assert_close(everything(inner, params, [pick(d, order) for d in train], pick(valid, order)), expected)


@every_policy
def test_tasks_do_not_see_each_other(spec):
    inner, params, train, valid = case(spec, num_tasks=3)
    together = everything(inner, params, train, valid)
    for task in range(3):
        only = slice(task, task + 1)
        alone = everything(inner, params, [pick(d, only) for d in train], pick(valid, only))
        assert_close(alone, {k: v[only] for k, v in together.items()})


@every_policy
def test_masked_out_episodes_are_as_good_as_absent(spec):
    inner, params, train, valid = case(spec)
    few = [tree_map(lambda part: part[:, :, :2], d) for d in (*train, valid)]
    masked = [d._replace(mask=d.mask * torch.tensor([1.0, 1.0, 0.0])) for d in (*train, valid)]
    assert_close(everything(inner, params, masked[:-1], masked[-1]), everything(inner, params, few[:-1], few[-1]))


@every_policy
def test_frozen_parameters_have_no_curvature(spec):
    inner, params, train, valid = case(spec)
    inner = replace(inner, names=inner.names[1:])
    product = linearised_curvature(inner, params, train, valid)(random_like(params, inner.names, 4))
    assert set(product) == set(inner.names)
    assert all(np.isfinite(value.numpy()).all() for value in product.values())
