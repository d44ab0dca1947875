"""Linear recurrences along a sequence, with derivatives that are again linear recurrences."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def linear_recurrence(factors: Tensor, terms: Tensor, begin: Tensor) -> Tensor:
    """``y_t = factor_t * y_{t-1} + term_t`` from ``y_{-1} = begin``: (T, ..., N), differentiable as often as wanted.

    Parameters
    ----------
    factors
        (T, ..., N), or (T, ..., 1) for all of the last dimension.
    terms
        (T, ..., N).
    begin
        (..., N).
    """
    first = factors[:1] * begin + terms[:1]
    return _LinearRecurrence.apply(False, factors, torch.cat([first, terms[1:]]))


class _LinearRecurrence(Function):
    """Forwards ``y_t = e_t + k_t y_{t-1}``, reversed ``y_t = e_t + k_{t+1} y_{t+1}``, its transpose."""

    @staticmethod
    def forward(reverse: bool, factors: Tensor, terms: Tensor) -> Tensor:
        total = terms.clone(memory_format=torch.contiguous_format)
        if _is_plain(factors, total):
            from maml_rl.policies.scan_kernel import accumulate  # numba takes 100 MB

            every = factors.detach().expand(*total.shape[:-1], factors.shape[-1])
            flat = (part.reshape(len(part), -1, part.shape[-1]) for part in (every, total))  # (T, R, 1 or N), (T, R, N)
            accumulate(*(part.numpy() for part in flat), reverse)
            return total
        rows = list(zip(factors.unbind(0), total.unbind(0), strict=True))
        if reverse:
            rows.reverse()
        for before, now in pairwise(rows):
            now[1].addcmul_((before if reverse else now)[0], before[1])
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.reverse, factors, _ = inputs
        ctx.save_for_backward(factors, output)

    @staticmethod
    def backward(ctx: Any, for_total: Tensor) -> tuple[Tensor | None, ...]:
        factors, total = ctx.saved_tensors
        cotangents = _LinearRecurrence.apply(not ctx.reverse, factors, for_total)
        earlier, later = (cotangents, total) if ctx.reverse else (total, cotangents)
        product = earlier[:-1] * later[1:]
        if factors.shape[-1] == 1:
            product = product.sum(-1, keepdim=True)
        return None, torch.cat([torch.zeros_like(factors[:1]), product]), cotangents

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], reverse: bool, *parts: Tensor) -> tuple[Any, Any]:
        factors, terms = _batched(info.batch_size, in_dims[1:], parts)
        return _LinearRecurrence.apply(reverse, factors, terms), 1


def matrix_recurrence(matrices: Tensor, begin: Tensor) -> Tensor:
    """``y_t = A_t y_{t-1}`` from ``y_{-1} = begin``: (T, ..., N), differentiable as often as wanted.

    Parameters
    ----------
    matrices
        A (T, ..., N, N).
    begin
        (..., N).
    """
    first = matrices[:1] @ begin.unsqueeze(-1)
    rest = first.new_zeros(matrices[1:, ..., :1].shape)
    return _MatrixRecurrence.apply(False, matrices, torch.cat([first, rest]))[..., 0]


def add_products(matrices: Tensor, total: Tensor, reverse: bool) -> None:
    """``total[t] += A[t] total[t - 1]`` in place, or reversed ``total[t] += A[t + 1]^T total[t + 1]``, by PyTorch.

    `matrices` A (T, ..., N, N), `total` (T, ..., N, 1).
    """
    rows = list(zip((matrices.mT if reverse else matrices).unbind(0), total.unbind(0), strict=True))
    if reverse:
        rows.reverse()
    for before, now in pairwise(rows):
        now[1].add_((before if reverse else now)[0] @ before[1])


class _MatrixRecurrence(Function):
    """Forwards ``y_t = e_t + A_t y_{t-1}``, reversed its transpose ``y_t = e_t + A_{t+1}^T y_{t+1}``.

    Matrices A (T, ..., N, N); y and e (T, ..., N, 1).
    """

    @staticmethod
    def forward(reverse: bool, matrices: Tensor, terms: Tensor) -> Tensor:
        total = terms.clone(memory_format=torch.contiguous_format)
        if _is_plain(matrices, total):
            from maml_rl.policies.scan_kernel import accumulate_products  # numba takes 100 MB

            size = matrices.shape[-1]
            flat = matrices.expand(*total.shape[:-1], size).reshape(len(total), -1, size, size).contiguous()
            accumulate_products(flat.numpy(), total.view(len(total), -1, size).numpy(), reverse)
        else:
            add_products(matrices, total, reverse)
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.reverse, matrices, _ = inputs
        ctx.save_for_backward(matrices, output)

    @staticmethod
    def backward(ctx: Any, for_total: Tensor) -> tuple[Tensor | None, ...]:
        matrices, total = ctx.saved_tensors
        cotangents = _MatrixRecurrence.apply(not ctx.reverse, matrices, for_total)
        earlier, later = (cotangents, total) if ctx.reverse else (total, cotangents)
        return None, torch.cat([torch.zeros_like(matrices[:1]), later[1:] * earlier[:-1].mT]), cotangents

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], reverse: bool, *parts: Tensor) -> tuple[Any, Any]:
        matrices, terms = _batched(info.batch_size, in_dims[1:], parts)
        return _MatrixRecurrence.apply(reverse, matrices, terms), 1


def _is_plain(factors: Tensor, total: Tensor) -> bool:
    """True if a kernel runs on `factors` (T, ..., M) and `total` (T, ..., N)."""
    known = total.dtype in (torch.float32, torch.float64) and total.dtype == factors.dtype
    return known and total.device.type == "cpu" and total.numel() > 0


def _batched(size: int, in_dims: tuple[int | None, ...], parts: tuple[Tensor, ...]) -> list[Tensor]:
    """Sequences with `vmap`'s dimension behind the steps."""
    return [
        part.unsqueeze(1).expand(len(part), size, *part.shape[1:]) if dim is None else part.movedim(dim, 1)
        for part, dim in zip(parts, in_dims, strict=True)
    ]
