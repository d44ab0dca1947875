"""Kernel of the message-passing rule: all layers of a step in one pass over memory, without what lies between."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numba
import numpy as np

from maml_rl.policies.learning_rules.lanes import (
    COMPILED,
    LANES,
    add_products,
    change,
    follow,
    load,
    load_column,
    load_parameters,
    run_network,
    sigmoid,
)

_ZERO, _ONE = np.float32(0.0), np.float32(1.0)
_DRIVE, _OUTPUT, _NOISE, _LEVEL, _BIAS, _INFO = 0, 1, 2, 3, 4, 5
_TOLD, _FLAG = 5, 6  # what a neuron is told, and 1 or a flag, behind its info


@numba.njit(**COMPILED)
def _rows(parameter):
    """Room for parameters (P, F, K) as rows (F, K, LANES)."""
    return np.zeros((parameter.shape[1], parameter.shape[2], LANES), np.float32)


@numba.njit(**COMPILED)
def _see_neuron(rows, layer, i, activity, before, first, width):
    """Info of neuron i of a layer as rows 0 to 4; layer -1 is the input, whose neurons have only an output."""
    inputs, drives, outputs, noise = activity
    if layer < 0:
        rows[:_INFO] = _ZERO
        load_column(rows[_OUTPUT], inputs[0], i, first, width)
        return
    weights, levels = before[0][layer], before[3][layer]
    load_column(rows[_DRIVE], drives[layer], i, first, width)
    load_column(rows[_OUTPUT], outputs[layer], i, first, width)
    load_column(rows[_NOISE], noise[layer], i, first, width)
    load(rows[_LEVEL], levels[i], first, width)
    load(rows[_BIAS], weights[i, weights.shape[1] - 1], first, width)


@numba.njit(**COMPILED)
def _send(rows, layer, pre_in, seen, activity, before, first, width):
    """What the inputs j of a layer add to the hidden units of their connections: rows (J, K, LANES)."""
    bias = before[0][layer].shape[1] - 1
    for j in range(bias):
        _see_neuron(seen, layer - 1, j, activity, before, first, width)
        for k in range(rows.shape[1]):
            rows[j, k] = _ZERO
            add_products(rows[j, k], pre_in, k, seen[:_INFO])
    for k in range(rows.shape[1]):
        rows[bias, k] = _ZERO
        for f in range(_INFO):
            rows[bias, k] += pre_in[f, k]


@numba.njit(**COMPILED)
def _trace(row, after, before, decay, noise, carried, first, width):
    """``after = row = before + decay * (noise * carried - before)``, numbers (N,) and rows."""
    for v in range(width):
        old = before[first + v]
        row[v] = old + decay[v] * (noise[v] * carried[v] - old)
        after[first + v] = row[v]


@numba.njit(**COMPILED)
def message_passing(after, before, activity, signals, own, num_lives, broadcast, rate, limit, level_bounds):
    """Kernel of `maml_rl.policies.learning_rules.message_passing.MessagePassing`.

    Lives of all individuals stand behind one another, n = (p, l), N of them.

    Parameters
    ----------
    after, before
        Weights (I, J, N), states of synapses (I, J, S, N), traces (I, J, N), noise levels (I, N) and states of
        neurons (I, S, N), of each layer; `after` is written.
    activity
        Inputs (N, J), drives, outputs and noise (N, I), of each layer.
    signals
        (N, 5).
    own
        Parameters (P, F, K): reward_in, reward_out, node_in, node_out, post_in, pre_in, synapse_in, synapse_out; leak
        (P, 1, 2S); sum (P, 1, 1), or (P, 1, 0) for means; trace (P, 1, 4), or (P, 1, 0) without traces.
    num_lives
        L.
    broadcast, rate, limit, level_bounds
        See the rule; the last are the least and the greatest noise level.
    """
    weights, memory, traces, levels, neurons = before
    inputs, drives, outputs, noise = activity
    reward_in, reward_out, node_in, node_out = _rows(own[0]), _rows(own[1]), _rows(own[2]), _rows(own[3])
    post_in, pre_in, synapse_in, synapse_out = _rows(own[4]), _rows(own[5]), _rows(own[6]), _rows(own[7])
    leaks, factor, tracing = _rows(own[8]), _rows(own[9]), _rows(own[10])
    has_sum, has_trace = factor.shape[1] > 0, tracing.shape[1] > 0
    size, units, num_rewards = leaks.shape[1] // 2, node_in.shape[1], reward_in.shape[0] - 2
    most = 1
    for layer in range(len(weights)):
        most = max(most, weights[layer].shape[0], weights[layer].shape[1])
    pre, post, hidden = (
        np.zeros((most, units, LANES), np.float32),
        np.zeros((units, LANES), np.float32),
        np.zeros((units, LANES), np.float32),
    )
    signal, below = np.zeros((most, LANES), np.float32), np.zeros((most, LANES), np.float32)
    told = np.zeros((num_rewards + 2, LANES), np.float32)
    seen, synapse = np.zeros((_INFO + 2 + size, LANES), np.float32), np.zeros((1 + has_trace + size, LANES), np.float32)
    reward, said, out = (
        np.zeros((1, LANES), np.float32),
        np.zeros((3 + size, LANES), np.float32),
        np.zeros((2 + size, LANES), np.float32),
    )
    signal_rows, gain, carried = (
        np.zeros((5, LANES), np.float32),
        np.zeros(LANES, np.float32),
        np.zeros(LANES, np.float32),
    )
    for first in range(0, len(signals), LANES):
        width = min(LANES, len(signals) - first)
        load_parameters(reward_in, own[0], first, width, num_lives)
        load_parameters(reward_out, own[1], first, width, num_lives)
        load_parameters(node_in, own[2], first, width, num_lives)
        load_parameters(node_out, own[3], first, width, num_lives)
        load_parameters(post_in, own[4], first, width, num_lives)
        load_parameters(pre_in, own[5], first, width, num_lives)
        load_parameters(synapse_in, own[6], first, width, num_lives)
        load_parameters(synapse_out, own[7], first, width, num_lives)
        load_parameters(leaks, own[8], first, width, num_lives)
        load_parameters(factor, own[9], first, width, num_lives)
        load_parameters(tracing, own[10], first, width, num_lives)
        for s in range(2 * size):
            for v in range(LANES):
                leaks[0, s, v] = sigmoid(leaks[0, s, v])
        for f in range(5):
            load_column(signal_rows[f], signals, f, first, width)
        if has_trace:
            for v in range(LANES):
                tracing[0, 0, v] = sigmoid(tracing[0, 0, v])
            gain[:] = _ZERO
            add_products(gain, tracing[0, 1:].copy().reshape((3, 1, LANES)), 0, signal_rows[1:4])
        told[:num_rewards] = signal_rows[:num_rewards]
        told[num_rewards + 1] = _ONE
        signal[:] = _ZERO
        for layer in range(len(weights) - 1, -1, -1):
            num_out, num_in = weights[layer].shape[:2]
            _send(pre, layer, pre_in, seen, activity, before, first, width)
            below[:] = _ZERO
            for i in range(num_out):
                _see_neuron(seen, layer, i, activity, before, first, width)
                if broadcast or layer == len(weights) - 1:
                    told[num_rewards] = seen[_OUTPUT]
                    hidden[:] = _ZERO
                    run_network(reward_in, reward_out, told, hidden, reward)
                    signal[i] += reward[0]
                seen[_TOLD], seen[_FLAG] = signal[i], _ONE
                for s in range(size):
                    load(seen[_INFO + 2 + s], neurons[layer][i, s], first, width)
                hidden[:] = _ZERO
                run_network(node_in, node_out, seen, hidden, said)
                follow(after[4][layer][i], neurons[layer][i], leaks[0, :size], said[3:], first, width)
                low, high = level_bounds
                change(after[3][layer][i], levels[layer][i], said[2], rate, low, high, first, width)
                seen[_TOLD], seen[_FLAG] = said[0], np.float32(layer > 0)
                for k in range(units):
                    post[k] = _ZERO
                    add_products(post[k], post_in, k, seen[: _INFO + 2])
                for j in range(num_in):
                    load(synapse[0], weights[layer][i, j], first, width)
                    if has_trace:
                        load_column(carried, inputs[layer], j, first, width)
                        old, new = traces[layer][i, j], after[2][layer][i, j]
                        _trace(synapse[1], new, old, tracing[0, 0], seen[_NOISE], carried, first, width)
                    for s in range(size):
                        load(synapse[1 + has_trace + s], memory[layer][i, j, s], first, width)
                    for k in range(units):
                        for v in range(LANES):
                            hidden[k, v] = post[k, v] + pre[j, k, v]
                    run_network(synapse_in, synapse_out, synapse, hidden, out)
                    if has_trace:
                        out[0] += gain * synapse[1]
                    if j == num_in - 1:
                        out[0] += said[1]
                    change(after[0][layer][i, j], weights[layer][i, j], out[0], rate, -limit, limit, first, width)
                    follow(after[1][layer][i, j], memory[layer][i, j], leaks[0, size:], out[2:], first, width)
                    below[j] += out[1]
            for j in range(num_in - 1):
                signal[j] = below[j] * factor[0, 0] if has_sum else below[j] / np.float32(num_out)
            signal[num_in - 1 :] = _ZERO
