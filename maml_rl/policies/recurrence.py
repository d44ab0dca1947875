"""A recurrent layer along a sequence, with derivatives written out so that little waits for the step before.

A layer with gates ``z_t = x_t + W h_{t-1}`` and states ``(h_t, c_t) = f(z_t, c_{t-1})``, f acting on each unit by
itself, has a Jacobian that is `W` and a few numbers per unit and step. What differs between cells, those numbers,
is computed for all steps at once; what remains is a linear recurrence, whose derivative is again one, run the
other way. Products with weights accumulate in one matrix product over all steps instead of one for each.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

from maml_rl.policies.group_layout import outer, to_front

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
