"""Sequences of tasks that lie one behind another in memory, for compiled loops that take a task after the other.

A tensor of T steps is (T, *L, ..., K): L are the leading dimensions that weights (*L, I, J) have too, none for a single
task and `vmap`'s for many, G = prod(L) groups in all. What `new_steps` makes has the steps of a group behind one
another, as tensors have them that were batched by `vmap`, so that nothing need be copied.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import torch
from torch import Tensor


def lead_of(weight: Tensor) -> int:
    """Length of L, of a `weight` (*L, I, J)."""
    return weight.dim() - 2


def to_front(
    size: int, in_dims: tuple[int | None, ...], parts: tuple[Tensor, ...], *, times: Container[int]
) -> list[Tensor]:
    """Give all `parts` (...) `vmap`'s dimension of this size: (M, ...), or (T, M, ...) at the indices in `times`."""
    moved = []
    for index, (part, dim) in enumerate(zip(parts, in_dims, strict=True)):
        target = int(index in times)
        if dim is None:
            moved.append(part.unsqueeze(target).expand(*part.shape[:target], size, *part.shape[target:]))
        else:
            moved.append(part.movedim(dim, target))
    return moved


def outer(left: Tensor, right: Tensor, weight: Tensor) -> Tensor:
    """Outer products of `left` (T, *L, ..., I) and `right` (T, *L, ..., J), summed: (*L, I, J), as `weight` is."""
    lead = lead_of(weight)
    left, right = (part.movedim(0, lead).flatten(lead, -2) for part in (left, right))
    return (right.mT @ left).mT  # so that the derivative in `left`, the larger, is not transposed


def through(left: Tensor, weight: Tensor) -> Tensor:
    """Products (T, *L, ..., J) of `left` (T, *L, ..., I) with `weight` (*L, I, J), in memory as `new_steps` has it."""
    lead = lead_of(weight)
    flat = left.movedim(0, lead)
    return (flat.flatten(lead, -2) @ weight).unflatten(lead, flat.shape[lead:-1]).movedim(lead, 0)


def augmented(lead: int, *parts: Tensor) -> Tensor:
    """Rows (T, *L, ..., 1 + I + J + ...) of a 1 and `parts` (T, *L, ..., I), (T, *L, ..., J) and so on.

    L has length `lead`; in memory as `new_steps` has it.
    """
    one = parts[0].new_ones((*parts[0].shape[:-1], 1))
    return torch.cat([part.movedim(0, lead) for part in (one, *parts)], -1).movedim(lead, 0)


def new_steps(lead: int, num_steps: int, like: Tensor, width: int | None = None) -> Tensor:
    """Room for steps (T, *L, ..., K), those of a group one behind another; L has length `lead`.

    `like` is (*L, ..., K), or of another K if there is a `width` for it.
    """
    shape = like.shape[lead:] if width is None else (*like.shape[lead:-1], width)
    return like.new_empty((*like.shape[:lead], num_steps, *shape)).movedim(lead, 0)


def grouped(lead: int, *parts: Tensor, shared: bool = False) -> tuple[np.ndarray, ...]:
    """Tensors (T, *L, ..., K) as arrays (G, T, n, K), in the memory of those that `new_steps` made.

    With `shared`, what is the same for all groups because it was expanded, as zeros are, is there once: (1, T, n, K).
    L has length `lead`.
    """

    def array(part: Tensor) -> np.ndarray:
        part = part.movedim(0, lead)
        if shared and lead and not any(part.stride()[:lead]):
            part = part[(slice(1),) * lead]
        shape = (part.shape[:lead].numel(), part.shape[lead], part.shape[1 + lead : -1].numel(), part.shape[-1])
        return part.reshape(shape).contiguous().numpy()

    return tuple(array(part) for part in parts)


def grouped_weight(weight: Tensor) -> Tensor:
    """The `weight` (*L, I, J) as (G, I, J)."""
    return weight.reshape(-1, *weight.shape[-2:])
