"""A reinstating LSTM along a sequence where first derivatives are enough: what lies between products in one pass."""

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


class ReinstatingSteps(Function):
    """Outputs and cells (T, n, H) of `maml_rl.policies.reinstating_gates.ReinstatingGates`, in float32 on the CPU.

    After gates without the recurrent part (T, n, 5 H), what is reinstated (T, n, H), recurrent weights (5 H, H), and
    output and cell (n, H) before. No second derivatives.
    """

    @staticmethod
    def forward(
        ctx: Any, projected: Tensor, memory: Tensor, weight: Tensor, output: Tensor, cell: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Outputs and cells (T, n, H) of `projected` (T, n, 5 H), `memory` (T, n, H), `weight` (5 H, H), and states.

        `output` and `cell` (n, H) are those before.
        """
        gates, memory = projected.clone(memory_format=torch.contiguous_format), memory.contiguous()
        outputs, cells = (part.new_empty((1 + len(gates), *part.shape)) for part in (output, cell))
        outputs[0], cells[0] = output, cell
        arrays = tuple(part.numpy() for part in (gates, memory, outputs, cells))
        turned = weight.t()
        for step, (now, last) in enumerate(zip(gates.unbind(0), outputs.unbind(0), strict=False)):
            now.addmm_(last, turned)
            _open(step, *arrays)
        ctx.save_for_backward(gates, memory, weight, outputs, cells)
        return outputs[1:], cells[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, for_outputs: Tensor, for_cells: Tensor) -> tuple[Tensor, ...]:
        """Cotangents of all inputs from `for_outputs` (T, n, H) and `for_cells` (T, n, H)."""
        gates, memory, weight, outputs, cells = ctx.saved_tensors
        for_gates, for_memory = torch.empty_like(gates), torch.empty_like(memory)
        for_outputs, cell = for_outputs.contiguous(), torch.zeros_like(cells[0])
        output = torch.zeros_like(cell)
        steps = (gates, memory, cells), (for_outputs, for_cells.contiguous()), (output, cell), (for_gates, for_memory)
        arrays = tuple(tuple(part.numpy() for part in parts) for parts in steps)
        rows = for_gates.unbind(0)
        for step in reversed(range(len(rows))):
            _close(step, *arrays)
            torch.mm(rows[step], weight, out=output)
        for_weight = for_gates.flatten(0, 1).t() @ outputs[:-1].flatten(0, 1)
        return for_gates, for_memory, for_weight, output, cell


@compiled
def _open(step, gates, memory, outputs, cells):
    """Output and cell after a step; gates are opened in place."""
    size = memory.shape[-1]
    for n in range(memory.shape[1]):
        i, f, o, r, g = _split(gates[step, n], size)
        m, before, after, output = memory[step, n], cells[step, n], cells[step + 1, n], outputs[step + 1, n]
        for v in range(size):
            i[v] = sigmoid(i[v])
            f[v] = sigmoid(f[v])
            o[v] = sigmoid(o[v])
            r[v] = sigmoid(r[v])
            g[v] = tanh(g[v])
            after[v] = f[v] * before[v] + i[v] * g[v] + r[v] * m[v]
            output[v] = o[v] * tanh(after[v])


@compiled
def _close(step, steps, given, carried, results):
    """Cotangents of gates and of what was reinstated in a step; of the cell from after it to before it."""
    gates, memory, cells = steps
    for_outputs, for_cells = given
    for_output, for_cell = carried
    for_gates, for_memory = results
    size = memory.shape[-1]
    for n in range(memory.shape[1]):
        i, f, o, r, g = _split(gates[step, n], size)
        for_i, for_f, for_o, for_r, for_g = _split(for_gates[step, n], size)
        m, before, after, to_memory = memory[step, n], cells[step, n], cells[step + 1, n], for_memory[step, n]
        of_output, of_cell, later, content = for_outputs[step, n], for_cells[step, n], for_output[n], for_cell[n]
        for v in range(size):
            shown, output = tanh(after[v]), of_output[v] + later[v]
            inside = content[v] + of_cell[v] + output * o[v] * (_ONE - shown * shown)
            for_i[v] = inside * g[v] * i[v] * (_ONE - i[v])
            for_f[v] = inside * before[v] * f[v] * (_ONE - f[v])
            for_o[v] = output * shown * o[v] * (_ONE - o[v])
            for_r[v] = inside * m[v] * r[v] * (_ONE - r[v])
            for_g[v] = inside * i[v] * (_ONE - g[v] * g[v])
            to_memory[v] = inside * r[v]
            content[v] = inside * f[v]


@numba.njit(inline="always", fastmath=True)
def _split(row, size):
    """Five parts, `size` long each, of a row."""
    return row[:size], row[size:], row[2 * size :], row[3 * size :], row[4 * size :]
