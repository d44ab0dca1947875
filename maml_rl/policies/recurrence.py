"""A recurrent layer along a sequence, with derivatives written out so that little waits for the step before.

A layer with gates ``z_t = x_t + W h_{t-1}`` and states ``(h_t, c_t) = f(z_t, c_{t-1})``, f acting on each unit by
itself, has a Jacobian that is `W` and a few numbers per unit and step. What differs between cells, those numbers,
is computed for all steps at once; what remains is a linear recurrence, whose derivative is again one, run the
other way. Products with weights accumulate in one matrix product over all steps instead of one for each.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.autograd import Function

CellState = tuple[Tensor, ...]


class Layer(Protocol):
    """The function f of a recurrent layer with G gates and S further states."""

    def pointwise(self, gates: Tensor, *contents: Tensor) -> CellState:
        """Gates (..., G * H), states (..., H) before -> output (..., H) and states (..., H) after; units do not mix."""

    def jacobian(self, gates: Tensor, *contents: Tensor) -> Tensor:
        """Derivatives (..., 1 + S, G + S, H) of what `pointwise` returns in its gates and states before."""


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
    _, outputs, *others = _Recurrence.apply(layer, inputs, weight, *state)
    return outputs, (outputs[-1], *(other[-1] for other in others))


def leaky_sum(keep: Tensor, enter: Tensor, begin: Tensor) -> Tensor:
    """``y_t = keep_t * y_{t-1} + enter_t`` from ``y_{-1} = begin``: (T, ..., N), as often differentiable as wanted.

    Parameters
    ----------
    keep
        Factors (T, ..., N), or (T, ..., 1) for all of the last dimension.
    enter
        Terms (T, ..., N).
    begin
        (..., N).
    """
    first = keep[:1] * begin + enter[:1]
    return _LeakySum.apply(False, keep, torch.cat([first, enter[1:]]))


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
        causes, _ = _LinearRecurrence.apply(True, jacobian, weight, wide, torch.stack(for_states, -2))
        num_gates = gates.shape[-1] // size
        for_inputs = causes[..., :num_gates, :].flatten(-2)
        return (
            None,
            for_inputs,
            _outer(for_inputs, before[0], weight),
            for_inputs[0] @ weight,
            *causes[0][..., num_gates:, :].unbind(-2),
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], layer: Layer, *parts: Tensor) -> tuple[Any, Any]:
        inputs, weight, *state = _to_front(info.batch_size, in_dims[1:], parts, weight=1, times=(0,))
        outputs = _Recurrence.apply(layer, inputs, weight, *state)
        return outputs, (_place(weight, in_dims[2]) + 1,) * len(outputs)


class _LinearRecurrence(Function):
    """The recurrence around its states, first one way and then the other.

    With J_t the Jacobian of (h_t, c_t) in (z_t, c_{t-1}) and M that of (z_t, c_{t-1}) in (h_{t-1}, c_{t-1}), forwards
    ``l_t = p_t + M m_{t-1};  m_t = q_t + J_t l_t``, how a perturbation (p, q) travels; reversed
    ``m_t = q_t + M^T l_{t+1};  l_t = p_t + J_t^T m_t``, how a gradient does. Each is the transpose of the other.

    J (T, ..., 1 + S, G + S, H), W (G * H, H), p and l (T, ..., G + S, H), q and m (T, ..., 1 + S, H), S further states.
    """

    @staticmethod
    def forward(reverse: bool, jacobian: Tensor, weight: Tensor, p: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        causes, effects = p.clone(), q.clone()
        num_gates = weight.shape[-2] // weight.shape[-1]
        rows = list(zip(causes.unbind(0), effects.unbind(0), jacobian.unbind(0), strict=True))
        last: tuple[Tensor, Tensor] | None = None
        for cause, effect, local in reversed(rows) if reverse else rows:
            if reverse:
                if last is not None:
                    effect[..., 0, :] += last[0][..., :num_gates, :].flatten(-2) @ weight
                    effect[..., 1:, :] += last[0][..., num_gates:, :]
                for index in range(effect.shape[-2]):
                    cause.addcmul_(local[..., index, :, :], effect[..., index, None, :])
            else:
                if last is not None:
                    cause[..., :num_gates, :] += _split(last[1][..., 0, :] @ weight.mT, weight.shape[-1])
                    cause[..., num_gates:, :] += last[1][..., 1:, :]
                effect += (local * cause.unsqueeze(-3)).sum(-2)
            last = cause, effect
        return causes, effects

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.reverse, jacobian, weight, *_ = inputs
        ctx.save_for_backward(jacobian, weight, *output)

    @staticmethod
    def backward(ctx: Any, for_causes: Tensor, for_effects: Tensor) -> tuple[Tensor | None, ...]:
        jacobian, weight, causes, effects = ctx.saved_tensors
        p, q = _LinearRecurrence.apply(not ctx.reverse, jacobian, weight, for_causes, for_effects)
        gradients, tangents = ((causes, effects), (p, q)) if ctx.reverse else ((p, q), (causes, effects))
        num_gates = weight.shape[-2] // weight.shape[-1]
        for_weight = _outer(gradients[0][1:, ..., :num_gates, :].flatten(-2), tangents[1][:-1, ..., 0, :], weight)
        for_jacobian = gradients[1].unsqueeze(-2) * tangents[0].unsqueeze(-3)
        return None, for_jacobian, for_weight, p, q

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], reverse: bool, *parts: Tensor) -> tuple[Any, Any]:
        jacobian, weight, p, q = _to_front(info.batch_size, in_dims[1:], parts, weight=1, times=(0, 2, 3))
        place = _place(weight, in_dims[2]) + 1
        return _LinearRecurrence.apply(reverse, jacobian, weight, p, q), (place, place)


class _LeakySum(Function):
    """Forwards ``y_t = e_t + k_t y_{t-1}``, reversed ``y_t = e_t + k_{t+1} y_{t+1}``, its transpose."""

    @staticmethod
    def forward(reverse: bool, keep: Tensor, enter: Tensor) -> Tensor:
        total = enter.clone()
        rows = list(zip(keep.unbind(0), total.unbind(0), strict=True))
        if reverse:
            rows.reverse()
        for before, now in pairwise(rows):
            now[1].addcmul_((before if reverse else now)[0], before[1])
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.reverse, keep, _ = inputs
        ctx.save_for_backward(keep, output)

    @staticmethod
    def backward(ctx: Any, for_total: Tensor) -> tuple[Tensor | None, ...]:
        keep, total = ctx.saved_tensors
        for_enter = _LeakySum.apply(not ctx.reverse, keep, for_total)
        earlier, later = (for_enter, total) if ctx.reverse else (total, for_enter)
        product = earlier[:-1] * later[1:]
        if keep.shape[-1] == 1:
            product = product.sum(-1, keepdim=True)
        return None, torch.cat([torch.zeros_like(keep[:1]), product]), for_enter

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], reverse: bool, *parts: Tensor) -> tuple[Any, Any]:
        keep, enter = _batched(info.batch_size, in_dims[1:], parts)
        return _LeakySum.apply(reverse, keep, enter), 1


def _split(gates: Tensor, size: int) -> Tensor:
    """(..., G * H) -> (..., G, H)."""
    return gates.unflatten(-1, (-1, size))


def _outer(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Outer products summed over steps and episodes: (T, *L, ..., I), (T, *L, ..., J) -> (*L, I, J), L `weight`'s."""
    lead = weight.dim() - 2
    left, right = (part.movedim(0, lead).flatten(lead, -2) for part in (left, right))
    return left.mT @ right


def _place(weight: Tensor, weight_dim: int | None) -> int:
    """Where `vmap`'s dimension goes, not counting steps: in front, or behind those `weight` has and this one not."""
    return 0 if weight_dim is not None else weight.dim() - 2


def _batched(size: int, in_dims: tuple[int | None, ...], parts: tuple[Tensor, ...]) -> list[Tensor]:
    """Sequences with `vmap`'s dimension behind the steps."""
    return [
        part.unsqueeze(1).expand(len(part), size, *part.shape[1:]) if dim is None else part.movedim(dim, 1)
        for part, dim in zip(parts, in_dims, strict=True)
    ]


def _to_front(
    size: int, in_dims: tuple[int | None, ...], parts: tuple[Tensor, ...], *, weight: int, times: tuple[int, ...]
) -> list[Tensor]:
    """Give all parts `vmap`'s dimension, at the same place; the weight at index `weight` only if it has one."""
    place = _place(parts[weight], in_dims[weight])
    moved = []
    for index, (part, dim) in enumerate(zip(parts, in_dims, strict=True)):
        target = place + (index in times)
        if index == weight:
            moved.append(part if dim is None else part.movedim(dim, 0))
        elif dim is None:
            moved.append(part.unsqueeze(target).expand(*part.shape[:target], size, *part.shape[target:]))
        else:
            moved.append(part.movedim(dim, target))
    return moved
