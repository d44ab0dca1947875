"""Sizes that a backend is asked for, and the choice of the backend itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from maml_rl.samplers.backend import WorkerSpec


@dataclass(frozen=True)
class BackendChoice:
    """A registered backend and the options given to it.

    Attributes
    ----------
    name
        Of the backend.
    options
        Values of its options by name in snake_case, text or of their own type; those left out take their default.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerPlan:
    """Workers that a backend is asked for.

    Attributes
    ----------
    spec
        Specification of the workers.
    num_workers
        Most workers, >= 1; ``None``: as many as there is room for, at any time.
    num_shards
        Shards, >= 1; ``None``: one for each worker there is room for at the start.
    max_shards
        Parts into which the work can be divided at most, >= 1.
    timeout_seconds
        Longest silence of a busy worker.

    Examples
    --------
    >>> WorkerPlan(None, None, None, max_shards=40, timeout_seconds=30.0).shards(room=64)
    40
    >>> WorkerPlan(None, 2, 8, max_shards=40, timeout_seconds=30.0).shards(room=64)
    8
    """

    spec: WorkerSpec
    num_workers: int | None
    num_shards: int | None
    max_shards: int
    timeout_seconds: float

    def shards(self, room: int) -> int:
        """Number of shards where there is room for so many workers."""
        return max(1, min(self.num_shards or self.num_workers or room, self.max_shards))
