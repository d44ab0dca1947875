"""A recurrent layer along a sequence, with derivatives written out so that little waits for the step before.

A layer with gates ``z_t = x_t + W h_{t-1}`` and states ``(h_t, c_t) = f(z_t, c_{t-1})``, f acting on each unit by
itself, has a Jacobian that is `W` and a few numbers per unit and step. What differs between cells, those numbers,
is computed for all steps at once; what remains is a linear recurrence, whose derivative is again one, run the
other way. Products with weights accumulate in one matrix product over all steps instead of one for each.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

CellState = tuple[Tensor, ...]

Order = Literal[1, 2]
"""Derivatives that are wanted of a sequence: 1, first ones only and outside of `vmap`, which may be faster; 2, as many
as wanted."""


def compiles(inputs: Tensor) -> bool:
    """True if there may be compiled loops for inputs (T, ..., I): float32 on the CPU."""
    return inputs.dtype == torch.float32 and inputs.device.type == "cpu"


class Layer(Protocol):
    """The function f of a recurrent layer with G gates and S further states."""

    def pointwise(self, gates: Tensor, *contents: Tensor) -> CellState:
        """Output (..., H) and states (..., H) after gates (..., G * H) and contents (..., H), the states before.

        Units do not mix.
        """

    def jacobian(self, gates: Tensor, *contents: Tensor) -> Tensor:
        """Derivatives (..., 1 + S, G + S, H) of `pointwise` in its gates (..., G * H) and contents (..., H)."""


def unroll(layer: Layer, inputs: Tensor, weight: Tensor, state: CellState) -> tuple[Tensor, CellState]:
    """Outputs (T, ..., H) of a recurrent layer and its state after the last step; differentiable, under `vmap` too.

    Parameters
    ----------
    layer
        The function f.
    inputs
        What does not wait for the state, (T, ..., G * H).
    weight
        Recurrent weights W, (G * H, H).
    state
        Output and further states before the first step, (..., H) each.
    """
    outputs, *others = all_states(layer, inputs, weight, state)
    return outputs, (outputs[-1], *(other[-1] for other in others))


def all_states(layer: Layer, inputs: Tensor, weight: Tensor, state: CellState) -> CellState:
    """Output and further states (T, ..., H) after each step of `inputs` (T, ..., G * H); otherwise as `unroll`.

    `weight` (G * H, H).
    """
    _, *states = _Recurrence.apply(layer, inputs, weight, *state)
    return tuple(states)


class _Recurrence(Function):
    """Gates (T, ..., G * H), outputs and further states (T, ..., H) along a sequence."""

    @staticmethod
    def forward(layer: Layer, inputs: Tensor, weight: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        gates, states = [], []
        for now in inputs.unbind(0):
            gates.append(now + state[0] @ weight.mT)
            state = layer.pointwise(gates[-1], *state[1:])
            states.append(state)
        return torch.stack(gates), *(torch.stack(parts) for parts in zip(*states, strict=True))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.layer, _, weight, *state = inputs
        ctx.save_for_backward(weight, *state, *output)

    @staticmethod
    def backward(ctx: Any, for_gates: Tensor, *for_states: Tensor) -> tuple[Tensor | None, ...]:
        weight, *saved = ctx.saved_tensors
        begin, gates, states = saved[: len(for_states)], saved[len(for_states)], saved[len(for_states) + 1 :]
        before = [torch.cat([first.unsqueeze(0), later[:-1]]) for first, later in zip(begin, states, strict=True)]
        size = weight.shape[-1]
        jacobian = ctx.layer.jacobian(gates, *before[1:])
        wide = torch.nn.functional.pad(_split(for_gates, size), (0, 0, 0, len(for_states) - 1))
        cotangents, _ = _Linearised.apply(True, jacobian, weight, wide, torch.stack(for_states, -2))
        num_gates = gates.shape[-1] // size
        for_inputs = cotangents[..., :num_gates, :].flatten(-2)
        return (
            None,
            for_inputs,
            outer(for_inputs, before[0], weight),
            for_inputs[0] @ weight,
            *cotangents[0][..., num_gates:, :].unbind(-2),
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], layer: Layer, *parts: Tensor) -> tuple[Any, Any]:
        outputs = _Recurrence.apply(layer, *to_front(info.batch_size, in_dims[1:], parts, times=(0,)))
        return outputs, (1,) * len(outputs)


class _Linearised(Function):
    """The recurrence around its states, first one way and then the other.

    With J_t the Jacobian of (h_t, c_t) in (z_t, c_{t-1}) and M that of (z_t, c_{t-1}) in (h_{t-1}, c_{t-1}), forwards
    ``l_t = p_t + M m_{t-1};  m_t = q_t + J_t l_t``, how tangents (p, q) travel; reversed
    ``m_t = q_t + M^T l_{t+1};  l_t = p_t + J_t^T m_t``, how cotangents do. Each is the transpose of the other.

    J (T, ..., 1 + S, G + S, H), W (G * H, H), p and l (T, ..., G + S, H), q and m (T, ..., 1 + S, H), S further states.
    """

    @staticmethod
    def forward(reverse: bool, jacobian: Tensor, weight: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        of_gates, of_states = p.clone(), q.clone()
        num_gates = weight.shape[-2] // weight.shape[-1]
        rows = list(zip(of_gates.unbind(0), of_states.unbind(0), jacobian.unbind(0), strict=True))
        last: tuple[Tensor, Tensor] | None = None
        for gate, state, local in reversed(rows) if reverse else rows:
            if reverse:
                if last is not None:
                    state[..., 0, :] += last[0][..., :num_gates, :].flatten(-2) @ weight
                    state[..., 1:, :] += last[0][..., num_gates:, :]
                for index in range(state.shape[-2]):
                    gate.addcmul_(local[..., index, :, :], state[..., index, None, :])
            else:
                if last is not None:
                    gate[..., :num_gates, :] += _split(last[1][..., 0, :] @ weight.mT, weight.shape[-1])
                    gate[..., num_gates:, :] += last[1][..., 1:, :]
                state += (local * gate.unsqueeze(-3)).sum(-2)
            last = gate, state
        return of_gates, of_states

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.reverse, jacobian, weight, *_ = inputs
        ctx.save_for_backward(jacobian, weight, *output)

    @staticmethod
    def backward(ctx: Any, for_gates: Tensor, for_states: Tensor) -> tuple[Tensor | None, ...]:
        jacobian, weight, *output = ctx.saved_tensors
        p, q = _Linearised.apply(not ctx.reverse, jacobian, weight, for_gates, for_states)
        cotangents, tangents = (output, (p, q)) if ctx.reverse else ((p, q), output)
        num_gates = weight.shape[-2] // weight.shape[-1]
        for_weight = outer(cotangents[0][1:, ..., :num_gates, :].flatten(-2), tangents[1][:-1, ..., 0, :], weight)
        for_jacobian = cotangents[1].unsqueeze(-2) * tangents[0].unsqueeze(-3)
        return None, for_jacobian, for_weight, p, q

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], reverse: bool, *parts: Tensor) -> tuple[Any, Any]:
        return _Linearised.apply(reverse, *to_front(info.batch_size, in_dims[1:], parts, times=(0, 2, 3))), (1, 1)


def _split(gates: Tensor, size: int) -> Tensor:
    """(..., G * H) -> (..., G, H)."""
    return gates.unflatten(-1, (-1, size))


def outer(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Outer products of `left` (T, *L, ..., I) and `right` (T, *L, ..., J), summed: (*L, I, J), as `weight` is."""
    lead = lead_of(weight)
    left, right = (part.movedim(0, lead).flatten(lead, -2) for part in (left, right))
    return (right.mT @ left).mT  # so that the derivative in `left`, the larger, is not transposed


def to_front(
    size: int, in_dims: tuple[int | None, ...], parts: tuple[Tensor, ...], *, times: Container[int]
) -> list[Tensor]:
    """Give all parts `vmap`'s dimension of this size in front, or behind the steps of those at indices in `times`."""
    moved = []
    for index, (part, dim) in enumerate(zip(parts, in_dims, strict=True)):
        target = int(index in times)
        if dim is None:
            moved.append(part.unsqueeze(target).expand(*part.shape[:target], size, *part.shape[target:]))
        else:
            moved.append(part.movedim(dim, target))
    return moved


def joined_steps(lead: int, inputs: Tensor, outputs: Tensor) -> Tensor:
    """Rows (T, *L, ..., 1 + I + H) of 1, x_t and h_{t-1}, in memory as `new_steps` has it; `lead` is L's length.

    From `inputs` x (T, *L, ..., I) and `outputs` h (1 + T, *L, ..., H).
    """
    parts = (inputs.new_ones((*inputs.shape[:-1], 1)), inputs, outputs[:-1])
    return torch.cat([part.movedim(0, lead) for part in parts], -1).movedim(lead, 0)


def through(left: Tensor, weight: Tensor) -> Tensor:
    """Products (T, *L, ..., J) of `left` (T, *L, ..., I) with `weight` (*L, I, J)."""
    lead = lead_of(weight)
    flat = left.movedim(0, lead)
    return (flat.flatten(lead, -2) @ weight).unflatten(lead, flat.shape[lead:-1]).movedim(lead, 0)


def new_steps(lead: int, num_steps: int, like: Tensor, width: int | None = None) -> Tensor:
    """Room for steps (T, *L, ..., K), those of a group one behind another, so that `grouped` need not copy.

    L has length `lead`; `like` is (*L, ..., K), or of another K if there is a `width` for it.
    """
    shape = like.shape[lead:] if width is None else (*like.shape[lead:-1], width)
    return like.new_empty((*like.shape[:lead], num_steps, *shape)).movedim(lead, 0)


def grouped(lead: int, *parts: Tensor) -> tuple[np.ndarray, ...]:
    """Tensors (T, *L, ..., K) as arrays (G, T, n, K), in the memory of those that `new_steps` made.

    What is the same for all groups because it was expanded, as zeros are, is there once: (1, T, n, K). L has length
    `lead`.
    """

    def array(part: Tensor) -> np.ndarray:
        part = part.movedim(0, lead)
        if lead and not any(part.stride()[:lead]):
            part = part[(slice(1),) * lead]
        shape = (part.shape[:lead].numel(), part.shape[lead], part.shape[1 + lead : -1].numel(), part.shape[-1])
        return part.reshape(shape).contiguous().numpy()

    return tuple(array(part) for part in parts)


def lead_of(weight: Tensor) -> int:
    """Length of L, of a `weight` (*L, I, J)."""
    return weight.dim() - 2


def grouped_weight(weight: Tensor) -> Tensor:
    """The `weight` (*L, I, J) as (G, I, J)."""
    return weight.reshape(-1, *weight.shape[-2:])
