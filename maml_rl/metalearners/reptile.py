"""Reptile: move the initial weights towards the adapted ones."""

from __future__ import annotations

import math

import numpy as np

from maml_rl.metalearners.learner import Workers
from maml_rl.metalearners.maml import Improvement, MAMLLearner
from maml_rl.metalearners.schedule import linear_schedule
from maml_rl.settings import ReptileSettings
from maml_rl.utils.vectors import dot


class Reptile(MAMLLearner):
    """First-order meta-learning without a meta-gradient (Nichol et al. 2018, algorithm 2, batched).

    ``theta <- theta + epsilon * mean over tasks of (phi_K - theta)``. Its report has as details ``displacement_norm``,
    the Euclidean norm of that mean, and ``step_size``, epsilon.

    Parameters
    ----------
    workers
        A backend of workers made of `maml_rl.samplers.MAMLWorkerSpec`.
    parameters
        Initial parameters (1, D) float64.
    settings
        Settings of the outer step.
    seed
        Seed of the run.
    num_batches
        Iterations of the run, for the schedule.
    """

    details: tuple[str, ...] = ("displacement_norm", "step_size")
    headline: tuple[str, ...] = ("displacement_norm",)

    def __init__(
        self, workers: Workers, parameters: np.ndarray, settings: ReptileSettings, *, seed: int, num_batches: int
    ) -> None:
        super().__init__(workers, parameters, seed=seed)
        self.settings = settings
        self.num_batches = num_batches

    def step_size(self, iteration: int) -> float:
        """Fraction of the way that an iteration goes."""
        begin, end = self.settings.reptile_step_size, self.settings.reptile_step_size_end
        return linear_schedule(begin, end, iteration=iteration, num_batches=self.num_batches)

    def _improve(self, returns: np.ndarray, iteration: int, *, finite: bool) -> Improvement:
        displacement = np.sum(self.workers.broadcast("displacement"), axis=0) / returns.shape[1]
        finite = finite and bool(np.isfinite(displacement).all())
        step_size = self.step_size(iteration)
        if finite:
            self._vector = self._vector + step_size * displacement
        details = {"displacement_norm": math.sqrt(dot(displacement, displacement)), "step_size": step_size}
        return Improvement(details, finite, finite)
