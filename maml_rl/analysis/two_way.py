"""Bootstrap over two crossed factors, such as agents and the tasks that all of them were given."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from maml_rl.analysis.intervals import Interval, check_confidence
from maml_rl.utils.checks import check_at_least

Statistic = Callable[[np.ndarray], np.ndarray | float]
"""Number or array of numbers of a table (A, N, ...)."""


def two_way_bootstrap(
    table: np.ndarray, statistic: Statistic, rng: np.random.Generator, *, num_resamples: int = 2000
) -> np.ndarray:
    """Statistic of resampled tables: A agents and N tasks are drawn with replacement, independently of each other.

    A resample holds every cell of the drawn agents and the drawn tasks: the pigeonhole bootstrap (Owen 2007, *Annals of
    Applied Statistics* 1:386-411, section 4; McCullagh 2000). Of the mean of ``x = m + a_i + b_j + e_ij``, sums of a, b
    and e being zero, the variance over resamples is ``sum a^2 / A^2 + sum b^2 / N^2 + sum e^2 / (A N)^2``. That expects
    up to ``3 var(e) / (A N)`` where the mean has ``var(e) / (A N)``: intervals are a little too wide, never too narrow
    as those over one factor are. What a statistic fits is not fitted again within a cell.

    Parameters
    ----------
    table
        (A, N, ...), of A agents by N tasks, one or several numbers in each cell. Of one task, or of one agent, only the
        other factor is resampled.
    statistic
        Of a table of this shape.
    rng
        Draws the resamples.
    num_resamples
        R, >= 1.

    Returns
    -------
    (R, ...), of the statistic's shape.

    Raises
    ------
    ValueError
        If the table has no cell or fewer than two axes.
    """
    table = np.asarray(table, dtype=np.float64)
    if table.ndim < 2 or 0 in table.shape[:2]:
        raise ValueError(f"table: got shape {table.shape}, expected (A, N, ...), at least one agent and one task")
    check_at_least(1, num_resamples=num_resamples)
    num_agents, num_tasks = table.shape[:2]
    found = []
    for _ in range(num_resamples):
        agents, tasks = rng.integers(num_agents, size=(num_agents, 1)), rng.integers(num_tasks, size=(num_tasks,))
        found.append(np.asarray(statistic(table[agents, tasks])))
    return np.array(found)


def two_way_interval(
    table: np.ndarray,
    statistic: Statistic,
    rng: np.random.Generator,
    *,
    confidence: float = 0.95,
    num_resamples: int = 2000,
) -> Interval:
    """Statistic of a table and the percentile interval of `two_way_bootstrap`, over agents and tasks.

    Parameters
    ----------
    table
        (A, N, ...), see `two_way_bootstrap`. Of one cell the ends are NaN.
    statistic
        Of such a table; ``Interval.mean`` is that of the table as it is. Resamples in which it is NaN are left out.
    rng
        Draws the resamples.
    confidence
        In (0, 1).
    num_resamples
        >= 1.

    Raises
    ------
    ValueError
        If the table has no cell, or `confidence` is not a probability.

    Examples
    --------
    >>> table = np.add.outer([1.0, 2.0, 3.0], [0.0, 10.0])
    >>> interval = two_way_interval(table, np.mean, np.random.default_rng(0))
    >>> float(interval.mean), float(interval.low) < 3.0, float(interval.high) > 11.0
    (7.0, True, True)
    """
    check_confidence(confidence)
    values = two_way_bootstrap(table, statistic, rng, num_resamples=num_resamples)
    whole = np.asarray(statistic(np.asarray(table, dtype=np.float64)))
    if np.shape(table)[:2] == (1, 1):
        return Interval(whole, np.full_like(whole, np.nan), np.full_like(whole, np.nan))
    low, high = np.nanquantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2], axis=0)
    return Interval(whole, np.asarray(low), np.asarray(high))
