"""MAML-TRPO: meta-learn the initial weights by trust-region steps through the inner loop."""

from __future__ import annotations

import math

import numpy as np

from maml_rl.metalearners.learner import Workers
from maml_rl.metalearners.maml import Improvement, MAMLLearner
from maml_rl.metalearners.trpo import StepResult, trust_region_step
from maml_rl.settings import TrustRegion
from maml_rl.utils.vectors import dot


class MAMLTRPO(MAMLLearner):
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
    exploration_credit
        Coefficient of the credit that episodes before adaptation get (E-MAML, Stadie et al. 2018), >= 0.
    """

    details: tuple[str, ...] = ("loss", "kl", "gradient_norm", "line_search_steps")
    headline: tuple[str, ...] = ("kl",)

    def __init__(
        self,
        workers: Workers,
        parameters: np.ndarray,
        trust_region: TrustRegion,
        *,
        seed: int,
        exploration_credit: float = 0.0,
    ) -> None:
        super().__init__(workers, parameters, seed=seed)
        self.trust_region = trust_region
        self.exploration_credit = exploration_credit

    def _improve(self, returns: np.ndarray, iteration: int, *, finite: bool) -> Improvement:
        num_tasks = returns.shape[1]
        credit = () if self.exploration_credit == 0 else (self.exploration_credit * standardised(returns[-1]),)
        loss, gradient = self._means("surrogate_gradient", num_tasks, self._vector, *credit)
        finite = finite and bool(np.isfinite(loss) and np.isfinite(gradient).all())
        outcome = StepResult(self._vector, loss, 0.0, 0, False)
        if finite:
            outcome = self.outer_step(loss, gradient, num_tasks)
            self._vector = outcome.parameters
        details = {
            "loss": outcome.loss,
            "kl": outcome.kl,
            "gradient_norm": math.sqrt(dot(gradient, gradient)),
            "line_search_steps": float(outcome.line_search_steps),
        }
        return Improvement(details, outcome.accepted, finite and outcome.finite)

    def outer_step(self, loss: float, gradient: np.ndarray, num_tasks: int) -> StepResult:
        """Trust-region step on the episodes last collected, from their loss and gradient (D,); nothing is moved yet."""
        old = self._vector

        def curvature(vector: np.ndarray) -> np.ndarray:
            products = self.workers.broadcast("fisher_vector_product", vector)
            return np.sum(products, axis=0) / num_tasks

        def evaluate(vector: np.ndarray) -> tuple[float, float]:
            loss, divergence = self._means("surrogate", num_tasks, vector)
            return loss, divergence

        return trust_region_step(
            old, loss, gradient, curvature=curvature, evaluate=evaluate, settings=self.trust_region
        )


def standardised(returns: np.ndarray) -> np.ndarray:
    """Shift and scale returns (M,) to mean 0 and standard deviation 1; all 0 where they are equal.

    >>> standardised(np.array([1.0, 3.0])).round(6).tolist()
    [-1.0, 1.0]
    """
    with np.errstate(all="ignore"):  # what is not finite is refused later
        centred = returns - returns.mean()
        return centred / (returns.std() + 1e-8)
