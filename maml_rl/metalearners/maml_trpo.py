"""MAML-TRPO: meta-learn the initial weights by trust-region steps through the inner loop."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from maml_rl.envs.meta_env import Task
from maml_rl.episode import CollectReport
from maml_rl.metalearners.dealing import Workers, shards
from maml_rl.metalearners.trpo import StepResult, TrustRegion, trust_region_step
from maml_rl.utils.vectors import dot


@dataclass(frozen=True)
class IterationReport:
    """One outer iteration in numbers; the columns of ``metrics.csv`` with these names.

    Attributes
    ----------
    env_steps
        Environment steps of this iteration.
    sampling_seconds, learning_seconds
        Wall-clock time of the two halves.
    return_before, return_after
        Mean undiscounted return of an episode before and after adaptation.
    return_total
        Sum of the mean returns after each number of inner steps: what a task has paid, per episode of a batch.
    loss, kl
        Surrogate loss and KL divergence at the new parameters.
    gradient_norm
        Euclidean norm of the meta-gradient.
    line_search_steps
        Candidates the line search evaluated.
    step_accepted
        Whether the parameters moved.
    finite
        False when an environment, a gradient, the curvature or the line search gave NaN or infinity; the step
        was refused.
    """

    env_steps: int
    sampling_seconds: float
    learning_seconds: float
    return_before: float
    return_after: float
    return_total: float
    loss: float
    kl: float
    gradient_norm: float
    line_search_steps: int
    step_accepted: bool
    finite: bool


class MAMLTRPO:
    """Model-agnostic meta-learning with a trust-region outer step (Finn et al. 2017, section 5.3).

    Parameters
    ----------
    workers
        A backend of workers made of `maml_rl.samplers.MAMLWorkerSpec`.
    parameters
        Initial parameters (P,) float64; `step` replaces them by the accepted ones.
    trust_region
        Settings of the outer step.
    """

    def __init__(self, workers: Workers, parameters: np.ndarray, trust_region: TrustRegion) -> None:
        self.workers = workers
        self.parameters = parameters
        self.trust_region = trust_region

    def step(self, tasks: Sequence[Task], iteration: int) -> IterationReport:
        """Collect episodes of the meta-batch, adapt, and take one outer step."""
        start = time.perf_counter()
        reports = self.collect(tasks, iteration)
        sampled = time.perf_counter()
        returns = np.concatenate([report.returns for report in reports], axis=1).mean(axis=(1, 2), dtype=np.float64)
        loss, gradient = self._mean("surrogate_gradient", len(tasks), self.parameters)
        finite = all(r.finite for r in reports) and bool(np.isfinite(loss) and np.isfinite(gradient).all())
        outcome = StepResult(self.parameters, loss, 0.0, 0, False)
        if finite:
            outcome = self.outer_step(loss, gradient, len(tasks))
            self.parameters = outcome.parameters
        return IterationReport(
            env_steps=sum(r.env_steps for r in reports),
            sampling_seconds=sampled - start,
            learning_seconds=time.perf_counter() - sampled,
            return_before=float(returns[0]),
            return_after=float(returns[-1]),
            return_total=float(returns.sum()),
            loss=outcome.loss,
            kl=outcome.kl,
            gradient_norm=math.sqrt(dot(gradient, gradient)),
            line_search_steps=outcome.line_search_steps,
            step_accepted=outcome.accepted,
            finite=finite and outcome.finite,
        )

    def optimiser_state(self) -> dict[str, Tensor]:
        """What the outer step remembers beside the parameters: nothing."""
        return {}

    def load_optimiser_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `optimiser_state` gave."""

    def collect(self, tasks: Sequence[Task], iteration: int) -> list[CollectReport]:
        """Deal the tasks to the workers and let them sample, adapt and sample again."""
        arguments = [
            (indices, [tasks[i] for i in indices], self.parameters, iteration)
            for indices in shards(len(tasks), self.workers.num_workers)
        ]
        return self.workers.map("collect", arguments)

    def outer_step(self, loss: float, gradient: np.ndarray, num_tasks: int) -> StepResult:
        """Take one trust-region step on the episodes last collected; `self.parameters` stay as they are."""
        old = self.parameters

        def curvature(vector: np.ndarray) -> np.ndarray:
            products = self.workers.broadcast("fisher_vector_product", vector, old)
            return np.sum(products, axis=0) / num_tasks

        def evaluate(vector: np.ndarray) -> tuple[float, float]:
            return self._mean("surrogate", num_tasks, vector)

        return trust_region_step(
            old, loss, gradient, curvature=curvature, evaluate=evaluate, settings=self.trust_region
        )

    def _mean(self, method: str, num_tasks: int, vector: np.ndarray) -> tuple[Any, Any]:
        """Mean over tasks of the two sums that each worker returns."""
        first, second = zip(*self.workers.broadcast(method, vector), strict=True)
        with np.errstate(all="ignore"):  # infinities of opposite sign make NaN, which the step refuses
            return sum(first) / num_tasks, sum(second[1:], second[0]) / num_tasks
