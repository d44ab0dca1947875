"""Reliability of scores of individuals, and correlations that can be seen with it.

A score is a mean over tasks of a table (A, N), A agents by N tasks that all of them were given. Its model is
``x_ij = m + a_i + b_j + e_ij``: an agent, a task, and what is of neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from maml_rl.analysis.intervals import Interval
from maml_rl.utils.checks import check_at_least


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of a table's cells between agents, between tasks, and within both; estimates may be below 0."""

    agents: float
    tasks: float
    residual: float

    def reliability(self, num_tasks: int) -> float:
        """Reliability of an agent's mean over that many tasks: ``agents / (agents + residual / num_tasks)``.

        NaN where agents and the residual do not vary.
        """
        total = self.agents + self.residual / num_tasks
        return self.agents / total if total else math.nan


def variance_components(table: np.ndarray) -> VarianceComponents:
    """Unbiased estimates by the mean squares of a two-way analysis of variance (Shavelson & Webb 1991, chapter 2).

    ``agents = (MS_agents - MS_residual) / N``, ``tasks = (MS_tasks - MS_residual) / A``, ``residual = MS_residual``.

    Parameters
    ----------
    table
        (A, N), finite, of at least two agents and two tasks.

    Raises
    ------
    ValueError
        If it is not.

    Examples
    --------
    >>> variance_components(np.add.outer([0.0, 2.0], [5.0, 5.0, 5.0]))
    VarianceComponents(agents=2.0, tasks=0.0, residual=0.0)
    """
    table = _checked(table)
    agents, tasks, residual = _mean_squares(table)
    num_agents, num_tasks = table.shape
    return VarianceComponents((agents - residual) / num_tasks, (tasks - residual) / num_agents, residual)


def reliability(table: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Reliability of agents' means over the tasks of a table: ``1 - MS_residual / MS_agents`` (Hoyt 1941).

    The correlation expected between the means of the same agents over these tasks and over as many others; Cronbach's
    alpha (1951), which is the mean of all split-half coefficients. Below 0 where agents differ by less than chance
    would have them. The interval is Feldt's (1965), exact for normal residuals:
    ``(1 - true) / (1 - estimate) ~ F(A - 1, (A - 1)(N - 1))``.

    Parameters
    ----------
    table
        (A, N), finite, of at least two agents and two tasks.
    confidence
        In (0, 1).

    Raises
    ------
    ValueError
        If it is not.
    """
    table = _checked(table)
    agents, _, residual = _mean_squares(table)
    error = residual / agents if agents > 0 else math.nan
    freedom = (len(table) - 1, (len(table) - 1) * (table.shape[1] - 1))
    low, high = (1.0 - error * stats.f.ppf(level, *freedom) for level in (0.5 + confidence / 2, 0.5 - confidence / 2))
    return Interval(np.asarray(1.0 - error), np.asarray(low), np.asarray(high))


def split_half_reliability(table: np.ndarray, rng: np.random.Generator, *, num_splits: int = 200) -> float:
    """Reliability of agents' means by halves of the tasks: ``2 r / (1 + r)`` (Spearman 1910; Brown 1910).

    r is the correlation over agents of the means of two halves, averaged over random splits; of an odd number of tasks
    one is left out of each split.

    Parameters
    ----------
    table
        (A, N), finite, of at least two agents and two tasks.
    rng
        Draws the splits.
    num_splits
        >= 1.
    """
    table = _checked(table)
    check_at_least(1, num_splits=num_splits)
    half = table.shape[1] // 2
    found = []
    for _ in range(num_splits):
        order = rng.permutation(table.shape[1])
        first, second = table[:, order[:half]].mean(axis=1), table[:, order[half : 2 * half]].mean(axis=1)
        found.append(np.corrcoef(first, second)[0, 1])
    r = float(np.mean(found))
    return 2.0 * r / (1.0 + r)


def tasks_for_reliability(reliability: float, num_tasks: int, *, target: float = 0.5) -> float:
    """Smallest number of tasks at which a score is reliable, from its reliability with `num_tasks`.

    ``num_tasks * target (1 - reliability) / (reliability (1 - target))``, rounded up: the Spearman-Brown prophecy
    (Spearman 1910; Brown 1910). Infinite for a reliability of 0 or less.

    Parameters
    ----------
    reliability
        With `num_tasks` tasks, at most 1.
    num_tasks
        >= 1.
    target
        In (0, 1).

    Examples
    --------
    >>> tasks_for_reliability(0.25, 40), tasks_for_reliability(-0.1, 40)
    (120, inf)
    """
    check_at_least(1, num_tasks=num_tasks)
    if not (reliability <= 1.0 and 0.0 < target < 1.0):
        raise ValueError(f"reliability, target: got {reliability} and {target}, expected at most 1 and within (0, 1)")
    if reliability <= 0.0:
        return math.inf
    needed = num_tasks * target * (1.0 - reliability) / (reliability * (1.0 - target))
    return max(1, math.ceil(needed - 1e-9))


def correlation_power(
    r: float, num_agents: int, *, reliabilities: tuple[float, float] = (1.0, 1.0), significance: float = 0.05
) -> float:
    """Probability that a correlation r of two true scores is seen, two-sided, in the scores of that many agents.

    Scores correlate by ``r sqrt(reliability_1 reliability_2)`` (Spearman 1904), and ``atanh`` of that is normal with
    variance ``1 / (num_agents - 3)`` (Fisher 1921; Cohen 1988, chapter 3). Reliabilities below 0 count as 0.

    Parameters
    ----------
    r
        In (-1, 1).
    num_agents
        >= 4.
    reliabilities
        Of the two scores, at most 1.
    significance
        Level of the test, in (0, 1).

    Examples
    --------
    >>> round(correlation_power(0.3, 84), 2)
    0.8
    """
    check_at_least(4, num_agents=num_agents)
    if not (-1.0 < r < 1.0 and 0.0 < significance < 1.0):
        raise ValueError(f"r, significance: got {r} and {significance}, expected within (-1, 1) and (0, 1)")
    shift = abs(math.atanh(r * _attenuation(reliabilities))) * math.sqrt(num_agents - 3)
    threshold = stats.norm.isf(significance / 2)
    return float(stats.norm.sf(threshold - shift) + stats.norm.cdf(-threshold - shift))


def detectable_correlation(
    num_agents: int,
    *,
    reliabilities: tuple[float, float] = (1.0, 1.0),
    power: float = 0.8,
    significance: float = 0.05,
) -> float:
    """Smallest size of a correlation of true scores that is seen with this power; infinite if not even 1 is.

    ``tanh((z_{1 - significance / 2} + z_power) / sqrt(num_agents - 3)) / sqrt(reliability_1 reliability_2)``, see
    `correlation_power`.

    Examples
    --------
    >>> round(detectable_correlation(100), 2), round(detectable_correlation(100, reliabilities=(0.25, 1.0)), 2)
    (0.28, 0.55)
    >>> detectable_correlation(100, reliabilities=(0.05, 1.0))
    inf
    """
    check_at_least(4, num_agents=num_agents)
    if not (0.0 < power < 1.0 and 0.0 < significance < 1.0):
        raise ValueError(f"power, significance: got {power} and {significance}, expected within (0, 1)")
    shift = stats.norm.isf(significance / 2) + stats.norm.ppf(power)
    seen = math.tanh(shift / math.sqrt(num_agents - 3))
    attenuation = _attenuation(reliabilities)
    return float(seen / attenuation) if seen < attenuation else math.inf


def _attenuation(reliabilities: tuple[float, float]) -> float:
    if max(reliabilities) > 1.0:
        raise ValueError(f"reliabilities: got {reliabilities}, expected at most 1")
    return math.sqrt(max(0.0, reliabilities[0]) * max(0.0, reliabilities[1]))


def _mean_squares(table: np.ndarray) -> tuple[float, float, float]:
    """Of agents, of tasks, of the residual."""
    num_agents, num_tasks = table.shape
    agents, tasks = table.mean(axis=1), table.mean(axis=0)
    residual = table - agents[:, np.newaxis] - tasks + table.mean()
    return (
        num_tasks * float(agents.var(ddof=1)),
        num_agents * float(tasks.var(ddof=1)),
        float((residual**2).sum()) / ((num_agents - 1) * (num_tasks - 1)),
    )


def _checked(table: np.ndarray) -> np.ndarray:
    table = np.asarray(table, dtype=np.float64)
    if table.ndim != 2 or min(table.shape) < 2 or not np.isfinite(table).all():
        raise ValueError(f"table: got shape {table.shape}, expected finite numbers (A, N), at least two of each")
    return table
