"""Kernels compute what tensors compute."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from maml_rl.policies.learning_rules import fused
from maml_rl.policies.learning_rules.forward import run_forward
from maml_rl.policies.learning_rules.message_passing import MessagePassing, Repairs
from maml_rl.policies.learning_rules.rule import Activity

pytestmark = pytest.mark.numerical
NUM_INDIVIDUALS, NUM_LIVES = 19, 2  # no multiple of the lanes


def draw_activity(sizes, generator):
    def draw(*shape):
        return torch.randn(NUM_INDIVIDUALS, NUM_LIVES, *shape, generator=generator)

    inputs = tuple(torch.nn.functional.pad(draw(size), (0, 1), value=1.0) for size in sizes[:-1])
    drives, outputs, noise = (tuple(draw(size) for size in sizes[1:]) for _ in range(3))
    return Activity(inputs, drives, outputs, noise, draw(5))


def forbidden(*args, **kwargs):
    raise AssertionError("tensors compute this")


@pytest.mark.parametrize(
    ("sizes", "repairs"),
    [
        ((3, 4, 1), (False,) * 5),
        ((3, 4, 2), (True,) * 5),
        ((2, 3), (False, True, False, True, False)),
        ((3, 2, 2), (False, True, True, False, True)),
    ],
)
def test_the_kernel_of_message_passing_computes_what_tensors_do(sizes, repairs, monkeypatch):
    broadcast, centred, summed, eligibility, separate_neurons = repairs
    chosen = Repairs(broadcast, centred, summed, eligibility, separate_neurons)
    rule = MessagePassing(sizes, state_size=3, units=2, rate=0.1, limit=1.5, repairs=chosen)
    rule.initialise(np.random.default_rng(0))
    generator = torch.Generator().manual_seed(1)
    params = {
        f"rule.{name}": value.detach() + 0.5 * torch.randn(NUM_INDIVIDUALS, *value.shape, generator=generator)
        for name, value in rule.named_parameters()
    }
    weights = [torch.randn(NUM_INDIVIDUALS, NUM_LIVES, *shape, generator=generator) for shape in rule.shapes]
    by_kernel = by_tensors = rule.initial_state(params, weights)
    for _ in range(3):
        activity = draw_activity(sizes, generator)
        with monkeypatch.context() as context:
            context.setattr(rule, "_layer", forbidden)
            by_kernel = rule.update(params, activity, by_kernel)
        with monkeypatch.context() as context:
            context.setattr(fused, "LANES", 10**6)
            by_tensors = rule.update(params, activity, by_tensors)
    for kernel, tensors in zip(by_kernel, by_tensors, strict=True):
        for one, other in zip(kernel, tensors, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("sizes", [(3, 4, 2, 1), (2, 3)])
def test_the_kernel_of_a_network_computes_what_tensors_do(sizes, noisy, monkeypatch):
    generator, lives = torch.Generator().manual_seed(1), (NUM_INDIVIDUALS, NUM_LIVES)
    weights = [torch.randn(*lives, i, j + 1, generator=generator) for j, i in itertools.pairwise(sizes)]
    levels = [torch.rand(*lives, size, generator=generator) for size in sizes[1:]]
    levels[0] = levels[0][..., :1]
    observed, signals = torch.randn(*lives, sizes[0], generator=generator), torch.zeros(*lives, 5)
    age = torch.randint(1, 300, lives, generator=generator).float()
    key = torch.randint(2**24, lives, generator=generator)
    with monkeypatch.context() as context:
        context.setattr(torch, "tanh", forbidden)
        by_kernel = run_forward(weights, levels, observed, signals, age=age, key=key, noisy=noisy)
    monkeypatch.setattr(fused, "LANES", 10**6)
    by_tensors = run_forward(weights, levels, observed, signals, age=age, key=key, noisy=noisy)
    for kernel, tensors in zip(by_kernel[:4], by_tensors[:4], strict=True):
        for one, other in zip(kernel, tensors, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_where_no_cache_can_be_written_functions_are_compiled_without(monkeypatch):
    kernels = pytest.importorskip("maml_rl.utils.kernels")
    njit = kernels.numba.njit

    def refuse(*functions, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function '<lambda>': no locator available")
        return njit(*functions, **options)

    monkeypatch.setattr(kernels.numba, "njit", refuse)
    assert kernels.compiled(lambda x: 2 * x)(3) == 6


def test_a_kernel_over_lanes_refuses_fewer_lives_than_it_writes():
    with pytest.raises(ValueError, match="lives: got 6, expected at least 32"):
        fused.as_lanes(torch.zeros(2, 3, 4))
