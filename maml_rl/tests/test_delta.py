"""Fast weights by the delta rule: chunks against steps, exact recall, decay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.policies import PolicySpec
from maml_rl.policies.delta_policy import DeltaOptions
from maml_rl.policies.memory.delta_rule import CHUNK, delta_step, delta_steps
from maml_rl.tests.builders import tiny_policy
from maml_rl.utils.errors import InputError

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("float64")]

ROWS, KEYS, VALUES = 3, 4, 2


def draw(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def sequence(num_steps, *, same_key=False):
    """Queries, keys of length 1, values, decays and rates of a sequence, and weights before it."""
    keys = draw(1, ROWS, num_steps, KEYS)
    if same_key:
        keys = keys[:, :1].expand_as(keys)
    keys = keys / keys.norm(dim=-1, keepdim=True)
    log_decays, rates = -draw(3, ROWS, num_steps).square(), torch.sigmoid(3.0 * draw(4, ROWS, num_steps))
    return (
        draw(0, ROWS, num_steps, KEYS),
        keys,
        draw(2, ROWS, num_steps, VALUES),
        log_decays,
        rates,
        draw(5, ROWS, KEYS, VALUES),
    )


def stepped(queries, keys, values, log_decays, rates, weights):
    """Step by step, what `delta_steps` gives in chunks."""
    read = []
    for step in range(queries.shape[-2]):
        query, key, value = (part[..., step, :] for part in (queries, keys, values))
        now, weights = delta_step(query, key, value, log_decays[..., step], rates[..., step], weights)
        read.append(now)
    return torch.stack(read, -2), weights


@pytest.mark.parametrize("same_key", [False, True])
@pytest.mark.parametrize("num_steps", [1, CHUNK - 1, CHUNK, 3 * CHUNK + 5])
def test_chunks_give_what_steps_give_however_much_keys_interfere(num_steps, same_key):
    arguments = sequence(num_steps, same_key=same_key)
    assert_close(delta_steps(*arguments), stepped(*arguments), rtol=1e-10, atol=1e-10)
    single = tuple(part.float() for part in arguments)
    assert_close(delta_steps(*single), stepped(*single), rtol=1e-4, atol=1e-4)


def test_a_step_is_the_rule_of_the_literature():
    queries, keys, values, log_decays, rates, weights = (part[0] for part in sequence(1))
    q, k, v, a, b = queries[0], keys[0], values[0], log_decays[0].exp(), rates[0]
    expected = a * (torch.eye(KEYS) - b * torch.outer(k, k)) @ weights + b * torch.outer(k, v)
    read, after = delta_step(q, k, v, log_decays[0], b, weights)
    assert_close(after, expected)
    assert_close(read, q @ expected)


def test_as_many_pairs_as_keys_are_long_are_recalled_exactly_and_the_last_value_of_a_key_counts():
    keys = torch.eye(KEYS).repeat(5, 1)  # every key five times
    values = draw(2, len(keys), VALUES)
    none, all_of_it = torch.zeros(len(keys)), torch.ones(len(keys))
    _, weights = delta_steps(keys, keys, values, none, all_of_it, torch.zeros(KEYS, VALUES))
    assert_close(weights, values[-KEYS:])
    _, weights = delta_steps(keys, keys, values, none, 0.0 * all_of_it, weights)
    assert_close(weights, values[-KEYS:])  # without a rate nothing is written
    _, halved = delta_steps(keys[:1], keys[:1], values[:1], none[:1] + np.log(0.5), none[:1], weights)
    assert_close(halved, 0.5 * weights)


def test_derivatives_agree_with_finite_differences_and_under_vmap_with_those_of_each_task():
    arguments = [part[:1, ..., :].clone() for part in sequence(CHUNK + 2)]
    leaves = [part.requires_grad_() for part in arguments]
    assert torch.autograd.gradcheck(delta_steps, leaves)
    short = [part[:, :2].detach().clone().requires_grad_() for part in arguments[:-1]]
    assert torch.autograd.gradgradcheck(delta_steps, (*short, arguments[-1]))
    tasks = sequence(CHUNK + 2)

    def second(*values):
        def slope(keys):
            return torch.func.grad(lambda k: torch.sin(delta_steps(values[0], k, *values[2:])[0]).sum())(keys)

        return torch.func.grad(lambda keys: torch.cos(slope(keys)).sum())(values[1])

    together = torch.func.vmap(second)(*tasks)
    for row in range(ROWS):
        assert_close(together[row], second(*(part[row] for part in tasks)))


def test_heads_that_do_not_divide_the_width_are_refused_in_one_line():
    spec = PolicySpec("delta", 3, 2, False, (3,), "tanh")
    with pytest.raises(InputError, match="delta-width: got 64, expected a multiple of delta-heads, 3; such as 66"):
        tiny_policy(replace(spec, options=DeltaOptions(delta_heads=3)))
