"""Kernel that follows dictionaries along sequences, by keys alone."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from maml_rl.policies.memory.dictionary import GRAIN, SAME
from maml_rl.utils.kernels import compiled_exactly


@compiled_exactly
def follow(entries, steps, results, reach):
    """Entries read and written along B sequences; see `maml_rl.policies.memory.episode_order.trace`.

    Parameters
    ----------
    entries
        Keys (B, K, C), squares (B, C), rows (B, C) and counts (B,): changed as `Dictionary.write` would.
    steps
        Scaled keys (1 + T, B, K) from that of the step before on, boundaries (T, B), and each step's own row (T, B).
    results
        Written: rows read (T, B), generations of rows (rows,), and places of entries with the last key (B,).
    reach
        Largest squared distance at which an entry is read, relative to the query's square.
    """
    keys, squares, rows, counts = entries
    queries, started, own = steps
    source, generation, same = results
    (num_steps, width), (size, capacity) = started.shape, keys.shape[1:]
    for b in range(width):
        read, known = 0, -1
        for t in range(num_steps):
            before, query = queries[t, b], queries[t + 1, b]
            if started[t, b]:
                square = np.float64(0.0)
                for j in range(size):
                    square += before[j] * before[j]
                if square > 0:
                    nearest = _nearest(keys[b], squares[b], before)
                    place = nearest
                    if nearest < 0 or _grains(keys[b], squares[b], before, nearest) / GRAIN + square > SAME * square:
                        place = counts[b] % capacity
                        counts[b] += 1
                    for j in range(size):
                        keys[b, j, place] = before[j]
                    squares[b, place] = square
                    rows[b, place] = own[t, b] - 1
            moved = t == 0 or started[t, b]
            for j in range(size):
                moved = moved or query[j] != before[j]
            if moved:
                read, known = 0, -1
                square = np.float64(0.0)
                for j in range(size):
                    square += query[j] * query[j]
                nearest = _nearest(keys[b], squares[b], query) if square > 0 else -1
                if nearest >= 0:
                    distance = _grains(keys[b], squares[b], query, nearest) / GRAIN + square
                    if distance <= reach * square + 1.0 / GRAIN:
                        read = rows[b, nearest]
                    if distance <= SAME * square:
                        known = nearest
            generation[own[t, b]] = max(generation[own[t, b]], generation[read] + 1)
            source[t, b] = read
        same[b] = known


@compiled_exactly
def _grains(keys, squares, query, place):
    """Squared distance, but for the query's square, in grains."""
    product = np.float64(0.0)
    for j in range(len(query)):
        product += query[j] * keys[j, place]
    return np.round(GRAIN * (squares[place] - 2.0 * product))


@compiled_exactly
def _nearest(keys, squares, query):
    """Place of the nearest entry, the first among equals; -1 if there is none."""
    best, place = np.inf, -1
    for c in range(len(squares)):
        grains = _grains(keys, squares, query, c)
        if grains < best:
            best, place = grains, c
    return place
