"""MAML-TRPO: meta-learn the initial weights by trust-region steps through the inner loop."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from maml_rl.envs.meta_env import Task
from maml_rl.episode import CollectReport
from maml_rl.metalearners.learner import Report, StateTensor, Workers
from maml_rl.metalearners.trpo import StepResult, trust_region_step
from maml_rl.settings import TrustRegion
from maml_rl.shard import Shard
from maml_rl.utils.vectors import dot


class MAMLTRPO:
    """Model-agnostic meta-learning with a trust-region outer step (Finn et al. 2017, section 5.3).

    Its report has as details ``loss`` and ``kl``, surrogate loss and KL divergence at the new parameters,
    ``gradient_norm``, the Euclidean norm of the meta-gradient, and ``line_search_steps``, the candidates that the line
    search evaluated.

    Parameters
    ----------
    workers
        A backend of workers made of `maml_rl.samplers.MAMLWorkerSpec`.
    parameters
        Initial parameters (1, D) float64.
    trust_region
        Settings of the outer step.
    seed
        Seed of the run.
    """

    details: tuple[str, ...] = ("loss", "kl", "gradient_norm", "line_search_steps")

    def __init__(self, workers: Workers, parameters: np.ndarray, trust_region: TrustRegion, *, seed: int) -> None:
        self.workers = workers
        self.trust_region = trust_region
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
        returns = np.concatenate([report.returns for report in reports], axis=1).mean(axis=1)
        loss, gradient = self._mean("surrogate_gradient", len(tasks), self._vector)
        finite = all(r.finite for r in reports) and bool(np.isfinite(loss) and np.isfinite(gradient).all())
        outcome = StepResult(self._vector, loss, 0.0, 0, False)
        if finite:
            outcome = self.outer_step(loss, gradient, len(tasks))
            self._vector = outcome.parameters
        return Report(
            env_steps=sum(r.env_steps for r in reports),
            sampling_seconds=sampled - start,
            learning_seconds=time.perf_counter() - sampled,
            return_before=float(returns[0]),
            return_after=float(returns[-1]),
            return_total=float(returns.sum()),
            step_accepted=outcome.accepted,
            finite=finite and outcome.finite,
            details={
                "loss": outcome.loss,
                "kl": outcome.kl,
                "gradient_norm": math.sqrt(dot(gradient, gradient)),
                "line_search_steps": outcome.line_search_steps,
            },
            headline=("kl",),
        )

    def state_dict(self) -> dict[str, Tensor]:
        """See `Learner.state_dict`: nothing beside the parameters."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `Learner.load_state_dict`."""

    def state_layout(self) -> dict[str, StateTensor]:
        """See `Learner.state_layout`."""
        return {}

    def collect(self, tasks: Sequence[Task], iteration: int) -> list[CollectReport]:
        """Give every worker its tasks and let it sample, adapt and sample again."""
        whole = Shard.whole(tasks, iteration=iteration, seed=self.seed)
        return self.workers.map("collect", [(part, self._vector) for part in whole.split(self.workers.num_shards)])

    def outer_step(self, loss: float, gradient: np.ndarray, num_tasks: int) -> StepResult:
        """Trust-region step on the episodes last collected, from their loss and gradient (D,); nothing is moved yet."""
        old = self._vector

        def curvature(vector: np.ndarray) -> np.ndarray:
            products = self.workers.broadcast("fisher_vector_product", vector)
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
