"""An order of episodes in which whatever one reads from a dictionary was written before, many of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from maml_rl.policies.memory.dictionary import Dictionary, Entries
from maml_rl.policies.memory.episode_order_kernel import follow
from maml_rl.utils.transforms import array_of


class Generation(NamedTuple):
    """Episodes that wait for none of each other, n of them.

    Attributes
    ----------
    steps
        Their steps as places t * B + b, (longest, n); behind the end of a shorter one its last step again.
    mask
        (longest, n) bool, False there.
    last
        Index (n,) of the last step.
    closing
        Place (n,) of the step that follows it; 0 if none does.
    row
        Row (n,) that the episode writes; 0 if it is not over.
    column
        b (n,).
    is_first
        (n,) bool, of the episodes that the sequences begin with.
    """

    steps: Tensor
    mask: Tensor
    last: Tensor
    closing: Tensor
    row: Tensor
    column: Tensor
    is_first: Tensor


class Trace(NamedTuple):
    """Reading of every step of B sequences from dictionaries of C entries, in which E episodes are written.

    Attributes
    ----------
    source
        Row (T * B,) read: 0 for nothing, b * (C + E) + 1 + c for entry c at the start, and b * (C + E) + 1 + C + e
        for what episode e has written.
    generation
        Of each row (1 + B * (C + E),): an episode's is larger than that of whatever it reads, -1 if it is none.
    entries
        In the end, with rows (B, C, 1) for values.
    same
        Place (B,) of the entry with the last step's key, -1 if none has.
    """

    source: Tensor
    generation: Tensor
    entries: Entries
    same: Tensor


def trace(dictionary: Dictionary, entries: Entries, keys: Tensor, before: Tensor, started: Tensor) -> Trace:
    """Sources of all that is read: with one neighbour they depend on keys alone, and are known beforehand.

    Parameters
    ----------
    dictionary
        Reads one neighbour.
    entries
        At the start, of B sequences.
    keys
        Key of every step (T, B, K).
    before
        Key (B, K) of the step before the first.
    started
        (T, B) bool, where an episode begins after another.
    """
    capacity, width = dictionary.capacity, started.shape[1]
    own, found = own_rows(started, capacity), torch.isfinite(entries.squares)
    rows = ((own[0] - capacity - started[0].long())[:, None] + torch.arange(capacity)) * found
    num_rows = width * (capacity + int(started.sum(0).max()) + 1) + 1
    generation = torch.full((num_rows,), -1)
    generation[own.flatten()] = 0
    source, same = torch.zeros(started.shape, dtype=torch.int64), torch.full((width,), -1)
    keys_then, squares, _, written = (part.clone(memory_format=torch.contiguous_format) for part in entries)
    traced = Entries(keys_then, squares, rows, written)
    scaled = dictionary.scaled(torch.cat([before.unsqueeze(0), keys]))
    follow(
        tuple(array_of(part) for part in traced),
        tuple(array_of(part) for part in (scaled, started, own)),
        (array_of(source), array_of(generation), array_of(same)),
        dictionary.reach,
    )
    return Trace(source.flatten(), generation, traced._replace(values=rows.unsqueeze(-1)), same)


def generations(started: Tensor, capacity: int, generation: Tensor) -> Iterator[Generation]:
    """Episodes of sequences with boundaries `started` (T, B), by the generation (rows,) of the row each would write."""
    num_steps, width = started.shape
    episode = array_of(started.long().cumsum(0))
    lengths = np.zeros((width, int(episode.max()) + 1), dtype=np.int64)
    np.add.at(lengths, (np.arange(width), episode), 1)
    columns, numbers = np.nonzero(lengths)
    starts, lengths = (lengths.cumsum(1) - lengths)[columns, numbers], lengths[columns, numbers]
    rows = np.zeros_like(episode.T, shape=(width, int(episode.max()) + 1))
    rows[np.arange(width), episode] = array_of(own_rows(started, capacity))
    rows = rows[columns, numbers]
    when = array_of(generation)[rows]
    for index in range(int(when.max()) + 1):
        chosen = np.flatnonzero(when == index)
        start, length, column = starts[chosen], lengths[chosen], columns[chosen]
        ticks = np.arange(length.max())[:, np.newaxis]
        over = start + length < num_steps
        parts = (
            (start + np.minimum(ticks, length - 1)) * width + column,
            ticks < length,
            length - 1,
            np.where(over, (start + length) * width + column, 0),
            np.where(over, rows[chosen], 0),
            column,
            numbers[chosen] == 0,
        )
        yield Generation(*map(torch.from_numpy, parts))


def own_rows(started: Tensor, capacity: int) -> Tensor:
    """Row (T, B) that the episode of each step would write, with `started` (T, B) where one begins after another."""
    episode = started.long().cumsum(0)
    num_episodes = int(episode.max()) + 1
    return torch.arange(started.shape[1]) * (capacity + num_episodes) + 1 + capacity + episode
