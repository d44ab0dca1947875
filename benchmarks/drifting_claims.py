"""Statistics of the fits of `benchmarks.drifting_fits`, over agents and tasks, beside their reliability."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from benchmarks.drifting_fits import NAMES
from maml_rl.analysis.intervals import Interval
from maml_rl.analysis.reliability import (
    correlation_power,
    detectable_correlation,
    reliability,
    tasks_for_reliability,
)
from maml_rl.analysis.two_way import two_way_interval
from maml_rl.utils.random import Purpose, generator

PUBLISHED_R = -0.436
"""Correlation of the preference for sampling with choice autocorrelation at lag 2 in the study that is done again."""
RELIABLE = 0.5
"""Least reliability of both scores with which a correlation of theirs is decided; fixed before the fits were made."""
SAMPLING, TD = NAMES.index("sampling"), NAMES.index("TD")
_SEED = 0


@dataclass(frozen=True)
class Difference:
    """A model beside TD, in nats of a task's held-out choices.

    Attributes
    ----------
    mean
        Over agents and tasks.
    better
        Fraction of agents for whom it is above 0 over all tasks.
    reliability
        Of an agent's difference over all tasks, with Feldt's interval over agents.
    tasks_needed
        For a reliability of `RELIABLE`; from the ends of the reliability's interval.
    """

    mean: Interval
    better: Interval
    reliability: Interval
    tasks_needed: Interval


@dataclass(frozen=True)
class Relation:
    """Correlation over agents of the preference for sampling with a measure.

    Attributes
    ----------
    name
        Of the measure.
    r, between_halves
        Of means over the same tasks; of the preference in half of the tasks with the measure in the other half, mean
        of both ways, which noise of single tasks does not move.
    reliability
        Of the measure; NaN where it is known for all tasks together only.
    expected
        Correlation of the scores if that of true scores is `PUBLISHED_R`.
    power
        With which a correlation `PUBLISHED_R` of true scores is seen; a reliability that is not known counts as 1.
    detectable
        Smallest size of a correlation of true scores that is seen with a power of 80 %.
    tasks_needed
        For a reliability of `RELIABLE` of both scores.
    """

    name: str
    r: Interval
    between_halves: Interval
    reliability: Interval
    expected: float
    power: float
    detectable: float
    tasks_needed: float

    def verdict(self, preference: Interval) -> str:
        """Words: decided if both scores are reliable, with the `preference` for sampling's own reliability."""
        known = [float(one.mean) for one in (preference, self.reliability) if np.isfinite(one.mean)]
        if min(known) < RELIABLE:
            return f"undecidable with these tasks; {self.tasks_needed:,.0f} would do"
        if len(known) < 2:
            return "undecidable: the measure's reliability is not known"
        if self.r.low <= 0.0 <= self.r.high:
            return f"no correlation shown{'; the published one is outside' if self.r.low > self.expected else ''}"
        return "negative" if self.r.high < 0.0 else "positive"


def preference(logs: np.ndarray) -> np.ndarray:
    """Held-out log likelihood of sampling minus that of TD (..., N), of `logs` (..., N, M)."""
    return np.asarray(logs[..., SAMPLING] - logs[..., TD], dtype=np.float64)


def difference(table: np.ndarray, purpose: int) -> Difference:
    """Statistics of differences (A, N) of A agents in N tasks; `purpose` numbers the generator."""
    rng = generator(_SEED, Purpose.STATISTICS, iteration=500, task=purpose)
    mean = two_way_interval(table, np.mean, rng)
    better = two_way_interval(table, lambda cells: np.mean(cells.sum(axis=1) > 0.0), rng)
    reliable = reliability(table)
    ends = (float(one) for one in (reliable.mean, reliable.high, reliable.low))
    needed = [np.asarray(tasks_for_reliability(end, table.shape[1], target=RELIABLE)) for end in ends]
    return Difference(mean, better, reliable, Interval(*needed))


def relate(name: str, preferred: np.ndarray, measure: np.ndarray, purpose: int) -> Relation:
    """Correlation of preferences (A, N) with a measure: (A, N), or (A, 1) where only its mean is known.

    Tasks in which the measure of an agent is NaN are left out.
    """
    whole = np.isfinite(measure).all(axis=0)  # (N,), or (1,)
    preferred, measure = preferred[:, np.broadcast_to(whole, preferred.shape[1])], measure[:, whole]
    rng = generator(_SEED, Purpose.STATISTICS, iteration=501, task=purpose)
    cells = np.stack([preferred, np.broadcast_to(measure, preferred.shape)], axis=2)
    known = measure.shape[1] > 1
    nothing = Interval(*(np.asarray(np.nan),) * 3)
    own = reliability(measure) if known else nothing
    both = (float(reliability(preferred).mean), float(own.mean) if known else 1.0)
    num_agents, num_tasks = preferred.shape
    return Relation(
        name,
        two_way_interval(cells, _correlation_of_means, rng),
        two_way_interval(cells, _correlation_between_halves, rng) if known else nothing,
        own,
        PUBLISHED_R * math.sqrt(max(0.0, both[0]) * max(0.0, both[1])),
        correlation_power(PUBLISHED_R, num_agents, reliabilities=both),
        detectable_correlation(num_agents, reliabilities=both),
        max(tasks_for_reliability(one, num_tasks, target=RELIABLE) for one in both),
    )


def _correlation_of_means(cells: np.ndarray) -> float:
    means = cells.mean(axis=1)
    return _correlation(means[:, 0], means[:, 1])


def _correlation_between_halves(cells: np.ndarray) -> float:
    """Mean of two correlations of `cells` (A, N, 2): of one number in every other task with the other in the rest.

    A task that was drawn twice may stand in both halves, which widens the interval.
    """
    first, second = cells[:, ::2].mean(axis=1), cells[:, 1::2].mean(axis=1)
    return 0.5 * (_correlation(first[:, 0], second[:, 1]) + _correlation(second[:, 0], first[:, 1]))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if np.ptp(first) == 0.0 or np.ptp(second) == 0.0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])
