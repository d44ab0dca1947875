"""An LSTM along a sequence with second derivatives: what lies between products in one compiled pass each.

`LSTMSequence` runs the cells, its derivative is `_Cotangents`, and the derivative of that `_Curvature`: a product with
the Hessian of a loss, as MAML takes hundreds of them, is one pass back and one pass forth. Third derivatives, which a
head that adapts alone asks for, come from the same arithmetic in PyTorch, step by step.

Gates are opened: y = (i, f, o, g) with s the logistic function in i, f, o = s(.) and g = tanh(.); the content after a
step is ``c' = f c + i g``, the output ``h' = o tanh(c')``.
"""

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


class LSTMSequence(Function):
    """Opened gates (T, ..., 4 H), outputs and contents (1 + T, ..., H), the first ones given, along a sequence.

    Of inputs (T, ..., I), weights (4 H, 1 + I + H) of a 1, an input and the output before, their rows in the order
    i, f, o, g, and output and content (..., H) before. In float32 on the CPU, under `torch.func` too.
    """

    @staticmethod
    def forward(inputs: Tensor, weight: Tensor, output: Tensor, content: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See the class."""
        # numba takes 100 MB, which nobody else need pay
        from maml_rl.policies.lstm_derivatives_kernel import open_gates

        lead, width = lead_of(weight), 1 + inputs.shape[-1]
        gates = through(augmented(lead, inputs), weight[..., :width].mT)
        outputs, contents = (new_steps(lead, 1 + len(inputs), part) for part in (output, content))
        outputs[0], contents[0] = output, content
        recurrent = grouped_weight(weight[..., width:]).mT.contiguous().numpy()
        open_gates(*grouped(lead, gates, outputs, contents), recurrent)
        return gates, outputs, contents

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        ctx.save_for_backward(*inputs[:2], *output)

    @staticmethod
    def backward(ctx: Any, for_gates: Tensor, for_outputs: Tensor, for_contents: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs: `for_gates` (T, ..., 4 H), `for_outputs` and `for_contents` (1 + T, ..., H)."""
        inputs, weight, gates, outputs, contents = ctx.saved_tensors
        given, width = (for_gates, for_outputs, for_contents), 1 + inputs.shape[-1]
        found, for_output, for_content, *_ = _Cotangents.apply(gates, contents, weight[..., width:], *given)
        for_inputs = through(found, weight[..., 1:width]) if ctx.needs_input_grad[0] else None
        steps = augmented(lead_of(weight), inputs, outputs[:-1])
        return for_inputs, outer(found, steps, weight), for_output, for_content

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        return LSTMSequence.apply(*to_front(info.batch_size, in_dims, parts, times=(0,))), (1, 1, 1)


class _Cotangents(Function):
    """Cotangents (T, ..., 4 H) of gates before they are opened, and of output and content (..., H) before the sequence.

    Of opened gates y (T, ..., 4 H), contents c (1 + T, ..., H), recurrent weights W (4 H, H), and cotangents e of y
    (T, ..., 4 H), and of outputs and contents (1 + T, ..., H). Backwards in time, with m what arrives at an output and
    n at a content, those of the next step's gates and content among it, and ``D = 1 - tanh(c')^2``:

        k = n + m o D,   l_i = (e_i + k g) i (1 - i),   l_f = (e_f + k c) f (1 - f),
        l_o = (e_o + m tanh(c')) o (1 - o),   l_g = (e_g + k i) (1 - g^2);   m <- W^T l,   n <- k f

    The last two results are m and k (T, ..., H), which `_Curvature` reads.
    """

    @staticmethod
    def forward(*parts: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        from maml_rl.policies.lstm_derivatives_kernel import carry_back

        gates, contents, weight, *given = parts
        lead = lead_of(weight)
        found = new_steps(lead, len(gates), contents[0], gates.shape[-1])
        arrived, inside = (new_steps(lead, len(gates), contents[0]) for _ in range(2))
        output, content = (contents.new_zeros((1, *contents.shape[1:])) for _ in range(2))
        carry_back(
            grouped(lead, gates, contents),
            grouped(lead, *given, shared=True),
            grouped_weight(weight).contiguous().numpy(),
            grouped(lead, found, arrived, inside),
            grouped(lead, output, content),
        )
        return found, output[0], content[0], arrived, inside

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        found, _, _, arrived, inside = output
        ctx.mark_non_differentiable(arrived, inside)
        ctx.save_for_backward(*inputs, found, arrived, inside)

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor, ...]:
        """Cotangents of all inputs from those of the first three results."""
        *given, found, arrived, inside = ctx.saved_tensors
        results = _Curvature.apply(*given, arrived, inside, *along[:3])
        for_gates, for_contents, for_cotangents, outputs, contents = results
        return for_gates, for_contents, outer(found, outputs[:-1], given[2]), for_cotangents, outputs, contents

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        return _Cotangents.apply(*to_front(info.batch_size, in_dims, parts, times=(0, 1, 3, 4, 5))), (1, 0, 0, 1, 1)


class _Curvature(Function):
    """Cotangents of y, c, e, and of the cotangents of outputs and contents, in this order, through `_Cotangents`.

    Of its six inputs, its m and k, and cotangents (T, ..., 4 H), (..., H), (..., H) of its first three results.
    Forwards in time, with a what arrives at l, and p and q the last step's cotangents of m and n:

        a += W p,   K = a_i g i (1 - i) + a_f c f (1 - f) + a_g i (1 - g^2) + q f
        p <- K o D + a_o tanh(c') o (1 - o),   q <- K

    and those of y and c are derivatives of ``K k + a_o m tanh(c') o (1 - o)`` and of the terms with e.
    """

    @staticmethod
    def forward(*parts: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        from maml_rl.policies.lstm_derivatives_kernel import carry_forth

        gates, contents, weight, cotangents, _, _, arrived, inside, along, output, content = parts
        lead = lead_of(weight)
        for_gates, for_cotangents = (new_steps(lead, len(gates), contents[0], gates.shape[-1]) for _ in range(2))
        for_contents, outputs, carried = (new_steps(lead, len(contents), contents[0]) for _ in range(3))
        for_contents.zero_()
        outputs[0], carried[0] = output, content
        carry_forth(
            grouped(lead, gates, contents),
            grouped(lead, cotangents, along, shared=True),
            grouped(lead, arrived, inside),
            grouped_weight(weight).mT.contiguous().numpy(),
            grouped(lead, for_gates, for_contents, for_cotangents),
            grouped(lead, outputs, carried),
        )
        return for_gates, for_contents, for_cotangents, outputs, carried

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        ctx.save_for_backward(*inputs[:6], *inputs[8:])

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs, step by step in PyTorch; of m and k none, which follow from the first six."""
        _, pull = torch.func.vjp(_second, *ctx.saved_tensors)  # type: ignore[misc]
        found = pull(along)
        return *found[:6], None, None, *found[6:]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        return _Curvature.apply(*to_front(info.batch_size, in_dims, parts, times=(0, 1, *range(3, 9)))), (1,) * 5


def _second(*inputs: Tensor) -> tuple[Tensor, ...]:
    """The results of `_Curvature`, of its inputs but m and k."""
    _, pull = torch.func.vjp(_first, *inputs[:6])  # type: ignore[misc]
    for_gates, for_contents, _, for_cotangents, outputs, contents = pull(inputs[6:])
    return for_gates, for_contents, for_cotangents, outputs, contents


def _first(
    gates: Tensor, contents: Tensor, weight: Tensor, cotangents: Tensor, for_outputs: Tensor, for_contents: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The first three results of `_Cotangents`, of its inputs."""
    size, found = weight.shape[-1], []
    output, content = for_outputs[-1], for_contents[-1]
    for step in reversed(range(len(gates))):
        logistic, candidate = gates[step].split_with_sizes((3 * size, size), -1)
        i, f, o = logistic.chunk(3, -1)
        shown = torch.tanh(contents[step + 1])
        inside = content + output * o * (1.0 - shown * shown)
        through = torch.cat([inside * candidate, inside * contents[step], output * shown, inside * i], -1)
        slope = torch.cat([logistic * (1.0 - logistic), 1.0 - candidate * candidate], -1)
        found.append((cotangents[step] + through) * slope)
        output, content = for_outputs[step] + found[-1] @ weight, for_contents[step] + inside * f
    return torch.stack(found[::-1]), output, content
