"""Division of a meta-batch into the groups of tasks that gradients are taken of."""

from __future__ import annotations

import numpy as np


def minibatches(num_tasks: int, count: int, rng: np.random.Generator) -> list[list[int]]:
    """Divide tasks at random into `count` groups, each with one task of every `count` consecutive ones.

    Tasks are alike, so this is as random as any division, and whoever has a stretch of the tasks has the same fraction
    of every group, give or take one.
    """
    positions = np.arange(num_tasks)
    order = np.lexsort((rng.random(num_tasks), positions // count))  # at random within each stretch of `count`
    return [sorted(order[group::count].tolist()) for group in range(count)]
