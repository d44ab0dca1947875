"""Kernel of the rule of recurrent synapses: a layer's step in one pass over memory; numba compiles these functions."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from maml_rl.policies.learning_rules.lanes import tanh
from maml_rl.utils.kernels import compiled

_HALF, _ZERO = np.float32(0.5), np.float32(0.0)


@compiled
def _project(seen, weight, columns, out):
    """``out[k] = sum over f of weight[f, columns + k] * seen[f]``: rows (F, V) -> (K, V)."""
    for k in range(out.shape[0]):
        row = out[k]
        for v in range(row.shape[0]):
            row[v] = _ZERO
        for f in range(seen.shape[0]):
            factor, told = weight[f, columns + k], seen[f]
            for v in range(row.shape[0]):
                row[v] += factor * told[v]


@compiled
def _add(out, factor, row):
    """``out += factor * row``, rows (V,)."""
    for v in range(out.shape[0]):
        out[v] += factor * row[v]


@compiled
def _add_node(out, of_node, of_product, carried):
    """``out += of_node + of_product * carried``, rows (V,)."""
    for v in range(out.shape[0]):
        out[v] += of_node[v] + of_product[v] * carried[v]


@compiled
def _add_mixture(out, matrix, column, rows):
    """``out += sum over r of matrix[r, column] * rows[r]``: rows (R, V), four at a time."""
    count, start = rows.shape[0], 0
    while start + 4 <= count:
        a, b, c, d = (
            matrix[start, column],
            matrix[start + 1, column],
            matrix[start + 2, column],
            matrix[start + 3, column],
        )
        first, second, third, fourth = rows[start], rows[start + 1], rows[start + 2], rows[start + 3]
        for v in range(out.shape[0]):
            out[v] += a * first[v] + b * second[v] + c * third[v] + d * fourth[v]
        start += 4
    for r in range(start, count):
        _add(out, matrix[r, column], rows[r])


@compiled
def _add_product(out, factors, row):
    """``out += factors * row``, rows (V,)."""
    for v in range(out.shape[0]):
        out[v] += factors[v] * row[v]


@compiled
def _gated(out, keep, reset, candidate, mine, before):
    """State of a gated recurrent unit after a step, rows (V,) all."""
    for v in range(out.shape[0]):
        new = tanh(candidate[v] + (_HALF + _HALF * tanh(_HALF * reset[v])) * mine[v])
        mine[v] = new
    for v in range(out.shape[0]):
        out[v] = mine[v] + (_HALF + _HALF * tanh(_HALF * keep[v])) * (before[v] - mine[v])


@compiled
def synapse_gru(memory, weights, nodes, carried, signals, parameters, rate, limit):
    """Kernel of `maml_rl.policies.learning_rules.synapse_gru.SynapseGRU`, of one layer.

    Neurons i of all lives b stand behind one another, v = (b, i): every loop over them is one of vector instructions.

    Parameters
    ----------
    memory, weights
        States of synapses (P, J, S, V), and their weights (P, J, V).
    nodes
        What a neuron's synapses see of it (P, F, V).
    carried
        Inputs (P, J, L).
    signals
        (P, L, 5).
    parameters
        Of nodes (P, F, 3S), products (P, F, 3S), synapses (P, S + 1, 3S) and changes (P, S, 4).
    rate, limit
        See the rule.

    Returns
    -------
    `memory` and `weights` after the step.
    """
    node, product, synapse, change = parameters
    num_individuals, num_in, size, count = memory.shape
    num_lives = signals.shape[1]
    num_out, gates = count // num_lives, 3 * size
    memory_after, weights_after = np.empty_like(memory), np.empty_like(weights)
    of_node, of_product = np.empty((gates, count), np.float32), np.empty((gates, count), np.float32)
    total = np.empty((gates, count), np.float32)
    mine, factors = np.empty((size, count), np.float32), np.empty((size, count), np.float32)
    inputs = np.empty(count, np.float32)
    for p in range(num_individuals):
        _project(nodes[p], node[p], 0, of_node)
        _project(nodes[p], product[p], 0, of_product)
        for b in range(num_lives):
            for s in range(size):
                factor = change[p, s, 0]
                for q in range(1, change.shape[2]):
                    factor += signals[p, b, q] * change[p, s, q]
                factor *= rate
                for i in range(num_out):
                    factors[s, b * num_out + i] = factor
        for j in range(num_in):
            for b in range(num_lives):
                for i in range(num_out):
                    inputs[b * num_out + i] = carried[p, j, b]
            for k in range(gates):
                own = total[k] if k < 2 * size else mine[k - 2 * size]
                total[k] = _ZERO
                own[:] = _ZERO
                _add_mixture(own, synapse[p], k, memory[p, j])
                _add(own, synapse[p, size, k], weights[p, j])
                _add_node(total[k], of_node[k], of_product[k], inputs)
            weight = weights_after[p, j]
            weight[:] = weights[p, j]
            for s in range(size):
                after = memory_after[p, j, s]
                _gated(after, total[s], total[size + s], total[2 * size + s], mine[s], memory[p, j, s])
                _add_product(weight, factors[s], after)
            for v in range(count):
                weight[v] = min(max(weight[v], -limit), limit)
    return memory_after, weights_after
