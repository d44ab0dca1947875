"""A worker's part of an iteration's tasks, and the random streams that belong to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from maml_rl.envs.meta_env import Task
from maml_rl.utils.random import Purpose, generator

_TRAINING = (Purpose.ENVIRONMENT, Purpose.ACTIONS)
_EVALUATION = (Purpose.EVALUATION_ENVIRONMENT, Purpose.EVALUATION_ACTIONS)


@dataclass(frozen=True)
class Streams:
    """The generators of one collection, one per task each."""

    environment: Sequence[np.random.Generator]
    actions: Sequence[np.random.Generator]

    @staticmethod
    def joined(parts: Sequence[Streams]) -> Streams:
        """Those of one part behind the other's."""
        return Streams([rng for one in parts for rng in one.environment], [rng for one in parts for rng in one.actions])


@dataclass(frozen=True)
class Shard:
    """Tasks that one worker rolls out, and all that their randomness depends on.

    Attributes
    ----------
    indices
        Position of each task in the meta-batch: with seed and iteration it fixes the episodes.
    tasks
        The M tasks.
    iteration
        Outer iteration.
    seed
        Seed of the streams.
    evaluation
        Whether streams are those of evaluation, which training never uses.

    Examples
    --------
    >>> str(Shard([2, 3], [{}, {}], iteration=7, seed=1))
    'seed 1, iteration 7, tasks [2, 3]'
    """

    indices: Sequence[int]
    tasks: Sequence[Task]
    iteration: int
    seed: int
    evaluation: bool = False

    @classmethod
    def whole(cls, tasks: Sequence[Task], *, iteration: int, seed: int) -> Shard:
        """All tasks of a meta-batch in training."""
        return cls(range(len(tasks)), tasks, iteration, seed)

    def streams(self, inner_step: int = 0) -> Streams:
        """Generators of environments and actions in the episodes after `inner_step` inner steps."""
        purposes = _EVALUATION if self.evaluation else _TRAINING
        environment, actions = (
            [generator(self.seed, p, iteration=self.iteration, task=i, inner_step=inner_step) for i in self.indices]
            for p in purposes
        )
        return Streams(environment, actions)

    def split(self, num_parts: int) -> list[Shard]:
        """Contiguous parts, as even as possible; some are empty if there are more parts than tasks.

        >>> [list(part.indices) for part in Shard.whole([{}] * 5, iteration=0, seed=0).split(2)]
        [[0, 1, 2], [3, 4]]
        """
        return [
            replace(self, indices=[self.indices[i] for i in part], tasks=[self.tasks[i] for i in part])
            for part in np.array_split(np.arange(len(self.tasks)), num_parts)
        ]

    def __str__(self) -> str:
        return f"seed {self.seed}, iteration {self.iteration}, tasks {list(self.indices)}"
