"""The compiled loss of choices: value, parts and slopes are those of the loss written in tensors."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from maml_rl.actor_critic import PARTS, ActorCriticData, Weights, actor_critic_loss
from maml_rl.policies.distributions import Categorical

pytestmark = pytest.mark.numerical
WEIGHTS = [Weights(0.7, 0.05, 0.2), Weights(0.3, 0.0, None), Weights(0.0, 0.1, 0.1)]


def steps(*, num_steps=7, num_tasks=5, num_actions=4, seed=0):
    """Logits, values and data of steps of which some are beyond the clip range, some masked, in all combinations."""
    rng = torch.Generator().manual_seed(seed)
    shape = (num_steps, num_tasks)
    normal = lambda *size: torch.randn(size, generator=rng)  # noqa: E731
    mask = (torch.rand(shape, generator=rng) < 0.8).float()
    actions = torch.randint(num_actions, shape, generator=rng)
    logits = normal(*shape, num_actions)
    old = Categorical(logits + 0.3 * normal(*shape, num_actions)).log_prob(actions)
    data = ActorCriticData(normal(*shape, 2), actions, mask, old * mask, normal(*shape) * mask, normal(*shape))
    return logits, normal(*shape), data


@pytest.mark.parametrize("weights", WEIGHTS, ids=["clipped", "unclipped", "without values"])
@pytest.mark.parametrize("num_actions", [1, 2, 5, 50])
def test_loss_parts_and_slopes_are_those_of_tensors(weights, num_actions):
    logits, values, data = steps(num_actions=num_actions, seed=num_actions)
    results = {}
    for order in (1, 2):
        inputs = [part.clone().requires_grad_() for part in (logits, values)]
        loss, parts = actor_critic_loss(Categorical(inputs[0]), inputs[1], data, weights, order=order)
        results[order] = (loss.detach(), *parts.values(), *torch.autograd.grad(3.0 * loss, inputs))
        assert tuple(parts) == PARTS
    assert_close(results[1], results[2], rtol=2e-5, atol=2e-5)
    if weights.clip_range is not None and num_actions > 1:
        assert 0 < results[1][1 + PARTS.index("clipped")] < data.mask.sum()


def test_numbers_that_are_not_finite_are_told():
    logits, values, data = steps()
    for broken in (math.nan, math.inf):
        inputs = [logits.clone(), values.clone()]
        inputs[0][2, 1, 0] = broken
        inputs = [part.requires_grad_() for part in inputs]
        loss, _ = actor_critic_loss(
            Categorical(inputs[0]), inputs[1], data._replace(mask=torch.ones_like(data.mask)), WEIGHTS[0], order=1
        )
        assert not torch.isfinite(torch.autograd.grad(loss, inputs)[0]).all()


def test_second_derivatives_are_refused():
    logits, values, data = steps()
    logits.requires_grad_()
    loss, _ = actor_critic_loss(Categorical(logits), values, data, WEIGHTS[0], order=1)
    (slope,) = torch.autograd.grad(loss, [logits], create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        torch.autograd.grad(slope.sum(), [logits])
