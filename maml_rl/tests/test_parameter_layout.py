"""Layouts: vectors and named parameters are two forms of the same numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from maml_rl.policies import make_policy
from maml_rl.policies.layout import ParameterLayout, stack_params
from maml_rl.tests.builders import POLICY_SPECS, spec_id, travelled
from maml_rl.utils.random import Purpose, generator

every_policy = pytest.mark.parametrize("spec", POLICY_SPECS, ids=spec_id)
every_training = pytest.mark.parametrize("train_recurrent", [True, False])


def made(spec, train_recurrent, dtype="float64"):
    """A policy with random weights, and its layout."""
    policy = make_policy(replace(spec, dtype=dtype))
    policy.initialise(generator(1, Purpose.INITIAL_PARAMETERS))
    return policy, ParameterLayout.of(policy, train_recurrent=train_recurrent)


@every_training
@every_policy
def test_vectors_and_named_parameters_are_the_same_numbers(spec, train_recurrent):
    policy, layout = made(spec, train_recurrent)
    assert layout.names == tuple(policy.named_meta_parameters(train_recurrent))
    vector = np.random.default_rng(0).normal(size=layout.size)
    params = layout.params(vector)
    assert params.keys() == policy.params().keys()
    np.testing.assert_array_equal(layout.vector(params), vector)
    begin = 0
    for name in layout.names:  # one behind the other, in order
        value = params[name].numpy()
        np.testing.assert_array_equal(value.ravel(), vector[begin : begin + value.size])
        begin += value.size
    assert begin == layout.size


@every_training
@every_policy
def test_what_is_not_learnt_keeps_its_value_whatever_the_vector(spec, train_recurrent):
    policy, layout = made(spec, train_recurrent)
    params = layout.params(np.full(layout.size, 7.0))
    frozen = layout.frozen()
    assert frozen.keys() == params.keys() - set(layout.names)
    assert frozen.keys() | layout.learning(np.zeros(layout.size)).keys() == params.keys()
    for name in frozen:
        torch.testing.assert_close(params[name], policy.params()[name], rtol=0, atol=0)
        torch.testing.assert_close(frozen[name], policy.params()[name], rtol=0, atol=0)
    if train_recurrent:
        assert set(policy.named_meta_parameters(False)) <= set(layout.names)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_training
@every_policy
def test_a_layout_travels(spec, train_recurrent, dtype):
    _, layout = made(spec, train_recurrent, dtype)
    vector = np.random.default_rng(0).normal(size=layout.size)
    expected = layout.params(vector)  # what is kept for speed does not travel
    same = travelled(layout)
    assert (same.names, same.device, same.size) == (layout.names, layout.device, layout.size)
    for name, value in same.params(vector).items():
        assert value.dtype == getattr(torch, dtype)
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)


def test_changes_of_parameters_never_reach_the_layout():
    policy, layout = made(POLICY_SPECS[0], True)
    before = layout.vector(policy.params())
    for value in layout.params(before).values():
        value += 1.0
    np.testing.assert_array_equal(layout.vector(layout.params(before)), before)


def test_several_vectors_are_stacked_along_one_leading_axis():
    _, layout = made(POLICY_SPECS[0], True)
    vectors = np.random.default_rng(0).normal(size=(3, layout.size))
    stacked = layout.stack(vectors)
    for row, vector in enumerate(vectors):
        for name, value in layout.params(vector).items():
            torch.testing.assert_close(stacked[name][row], value, rtol=0, atol=0)
    pair = stack_params([layout.params(vector) for vector in vectors[:2]])
    assert all(len(value) == 2 for value in pair.values())
