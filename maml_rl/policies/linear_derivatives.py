"""A linear recurrence with gates along a sequence, with second derivatives, as `lstm_derivatives` has an LSTM.

Gates are opened: y = (f, g, o) with s the logistic function in f, o = s(.); the content after a step is
``c' = f c + (1 - f) g``, the output ``h' = o tanh(c')``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from maml_rl.policies.group_layout import augmented, grouped, lead_of, new_steps, outer, through, to_front


class LinearSequence(Function):
    """Opened gates (T, ..., 3 H), outputs (T, ..., H) and contents (1 + T, ..., H), the first given, along a sequence.

    Of inputs (T, ..., I), weights (3 H, 1 + I) of a 1 and an input, their rows in the order f, g, o, and the content
    (..., H) before. In float32 on the CPU, under `torch.func` too.
    """

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, content: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        # numba takes 100 MB, which nobody else need pay
        from maml_rl.policies.linear_derivatives_kernel import open_gates

        lead = lead_of(weight)
        gates = through(augmented(lead, inputs), weight.mT)
        outputs, contents = (new_steps(lead, steps, content) for steps in (len(inputs), 1 + len(inputs)))
        contents[0] = content
        open_gates(*grouped(lead, gates, outputs, contents))
        return gates, outputs, contents

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        ctx.save_for_backward(*inputs[:2], output[0], output[2])

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs.

        `given` are those of gates (T, ..., 3 H), outputs (T, ..., H) and contents (1 + T, ..., H).
        """
        inputs, weight, gates, contents = ctx.saved_tensors
        lead = lead_of(weight)
        found, for_content, _ = _Cotangents.apply(lead, gates, contents, *given)
        for_inputs = through(found, weight[..., 1:]) if ctx.needs_input_grad[0] else None
        return for_inputs, outer(found, augmented(lead, inputs), weight), for_content

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        return LinearSequence.apply(*to_front(info.batch_size, in_dims, parts, times=(0,))), (1, 1, 1)


class _Cotangents(Function):
    """Cotangents (T, ..., 3 H) of gates before they are opened, and of the content (..., H) before the sequence.

    Of opened gates y, contents c (1 + T, ..., H), and cotangents e of y (T, ..., 3 H), m of outputs (T, ..., H) and n
    of contents. Backwards in time, with ``D = 1 - tanh(c')^2``:

        k = n + m o D,   l_f = (e_f + k (c - g)) f (1 - f)
        l_g = e_g + k (1 - f),   l_o = (e_o + m tanh(c')) o (1 - o)

    and ``n += k f`` for the step before. The last result is k (T, ..., H), which `_Curvature` reads.
    """

    @staticmethod
    def forward(lead: int, *parts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        from maml_rl.policies.linear_derivatives_kernel import carry_back

        gates, contents, *given = parts
        found, inside = (new_steps(lead, len(gates), contents[0], width) for width in (gates.shape[-1], None))
        first = new_steps(lead, 1, contents[0])
        arrays = grouped(lead, gates, contents), grouped(lead, *given, shared=True)
        carry_back(*arrays[0], arrays[1], *grouped(lead, found, inside, first))
        return found, first[0], inside

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        ctx.lead = inputs[0]
        ctx.mark_non_differentiable(output[2])
        ctx.save_for_backward(*inputs[1:], output[2])

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs from those of the first two results."""
        return None, *_Curvature.apply(ctx.lead, *ctx.saved_tensors, *along[:2])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], lead: int, *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        moved = to_front(info.batch_size, in_dims[1:], parts, times=range(5))
        return _Cotangents.apply(lead + 1, *moved), (1, 0, 1)


class _Curvature(Function):
    """Cotangents of y, c, e, m and n, the inputs of `_Cotangents`, in this order.

    Of these, its k, and cotangents a of l (T, ..., 3 H) and q of its second result (..., H). Forwards in time, with K
    the cotangent of k, at first q, and ``b_f = a_f f (1 - f)``, ``b_o = a_o o (1 - o)``:

        K <- b_f (c - g) + a_g (1 - f) + f K

    is that of n; that of m is ``K o D + b_o tanh(c')``, and those of y and c are derivatives of the sum of ``K k``,
    ``b_o m tanh(c')`` and the terms with e.
    """

    @staticmethod
    def forward(lead: int, *parts: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        from maml_rl.policies.linear_derivatives_kernel import carry_forth

        gates, contents, for_gates, for_outputs, _, inside, along, content = parts
        like = (gates, contents, for_gates, for_outputs)
        results = [new_steps(lead, len(part), contents[0], part.shape[-1]) for part in like]
        results[1].zero_()
        carried = new_steps(lead, len(contents), contents[0])
        carried[0] = content
        given = grouped(lead, for_gates, for_outputs, along, shared=True)
        carry_forth(*grouped(lead, gates, contents, inside), given, grouped(lead, *results), *grouped(lead, carried))
        return *results, carried

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        ctx.save_for_backward(*inputs[1:6], *inputs[7:])

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs, step by step in PyTorch; of k none, which follows from the others."""
        _, pull = torch.func.vjp(_second, *ctx.saved_tensors)  # type: ignore[misc]
        found = pull(along)
        return None, *found[:5], None, *found[5:]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], lead: int, *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        moved = to_front(info.batch_size, in_dims[1:], parts, times=range(7))
        return _Curvature.apply(lead + 1, *moved), (1,) * 5


def _second(*inputs: Tensor) -> tuple[Tensor, ...]:
    """The results of `_Curvature`, of its inputs but k."""
    _, pull = torch.func.vjp(_first, *inputs[:5])  # type: ignore[misc]
    results: tuple[Tensor, ...] = pull(inputs[5:])
    return results


def _first(
    gates: Tensor, contents: Tensor, for_gates: Tensor, for_outputs: Tensor, for_contents: Tensor
) -> tuple[Tensor, Tensor]:
    """The first two results of `_Cotangents`, of its inputs."""
    f, g, o = gates.chunk(3, -1)
    shown = torch.tanh(contents[1:])
    local, later, inside = for_outputs * o * (1.0 - shown * shown), for_contents[-1], []
    for step in reversed(range(len(gates))):
        inside.append(later + local[step])
        later = for_contents[step] + inside[-1] * f[step]
    k = torch.stack(inside[::-1]) if inside else local
    through_gates = torch.cat([k * (contents[:-1] - g), k * (1.0 - f), for_outputs * shown], -1)
    slope = torch.cat([f * (1.0 - f), torch.ones_like(g), o * (1.0 - o)], -1)
    return (for_gates + through_gates) * slope, later
