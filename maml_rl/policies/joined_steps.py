"""Inputs, outputs and a one side by side, so that a step's gates are one product with one matrix of weights."""

# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numba
import numpy as np
import torch
from torch import Tensor

from maml_rl.utils.kernels import compiled

_LARGEST_BLOCK = 262_144
"""Rows times size of weights for which OpenBLAS, to which numba gives products, stays in one thread."""


def join_steps(inputs: Tensor, output: Tensor) -> Tensor:
    """Rows (1 + T, n, 1 + I + H) of 1, x_t and h_{t-1}, from `inputs` x (T, n, I) and the first `output` h (n, H).

    A kernel writes the later outputs. The last row has no input.
    """
    (steps, count, num_inputs), size = inputs.shape, output.shape[-1]
    joined = inputs.new_empty((1 + steps, count, 1 + num_inputs + size))
    joined[..., 0] = 1.0
    joined[:-1, :, 1 : 1 + num_inputs] = inputs
    joined[0, :, 1 + num_inputs :] = output
    return joined


def join_weights(weight: Tensor, bias: Tensor, recurrent: Tensor) -> Tensor:
    """Weights (1 + I + H, G H) of joined steps, from `weight` (G H, I), `bias` (G H,) and `recurrent` (G H, H)."""
    return torch.cat([bias.unsqueeze(0), weight.t(), recurrent.t()])


def split_cotangents(joined: Tensor, for_gates: Tensor, num_inputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """Cotangents of weights (G H, I), bias (G H,) and recurrent weights (G H, H).

    From `joined` steps (1 + T, n, 1 + I + H) and cotangents `for_gates` (T, n, G H) of the gates; `num_inputs` is I.
    """
    product = joined[:-1].flatten(0, 1).t() @ for_gates.flatten(0, 1)
    bias, weight, recurrent = product.split([1, num_inputs, len(product) - 1 - num_inputs])
    return weight.t(), bias[0], recurrent.t()


@compiled
def multiply(rows, weight, out):
    """``out = rows @ weight``, rows (n, K), in blocks that are too small for BLAS to start threads for them."""
    block = max(_LARGEST_BLOCK // weight.size, 1)
    for start in range(0, len(rows), block):
        np.dot(rows[start : start + block], weight, out[start : start + block])


@numba.njit(inline="always")
def of_group(array, group):
    """That of a group (T, n, K) in an `array` (G, T, n, K), or (1, T, n, K) if it is the same for all."""
    return array[min(group, array.shape[0] - 1)]


@numba.njit(inline="always", fastmath=True)
def split(row, size):
    """Four parts, `size` long each, of a row."""
    return row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size :]
