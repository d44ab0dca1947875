"""Learning rules in one pass over memory, for populations on the CPU: numba compiles these functions.

Each computes what the rule of the same name computes with tensors, without keeping what lies between. Arrays are
contiguous and float32; P individuals live L lives each.
"""

from __future__ import annotations

import functools

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


@functools.cache
def synapse_gru(size):  # type: ignore[no-untyped-def]
    """Kernel of `maml_rl.policies.learning_rules.synapse_gru.SynapseGRU` for states of `size` numbers.

    Its arguments are, of one layer, states (P, L, I, J, S) and weights (P, L, I, J), what a neuron's synapses see of it
    (P, L, I, F), inputs (P, L, J), signals (P, L, 4); parameters (P, F, 3S), (P, F, 3S), (P, S + 1, 3S), (P, S, 3);
    rate and limit. It returns states and weights after the step.
    """
    gates, both = 3 * size, 2 * size

    @numba.njit(fastmath=True, cache=True, nogil=True, error_model="numpy")
    def kernel(memory, weights, nodes, carried, signals, node, product, synapse, change, rate, limit):  # type: ignore[no-untyped-def]
        num_individuals, num_lives, num_out, num_in = weights.shape
        num_seen, count = nodes.shape[-1], num_out * num_in
        memory_after, weights_after = np.empty_like(memory), np.empty_like(weights)
        of_node, of_product = np.empty(gates, np.float32), np.empty(gates, np.float32)
        opened, candidate, mine = (
            np.empty((count, both), np.float32),
            np.empty((count, size), np.float32),
            np.empty((count, size), np.float32),
        )
        flat_opened, flat_candidate, flat_mine = opened.reshape(-1), candidate.reshape(-1), mine.reshape(-1)
        factors = np.empty(size, np.float32)
        for p in range(num_individuals):
            for b in range(num_lives):
                for i in range(num_out):
                    for k in range(gates):
                        of_node[k], of_product[k] = _ZERO, _ZERO
                    for f in range(num_seen):
                        seen = nodes[p, b, i, f]
                        for k in range(gates):
                            of_node[k] += seen * node[p, f, k]
                            of_product[k] += seen * product[p, f, k]
                    for j in range(num_in):
                        n, x, w = i * num_in + j, carried[p, b, j], weights[p, b, i, j]
                        for k in range(both):
                            total = of_node[k] + x * of_product[k] + w * synapse[p, size, k]
                            for s in range(size):
                                total += memory[p, b, i, j, s] * synapse[p, s, k]
                            opened[n, k] = total
                        for k in range(size):
                            total = w * synapse[p, size, both + k]
                            for s in range(size):
                                total += memory[p, b, i, j, s] * synapse[p, s, both + k]
                            mine[n, k] = total
                            candidate[n, k] = of_node[both + k] + x * of_product[both + k]
                for n in range(count * both):
                    flat_opened[n] = _HALF + _HALF * _tanh(_HALF * flat_opened[n])
                for n in range(count):
                    for k in range(size):
                        candidate[n, k] += opened[n, size + k] * mine[n, k]
                for n in range(count * size):
                    flat_candidate[n] = _tanh(flat_candidate[n])
                fast, slow = signals[p, b, 1], signals[p, b, 2]
                for s in range(size):
                    factors[s] = rate * (change[p, s, 0] + fast * change[p, s, 1] + slow * change[p, s, 2])
                before, after = memory[p, b].reshape(count, size), memory_after[p, b].reshape(count, size)
                weight, weight_after = weights[p, b].reshape(-1), weights_after[p, b].reshape(-1)
                for n in range(count):
                    step = weight[n]
                    for s in range(size):
                        value = candidate[n, s] + opened[n, s] * (before[n, s] - candidate[n, s])
                        after[n, s] = value
                        step += factors[s] * value
                    weight_after[n] = min(max(step, -limit), limit)
        return memory_after, weights_after

    return kernel
