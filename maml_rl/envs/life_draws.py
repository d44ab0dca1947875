"""Random numbers of lives: the same for every individual that lives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor


class Draw(NamedTuple):
    """Random numbers that one event takes: uniform on [0, 1) or standard normal, of this shape."""

    kind: Literal["uniform", "normal"]
    shape: tuple[int, ...]


class LifeDraws:
    """Numbers (L, *shape) of the first, second, ... event of each life, made in blocks on the host.

    The numbers of event i of a life are a function of its generator's state at the start and of i alone: neither of
    the number of individuals, nor of when each of them comes to the event, nor of the other lives. They are kept,
    because one individual may come to an event long after another one.

    Parameters
    ----------
    rngs
        One generator per life, or per group of as many lives one after another; only their first numbers are used.
    num_lives
        Number of lives L, a multiple of ``len(rngs)``.
    draw
        Numbers of one event.
    like
        A tensor of the device and dtype that the numbers are moved to.
    wanted
        Lives (L,) bool whose numbers are asked for; generators of no such life are not touched. ``None``: all.
    """

    def __init__(
        self,
        rngs: Sequence[np.random.Generator],
        num_lives: int,
        draw: Draw,
        like: Tensor,
        *,
        wanted: np.ndarray | None = None,
    ) -> None:
        groups = [True] * len(rngs) if wanted is None else [bool(one.any()) for one in wanted.reshape(len(rngs), -1)]
        seeds = [int(rng.integers(2**63)) if group else 0 for rng, group in zip(rngs, groups, strict=True)]
        self._rngs = [np.random.Generator(np.random.PCG64(seed)) for seed in seeds]
        self._draw, self._like = draw, like
        self._per_group = num_lives // len(rngs)
        self._lives = torch.arange(num_lives, device=like.device)
        self._table = like.new_empty((0, num_lives, *draw.shape))  # (events so far, L, *shape)

    def at(self, events: Tensor, *, needed: int | None = None) -> Tensor:
        """Numbers (P, L, *shape) of these events.

        Parameters
        ----------
        events
            Their indices (P, L), counted from 0.
        needed
            More than the largest index, for callers who know it and will not wait for the device.
        """
        needed = int(events.max()) + 1 if needed is None else needed
        if needed > len(self._table):
            self._extend(max(needed, 2 * len(self._table), 1))
        return self._table[events, self._lives]

    def _extend(self, length: int) -> None:
        shape = (length - len(self._table), self._per_group, *self._draw.shape)
        uniform = self._draw.kind == "uniform"
        blocks = [rng.random(shape) if uniform else rng.standard_normal(shape) for rng in self._rngs]
        added = torch.from_numpy(np.concatenate(blocks, axis=1)).to(self._like)
        self._table = torch.cat([self._table, added])


class RestartedDraws:
    """Numbers of lives some of which began anew, with other generators, while the rest went on.

    Parameters
    ----------
    draws
        Those of the lives' first beginning.
    """

    def __init__(self, draws: LifeDraws) -> None:
        self._first = draws
        self._later: list[tuple[Tensor, LifeDraws]] = []  # rows (P, L) bool that have these, the newest last

    def restart(self, rows: Tensor, draws: LifeDraws) -> None:
        """Let the rows (P, L) bool have other numbers from now on; waits for the device."""
        kept = [(own & ~rows, earlier) for own, earlier in self._later]
        self._later = [(own, earlier) for own, earlier in kept if bool(own.any())] + [(rows, draws)]

    def at(self, events: Tensor, *, needed: int | None = None) -> Tensor:
        """See `LifeDraws.at`."""
        numbers = self._first.at(events, needed=needed)
        for rows, draws in self._later:
            own = rows.reshape(*rows.shape, *[1] * (numbers.dim() - rows.dim()))
            numbers = torch.where(own, draws.at(events, needed=needed), numbers)
        return numbers
