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
def _update_trace(row, after, before, decay, noise, carried):
    """``row = after = before + decay * (noise * carried - before)``."""
    for v in range(LANES):
        new = before[v] + decay[v] * (noise[v] * carried[v] - before[v])
        row[v] = new
        after[v] = new


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
    num_seen, num_kept = _INFO + 2 + size, 1 + int(traced)
    num_said, num_connected = 3 + size, 2 + size

    @compiled
    def kernel(after, before, activity, signals, own, num_lives, rate, limit, level_bounds):
        weights, memory, traces, levels, neurons = before
        count = signals.shape[1]
        most, num_neurons = 1, weights[0].shape[1]
        for layer in range(len(weights)):
            most = max(most, weights[layer].shape[0], weights[layer].shape[1])
            num_neurons += weights[layer].shape[0]
        reward_in, reward_out = _rows(own[0].shape[1]), _rows(own[1].shape[1])
        node_in, node_out = _rows(own[2].shape[1]), _rows(own[3].shape[1])
        post_in, pre_in = _rows(own[4].shape[1]), _rows(own[5].shape[1])
        synapse_in, synapse_out = _rows(own[6].shape[1]), _rows(own[7].shape[1])
        leaks, factor, tracing = _rows(2 * size), _rows(own[9].shape[1]), _rows(own[10].shape[1])
        rewards, told, reward = _rows(_SIGNALS), _rows(num_rewards + 2), _rows(1)
        infos, seen, said = _rows(num_neurons * _INFO), _rows(num_seen), _rows(num_said)
        pre, post, hidden = _rows(most * units), _rows(units), _rows(units)
        synapse, out = _rows(num_kept + size), _rows(num_connected)
        signal, below, gain = _rows(most), _rows(most), _rows(1)
        ones = np.ones(_INFO * LANES, np.float32)
        low, high = level_bounds
        for block in range(0, count, LANES):
            first = min(block, count - LANES)  # the last block may do again what was done
            load_parameters(reward_in, own[0], first, num_lives)
            load_parameters(reward_out, own[1], first, num_lives)
            load_parameters(node_in, own[2], first, num_lives)
            load_parameters(node_out, own[3], first, num_lives)
            load_parameters(post_in, own[4], first, num_lives)
            load_parameters(pre_in, own[5], first, num_lives)
            load_parameters(synapse_in, own[6], first, num_lives)
            load_parameters(synapse_out, own[7], first, num_lives)
            load_parameters(leaks, own[8], first, num_lives)
            load_parameters(factor, own[9], first, num_lives)
            load_parameters(tracing, own[10], first, num_lives)
            for f in range(_SIGNALS):
                copy(rewards[f * LANES :], signals[f, first:])
            for v in range(2 * size * LANES):
                leaks[v] = sigmoid(leaks[v])
            if traced:
                fill(gain, _ZERO)
                transform(gain, tracing[LANES:], rewards[LANES:], _BASELINES, 1)
                for v in range(LANES):
                    tracing[v] = sigmoid(tracing[v])
            for f in range(num_rewards):
                copy(told[f * LANES :], rewards[f * LANES :])
            fill(told[(num_rewards + 1) * LANES :], _ONE)
            signal[:] = _ZERO
            place = _load_infos(infos, activity, before, first)  # where the infos of the layer above begin
            for layer in range(len(weights) - 1, -1, -1):
                weight, state, trace = weights[layer], memory[layer], traces[layer]
                new_weight, new_state, new_trace = after[0][layer], after[1][layer], after[2][layer]
                level, neuron, new_level, new_neuron = levels[layer], neurons[layer], after[3][layer], after[4][layer]
                num_out, num_in = weight.shape[:2]
                place -= num_out * _INFO
                carries = activity[0][layer]
                pre[:] = _ZERO
                for j in range(num_in):
                    info = ones if j == num_in - 1 else infos[(place + (j - num_in + 1) * _INFO) * LANES :]
                    transform(pre[j * units * LANES :], pre_in, info, _INFO, units)
                below[:] = _ZERO
                for i in range(num_out):
                    info = infos[(place + i * _INFO) * LANES :]
                    told_here = signal[i * LANES :]
                    for f in range(_INFO):
                        copy(seen[f * LANES :], info[f * LANES :])
                    deaf = separate and layer == len(weights) - 1 and i < num_out - 1
                    if (broadcast or layer == len(weights) - 1) and not deaf:
                        copy(told[num_rewards * LANES :], info[_OUTPUT * LANES :])
                        hidden[:] = _ZERO
                        run_network(reward, reward_in, reward_out, told, hidden, num_rewards + 2, units, 1)
                        for v in range(LANES):
                            told_here[v] += reward[v]
                    copy(seen[_TOLD * LANES :], told_here)
                    fill(seen[_FLAG * LANES :], _ONE)
                    for s in range(size):
                        copy(seen[(_INFO + 2 + s) * LANES :], neuron[i, s, first:])
                    hidden[:] = _ZERO
                    run_network(said, node_in, node_out, seen, hidden, num_seen, units, num_said)
                    change(new_level[i, first:], level[i, first:], said[2 * LANES :], rate, low, high)
                    for s in range(size):
                        follow(
                            new_neuron[i, s, first:], neuron[i, s, first:], leaks[s * LANES :], said[(3 + s) * LANES :]
                        )
                    copy(seen[_TOLD * LANES :], said)
                    fill(seen[_FLAG * LANES :], np.float32(layer > 0))
                    post[:] = _ZERO
                    transform(post, post_in, seen, _INFO + 2, units)
                    for j in range(num_in):
                        ahead = min(i * num_in + j + _AHEAD, num_out * num_in - 1) * count
                        prefetch(weight.ctypes.data + 4 * (ahead + first), 1, count)
                        prefetch(new_weight.ctypes.data + 4 * (ahead + first), 1, count)
                        prefetch(state.ctypes.data + 4 * (ahead * size + first), size, count)
                        prefetch(new_state.ctypes.data + 4 * (ahead * size + first), size, count)
                        from_input, message = pre[j * units * LANES :], below[j * LANES :]
                        copy(synapse, weight[i, j, first:])
                        if traced:
                            _update_trace(
                                synapse[LANES:],
                                new_trace[i, j, first:],
                                trace[i, j, first:],
                                tracing,
                                info[_NOISE * LANES :],
                                carries[j, first:],
                            )
                        for s in range(size):
                            copy(synapse[(num_kept + s) * LANES :], state[i, j, s, first:])
                        for v in range(units * LANES):
                            hidden[v] = post[v] + from_input[v]
                        run_network(
                            out, synapse_in, synapse_out, synapse, hidden, num_kept + size, units, num_connected
                        )
                        for v in range(LANES):
                            message[v] += out[LANES + v]
                        if traced:
                            for v in range(LANES):
                                out[v] += gain[v] * synapse[LANES + v]
                        if j == num_in - 1:
                            for v in range(LANES):
                                out[v] += said[LANES + v]
                        change(new_weight[i, j, first:], synapse, out, rate, -limit, limit)
                        for s in range(size):
                            target, old = out[(2 + s) * LANES :], synapse[(num_kept + s) * LANES :]
                            follow(new_state[i, j, s, first:], old, leaks[(size + s) * LANES :], target)
                fill(below[(num_in - 1) * LANES :], _ZERO)
                signal[:] = _ZERO
                for j in range(num_in - 1):
                    told_here, message = signal[j * LANES :], below[j * LANES :]
                    for v in range(LANES):
                        told_here[v] = message[v] * (factor[v] if summed else _ONE / np.float32(num_out))

    return kernel
