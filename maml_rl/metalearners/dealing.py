"""How learners see workers, and which tasks each of them gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Workers(Protocol):
    """All a learner knows of its workers; every backend of `maml_rl.samplers` is one."""

    num_workers: int

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call `method` of worker i with ``arguments[i]``."""

    def broadcast(self, method: str, *arguments: Any) -> list[Any]:
        """Call `method` of every worker with the same arguments."""


def shards(num_tasks: int, num_workers: int) -> list[list[int]]:
    """Deal task indices 0 ... num_tasks - 1 to workers, contiguous and as evenly as possible.

    >>> shards(5, 2)
    [[0, 1, 2], [3, 4]]
    """
    return [part.tolist() for part in np.array_split(np.arange(num_tasks), num_workers)]
