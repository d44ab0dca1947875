"""Kernel of the message-passing rule: all layers of a step in one pass over memory, without what lies between."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np

from maml_rl.policies.learning_rules.fused import LANES
from maml_rl.policies.learning_rules.lanes import (
    change,
    copy,
    fill,
    follow,
    load_parameters,
    prefetch,
    run_network,
    sigmoid,
    transform,
)
from maml_rl.utils.kernels import compiled

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_DRIVE, _OUTPUT, _NOISE, _LEVEL, _BIAS, _INFO = 0, 1, 2, 3, 4, 5
_TOLD, _FLAG = 5, 6  # behind its info what a neuron is told, and 1 or a flag
_SIGNALS, _BASELINES = 5, 3
_AHEAD = 2  # synapses


@compiled
def _rows(count):
    return np.zeros(count * LANES, np.float32)


@compiled
def _load_infos(infos, activity, before, first):
    """Infos of all neurons, five rows each, from the inputs on, which have only an output."""
    inputs, drives, outputs, noise = activity
    weights, _, _, levels, _ = before
    place = 0
    for j in range(inputs[0].shape[0] - 1):
        copy(infos[(place + _OUTPUT) * LANES :], inputs[0][j, first:])
        place += _INFO
    for layer in range(len(weights)):
        drive, output, chance = drives[layer], outputs[layer], noise[layer]
        for i in range(drive.shape[0]):
            info = infos[place * LANES :]
            copy(info[_DRIVE * LANES :], drive[i, first:])
            copy(info[_OUTPUT * LANES :], output[i, first:])
            copy(info[_NOISE * LANES :], chance[i, first:])
            copy(info[_LEVEL * LANES :], levels[layer][i, first:])
            copy(info[_BIAS * LANES :], weights[layer][i, -1, first:])
            place += _INFO
    return place


@numba.njit(inline="always", fastmath=True)
def _add(row, other):
    """Add a row to another."""
    for v in range(LANES):
        row[v] += other[v]


@numba.njit(inline="always", fastmath=True)
def _add_product(row, left, right):
    """Add the product of two rows to another."""
    for v in range(LANES):
        row[v] += left[v] * right[v]


@numba.njit(inline="always", fastmath=True)
def _update_trace(row, traces, decay, noise, carried):
    """``row = after = before + decay * (noise * carried - before)``."""
    after, before = traces
    for v in range(LANES):
        new = before[v] + decay[v] * (noise[v] * carried[v] - before[v])
        row[v] = new
        after[v] = new


@compiled
def _parameter_rows(own, size):
    """Room for parameters, see `message_passing_kernel`; leaks that none has are zeros."""
    return (
        _rows(own[0].shape[1]),
        _rows(own[1].shape[1]),
        _rows(own[2].shape[1]),
        _rows(own[3].shape[1]),
        _rows(own[4].shape[1]),
        _rows(own[5].shape[1]),
        _rows(own[6].shape[1]),
        _rows(own[7].shape[1]),
        _rows(2 * size),
        _rows(own[9].shape[1]),
        _rows(own[10].shape[1]),
    )


@compiled
def _widths(weights):
    """Most neurons of a layer, or inputs; and all neurons, those of the input layer among them."""
    most, total = 1, weights[0].shape[1]
    for layer in range(len(weights)):
        most = max(most, weights[layer].shape[0], weights[layer].shape[1])
        total += weights[layer].shape[0]
    return most, total


@numba.njit(inline="always", fastmath=True)
def _load_block(parameters, own, rewards, signals, gain, first, num_lives, traced):
    """Parameters and signals of the lanes from `first` on, opened where they are logistic."""
    for index in range(len(own)):
        load_parameters(parameters[index], own[index], first, num_lives)
    leaks, tracing = parameters[8], parameters[10]
    for f in range(_SIGNALS):
        copy(rewards[f * LANES :], signals[f, first:])
    for v in range(leaks.shape[0]):
        leaks[v] = sigmoid(leaks[v])
    if traced:
        fill(gain, _ZERO)
        transform(gain, tracing[LANES:], rewards[LANES:], _BASELINES, 1)
        for v in range(LANES):
            tracing[v] = sigmoid(tracing[v])


@numba.njit(inline="always", fastmath=True)
def _load_told(told, rewards, num_rewards):
    """Rewards that the reward network sees, and 1 in the end."""
    for f in range(num_rewards):
        copy(told[f * LANES :], rewards[f * LANES :])
    fill(told[(num_rewards + 1) * LANES :], _ONE)


@numba.njit(inline="always", fastmath=True)
def _load_inputs(pre, pre_in, infos, ones, place, num_in, units):
    """Give hidden units of synapses a layer's inputs and bias; infos of its neurons begin at `place`."""
    pre[:] = _ZERO
    for j in range(num_in):
        info = ones if j == num_in - 1 else infos[(place + (j - num_in + 1) * _INFO) * LANES :]
        transform(pre[j * units * LANES :], pre_in, info, _INFO, units)


@numba.njit(inline="always", fastmath=True)
def _hear_reward(told_here, told, info, networks, hidden, reward, sizes):
    """Add to what a neuron is told what the reward network says to it."""
    num_rewards, units = sizes
    copy(told[num_rewards * LANES :], info[_OUTPUT * LANES :])
    hidden[:] = _ZERO
    run_network(reward, networks[0], networks[1], told, hidden, num_rewards + 2, units, 1)
    _add(told_here, reward)


@numba.njit(inline="always", fastmath=True)
def _follow_states(states, first, leaks, targets, size):
    """Move states (S, N) before, by leaks, to what a network says; write those after."""
    before, after = states
    for s in range(size):
        follow(after[s, first:], before[s, first:], leaks[s * LANES :], targets[s * LANES :])


@numba.njit(inline="always", fastmath=True)
def _update_neuron(said, seen, heard, networks, hidden, states, first, sizes):
    """Run a neuron's network on its info, on what it is told, and on states (S, N) before; write those after."""
    (size, units), (info, told_here), neuron = sizes, heard, states[0]
    for f in range(_INFO):
        copy(seen[f * LANES :], info[f * LANES :])
    copy(seen[_TOLD * LANES :], told_here)
    fill(seen[_FLAG * LANES :], _ONE)
    for s in range(size):
        copy(seen[(_INFO + 2 + s) * LANES :], neuron[s, first:])
    hidden[:] = _ZERO
    run_network(said, networks[2], networks[3], seen, hidden, _INFO + 2 + size, units, 3 + size)
    _follow_states(states, first, networks[8], said[3 * LANES :], size)


@numba.njit(inline="always", fastmath=True)
def _ask_ahead(before, after, place, first, size):
    """Ask for rows of a synapse's weight (I * J,) and states (I * J, S): addresses of both, before and after."""
    count = place[1]
    ahead = place[0] * count
    prefetch(before[0].ctypes.data + 4 * (ahead + first), 1, count)
    prefetch(after[0].ctypes.data + 4 * (ahead + first), 1, count)
    prefetch(before[1].ctypes.data + 4 * (ahead * size + first), size, count)
    prefetch(after[1].ctypes.data + 4 * (ahead * size + first), size, count)


@numba.njit(inline="always", fastmath=True)
def _run_synapse(out, synapse, hidden, towards, networks, states, first, sizes):
    """Run a synapse's network on its weight, trace and states (S, N) before, and on both its neurons."""
    (size, units, num_kept), (post, from_input), state = sizes, towards, states[0]
    for s in range(size):
        copy(synapse[(num_kept + s) * LANES :], state[s, first:])
    for v in range(units * LANES):
        hidden[v] = post[v] + from_input[v]
    run_network(out, networks[6], networks[7], synapse, hidden, num_kept + size, units, 2 + size)


@numba.njit(inline="always", fastmath=True)
def _send(signal, below, factor, num_in, num_out, summed):
    """Tell neurons below the sum of messages, by a factor, or their mean."""
    fill(below[(num_in - 1) * LANES :], _ZERO)
    signal[:] = _ZERO
    for j in range(num_in - 1):
        told_here, message = signal[j * LANES :], below[j * LANES :]
        for v in range(LANES):
            told_here[v] = message[v] * (factor[v] if summed else _ONE / np.float32(num_out))


@cache
def message_passing_kernel(
    units: int, size: int, num_rewards: int, traced: bool, summed: bool, broadcast: bool, separate: bool
) -> Callable[..., Any]:
    """Kernel of `maml_rl.policies.learning_rules.message_passing.MessagePassing`, compiled for these sizes.

    Lives of all individuals stand behind one another, n = (p, l), N of them. It takes

    after, before
        Weights (I, J, N), states of synapses (I, J, S, N), traces (I, J, N), noise levels (I, N) and states of neurons
        (I, S, N), of each layer; `after` is written.
    activity
        Inputs (J, N), drives, outputs and noise (I, N), of each layer.
    signals
        (5, N).
    own
        Parameters (P, F * K): reward_in, reward_out, node_in, node_out, post_in, pre_in, synapse_in, synapse_out, leak,
        sum, trace; empty ones (P, 0) that the rule has not.
    num_lives
        L.
    rate, limit, level_bounds
        See the rule; the last are the least and the greatest noise level.

    Parameters
    ----------
    units, size
        See the rule.
    num_rewards
        Signals that the reward network sees.
    traced, summed, broadcast, separate
        See `Repairs`; `separate` is `separate_neurons`.
    """
    num_kept = 1 + int(traced)

    @compiled
    def kernel(after, before, activity, signals, own, num_lives, rate, limit, level_bounds):
        weights, memory, traces, levels, neurons = before
        count = signals.shape[1]
        most, num_neurons = _widths(weights)
        networks = _parameter_rows(own, size)
        rewards, told, reward, gain = _rows(_SIGNALS), _rows(num_rewards + 2), _rows(1), _rows(1)
        infos, seen, said = _rows(num_neurons * _INFO), _rows(_INFO + 2 + size), _rows(3 + size)
        pre, post, hidden = _rows(most * units), _rows(units), _rows(units)
        synapse, out, signal, below = _rows(num_kept + size), _rows(2 + size), _rows(most), _rows(most)
        ones = np.ones(_INFO * LANES, np.float32)
        for block in range(0, count, LANES):
            first = min(block, count - LANES)  # the last block may do again what was done
            _load_block(networks, own, rewards, signals, gain, first, num_lives, traced)
            _load_told(told, rewards, num_rewards)
            signal[:] = _ZERO
            place = _load_infos(infos, activity, before, first)  # where the infos of the layer above begin
            for layer in range(len(weights) - 1, -1, -1):
                weight, state, trace, level = weights[layer], memory[layer], traces[layer], levels[layer]
                new_weight, new_state, new_trace = after[0][layer], after[1][layer], after[2][layer]
                num_out, num_in = weight.shape[:2]
                place -= num_out * _INFO
                _load_inputs(pre, networks[5], infos, ones, place, num_in, units)
                below[:] = _ZERO
                for i in range(num_out):
                    info, told_here = infos[(place + i * _INFO) * LANES :], signal[i * LANES :]
                    deaf = separate and layer == len(weights) - 1 and i < num_out - 1
                    if (broadcast or layer == len(weights) - 1) and not deaf:
                        _hear_reward(told_here, told, info, networks, hidden, reward, (num_rewards, units))
                    states = neurons[layer][i], after[4][layer][i]
                    _update_neuron(said, seen, (info, told_here), networks, hidden, states, first, (size, units))
                    low, high = level_bounds
                    change(after[3][layer][i, first:], level[i, first:], said[2 * LANES :], rate, low, high)
                    copy(seen[_TOLD * LANES :], said)
                    fill(seen[_FLAG * LANES :], np.float32(layer > 0))
                    post[:] = _ZERO
                    transform(post, networks[4], seen, _INFO + 2, units)
                    for j in range(num_in):
                        ahead = min(i * num_in + j + _AHEAD, num_out * num_in - 1)
                        _ask_ahead((weight, state), (new_weight, new_state), (ahead, count), first, size)
                        message, noise = below[j * LANES :], info[_NOISE * LANES :]
                        copy(synapse, weight[i, j, first:])
                        if traced:
                            carried = activity[0][layer][j, first:]
                            traces_here = new_trace[i, j, first:], trace[i, j, first:]
                            _update_trace(synapse[LANES:], traces_here, networks[10], noise, carried)
                        towards, states = (post, pre[j * units * LANES :]), (state[i, j], new_state[i, j])
                        _run_synapse(out, synapse, hidden, towards, networks, states, first, (size, units, num_kept))
                        _add(message, out[LANES:])
                        if traced:
                            _add_product(out, gain, synapse[LANES:])
                        if j == num_in - 1:
                            _add(out, said[LANES:])
                        change(new_weight[i, j, first:], synapse, out, rate, -limit, limit)
                        _follow_states(states, first, networks[8][size * LANES :], out[2 * LANES :], size)
                _send(signal, below, networks[9], num_in, num_out, summed)

    return kernel
