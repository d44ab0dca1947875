"""ProMP: several steps of Adam on a clipped surrogate through the inner loop."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from maml_rl.metalearners.learner import StateTensor, Workers
from maml_rl.metalearners.maml import Improvement, MAMLLearner
from maml_rl.metalearners.minibatches import minibatches
from maml_rl.metalearners.optimiser import VectorOptimiser
from maml_rl.proximal import ProximalWeights
from maml_rl.settings import ProMPSettings
from maml_rl.utils.random import Purpose, generator
from maml_rl.utils.vectors import dot

_COEFS = "inner_kl_coefs"


class ProMP(MAMLLearner):
    """Proximal meta-policy search (Rothfuss et al. 2019, algorithm 1).

    An iteration's episodes serve several steps of Adam: ratios of probabilities after adaptation are clipped, and the
    policies before each inner step are penalised for leaving those that rolled out. The penalty's coefficient may
    adapt to a target divergence (Schulman et al. 2017, section 4).

    Beyond the paper, a pass through the episodes may take several steps of Adam, each on a group of the tasks, and the
    entropy of the adapted policies may count in the loss.

    Its report has these details. At the new parameters: ``loss``; ``kl``, the divergence of the adapted policies from
    the old ones; ``clipped``, the fraction of steps outside the clip range; ``entropy`` of the adapted policies;
    ``inner_kl``, the divergence of the policies before adaptation. Of the iteration: ``inner_kl_coef``, the coefficient
    that was used, and ``gradient_norm``, mean over steps of Adam. Both of ``inner_kl`` are means over inner steps.

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
    num_inner_steps
        K, gradient steps of the inner loop.
    """

    details: tuple[str, ...] = ("loss", "kl", "clipped", "entropy", "inner_kl", "inner_kl_coef", "gradient_norm")
    headline: tuple[str, ...] = ("kl",)

    def __init__(
        self, workers: Workers, parameters: np.ndarray, settings: ProMPSettings, *, seed: int, num_inner_steps: int
    ) -> None:
        super().__init__(workers, parameters, seed=seed)
        self.settings = settings
        self._optimiser = VectorOptimiser("adam", self._vector)
        self._coefs = np.full(num_inner_steps, settings.promp_inner_kl_coef)

    def state_layout(self) -> dict[str, StateTensor]:
        """See `Learner.state_layout`: moments (D,), steps () and coefficients (K,)."""
        return {**self._optimiser.state_layout(), _COEFS: StateTensor(self._coefs.shape, 0.0)}

    def state_dict(self) -> dict[str, Tensor]:
        """See `Learner.state_dict`."""
        return {**self._optimiser.state_dict(), _COEFS: torch.from_numpy(self._coefs.copy())}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `Learner.load_state_dict`."""
        self._optimiser.load_state_dict({name: value for name, value in state.items() if name != _COEFS})
        if _COEFS in state:
            self._coefs = state[_COEFS].double().numpy().copy()

    def _improve(self, returns: np.ndarray, iteration: int, *, finite: bool) -> Improvement:
        num_tasks, before = returns.shape[1], (self._vector, self._optimiser.state_dict())
        weights = ProximalWeights(
            self.settings.promp_clip_range, self._coefs.tolist(), self.settings.promp_entropy_coef
        )
        norms: list[float] = []
        for tasks in self._groups(num_tasks, iteration):
            if not norms:
                gradient = self._first_gradient(num_tasks, weights, tasks)
            else:
                gradient = self._gradient(num_tasks, weights, tasks)
            finite = finite and bool(np.isfinite(gradient).all())
            if not finite:
                break
            norms.append(math.sqrt(dot(gradient, gradient)))
            self._optimiser.step(gradient, self.settings.promp_learning_rate)
            self._vector = self._optimiser.vector
        terms = np.zeros(4 + len(self._coefs))
        if finite:
            terms = self._mean("proximal_terms", num_tasks, self._vector, weights)
            finite = bool(np.isfinite(terms).all())
        if not finite:
            self._vector, state = before
            self._optimiser.vector = self._vector
            self._optimiser.load_state_dict(state)
            terms = np.zeros_like(terms)
        details = self._details(terms, norms)
        target = self.settings.promp_inner_kl_target
        if finite and target is not None:
            self._coefs = adapted_coefs(self._coefs, terms[4:], target)
        return Improvement(details, finite, finite)

    def _first_gradient(self, num_tasks: int, weights: ProximalWeights, tasks: Sequence[int] | None) -> np.ndarray:
        """Gradient (D,) at the old parameters, of which workers remember the policies.

        No ratio is clipped there and no divergence has a slope: without a bonus that of all tasks is the meta-gradient.
        """
        if tasks is None and not weights.entropy_coef:
            _, plain = self._means("surrogate_gradient", num_tasks, self._vector)
            return np.asarray(plain)
        self.workers.broadcast("remember_policies", self._vector)
        return self._gradient(num_tasks, weights, tasks)

    def _gradient(self, num_tasks: int, weights: ProximalWeights, tasks: Sequence[int] | None) -> np.ndarray:
        """Mean gradient (D,) of the loss over `tasks`; ``None``: over all."""
        count = num_tasks if tasks is None else len(tasks)
        return np.asarray(self._mean("proximal_gradient", count, self._vector, weights, tasks))

    def _groups(self, num_tasks: int, iteration: int) -> Iterator[Sequence[int] | None]:
        """Tasks of each step of Adam in turn; ``None``: all."""
        count = min(self.settings.promp_num_minibatches, num_tasks)
        for number in range(self.settings.promp_num_steps):
            if count == 1:
                yield None
                continue
            rng = generator(self.seed, Purpose.MINIBATCHES, iteration=iteration, inner_step=number)
            yield from minibatches(num_tasks, count, rng)

    def _details(self, terms: np.ndarray, norms: list[float]) -> dict[str, float]:
        """Details of a step with these mean terms (4 + K,) and the coefficients it was made with."""
        loss, kl, clipped, entropy, *inner = terms.tolist()
        return {
            "loss": loss,
            "kl": kl,
            "clipped": clipped,
            "entropy": entropy,
            "inner_kl": float(np.mean(inner)) if inner else 0.0,
            "inner_kl_coef": float(self._coefs.mean()) if inner else 0.0,
            "gradient_norm": float(np.mean(norms)) if norms else 0.0,
        }


def adapted_coefs(coefs: np.ndarray, divergences: np.ndarray, target: float) -> np.ndarray:
    """Halve coefs (K,) where divergences (K,) are below 2/3 of the target, double them where beyond 3/2.

    >>> adapted_coefs(np.ones(3), np.array([0.5, 1.0, 2.0]), 1.0).tolist()
    [0.5, 1.0, 2.0]
    """
    factors = np.where(divergences < target / 1.5, 0.5, np.where(divergences > target * 1.5, 2.0, 1.0))
    adapted: np.ndarray = coefs * factors
    return adapted
