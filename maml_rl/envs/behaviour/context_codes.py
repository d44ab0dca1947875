"""Codes of contexts: rows of -1 and +1 that agents are shown, and recognise."""

from __future__ import annotations

from typing import Any

import numpy as np

from maml_rl.utils.checks import check_at_least

_MOST_BITS = 62


def check_code_space(bits: int, **num_contexts: int) -> None:
    """Raise `ValueError` unless that many contexts, named as the keyword is, have different codes of `bits` numbers."""
    check_at_least(1, bits=bits, **num_contexts)
    if bits > _MOST_BITS:
        raise ValueError(f"bits: got {bits}, expected at most {_MOST_BITS}")
    for name, number in num_contexts.items():
        if number > 2**bits:
            raise ValueError(f"{name}: got {number} contexts, expected at most {2**bits} with bits = {bits}")


def codes_of(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Codes (C, bits) of whole numbers (C,): their binary digits, the least first, 0 as -1.

    Examples
    --------
    >>> codes_of(np.array([0, 1, 2]), 2).tolist()
    [[-1, -1], [1, -1], [-1, 1]]
    """
    digits = (np.asarray(numbers, dtype=np.int64)[:, np.newaxis] >> np.arange(bits)) & 1  # (C, bits)
    return 2 * digits - 1


def draw_codes(num_contexts: int, bits: int, rng: np.random.Generator) -> np.ndarray:
    """Codes (C, bits) of `num_contexts` C contexts, no two alike, each such set equally likely."""
    return codes_of(rng.choice(2**bits, num_contexts, replace=False), bits)


def checked_codes(codes: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return the codes of a task as float32 of this shape (C, bits); raise `ValueError` unless they are codes."""
    codes = np.asarray(codes, dtype=np.float32)
    if codes.shape != shape or not np.isin(codes, (-1.0, 1.0)).all():
        raise ValueError(f"task['codes']: got shape {codes.shape}, expected numbers -1 and 1 of shape {shape}")
    if len(np.unique(codes, axis=0)) < len(codes):
        raise ValueError("task['codes']: got two contexts with the same code, expected different ones")
    return codes


def checked_indices(name: str, indices: Any, length: int, stop: int) -> np.ndarray:
    """Return ``task[name]`` as int64 (length,); raise `ValueError` unless it holds whole numbers from 0 to stop - 1."""
    found = np.asarray(indices)
    if found.shape != (length,) or found.dtype.kind not in "iu" or found.min() < 0 or found.max() >= stop:
        shown = found.shape if found.shape != (length,) else found.tolist()[:5]
        raise ValueError(f"task[{name!r}]: got {shown}, expected {length} whole numbers from 0 to {stop - 1}")
    return found.astype(np.int64)
