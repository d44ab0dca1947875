"""Keys and values of past steps, and attention to them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from maml_rl.policies.recurrence import Order
from maml_rl.utils.transforms import is_transformed

BLOCK = 32
"""Steps by which a cache grows."""


class Cache(NamedTuple):
    """Past steps of episodes. Step p lies at place p; with a window of w steps at p modulo w + 1.

    The one place more than a window has is that of the next step: to write it takes nothing from the state before.

    Attributes
    ----------
    keys, values
        (..., H, C, D) of H heads, C places; what lies where there was no step has no meaning.
    length
        Steps so far (...) int64.
    """

    keys: Tensor
    values: Tensor
    length: Tensor


def empty_cache(like: Tensor, batch_shape: tuple[int, ...], num_heads: int, width: int, window: int | None) -> Cache:
    """A cache of no steps, with places for the first ones.

    Parameters
    ----------
    like
        Tensor (N,) or of any other shape, of the type and device that keys and values are to have.
    batch_shape
        Leading dimensions (...,).
    num_heads, width
        H and D.
    window
        Last steps that are attended to, the present one among them, >= 1; ``None``: all.
    """
    shape = (*batch_shape, num_heads, _capacity(1, window), width)
    length = torch.zeros(batch_shape, dtype=torch.int64, device=like.device)
    return Cache(like.new_zeros(shape), like.new_zeros(shape), length)


def attend_next(query: Tensor, key: Tensor, value: Tensor, cache: Cache, window: int | None) -> tuple[Tensor, Cache]:
    """Attention of one more step to itself and those of a cache (Vaswani et al. 2017, equation 1).

    Where no gradients are recorded, the step is written into the cache's own tensors: at a place that the cache before
    does not look at.

    Parameters
    ----------
    query, key, value
        Of the step, (..., H, D).
    cache, window
        Steps before, see `empty_cache`.

    Returns
    -------
    What was read (..., H, D), and the next cache.
    """
    first, last = (int(end) for end in cache.length.aminmax())
    recorded = torch.is_grad_enabled()
    after = _with_places(cache, _capacity(last + 1, window))
    places = (cache.length if window is None else cache.length % (window + 1)).unsqueeze(-1)
    if first == last and not recorded:
        place = last if window is None else last % (window + 1)
        after.keys[..., place, :], after.values[..., place, :] = key, value
    else:
        after = _written(after, key.unsqueeze(-2), value.unsqueeze(-2), places, in_place=not recorded)
    after = after._replace(length=cache.length + 1)
    size = min(last + 1, after.keys.shape[-2])
    seen = None
    if first != last or (window is not None and last >= window):
        steps = _steps(after.length, size, window)
        seen = (steps >= 0) & (steps > (cache.length - (window or last + 1)).unsqueeze(-1))
        seen = seen.flatten(0, -2)[:, None, None]  # (N, 1, 1, C): all heads, one query
    keys, values = (part[..., :size, :].flatten(0, -4) for part in (after.keys, after.values))
    read = attention(query.unsqueeze(-2).flatten(0, -4), keys, values, seen, order=2 if recorded else 1)
    return read.reshape(query.shape), after


def attend_along(
    queries: Tensor, keys: Tensor, values: Tensor, cache: Cache, window: int | None, *, order: Order
) -> tuple[Tensor, Cache]:
    """Attention of T steps to those up to each and to the steps of a cache, as `attend_next` step by step.

    Parameters
    ----------
    queries, keys, values
        Of the steps, (..., H, T, D).
    cache, window
        Steps before, see `empty_cache`; its tensors stay as they are.
    order
        Derivatives wanted, see `maml_rl.policies.recurrence.Order`.

    Returns
    -------
    What was read (..., H, T, D), and the last cache.
    """
    num_steps, before = queries.shape[-2], cache.length
    offsets = torch.arange(num_steps, device=queries.device)
    ages = offsets[:, None] - offsets  # (T, T)
    known = None if is_transformed(before) else int(before.max())  # what `vmap` hides may be any number
    if known == 0:
        inside = window is None or num_steps <= window
        seen = None if inside and order == 1 else (ages >= 0) & (ages < (window or num_steps))
        read = attention(queries, keys, values, seen, order=order, causal=seen is None)
    else:
        steps = _steps(before, cache.keys.shape[-2], window)[..., None, :]  # (..., 1, C)
        earlier = steps >= 0
        if window is not None:
            earlier = earlier & (steps > before[..., None, None] + (offsets[:, None] - window))
        among = (ages >= 0) & (ages < (window or num_steps))
        shape = (*before.shape, num_steps, num_steps)
        seen = torch.cat([earlier.expand(*shape[:-1], earlier.shape[-1]), among.expand(shape)], -1).unsqueeze(-3)
        all_keys, all_values = torch.cat([cache.keys, keys], -2), torch.cat([cache.values, values], -2)
        read = attention(queries, all_keys, all_values, seen, order=order)
    places = cache.keys.shape[-2] if known is None else known
    after = _with_places(cache, _capacity(places + num_steps, window))
    if known == 0 and window is None:
        room = (0, 0, 0, after.keys.shape[-2] - num_steps)
        return read, Cache(functional.pad(keys, room), functional.pad(values, room), before + num_steps)
    kept = num_steps if window is None else min(num_steps, window + 1)  # those before are written over
    at = before.unsqueeze(-1) + offsets[num_steps - kept :]
    at = at if window is None else at % (window + 1)
    after = _written(after, keys[..., num_steps - kept :, :], values[..., num_steps - kept :, :], at)
    return read, after._replace(length=before + num_steps)


def keep_cache(active: Tensor, after: Cache, before: Cache) -> Cache:
    """Caches `after` a step of `attend_next` where active (..., B) bool, and those `before` it elsewhere.

    Where no gradients are recorded only lengths differ: what the step wrote is beside what the cache before looks at.
    """
    length = torch.where(active, after.length, before.length)
    if not torch.is_grad_enabled():
        return after._replace(length=length)
    before, rows = _with_places(before, after.keys.shape[-2]), active[..., None, None, None]
    return Cache(torch.where(rows, after.keys, before.keys), torch.where(rows, after.values, before.values), length)


def mean_value(cache: Cache, window: int | None) -> Tensor:
    """Mean (..., H, D) of the values of the last steps, all or those of a window; 0 if there is none."""
    steps, last = _steps(cache.length, cache.values.shape[-2], window), cache.length.unsqueeze(-1) - 1
    held = ((steps >= 0) & (steps > last - (window or cache.values.shape[-2]))).to(cache.values)  # (..., C)
    return (held[..., None, None, :] @ cache.values)[..., 0, :] / held.sum(-1)[..., None, None].clamp(min=1.0)


def attention(
    queries: Tensor, keys: Tensor, values: Tensor, seen: Tensor | None, *, order: Order, causal: bool = False
) -> Tensor:
    """Means of values (..., H, S, D) with weights ``softmax(q k^T / sqrt(D))`` over those that are seen.

    Parameters
    ----------
    queries
        (..., H, T, D).
    keys, values
        (..., H, S, D).
    seen
        Bool, broadcast over (..., H, T, S), at least one True in every row; ``None``: all.
    order
        With 1 a fused kernel computes it, which can be differentiated once.
    causal
        Whether step t sees S = T steps up to itself only; `seen` is then ``None``.
    """
    if order == 1:
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=seen, is_causal=causal)
    scores = queries @ keys.mT / math.sqrt(queries.shape[-1])
    if seen is not None:
        scores = scores.masked_fill(~seen, -math.inf)
    return torch.softmax(scores, -1) @ values


def _capacity(num_steps: int, window: int | None) -> int:
    """Places for so many steps."""
    blocks = BLOCK * math.ceil(num_steps / BLOCK)
    return blocks if window is None else min(blocks, window + 1)


def _with_places(cache: Cache, capacity: int) -> Cache:
    """The cache with at least that many places."""
    more = capacity - cache.keys.shape[-2]
    if more <= 0:
        return cache
    return cache._replace(
        keys=functional.pad(cache.keys, (0, 0, 0, more)), values=functional.pad(cache.values, (0, 0, 0, more))
    )


def _steps(length: Tensor, num_places: int, window: int | None) -> Tensor:
    """Steps (..., C) that lie at the places of a cache of this length (...); negative where none does."""
    places = torch.arange(num_places, device=length.device)
    length = length.unsqueeze(-1)
    if window is None:
        return torch.where(places < length, places, -1)
    return length - 1 - (length - 1 - places) % (window + 1)


def _written(cache: Cache, keys: Tensor, values: Tensor, places: Tensor, *, in_place: bool = False) -> Cache:
    """The cache with keys and values (..., H, T, D) at places (..., T), different ones."""
    index = places[..., None, :, None].expand(keys.shape)
    if in_place:
        return cache._replace(
            keys=cache.keys.scatter_(-2, index, keys), values=cache.values.scatter_(-2, index, values)
        )
    return cache._replace(keys=cache.keys.scatter(-2, index, keys), values=cache.values.scatter(-2, index, values))
