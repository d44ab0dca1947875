"""Optimisers of a vector: torch's steps, with a state that is complete before the first of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from maml_rl.metalearners.optimiser import OPTIMISERS, VectorOptimiser

SIZE = 4
every_optimiser = pytest.mark.parametrize("name", OPTIMISERS)


def gradients(count):
    return np.random.default_rng(0).normal(size=(count, SIZE))


@every_optimiser
def test_steps_are_those_of_torch(name):
    start = np.arange(SIZE, dtype=np.float64)
    mine, theirs = VectorOptimiser(name, start), torch.nn.Parameter(torch.from_numpy(start.copy()))
    rates = [0.1, 0.03, 0.03]
    optimiser = OPTIMISERS[name]([theirs], lr=rates[0])
    for rate, gradient in zip(rates, gradients(3), strict=True):
        mine.step(gradient, rate)
        optimiser.param_groups[0]["lr"] = rate
        theirs.grad = torch.from_numpy(gradient.copy())
        optimiser.step()
    np.testing.assert_array_equal(mine.vector, theirs.detach().numpy())
    np.testing.assert_array_equal(start, np.arange(SIZE))


@every_optimiser
def test_state_is_what_the_layout_says_before_and_after_steps(name):
    optimiser = VectorOptimiser(name, np.zeros(SIZE))
    for steps in range(3):
        state, layout = optimiser.state_dict(), optimiser.state_layout()
        assert state.keys() == layout.keys()
        assert float(state["step"]) == steps
        for key, value in state.items():
            assert (tuple(value.shape), value.dtype) == (layout[key].shape, torch.float64)
            assert bool((value >= layout[key].least).all())
            assert steps > 0 or not value.any()
        optimiser.step(gradients(3)[steps], 0.1)


@pytest.mark.parametrize("steps_before", [0, 2])
@every_optimiser
def test_an_optimiser_goes_on_bit_for_bit_from_vector_and_state(name, steps_before):
    whole = VectorOptimiser(name, np.ones(SIZE))
    for gradient in gradients(steps_before):
        whole.step(gradient, 0.1)
    state, vector = whole.state_dict(), whole.vector
    other = VectorOptimiser(name, np.zeros(SIZE))
    other.step(np.ones(SIZE), 0.5)  # what it did before is forgotten
    other.vector = vector
    other.load_state_dict(state)
    for gradient in gradients(5)[steps_before:]:
        whole.step(gradient, 0.1)
        other.step(gradient, 0.1)
    np.testing.assert_array_equal(other.vector, whole.vector)
    assert float(state["step"]) == steps_before  # the state that was given is a copy


@every_optimiser
def test_without_a_state_an_optimiser_begins_anew(name):
    first = VectorOptimiser(name, np.zeros(SIZE))
    first.step(np.ones(SIZE), 0.5)
    first.load_state_dict({})
    assert not any(value.any() for value in first.state_dict().values())
