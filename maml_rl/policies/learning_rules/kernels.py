"""Learning rules in one pass over memory, for populations on the CPU: numba compiles these functions.

Each computes what the rule of the same name computes with tensors, without keeping what lies between. Arrays are
contiguous and float32; P individuals live L lives each.
"""

from __future__ import annotations

import numba
import numpy as np


_BOUND = np.float32(7.9)
_A1, _A3, _A5 = np.float32(4.89352455891786e-03), np.float32(6.37261928875436e-04), np.float32(1.48572235717979e-05)
_A7, _A9 = np.float32(5.12229709037114e-08), np.float32(-8.60467152213735e-11)
_A11, _A13 = np.float32(2.00018790482477e-13), np.float32(-2.76076847742355e-16)
_B0, _B2 = np.float32(4.89352518554385e-03), np.float32(2.26843463243900e-03)
_B4, _B6 = np.float32(1.18534705686654e-04), np.float32(1.19825839466702e-06)
_HALF, _ZERO = np.float32(0.5), np.float32(0.0)


@numba.njit(inline="always", fastmath=True)
def _tanh(x):  # type: ignore[no-untyped-def]
    """tanh as a quotient of polynomials, within 4e-7: sums and products alone, so that loops become vector code."""
    y = min(max(x, -_BOUND), _BOUND)
    s = y * y
    over = (((((_A13 * s + _A11) * s + _A9) * s + _A7) * s + _A5) * s + _A3) * s + _A1
    return y * over / (((_B6 * s + _B4) * s + _B2) * s + _B0)


@numba.njit(fastmath=True, cache=True, nogil=True, error_model="numpy")
def update_synapse_gru(layer, nodes, carried, signals, node, product, synapse, change, rate, limit):  # type: ignore[no-untyped-def]
    """See `maml_rl.policies.learning_rules.synapse_gru.SynapseGRU`.

    Parameters
    ----------
    layer
        States and weights (P, L, I, J, S + 1).
    nodes
        What a neuron's synapses see of it (P, L, I, F).
    carried
        Inputs (P, L, J).
    signals
        (P, L, 4).
    node, product, synapse, change
        The rule's parameters (P, 3S, F), (P, 3S, F), (P, 3S, S + 1) and (P, 3, S).
    rate, limit
        See the rule.

    Returns
    -------
    The same as `layer` after the step.
    """
    num_individuals, num_lives, num_out, num_in, width = layer.shape
    size, num_seen = width - 1, nodes.shape[-1]
    count, gates = num_out * num_in, 3 * size
    after = np.empty_like(layer)
    memory = np.empty((width, count), np.float32)
    seen = np.empty((gates, count), np.float32)
    own = np.empty((size, count), np.float32)
    step = np.empty(count, np.float32)
    for p in range(num_individuals):
        for b in range(num_lives):
            for i in range(num_out):
                for j in range(num_in):
                    for s in range(width):
                        memory[s, i * num_in + j] = layer[p, b, i, j, s]
            for k in range(gates):
                row = seen[k]
                for i in range(num_out):
                    of_node, of_product = _ZERO, _ZERO
                    for f in range(num_seen):
                        of_node += node[p, k, f] * nodes[p, b, i, f]
                        of_product += product[p, k, f] * nodes[p, b, i, f]
                    for j in range(num_in):
                        row[i * num_in + j] = of_node + carried[p, b, j] * of_product
                target = row if k < 2 * size else own[k - 2 * size]
                if k >= 2 * size:
                    for n in range(count):
                        target[n] = _ZERO
                for s in range(width):
                    factor, column = synapse[p, k, s], memory[s]
                    for n in range(count):
                        target[n] += factor * column[n]
            for s in range(size):
                keep, reset, candidate, mine, column = seen[s], seen[size + s], seen[2 * size + s], own[s], memory[s]
                for n in range(count):
                    opened = _HALF + _HALF * _tanh(_HALF * reset[n])
                    new = _tanh(candidate[n] + opened * mine[n])
                    kept = _HALF + _HALF * _tanh(_HALF * keep[n])
                    column[n] = new + kept * (column[n] - new)
            fast, slow = signals[p, b, 1], signals[p, b, 2]
            for n in range(count):
                step[n] = _ZERO
            for s in range(size):
                factor = change[p, 0, s] + fast * change[p, 1, s] + slow * change[p, 2, s]
                column = memory[s]
                for n in range(count):
                    step[n] += factor * column[n]
            weight = memory[size]
            for n in range(count):
                weight[n] = min(max(weight[n] + rate * step[n], -limit), limit)
            for i in range(num_out):
                for j in range(num_in):
                    for s in range(width):
                        after[p, b, i, j, s] = memory[s, i * num_in + j]
    return after
