"""A dictionary of past episodes: keys, values, and reading by the nearest keys, differentiable."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from maml_rl.utils.transforms import is_transformed

Kernel = Literal["cosine", "euclidean", "inverse-distance"]

SAME = 1e-4
"""Keys are one and the same up to this squared distance, relative to their squared length."""
GRAIN = 2.0**16
"""Steps of squared distances within 1."""
_DELTA = 1e-3
_SMALLEST = 1e-12


class Entries(NamedTuple):
    """Contents of a dictionary, tensors that lead with (..., B).

    Attributes
    ----------
    keys
        (..., K, C), one in each column, of length 1 with kernel ``"cosine"``; zeros where nothing was written. Products
        with a query are several times faster so.
    squares
        Their squared lengths (..., C), infinite where nothing was written.
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
    reach
        Largest distance of a key from the query, as a fraction of the query's length (1 with kernel ``"cosine"``), at
        which its entry is read, to a grain of the squared distance; below 0.01 the same key alone; ``None``: any.
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
        reach: float | None = None,
    ) -> None:
        self.capacity, self.key_size, self.value_size = capacity, key_size, value_size
        self.kernel, self.sharpness = kernel, sharpness
        self.num_neighbours = min(num_neighbours, capacity)
        self.reach = math.inf if reach is None else max(reach * reach, SAME)

    def empty(self, like: Tensor, batch_shape: tuple[int, ...]) -> Entries:
        """Nothing, for episodes (..., B) = `batch_shape`, of the type and on the device of `like` (*)."""
        keys = like.new_zeros((*batch_shape, self.key_size, self.capacity))
        squares = like.new_full((*batch_shape, self.capacity), torch.inf)
        values = like.new_zeros((*batch_shape, self.capacity, self.value_size))
        return Entries(keys, squares, values, like.new_zeros(batch_shape, dtype=torch.int64))

    def read(self, entries: Entries, query: Tensor) -> tuple[Tensor, Tensor]:
        """Value (..., V) for a query (..., K), and the place (...,) of the entry with the same key, -1 if none has."""
        query = self.scaled(query)
        with torch.no_grad():
            nearest, place = _nearest(entries, query, self.num_neighbours)
            square = query.square().sum(-1, keepdim=True)
            near = torch.isfinite(nearest) & (nearest <= self.reach * square + 1.0 / GRAIN)  # (..., k)
            found = near & query.any(-1, keepdim=True)
            is_same = nearest[..., 0] <= SAME * square[..., 0]
            same = torch.where(is_same & found[..., 0], place[..., 0], -1)
        values = entries.values.gather(-2, place.unsqueeze(-1).expand(*place.shape, self.value_size))
        if self.num_neighbours == 1:
            return (found.unsqueeze(-1) * values).squeeze(-2), same
        keys = entries.keys.gather(-1, place.unsqueeze(-2).expand(*place.shape[:-1], self.key_size, place.shape[-1]))
        squares = torch.where(found, entries.squares.gather(-1, place), 0.0)
        closeness = torch.where(found, self._closeness(keys, squares, query), torch.finfo(values.dtype).min)
        return ((torch.softmax(closeness, -1) * found).unsqueeze(-1) * values).sum(-2), same

    def write(self, entries: Entries, key: Tensor, value: Tensor, where: Tensor, same: Tensor | None = None) -> Entries:
        """Entries with values (..., V) under keys (..., K), written where (...,) is True.

        `same` (...,) is what `read` gives for these keys and entries; ``None``: not known.
        """
        if same is None:
            _, same = self.read(entries, key)
        key = self.scaled(key)
        with torch.no_grad():
            known = same >= 0
            place = torch.where(known, same, entries.written % self.capacity)
            where = where & key.any(-1)
        in_place = not (torch.is_grad_enabled() or any(map(is_transformed, (*entries, key, value, where))))
        scatter = Tensor.scatter_ if in_place else Tensor.scatter

        def put(table: Tensor, new: Tensor, dim: int) -> Tensor:
            """Table with what is new, of length 1 along the dimension of entries, at the place in that dimension."""
            ones = [1] * (new.dim() - place.dim())
            index = place.reshape(*place.shape, *ones).expand_as(new)
            kept = torch.where(where.reshape(*place.shape, *ones), new, table.gather(dim, index))
            return scatter(table, dim, index, kept)

        keys = put(entries.keys, key.unsqueeze(-1), -1)
        squares = put(entries.squares, key.square().sum(-1, keepdim=True), -1)
        values = put(entries.values, value.unsqueeze(-2), -2)
        return Entries(keys, squares, values, entries.written + (where & ~known))

    def scaled(self, key: Tensor) -> Tensor:
        """Form in which a key (..., K) is compared: of length 1 with kernel ``"cosine"``."""
        if self.kernel != "cosine":
            return key
        return key * torch.rsqrt(key.square().sum(-1, keepdim=True) + _SMALLEST)

    def _closeness(self, keys: Tensor, squares: Tensor, query: Tensor) -> Tensor:
        """Logarithm (..., k) of the kernel of keys (..., K, k), squared lengths (..., k), and a query (..., K)."""
        if self.kernel == "cosine":
            return self.sharpness * (query.unsqueeze(-2) @ keys).squeeze(-2)
        products = (query.unsqueeze(-2) @ keys).squeeze(-2)
        distances = (squares - 2.0 * products + query.square().sum(-1, keepdim=True)).clamp(min=0.0)
        if self.kernel == "euclidean":
            return -self.sharpness * torch.sqrt(distances + _SMALLEST)
        return -torch.log(distances + _DELTA)


def _nearest(entries: Entries, query: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Squared distances (..., k) of the `count` nearest keys from a query (..., K), and their places.

    Infinite where there are fewer. Distances count in grains, so that rounding does not choose among equal ones: the
    first is taken.
    """
    size, capacity = entries.keys.shape[-2:]
    squares, keys = entries.squares.reshape(-1, 1, capacity), entries.keys.reshape(-1, size, capacity)
    distances = torch.baddbmm(squares, query.reshape(-1, 1, size), keys, alpha=-2.0)  # but for the query's square
    distances = torch.round(GRAIN * distances).reshape(entries.squares.shape)
    if count == 1:
        nearest, place = distances.min(-1, keepdim=True)
    else:
        nearest, place = distances.topk(count, -1, largest=False)
    return nearest / GRAIN + query.square().sum(-1, keepdim=True), place
