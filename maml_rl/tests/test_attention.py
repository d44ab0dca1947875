"""Attention against PyTorch's own, windows, and the cache that acts as a whole sequence does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves

from maml_rl.policies import PolicySpec
from maml_rl.policies.attention_policy import AttentionOptions, AttentionPolicy, CausalAttention
from maml_rl.policies.memory.key_value_cache import BLOCK, attend_next, empty_cache, keep_cache
from maml_rl.tests.builders import tiny_policy
from maml_rl.utils.errors import InputError

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("float64")]

STEPS, ROWS, HEADS, WIDTH = BLOCK + 8, 3, 2, 4
windows = pytest.mark.parametrize("window", [None, 1, 5, BLOCK + 3, 1000])


def draw(seed, *shape):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def layer(window):
    """A layer and random parameters of it."""
    mixer = CausalAttention(
        "mix", AttentionOptions(attention_heads=HEADS, attention_width=WIDTH, attention_window=window)
    )
    named = nn.ModuleDict({"mix": mixer.make_layers()}).named_parameters()
    return mixer, {name: draw(index, *value.shape) for index, (name, value) in enumerate(named)}


@windows
@pytest.mark.parametrize("order", [1, 2])
def test_a_layer_is_torch_s_multi_head_attention_with_a_band_for_a_mask(window, order):
    mixer, params = layer(window)
    theirs = nn.MultiheadAttention(WIDTH, HEADS)
    names = {"in_proj_weight": "qkv.weight", "in_proj_bias": "qkv.bias"}
    names |= {f"out_proj.{part}": f"out.{part}" for part in ("weight", "bias")}
    theirs.load_state_dict({name: params[f"mix.{own}"] for name, own in names.items()})
    inputs, steps = draw(9, STEPS, ROWS, WIDTH), torch.arange(STEPS)
    ages = steps[:, None] - steps
    hidden = (ages < 0) | (ages >= (window or STEPS))
    expected, _ = theirs(inputs, inputs, inputs, attn_mask=hidden, need_weights=False)
    outputs, _ = mixer.unroll(params, inputs, mixer.initial_state(params, (ROWS,)), order=order)
    assert_close(outputs, expected.detach())


@windows
@pytest.mark.parametrize("recorded", [True, False])
def test_stepping_is_unrolling_however_the_sequence_is_cut(window, recorded):
    mixer, params = layer(window)
    inputs = draw(9, STEPS, ROWS, WIDTH)
    whole, last = mixer.unroll(params, inputs, mixer.initial_state(params, (ROWS,)))
    with torch.set_grad_enabled(recorded):
        state, outputs = mixer.initial_state(params, (ROWS,)), []
        for now in inputs:
            output, state = mixer.advance(params, now, state)
            outputs.append(output)
    assert_close(torch.stack(outputs), whole)
    assert_close(state, last)
    for orders in ((1, 1, 1), (2, 2, 2)):
        state, outputs = mixer.initial_state(params, (ROWS,)), []
        for part, order in zip(inputs.split([3, BLOCK, STEPS - BLOCK - 3]), orders, strict=True):
            output, state = mixer.unroll(params, part, state, order=order)
            outputs.append(output)
        assert_close(torch.cat(outputs), whole)
        assert_close(mixer.remembered(state), mixer.remembered(last))


@windows
@pytest.mark.parametrize("recorded", [True, False])
def test_rows_that_wait_go_on_where_they_were(window, recorded):
    mixer, params = layer(window)
    inputs = draw(9, STEPS, ROWS, WIDTH)
    whole, _ = mixer.unroll(params, inputs, mixer.initial_state(params, (ROWS,)))
    rng, done = np.random.default_rng(1), torch.zeros(ROWS, dtype=torch.int64)
    with torch.set_grad_enabled(recorded):
        state = mixer.initial_state(params, (ROWS,))
        for _ in range(2 * STEPS):
            active = torch.from_numpy(rng.random(ROWS) < 0.7) & (done < STEPS)
            rows = torch.where(active, done, draw(2, ROWS).long().abs()).clamp(max=STEPS - 1)
            output, after = mixer.advance(params, inputs[rows, torch.arange(ROWS)], state)
            assert_close(output[active], whole[rows, torch.arange(ROWS)][active])
            state = keep_cache(active, after, state)
            done += active
    assert_close(state.length, done)
    tail, _ = mixer.unroll(params, draw(5, 2, ROWS, WIDTH), state)
    for row in range(ROWS):
        own = torch.cat([inputs[: done[row], row], draw(5, 2, ROWS, WIDTH)[:, row]]).unsqueeze(1)
        alone, _ = mixer.unroll(params, own, mixer.initial_state(params, (1,)))
        assert_close(tail[:, row], alone[-2:, 0])


@windows
def test_tasks_that_vmap_batches_go_on_from_states_as_each_by_itself(window):
    mixer, params = layer(window)
    inputs = draw(9, 2, 12, ROWS, WIDTH)  # (M, T, B, W)
    begun = [
        mixer.unroll(params, task[: 3 + 2 * index], mixer.initial_state(params, (ROWS,)))[1]
        for index, task in enumerate(inputs)
    ]
    state = type(begun[0])(*(torch.stack(parts) for parts in zip(*begun, strict=True)))

    def outputs(own, cache):
        def total(values):
            return torch.sin(mixer.unroll({**params, "mix.qkv.weight": values}, own, cache)[0]).sum()

        return torch.func.grad(lambda w: torch.cos(torch.func.grad(total)(w)).sum())(params["mix.qkv.weight"])

    together = torch.func.vmap(outputs)(inputs, state)
    for task in range(2):
        assert_close(together[task], outputs(inputs[task], begun[task]))


def test_a_cache_grows_in_blocks_up_to_its_window_and_is_written_in_place():
    window = 2 * BLOCK + 5
    with torch.no_grad():
        cache, pointers, places = empty_cache(torch.zeros(()), (ROWS,), HEADS, 2, window), set(), set()
        for step in range(4 * BLOCK):
            query, key, value = draw(step, 3, ROWS, HEADS, 2)
            before, kept = cache, cache.keys.clone()
            _, cache = attend_next(query, key, value, cache, window)
            pointers.add(cache.keys.data_ptr())
            places.add(cache.keys.shape[-2])
            if step < window and cache.keys.shape == before.keys.shape:  # elsewhere nothing is written
                assert_close(cache.keys[:, :, :step], kept[:, :, :step], rtol=0, atol=0)
    assert places == {BLOCK, 2 * BLOCK, window + 1}
    assert len(pointers) <= 3


def test_a_step_that_gradients_may_follow_leaves_the_state_before_alone():
    mixer, params = layer(None)
    state = mixer.initial_state(params, (ROWS,))
    copies = [part.clone() for part in tree_leaves(state)]
    mixer.advance(params, draw(1, ROWS, WIDTH), state)
    mixer.unroll(params, draw(1, 2, ROWS, WIDTH), state)
    assert_close(tree_leaves(state), copies, rtol=0, atol=0)


def test_times_tell_every_step_of_a_long_meta_episode_from_every_other():
    policy, params = tiny_policy(PolicySpec("attention", 3, 2, False, (3,), "tanh"))
    assert isinstance(policy, AttentionPolicy)
    times = policy.times(policy.initial_state(params, (1,)), 4000)[:, 0]
    assert times.shape == (4000, 20)
    distances = torch.cdist(times, times) + 10.0 * torch.eye(4000, dtype=times.dtype)
    assert distances.min() > 0.2  # of vectors of length 1
    late = policy.times(
        tuple(cache._replace(length=cache.length + 7) for cache in policy.initial_state(params, (1,))), None
    )
    assert_close(late[0], times[7])


def test_blocks_on_top_of_each_other_unroll_as_they_step():
    options = AttentionOptions(attention_layers=3, attention_heads=HEADS, attention_width=WIDTH, attention_window=6)
    policy, params = tiny_policy(PolicySpec("attention", 3, 2, False, (3, 2), "tanh", options))
    observations, state = draw(1, 20, ROWS, 3), policy.initial_state(params, (ROWS,))
    features, last = policy.features(params, observations, None, state)
    with torch.no_grad():
        for index, now in enumerate(observations):
            output, state = policy.advance(params, now, state)
            assert_close(output, features[index])
    assert_close(state, last)


def test_heads_that_do_not_divide_the_width_are_refused_in_one_line():
    options = AttentionOptions(attention_heads=3, attention_width=64)
    spec = replace(PolicySpec("attention", 3, 2, False, (3,), "tanh"), options=options)
    with pytest.raises(
        InputError, match="attention-width: got 64, expected a multiple of attention-heads, 3; such as 66"
    ):
        tiny_policy(spec)
