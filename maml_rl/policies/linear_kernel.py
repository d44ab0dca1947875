"""A linear recurrence with its gates along a sequence where first derivatives are enough: one compiled loop."""

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


class LinearSteps(Function):
    """Outputs and contents (T, n, H) of `maml_rl.policies.linear_policy.LinearRecurrenceCell`, in float32 on the CPU.

    After gates (T, n, 3 H), not opened, in the order f, g, o, and contents (n, H) before. No second derivatives.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, content: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs and contents (T, n, H) of `gates` (T, n, 3 H); `content` (n, H) is the one before."""
        steps, count, size = len(gates), *content.shape
        outputs, contents = gates.new_empty((steps, count, size)), gates.new_empty((1 + steps, count, size))
        opened = torch.empty_like(gates, memory_format=torch.contiguous_format)
        contents[0] = content
        _forward(*(part.numpy() for part in (gates.contiguous(), opened, outputs, contents)))
        ctx.save_for_backward(opened, contents)
        return outputs, contents[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_outputs: Tensor, for_contents: Tensor) -> tuple[Tensor, ...]:
        """Cotangents of gates (T, n, 3 H) and content from `for_outputs` and `for_contents` (T, n, H)."""
        opened, contents = ctx.saved_tensors
        content, for_gates = torch.zeros_like(contents[0]), torch.empty_like(opened)
        given = (part.contiguous() for part in (for_outputs, for_contents))
        _backward(*(part.numpy() for part in (opened, contents, *given, content, for_gates)))
        return for_gates, content


@numba.njit(inline="always", fastmath=True)
def _split(row, size):
    return row[:size], row[size : 2 * size], row[2 * size :]


@compiled
def _forward(gates, opened, outputs, contents):
    """Opened gates, outputs and contents after every step."""
    size = outputs.shape[-1]
    for step in range(gates.shape[0]):
        for n in range(gates.shape[1]):
            forget, candidate, shut = _split(gates[step, n], size)
            f, g, o = _split(opened[step, n], size)
            before, after, output = contents[step, n], contents[step + 1, n], outputs[step, n]
            for v in range(size):
                f[v] = sigmoid(forget[v])
                g[v] = candidate[v]
                o[v] = sigmoid(shut[v])
                after[v] = g[v] + f[v] * (before[v] - g[v])
                output[v] = o[v] * tanh(after[v])


@compiled
def _backward(opened, contents, for_outputs, for_contents, for_content, for_gates):
    """Cotangents of gates before they are opened, and of the content before the first step."""
    size = contents.shape[-1]
    for step in range(opened.shape[0] - 1, -1, -1):
        for n in range(opened.shape[1]):
            f, g, o = _split(opened[step, n], size)
            for_f, for_g, for_o = _split(for_gates[step, n], size)
            before, after = contents[step, n], contents[step + 1, n]
            of_output, of_content, content = for_outputs[step, n], for_contents[step, n], for_content[n]
            for v in range(size):
                shown = tanh(after[v])
                inside = content[v] + of_content[v] + of_output[v] * o[v] * (_ONE - shown * shown)
                for_f[v] = inside * (before[v] - g[v]) * f[v] * (_ONE - f[v])
                for_g[v] = inside * (_ONE - f[v])
                for_o[v] = of_output[v] * shown * o[v] * (_ONE - o[v])
                content[v] = inside * f[v]
