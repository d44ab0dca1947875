"""A memory of slots along a sequence with second derivatives, each a compiled pass.

`SlotSequence` writes and reads, its derivative is `_Cotangents`, and the derivative of that `_Curvature`, as
`maml_rl.policies.lstm_derivatives` has an LSTM. Third derivatives come from the same arithmetic in PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from maml_rl.policies.group_layout import grouped, new_steps, to_front


class SlotSequence(Function):
    """Findings (T, *L, ..., V) and contents (1 + T, *L, ..., S V), the first ones given, along a sequence.

    Of writes w and reads a (T, *L, ..., S), values v (T, *L, ..., V), and contents y (*L, ..., S V) before, slot behind
    slot: ``y_t[s] = (1 - w_t[s]) y_{t-1}[s] + w_t[s] v_t``, and the finding is ``r_t = sum over s of a_t[s] y_t[s]``.
    The first argument is the length of L, groups that are apart in memory. On the CPU, under `torch.func` too.
    """

    @staticmethod
    def forward(lead: int, writes: Tensor, values: Tensor, reads: Tensor, begin: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        from maml_rl.policies.memory.slot_kernel import write_and_read  # numba takes 100 MB, which nobody else need pay

        contents = new_steps(lead, 1 + len(writes), begin)
        contents[0] = begin
        found = new_steps(lead, len(values), begin, values.shape[-1])
        write_and_read(grouped(lead, writes, values, reads, shared=True), *grouped(lead, contents, found))
        return found, contents

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        ctx.lead = inputs[0]
        ctx.save_for_backward(*inputs[1:4], output[1])

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs, from those of findings (T, ..., V) and of contents (1 + T, ..., S V)."""
        for_writes, for_values, for_reads, for_begin, _ = _Cotangents.apply(ctx.lead, *ctx.saved_tensors, *given)
        return None, for_writes, for_values, for_reads, for_begin

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], lead: int, *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        moved = to_front(info.batch_size, in_dims[1:], parts, times=(0, 1, 2))
        return SlotSequence.apply(lead + 1, *moved), (1, 1)


class _Cotangents(Function):
    """Cotangents of w, v, a, and of contents (..., S V) before the sequence.

    Of w, v, a, contents y (1 + T, ..., S V), and cotangents e of findings and of contents. Backwards in time, with
    m_t what arrives at y_t, that of the next step among it:

        m_t[s] += a_t[s] e_t;  m_{t-1}[s] <- (1 - w_t[s]) m_t[s]
        of w_t[s]: m_t[s] . (v_t - y_{t-1}[s]);  of v_t: sum over s of w_t[s] m_t[s];  of a_t[s]: e_t . y_t[s]

    The last result is m (T, ..., S V), which `_Curvature` reads.
    """

    @staticmethod
    def forward(lead: int, *parts: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        from maml_rl.policies.memory.slot_kernel import carry_back

        *commands, contents, for_found, for_contents = parts
        results = [new_steps(lead, len(for_found), contents[0], part.shape[-1]) for part in (*commands, contents)]
        first = new_steps(lead, 1, contents[0])
        carry_back(
            grouped(lead, *commands, shared=True),
            *grouped(lead, contents),
            grouped(lead, for_found, for_contents, shared=True),
            grouped(lead, *results),
            *grouped(lead, first),
        )
        return *results[:3], first[0], results[3]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        ctx.lead = inputs[0]
        ctx.mark_non_differentiable(output[4])
        ctx.save_for_backward(*inputs[1:], output[4])

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs from those of the first four results."""
        return None, *_Curvature.apply(ctx.lead, *ctx.saved_tensors, *along[:4])

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], lead: int, *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        moved = to_front(info.batch_size, in_dims[1:], parts, times=range(6))
        return _Cotangents.apply(lead + 1, *moved), (1, 1, 1, 0, 1)


class _Curvature(Function):
    """Cotangents of the six inputs of `_Cotangents`, in their order.

    Of these, its m, and cotangents (b, c, d, q) of its first four results. Forwards in time, with p_t what the
    cotangent of m_t is, and ``p_{-1} = q``:

        p_t[s] = (1 - w_t[s]) p_{t-1}[s] + w_t[s] c_t + b_t[s] (v_t - y_{t-1}[s])
        of w_t[s]: m_t[s] . (c_t - p_{t-1}[s]);  of v_t: sum over s of b_t[s] m_t[s];  of a_t[s]: e_t . p_t[s]
        of y_t[s]: d_t[s] e_t - b_{t+1}[s] m_{t+1}[s];  of e_t: sum over s of d_t[s] y_t[s] + a_t[s] p_t[s]

    and p is that of the cotangents of contents.
    """

    @staticmethod
    def forward(lead: int, *parts: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        from maml_rl.policies.memory.slot_kernel import carry_forth

        *commands, contents, for_found, _, arrived, for_writes, for_values, for_reads, begin = parts
        results = [new_steps(lead, len(part), contents[0], part.shape[-1]) for part in (*commands, contents, for_found)]
        results[3].zero_()
        carried = new_steps(lead, len(contents), contents[0])
        carried[0] = begin
        carry_forth(
            grouped(lead, *commands, shared=True),
            *grouped(lead, contents, arrived),
            grouped(lead, for_found, for_writes, for_values, for_reads, shared=True),
            grouped(lead, *results),
            *grouped(lead, carried),
        )
        return *results, carried

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """See `torch.autograd.Function`."""
        ctx.save_for_backward(*inputs[1:7], *inputs[8:])

    @staticmethod
    def backward(ctx: Any, *along: Tensor) -> tuple[Tensor | None, ...]:
        """Cotangents of all inputs, step by step in PyTorch; of m none, which follows from the others."""
        _, pull = torch.func.vjp(_second, *ctx.saved_tensors)  # type: ignore[misc]
        found = pull(along)
        return None, *found[:6], None, *found[6:]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], lead: int, *parts: Tensor) -> tuple[Any, Any]:
        """See `torch.autograd.Function`."""
        moved = to_front(info.batch_size, in_dims[1:], parts, times=range(10))
        return _Curvature.apply(lead + 1, *moved), (1,) * 6


def _second(*inputs: Tensor) -> tuple[Tensor, ...]:
    """The results of `_Curvature`, of its inputs but m."""
    _, pull = torch.func.vjp(_first, *inputs[:6])  # type: ignore[misc]
    results: tuple[Tensor, ...] = pull(inputs[6:])
    return results


def _first(
    writes: Tensor, values: Tensor, reads: Tensor, contents: Tensor, for_found: Tensor, for_contents: Tensor
) -> tuple[Tensor, ...]:
    """The first four results of `_Cotangents`, of its inputs."""
    width = values.shape[-1]
    slots, given = (part.unflatten(-1, (-1, width)) for part in (contents, for_contents))
    later, of_writes, of_values = given[-1], [], []
    for step in reversed(range(len(writes))):
        arrived = later + reads[step].unsqueeze(-1) * for_found[step].unsqueeze(-2)
        of_writes.append((arrived * (values[step].unsqueeze(-2) - slots[step])).sum(-1))
        of_values.append((writes[step].unsqueeze(-1) * arrived).sum(-2))
        later = given[step] + (1.0 - writes[step]).unsqueeze(-1) * arrived
    of_reads = (for_found.unsqueeze(-2) * slots[1:]).sum(-1)
    return torch.stack(of_writes[::-1]), torch.stack(of_values[::-1]), of_reads, later.flatten(-2)
