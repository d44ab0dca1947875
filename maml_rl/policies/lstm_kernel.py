"""An LSTM along a sequence where first derivatives are enough: all steps in one compiled loop."""

# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from maml_rl.policies.joined_steps import join_steps, join_weights, multiply, split, split_cotangents
from maml_rl.policies.learning_rules.lanes import sigmoid, tanh
from maml_rl.utils.kernels import compiled

_ONE = np.float32(1.0)


class LSTMSteps(Function):
    """Outputs and contents (T, n, H) of `maml_rl.policies.lstm_cell.LSTMCell`, in float32 on the CPU.

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
        joined, gates = join_steps(inputs, output), inputs.new_empty((steps, count, 4 * size))
        outputs, contents = inputs.new_empty((steps, count, size)), inputs.new_empty((1 + steps, count, size))
        contents[0] = content
        weights = join_weights(weight, bias, recurrent)
        _forward(*(part.numpy() for part in (joined, weights, gates, outputs, contents)))
        ctx.save_for_backward(weight, joined, gates, recurrent, contents)
        return outputs, contents[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_outputs: Tensor, for_contents: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs from `for_outputs` and `for_contents` (T, n, H)."""
        weight, joined, gates, recurrent, contents = ctx.saved_tensors
        output, content = torch.zeros_like(contents[0]), torch.zeros_like(contents[0])
        for_gates = torch.empty_like(gates)
        given = (part.contiguous() for part in (recurrent, contents, for_outputs, for_contents))
        _backward(*(part.numpy() for part in (gates, *given, output, content, for_gates)))
        for_weight, for_bias, for_recurrent = split_cotangents(joined, for_gates, weight.shape[1])
        for_inputs = for_gates @ weight if ctx.needs_input_grad[0] else None
        return for_inputs, for_weight, for_bias, for_recurrent, output, content


@compiled
def _forward(joined, weights, gates, outputs, contents):
    """Opened gates, outputs and contents after every step, the outputs beside the next inputs too."""
    size = outputs.shape[-1]
    for step in range(gates.shape[0]):
        multiply(joined[step], weights, gates[step])
        for n in range(gates.shape[1]):
            i, f, o, g = split(gates[step, n], size)
            before, after, output = contents[step, n], contents[step + 1, n], outputs[step, n]
            for v in range(size):
                i[v] = sigmoid(i[v])
                f[v] = sigmoid(f[v])
                o[v] = sigmoid(o[v])
                g[v] = tanh(g[v])
                after[v] = f[v] * before[v] + i[v] * g[v]
                output[v] = o[v] * tanh(after[v])
            joined[step + 1, n, joined.shape[2] - size :] = output


@compiled
def _backward(gates, recurrent, contents, for_outputs, for_contents, for_output, for_content, for_gates):
    """Cotangents of gates, and of output and content before the first step. Recurrent weights (4 H, H)."""
    size = contents.shape[-1]
    for step in range(gates.shape[0] - 1, -1, -1):
        for n in range(gates.shape[1]):
            i, f, o, g = split(gates[step, n], size)
            for_i, for_f, for_o, for_g = split(for_gates[step, n], size)
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
        multiply(for_gates[step], recurrent, for_output)
