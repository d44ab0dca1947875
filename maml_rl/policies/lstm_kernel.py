"""An LSTM along a sequence where first derivatives are enough: all steps in one compiled loop."""

# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from maml_rl.policies.learning_rules.lanes import sigmoid, tanh
from maml_rl.utils.kernels import compiled

_ONE = np.float32(1.0)
_LARGEST_BLOCK = 262_144
"""Rows times size of weights for which OpenBLAS, to which numba gives products, stays in one thread."""


class LSTMSteps(Function):
    """Outputs and contents (T, n, H) of `maml_rl.policies.recurrent_cells.LSTMCell`, in float32 on the CPU.

    After inputs (T, n, I), weights (4 H, I), bias (4 H,) and recurrent weights (4 H, H) of the gates in the order
    i, f, o, g, and output and content (n, H) before. No second derivatives.
    """

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, recurrent: Tensor, output: Tensor, content: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs and contents (T, n, H) of `inputs` (T, n, I), `weight` (4 H, I), `bias` (4 H,), `recurrent` (4 H, H).

        `output` and `content` (n, H) are those before.
        """
        steps, count, size = len(inputs), *output.shape
        gates = inputs.new_empty((steps, count, 4 * size))
        outputs, contents = (part.new_empty((1 + steps, count, size)) for part in (output, content))
        outputs[0], contents[0] = output, content
        own = (part.contiguous().numpy() for part in (inputs, weight.t(), bias, recurrent.t()))
        _forward(*own, gates.numpy(), outputs.numpy(), contents.numpy())
        ctx.save_for_backward(inputs, weight, gates, recurrent, outputs, contents)
        return outputs[1:], contents[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_outputs: Tensor, for_contents: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs from `for_outputs` and `for_contents` (T, n, H)."""
        inputs, weight, gates, recurrent, outputs, contents = ctx.saved_tensors
        output, content = torch.zeros_like(outputs[0]), torch.zeros_like(contents[0])
        given = for_outputs.contiguous().numpy(), for_contents.contiguous().numpy()
        arrays = (gates.numpy(), recurrent.contiguous().numpy(), contents.numpy())
        for_gates = torch.empty_like(gates)
        _backward(*arrays, *given, output.numpy(), content.numpy(), for_gates.numpy())
        rows = for_gates.flatten(0, 1)
        # Narrow matrices first: five times as fast where inputs are few.
        for_weight, for_recurrent = ((seen.flatten(0, 1).t() @ rows).t() for seen in (inputs, outputs[:-1]))
        for_inputs = (rows @ weight).view_as(inputs) if ctx.needs_input_grad[0] else None
        return for_inputs, for_weight, rows.sum(0), for_recurrent, output, content


@compiled
def _forward(inputs, weight, bias, recurrent, gates, outputs, contents):
    """Opened gates, outputs and contents after every step. Weights (I, 4 H) and (H, 4 H)."""
    size = outputs.shape[-1]
    for step in range(gates.shape[0]):
        _multiply(outputs[step], recurrent, gates[step])
        for n in range(gates.shape[1]):
            row = gates[step, n]
            for j in range(len(bias)):
                row[j] += bias[j]
            _add_product(row, inputs[step, n], weight)
            i, f, o, g = _split(row, size)
            before, after, output = contents[step, n], contents[step + 1, n], outputs[step + 1, n]
            for v in range(size):
                i[v] = sigmoid(i[v])
                f[v] = sigmoid(f[v])
                o[v] = sigmoid(o[v])
                g[v] = tanh(g[v])
                after[v] = f[v] * before[v] + i[v] * g[v]
                output[v] = o[v] * tanh(after[v])


@compiled
def _backward(gates, weight, contents, for_outputs, for_contents, for_output, for_content, for_gates):
    """Cotangents of gates, and of output and content before the first step. Weights (4 H, H)."""
    size = contents.shape[-1]
    for step in range(gates.shape[0] - 1, -1, -1):
        for n in range(gates.shape[1]):
            i, f, o, g = _split(gates[step, n], size)
            for_i, for_f, for_o, for_g = _split(for_gates[step, n], size)
            before, after = contents[step, n], contents[step + 1, n]
            of_output, of_content = for_outputs[step, n], for_contents[step, n]
            later, content = for_output[n], for_content[n]
            for v in range(size):
                shown, output = tanh(after[v]), of_output[v] + later[v]
                inside = content[v] + of_content[v] + output * o[v] * (_ONE - shown * shown)
                for_i[v] = inside * g[v] * i[v] * (_ONE - i[v])
                for_f[v] = inside * before[v] * f[v] * (_ONE - f[v])
                for_o[v] = output * shown * o[v] * (_ONE - o[v])
                for_g[v] = inside * i[v] * (_ONE - g[v] * g[v])
                content[v] = inside * f[v]
        _multiply(for_gates[step], weight, for_output)


@numba.njit(inline="always", fastmath=True)
def _add_product(out, row, weight):
    """``out += row @ weight``: four rows of the weights (K, J) at a time, so that `out` is read a quarter as often."""
    whole = len(row) // 4 * 4
    for k in range(0, whole, 4):
        a, b, c, d = row[k], row[k + 1], row[k + 2], row[k + 3]
        one, two, three, four = weight[k], weight[k + 1], weight[k + 2], weight[k + 3]
        for j in range(len(out)):
            out[j] += a * one[j] + b * two[j] + c * three[j] + d * four[j]
    for k in range(whole, len(row)):
        a, one = row[k], weight[k]
        for j in range(len(out)):
            out[j] += a * one[j]


@compiled
def _multiply(rows, weight, out):
    """``out = rows @ weight``, rows (n, K), in blocks that are too small for BLAS to start threads for them."""
    block = max(_LARGEST_BLOCK // weight.size, 1)
    for start in range(0, len(rows), block):
        np.dot(rows[start : start + block], weight, out[start : start + block])


@numba.njit(inline="always", fastmath=True)
def _split(row, size):
    """Four parts, `size` long each, of a row."""
    return row[:size], row[size : 2 * size], row[2 * size : 3 * size], row[3 * size :]
