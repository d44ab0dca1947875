"""Durations of calls, by which late ones are told."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Iterable
from statistics import median

_NUM_REMEMBERED = 64


class Pace:
    """Medians of the last durations of each method.

    Examples
    --------
    >>> pace = Pace()
    >>> for seconds in (1.0, 9.0, 2.0):
    ...     pace.record("collect", seconds)
    >>> pace.expected(["collect", "collect"])
    4.0
    >>> pace.expected(["collect", "gradient"])
    inf
    """

    def __init__(self) -> None:
        self._seconds: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=_NUM_REMEMBERED))

    def record(self, method: str, seconds: float) -> None:
        """Remember how long a call of this method took."""
        self._seconds[method].append(seconds)

    def expected(self, methods: Iterable[str]) -> float:
        """Seconds that calls of these methods take one after another; infinity if one is unknown."""
        return sum(median(self._seconds[method]) if method in self._seconds else math.inf for method in methods)
