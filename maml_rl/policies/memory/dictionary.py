"""A dictionary of past episodes: keys, values, and reading by the nearest keys, differentiable."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from maml_rl.utils.transforms import is_transformed

Kernel = Literal["cosine", "euclidean", "inverse-distance"]

SAME = 1e-5
"""Keys are one and the same up to this: 1 less their cosine, or their squared distance relative to their length's."""
_DELTA = 1e-3
_SMALLEST = 1e-12


class Entries(NamedTuple):
    """What a dictionary holds, tensors that lead with (..., B).

    Attributes
    ----------
    keys
        (..., C, K), of length 1 with kernel ``"cosine"``; zeros where nothing was written.
    squares
        Their squared lengths (..., C).
    values
        (..., C, V).
    written
        Entries begun so far (...,) int64: entry n lies at n modulo C.
    """

    keys: Tensor
    squares: Tensor
    values: Tensor
    written: Tensor

    def copy(self) -> Entries:
        """The same in memory of its own."""
        return Entries(*(part.clone() for part in self))


class Dictionary:
    """Differentiable neural dictionary of C entries, for each of B episodes (Pritzel et al. 2017, section 3).

    Reading with a query q averages the values of the k entries of the largest kernel, k_i = k(q, key_i), equation 1:

        m = sum_i k_i v_i / sum_i k_i,      k(q, h) = exp(sharpness cos(q, h)),  exp(-sharpness |q - h|)
                                                      or 1 / (|q - h|^2 + 0.001), equation 5

    An empty dictionary gives zeros. Writing replaces the value of an entry with the same key, or else the oldest entry
    once all C are taken. A key of zeros stands for none: it neither reads nor writes.

    Gradients reach query, keys and values, but for which entries are the nearest. Writing is in place where PyTorch
    records no gradient (`torch.no_grad`) and transforms nothing, else into a copy.

    Parameters
    ----------
    capacity, key_size, value_size
        C, K, V, each >= 1.
    kernel
        See above.
    num_neighbours
        k, >= 1.
    sharpness
        > 0.
    """

    def __init__(
        self,
        capacity: int,
        key_size: int,
        value_size: int,
        *,
        kernel: Kernel = "cosine",
        num_neighbours: int = 1,
        sharpness: float = 10.0,
    ) -> None:
        self.capacity, self.key_size, self.value_size = capacity, key_size, value_size
        self.kernel, self.sharpness = kernel, sharpness
        self.num_neighbours = min(num_neighbours, capacity)

    def empty(self, like: Tensor, batch_shape: tuple[int, ...]) -> Entries:
        """Nothing, for episodes (..., B) = `batch_shape`, of the type and on the device of `like` (*)."""
        keys, values = ((*batch_shape, self.capacity, size) for size in (self.key_size, self.value_size))
        squares = like.new_zeros((*batch_shape, self.capacity))
        count = like.new_zeros(batch_shape, dtype=torch.int64)
        return Entries(like.new_zeros(keys), squares, like.new_zeros(values), count)

    def read(self, entries: Entries, query: Tensor) -> Tensor:
        """Value (..., V) for a query (..., K)."""
        query = self._scaled(query)
        with torch.no_grad():
            nearest, place = self._closeness(entries.keys, entries.squares, query).topk(self.num_neighbours, -1)
            found = (nearest > -torch.inf) & query.any(-1, keepdim=True)  # (..., k)
        values = _at(entries.values, place)
        if self.num_neighbours == 1:
            weights = found.to(values)
        else:
            closeness = self._closeness(_at(entries.keys, place), entries.squares.gather(-1, place), query)
            closeness = torch.where(found, closeness, torch.finfo(values.dtype).min)
            weights = torch.softmax(closeness, -1) * found
        return (weights.unsqueeze(-1) * values).sum(-2)

    def write(self, entries: Entries, key: Tensor, value: Tensor, where: Tensor) -> Entries:
        """Entries with values (..., V) under keys (..., K), written where (...,) is True."""
        key = self._scaled(key)
        with torch.no_grad():
            place, known = self._place_of(entries, key)
            where = where & key.any(-1)
            place = torch.where(known, place, entries.written % self.capacity).unsqueeze(-1)  # (..., 1)
        in_place = not (torch.is_grad_enabled() or any(map(is_transformed, (*entries, key, value, where))))
        scatter = Tensor.scatter_ if in_place else Tensor.scatter

        def put(table: Tensor, row: Tensor) -> Tensor:
            """Table (..., C, n) with a row (..., n) at the place."""
            kept = torch.where(where.unsqueeze(-1), row, _at(table, place).squeeze(-2))
            index = place.unsqueeze(-1).expand(*place.shape, table.shape[-1])
            return scatter(table, -2, index, kept.unsqueeze(-2))

        squares = put(entries.squares.unsqueeze(-1), key.square().sum(-1, keepdim=True)).squeeze(-1)
        written = entries.written + (where & ~known)
        return Entries(put(entries.keys, key), squares, put(entries.values, value), written)

    def _scaled(self, key: Tensor) -> Tensor:
        """Keys (..., K) as they are compared."""
        if self.kernel != "cosine":
            return key
        return key * torch.rsqrt(key.square().sum(-1, keepdim=True) + _SMALLEST)

    def _closeness(self, keys: Tensor, squares: Tensor, query: Tensor) -> Tensor:
        """Logarithm (..., C) of the kernel between keys (..., C, K) and a query (..., K); -inf for empty entries."""
        products = (keys @ query.unsqueeze(-1)).squeeze(-1)
        if self.kernel == "cosine":
            closeness = self.sharpness * products
        else:
            distances = _squared_distances(products, squares, query)
            if self.kernel == "euclidean":
                closeness = -self.sharpness * torch.sqrt(distances + _SMALLEST)
            else:
                closeness = -torch.log(distances + _DELTA)
        return closeness.masked_fill(squares == 0, -torch.inf)

    def _place_of(self, entries: Entries, key: Tensor) -> tuple[Tensor, Tensor]:
        """Place (...,) of the entry whose key is nearest to a key (..., K), and whether (...,) it is the same key."""
        products = (entries.keys @ key.unsqueeze(-1)).squeeze(-1)
        distances = _squared_distances(products, entries.squares, key)
        nearest, place = distances.masked_fill(entries.squares == 0, torch.inf).min(-1)
        return place, nearest <= SAME * key.square().sum(-1)


def _squared_distances(products: Tensor, squares: Tensor, query: Tensor) -> Tensor:
    """Of keys with these products (..., C) with a query (..., K), and squared lengths (..., C)."""
    return (squares - 2.0 * products + query.square().sum(-1, keepdim=True)).clamp(min=0.0)


def _at(table: Tensor, place: Tensor) -> Tensor:
    """Rows (..., k, n) of a table (..., C, n) at places (..., k)."""
    return table.gather(-2, place.unsqueeze(-1).expand(*place.shape, table.shape[-1]))
