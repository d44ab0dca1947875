"""Tasks of evaluations: which of them are the same, and means over each."""

from __future__ import annotations

import numpy as np

from maml_rl.studies.run_files import to_seven_digits

SEVERAL = 3
"""Seeds that are enough to be units; with fewer, tasks are."""


def same_tasks(tasks: np.ndarray, others: np.ndarray) -> bool:
    """True if `tasks` (N, D) and `others` (M, D) of two evaluations are the same, whatever machine drew them.

    Seven digits tell: an archive holds no more, and processors differ in the last bits of powers and sines.

    Examples
    --------
    >>> drawn = np.array([[0.1], [0.7]])
    >>> same_tasks(drawn, drawn + 1e-16), same_tasks(drawn, drawn[::-1])
    (True, False)
    """
    return tasks.shape == others.shape and np.array_equal(to_seven_digits(tasks), to_seven_digits(others))


def mean_by_task(scores: np.ndarray, tasks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`scores` (S, N) of N `tasks` (N, D), some of them alike, as means (S, U) of the U different ones (U, D).

    A family with few tasks has them drawn again; episodes of the same task are no independent units.

    Examples
    --------
    >>> mean_by_task(np.array([[1.0, 2.0, 5.0]]), np.array([[7], [3], [7]]))
    (array([[3., 2.]]), array([[7],
           [3]]))
    """
    _, firsts, which = np.unique(to_seven_digits(tasks), axis=0, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(firsts))[which.reshape(-1)]  # in order of first appearance
    counts = np.bincount(place)
    return np.stack([np.bincount(place, row) / counts for row in scores]), tasks[np.sort(firsts)]
