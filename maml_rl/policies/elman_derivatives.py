"""An Elman layer with tanh along a sequence, with second derivatives, as `lstm_derivatives` has an LSTM."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from maml_rl.policies.group_layout import (
    augmented,
    grouped,
    grouped_weight,
    lead_of,
    new_steps,
    outer,
    through,
    to_front,
)


class ElmanSequence(Function):
    """Outputs (1 + T, ..., H), the first one given, of ``h' = tanh(W (1, x, h))``.

    Of x (T, ..., I), weights W (H, 1 + I + H) of a 1, an input and the output before, and that output (..., H). In
    float32 on the CPU, under `torch.func` too.
    """

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, output: Tensor) -> Tensor:
        """See the class."""
        from maml_rl.policies.elman_derivatives_kernel import run  # numba takes 100 MB, which nobody else need pay

        lead, width = lead_of(weight), 1 + inputs.shape[-1]
        outputs = new_steps(lead, 1 + len(inputs), output)
        outputs[0], outputs[1:] = output, through(augmented(lead, inputs), weight[..., :width].mT)
        run(*grouped(lead, outputs), grouped_weight(weight[..., width:]).mT.contiguous().numpy())
        return outputs

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """See `torch.autograd.Function`."""
        ctx.save_for_backward(*inputs[:2], output)

    @staticmethod
    def backward(ctx: Any, for_outputs: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs, from `for_outputs` (1 + T, ..., H)."""
        inputs, weight, outputs = ctx.saved_tensors
        width = 1 + inputs.shape[-1]
        found, for_output, _ = _Cotangents.apply(outputs, weight[..., width:], for_outputs)
        for_inputs = through(found, weight[..., 1:width]) if ctx.needs_input_grad[0] else None
        return for_inputs, outer(found, augmented(lead_of(weight), inputs, outputs[:-1]), weight), for_output

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        return ElmanSequence.apply(*to_front(info.batch_size, in_dims, parts, times=(0,))), 1


class _Cotangents(Function):
    """Cotangents (T, ..., H) of what tanh is of, and of the output (..., H) before the sequence.

    Of outputs h (1 + T, ..., H), recurrent weights W (H, H) and cotangents of outputs. Backwards in time, with m what
    arrives at an output: ``l = m (1 - h^2);  m <- W^T l``. The last result is m (T, ..., H).
    """

    @staticmethod
    def forward(outputs: Tensor, weight: Tensor, for_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        from maml_rl.policies.elman_derivatives_kernel import carry_back

        lead = lead_of(weight)
        found, arrived = (new_steps(lead, len(outputs) - 1, outputs[0]) for _ in range(2))
        before = outputs.new_zeros((1, *outputs.shape[1:]))
        by = grouped_weight(weight).contiguous().numpy()
        given = grouped(lead, for_outputs, shared=True)
        carry_back(*grouped(lead, outputs), *given, by, *grouped(lead, found, arrived, before))
        return found, before[0], arrived

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        found, _, arrived = output
        ctx.mark_non_differentiable(arrived)
        ctx.save_for_backward(*inputs, found, arrived)

    @staticmethod
    def backward(ctx: Any, along: Tensor, output: Tensor, _: Tensor) -> tuple[Tensor, ...]:
        """Cotangents of all inputs from those of the first two results."""
        outputs, weight, for_outputs, found, arrived = ctx.saved_tensors
        to_outputs, carried = _Curvature.apply(outputs, weight, for_outputs, arrived, along, output)
        return to_outputs, outer(found, carried[:-1], weight), carried

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        return _Cotangents.apply(*to_front(info.batch_size, in_dims, parts, times=(0, 2))), (1, 0, 1)


class _Curvature(Function):
    """Cotangents (1 + T, ..., H) of h and of the cotangents of outputs, through `_Cotangents`.

    Of its three inputs, its m, and cotangents (T, ..., H) and (..., H) of its first two results. Forwards in time, with
    a what arrives at l and p the cotangent of the last m: ``a += W p;  p <- a (1 - h^2)``; that of h is ``-2 h a m``.
    """

    @staticmethod
    def forward(*parts: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        from maml_rl.policies.elman_derivatives_kernel import carry_forth

        outputs, weight, _, arrived, along, output = parts
        lead = lead_of(weight)
        to_outputs, carried = (new_steps(lead, len(outputs), outputs[0]) for _ in range(2))
        to_outputs[0], carried[0] = 0.0, output
        by = grouped_weight(weight).mT.contiguous().numpy()
        given = grouped(lead, along, shared=True)
        carry_forth(*grouped(lead, outputs, arrived), *given, by, *grouped(lead, to_outputs, carried))
        return to_outputs, carried

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        ctx.save_for_backward(*inputs[:3], *inputs[4:])

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs, step by step in PyTorch; of m none, which follows from the first three."""
        _, pull = torch.func.vjp(_second, *ctx.saved_tensors)  # type: ignore[misc]
        found = pull(along)
        return *found[:3], None, *found[3:]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        return _Curvature.apply(*to_front(info.batch_size, in_dims, parts, times=(0, 2, 3, 4))), (1, 1)


def _second(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    """The results of `_Curvature`, of its inputs but m."""
    _, pull = torch.func.vjp(_first, *inputs[:3])  # type: ignore[misc]
    to_outputs, _, carried = pull(inputs[3:])
    return to_outputs, carried


def _first(outputs: Tensor, weight: Tensor, for_outputs: Tensor) -> tuple[Tensor, Tensor]:
    """The first two results of `_Cotangents`, of its inputs."""
    found, arrived = [], for_outputs[-1]
    for step in reversed(range(1, len(outputs))):
        found.append(arrived * (1.0 - outputs[step] * outputs[step]))
        arrived = for_outputs[step - 1] + found[-1] @ weight
    return torch.stack(found[::-1]), arrived
