"""Kernel of a network of stochastic units: a step of all layers, with the noise of hidden neurons."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numba
import numpy as np

from maml_rl.policies.learning_rules.fused import LANES
from maml_rl.policies.learning_rules.lanes import prefetch, tanh
from maml_rl.policies.learning_rules.noise import FACTORS, GOLDEN, MASK
from maml_rl.utils.kernels import compiled

_SCALE, _HALF, _SPREAD = np.float32(2.0**-32), np.float32(0.5), np.float32(math.sqrt(12.0))
(_FIRST_SHIFT, _FIRST), (_SECOND_SHIFT, _SECOND) = FACTORS


@numba.njit(inline="always", fastmath=True)
def _neuron_noise(row, key, age, neuron, count):
    """See `maml_rl.policies.learning_rules.noise.neuron_noise`: one neuron's, of the lanes."""
    for v in range(LANES):
        bits = (key[v] + GOLDEN * (np.int64(age[v]) * count + neuron)) & MASK
        bits = ((bits ^ (bits >> _FIRST_SHIFT)) * _FIRST) & MASK
        bits = ((bits ^ (bits >> _SECOND_SHIFT)) * _SECOND) & MASK
        row[v] = (np.float32(bits ^ (bits >> 16)) * _SCALE - _HALF) * _SPREAD


@compiled
def run_forward(activity, weights, levels, key, age, noisy):
    """Kernel of `maml_rl.policies.learning_rules.forward.run_forward`, of N lives.

    Parameters
    ----------
    activity
        Inputs (J, N), drives, outputs and noise (I, N), of each layer: written but for the first layer's inputs. The
        last of each layer's inputs is 1.
    weights, levels
        Weights (I, J, N) and noise levels (I, N), or (1, N) for all neurons, of each layer.
    key, age
        Of the lives (N,).
    noisy
        Whether hidden neurons have noise.
    """
    inputs, drives, outputs, noise = activity
    num_lives, last, num_hidden = len(key), len(weights) - 1, 0
    for layer in range(last):
        num_hidden += weights[layer].shape[0]
    for block in range(0, num_lives, LANES):
        first, neuron = min(block, num_lives - LANES), 0
        its_key, its_age = key[first : first + LANES], age[first : first + LANES]
        for layer in range(last + 1):
            weight, level, carried = weights[layer], levels[layer], inputs[layer]
            num_out, num_in = weight.shape[:2]
            for i in range(num_out):
                ahead = min(i + 1, num_out - 1) * num_in * num_lives + first
                prefetch(weight.ctypes.data + 4 * ahead, num_in, num_lives)
                drive, output = drives[layer][i, first : first + LANES], outputs[layer][i, first : first + LANES]
                random = noise[layer][i, first : first + LANES]
                drive[:] = weight[i, -1, first : first + LANES]
                for j in range(num_in - 1):
                    factor, unit = weight[i, j, first : first + LANES], carried[j, first : first + LANES]
                    for v in range(LANES):
                        drive[v] += factor[v] * unit[v]
                if layer == last:
                    random[:] = np.float32(0.0)
                    output[:] = drive
                    continue
                random[:] = np.float32(0.0)
                if noisy:
                    size = level[min(i, level.shape[0] - 1), first : first + LANES]
                    _neuron_noise(random, its_key, its_age, neuron, num_hidden)
                    for v in range(LANES):
                        random[v] *= size[v]
                for v in range(LANES):
                    output[v] = tanh(drive[v] + random[v])
                inputs[layer + 1][i, first : first + LANES] = output
                neuron += 1
