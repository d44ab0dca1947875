"""Common part of the learners of MAML: collect episodes, adapt, improve the initial weights."""

from __future__ import annotations

import abc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from maml_rl.envs.meta_env import Task
from maml_rl.episode import CollectReport
from maml_rl.metalearners.learner import Report, StateTensor, Workers
from maml_rl.shard import Shard


@dataclass(frozen=True)
class Improvement:
    """Outcome of an outer step.

    Attributes
    ----------
    details
        What a report says of it.
    accepted
        Whether the parameters moved.
    finite
        False when something was NaN or infinite; nothing has moved then.
    """

    details: Mapping[str, float]
    accepted: bool
    finite: bool


class MAMLLearner(abc.ABC):
    """A learner of initial weights, whatever its outer step.

    Parameters
    ----------
    workers
        A backend of workers made of `maml_rl.samplers.MAMLWorkerSpec`.
    parameters
        Initial parameters (1, D) float64.
    seed
        Seed of the run.
    """

    details: tuple[str, ...]
    headline: tuple[str, ...]

    def __init__(self, workers: Workers, parameters: np.ndarray, *, seed: int) -> None:
        self.workers = workers
        self.seed = seed
        (self._vector,) = parameters.copy()

    @property
    def parameters(self) -> np.ndarray:
        """See `Learner.parameters`: (1, D)."""
        return self._vector[np.newaxis].copy()

    def step(self, tasks: Sequence[Task], iteration: int) -> Report:
        """Collect episodes of the meta-batch, adapt, and take one outer step."""
        start = time.perf_counter()
        reports = self.collect(tasks, iteration)
        sampled = time.perf_counter()
        of_tasks = np.concatenate([report.returns for report in reports], axis=1)  # (K + 1, M)
        returns = of_tasks.mean(axis=1)
        outcome = self._improve(of_tasks, iteration, finite=all(report.finite for report in reports))
        return Report(
            env_steps=sum(r.env_steps for r in reports),
            sampling_seconds=sampled - start,
            learning_seconds=time.perf_counter() - sampled,
            return_before=float(returns[0]),
            return_after=float(returns[-1]),
            return_total=float(returns.sum()),
            step_accepted=outcome.accepted,
            finite=outcome.finite,
            details=outcome.details,
            headline=self.headline,
        )

    @abc.abstractmethod
    def _improve(self, returns: np.ndarray, iteration: int, *, finite: bool) -> Improvement:
        """Outer step on the episodes last collected, whose mean returns are (K + 1, M); none unless `finite`."""

    def state_dict(self) -> dict[str, Tensor]:
        """See `Learner.state_dict`: nothing beside the parameters."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `Learner.load_state_dict`."""
        assert not state

    def state_layout(self) -> dict[str, StateTensor]:
        """See `Learner.state_layout`."""
        return {}

    def collect(self, tasks: Sequence[Task], iteration: int) -> list[CollectReport]:
        """Give every worker its tasks and let it sample, adapt and sample again."""
        whole = Shard.whole(tasks, iteration=iteration, seed=self.seed)
        return self.workers.map("collect", [(part, self._vector) for part in whole.split(self.workers.num_shards)])

    def _mean(self, method: str, num_tasks: int, *arguments: Any) -> Any:
        """Mean over tasks of the sums that each worker returns."""
        return _total(self.workers.broadcast(method, *arguments)) / num_tasks

    def _means(self, method: str, num_tasks: int, *arguments: Any) -> tuple[Any, ...]:
        """Means over tasks of the several sums that each worker returns."""
        return tuple(_total(sums) / num_tasks for sums in zip(*self.workers.broadcast(method, *arguments), strict=True))


def _total(sums: Sequence[Any]) -> Any:
    with np.errstate(all="ignore"):  # infinities of opposite sign make NaN, which the step refuses
        return sum(sums[1:], sums[0])
