"""A GRU along a sequence where first derivatives are enough: all steps in one compiled loop."""

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


class GRUSteps(Function):
    """Outputs (T, n, H) of `maml_rl.policies.gru_cell.GRUCell`, in float32 on the CPU.

    After inputs (T, n, I), and weights (4 H, I), bias (4 H,) and recurrent weights (4 H, H) of r, u and both parts of n
    in this order, zeros where a part does not see inputs or outputs; and the output (n, H) before. No second
    derivatives.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor, recurrent: Tensor, output: Tensor) -> Tensor:
        """Outputs (T, n, H) of `inputs` (T, n, I), `weight` (4 H, I), `bias` (4 H,) and `recurrent` (4 H, H).

        `output` (n, H) is the one before.
        """
        steps, count, size = len(inputs), *output.shape
        joined, gates = join_steps(inputs, output), inputs.new_empty((steps, count, 4 * size))
        outputs = inputs.new_empty((1 + steps, count, size))
        outputs[0] = output
        _forward(*(part.numpy() for part in (joined, join_weights(weight, bias, recurrent), gates, outputs)))
        ctx.save_for_backward(weight, joined, gates, recurrent, outputs)
        return outputs[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs from `for_outputs` (T, n, H)."""
        weight, joined, gates, recurrent, outputs = ctx.saved_tensors
        output, for_gates = torch.zeros_like(outputs[0]), torch.empty_like(gates)
        given = (part.contiguous() for part in (recurrent, outputs, for_outputs))
        _backward(*(part.numpy() for part in (gates, *given, output, for_gates)))
        for_weight, for_bias, for_recurrent = split_cotangents(joined, for_gates, weight.shape[1])
        for_inputs = for_gates @ weight if ctx.needs_input_grad[0] else None
        return for_inputs, for_weight, for_bias, for_recurrent, output


@compiled
def _forward(joined, weights, gates, outputs):
    """Opened gates and outputs after every step, the outputs beside the next inputs too."""
    size = outputs.shape[-1]
    for step in range(gates.shape[0]):
        multiply(joined[step], weights, gates[step])
        for n in range(gates.shape[1]):
            r, u, candidate, behind = split(gates[step, n], size)
            before, after = outputs[step, n], outputs[step + 1, n]
            for v in range(size):
                r[v] = sigmoid(r[v])
                u[v] = sigmoid(u[v])
                candidate[v] = tanh(candidate[v] + r[v] * behind[v])
                after[v] = candidate[v] + u[v] * (before[v] - candidate[v])
            joined[step + 1, n, joined.shape[2] - size :] = after


@compiled
def _backward(gates, recurrent, outputs, for_outputs, for_output, for_gates):
    """Cotangents of gates, and of the output before the first step. Recurrent weights (4 H, H)."""
    size = outputs.shape[-1]
    passed = np.zeros_like(for_output)  # what of an output's cotangent does not go through the gates
    for step in range(gates.shape[0] - 1, -1, -1):
        for n in range(gates.shape[1]):
            r, u, candidate, behind = split(gates[step, n], size)
            for_r, for_u, for_candidate, for_behind = split(for_gates[step, n], size)
            before, given, later, kept = outputs[step, n], for_outputs[step, n], for_output[n], passed[n]
            for v in range(size):
                output = given[v] + later[v] + kept[v]
                drive = output * (_ONE - u[v]) * (_ONE - candidate[v] * candidate[v])
                for_r[v] = drive * behind[v] * r[v] * (_ONE - r[v])
                for_u[v] = output * (before[v] - candidate[v]) * u[v] * (_ONE - u[v])
                for_candidate[v] = drive
                for_behind[v] = drive * r[v]
                kept[v] = output * u[v]
        multiply(for_gates[step], recurrent, for_output)
    for n in range(len(for_output)):
        for v in range(size):
            for_output[n, v] += passed[n, v]
