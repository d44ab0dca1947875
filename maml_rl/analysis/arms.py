"""Chosen arms, and the mark of a trial without a choice."""

from __future__ import annotations

import numpy as np

from maml_rl.utils.field_words import shown

MISSED = -1
"""Stands for the choice in a trial without one."""


def check_choices(choices: np.ndarray, num_arms: int) -> np.ndarray:
    """Return `choices` (..., T) as an array; raise `ValueError` unless they are arms from 0 to `num_arms` - 1."""
    choices = np.asarray(choices)
    if choices.ndim == 0 or choices.size == 0 or not np.issubdtype(choices.dtype, np.integer):
        raise ValueError(f"choices: got {choices.dtype} of shape {choices.shape}, expected whole numbers (..., T)")
    if choices.min() < 0 or choices.max() >= num_arms:
        raise ValueError(f"choices: got {choices.min()} to {choices.max()}, expected arms from 0 to {num_arms - 1}")
    return choices


def check_arms_or_missed(choices: np.ndarray) -> np.ndarray:
    """Return `choices` (..., T) as int64; raise `ValueError` unless they are arms from 0 on or `MISSED`."""
    choices = np.asarray(choices)
    cure = f"expected arms from 0 on; write {MISSED} for a missed trial"
    if choices.dtype.kind not in "biuf":
        first = choices.flat[0] if choices.size else choices.dtype
        raise ValueError(f"choices: got {shown(str(first))}, which is not a number, {cure}")
    numbers = choices.astype(np.float64)
    wrong = ~(np.isfinite(numbers) & (numbers == np.floor(numbers)) & (numbers >= MISSED))
    if wrong.any():
        raise ValueError(f"choices: got {numbers[wrong][0]:g}, {cure}")
    return choices.astype(np.int64)
