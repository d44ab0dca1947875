"""Schedules of settings over a run."""

from __future__ import annotations


def linear_schedule(begin: float, end: float | None, *, iteration: int, num_batches: int) -> float:
    """Value in an iteration on the way from `begin`, in the first of `num_batches`, to `end`, in the last.

    Parameters
    ----------
    begin, end
        ``None`` as end: constant.
    iteration
        >= 0; behind the last it is `end`.
    num_batches
        Iterations of the run, >= 1.

    Examples
    --------
    >>> [linear_schedule(1.0, 0.0, iteration=i, num_batches=3) for i in (0, 1, 2, 9)]
    [1.0, 0.5, 0.0, 0.0]
    >>> linear_schedule(1.0, None, iteration=2, num_batches=3)
    1.0
    """
    last = begin if end is None else end
    return begin + (last - begin) * min(1.0, iteration / max(1, num_batches - 1))
