"""CMA-ES: a Gaussian whose mean, scale and covariance adapt to the fitness."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from maml_rl.evolution.candidates import Candidates, VectorCandidates
from maml_rl.evolution.strategy import Strategy

FULL_COVARIANCE_LIMIT = 600
"""Parameters beyond which only the diagonal of the covariance adapts."""


class CMAES(Strategy):
    """Covariance matrix adaptation (Hansen 2016, "The CMA Evolution Strategy: A Tutorial", figure 6, positive weights).

    Above `FULL_COVARIANCE_LIMIT` parameters it is sep-CMA-ES (Ros & Hansen 2008): the covariance stays diagonal, and
    its learning rates are ``(D + 2) / 3`` times larger.

    Parameters
    ----------
    initial
        Mean (D,) of the first generation.
    population_size
        Candidates P of a generation, >= 4.
    sigma
        Initial scale, > 0.
    """

    def __init__(self, initial: np.ndarray, *, population_size: int, sigma: float) -> None:
        if population_size < 4:
            raise ValueError(f"population-size: got {population_size}, expected at least 4 for CMA-ES")
        size = len(initial)
        self.population_size, self.is_diagonal = population_size, size > FULL_COVARIANCE_LIMIT
        self.num_parents = population_size // 2
        weights = np.log(self.num_parents + 0.5) - np.log(np.arange(1, self.num_parents + 1))
        self.weights = weights / weights.sum()
        self.mu_eff = 1.0 / np.square(self.weights).sum()
        self._set_rates(size)
        self._mean, self._sigma, self._steps = initial.astype(np.float64).copy(), float(sigma), 0
        self._path_sigma, self._path_c = np.zeros(size), np.zeros(size)
        self._covariance: np.ndarray = np.ones(size) if self.is_diagonal else np.eye(size)

    def _set_rates(self, size: int) -> None:
        """Learning rates of the tutorial's table 1."""
        mu, n = self.mu_eff, float(size)
        self.c_sigma = (mu + 2.0) / (n + mu + 5.0)
        self.d_sigma = 1.0 + 2.0 * max(0.0, np.sqrt((mu - 1.0) / (n + 1.0)) - 1.0) + self.c_sigma
        self.c_c = (4.0 + mu / n) / (n + 4.0 + 2.0 * mu / n)
        scale = (n + 2.0) / 3.0 if self.is_diagonal else 1.0
        self.c_1 = min(1.0, scale * 2.0 / ((n + 1.3) ** 2 + mu))
        self.c_mu = min(1.0 - self.c_1, scale * 2.0 * (mu - 2.0 + 1.0 / mu) / ((n + 2.0) ** 2 + mu))
        self.expected_norm = np.sqrt(n) * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n**2))

    @property
    def solution(self) -> np.ndarray:
        """See `Strategy.solution`: the mean."""
        return self._mean.copy()

    def _root(self) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvectors (D, D) of the covariance and roots of its eigenvalues (D,); of a diagonal one roots alone."""
        if self.is_diagonal:
            return np.empty(0), np.sqrt(self._covariance)
        values, vectors = np.linalg.eigh(self._covariance)
        return vectors, np.sqrt(np.maximum(values, 1e-20))

    def ask(self, rng: np.random.Generator) -> VectorCandidates:
        """See `Strategy.ask`."""
        vectors, roots = self._root()
        noise = rng.standard_normal((self.population_size, len(self._mean))) * roots
        return VectorCandidates(self._mean + self._sigma * (noise if self.is_diagonal else noise @ vectors.T))

    def tell(self, candidates: Candidates, fitness: np.ndarray) -> None:
        """See `Strategy.tell`."""
        if not np.isfinite(fitness).any():
            return
        order = np.argsort(-np.where(np.isfinite(fitness), fitness, -np.inf), kind="stable")[: self.num_parents]
        steps = (candidates.vectors[order] - self._mean) / self._sigma  # (Q, D)
        step = self.weights @ steps
        vectors, roots = self._root()
        white = step / roots if self.is_diagonal else vectors @ ((vectors.T @ step) / roots)
        self._steps += 1
        c, mu = self.c_sigma, self.mu_eff
        self._path_sigma = (1.0 - c) * self._path_sigma + np.sqrt(c * (2.0 - c) * mu) * white
        norm = float(np.linalg.norm(self._path_sigma))
        slow = (
            norm / np.sqrt(1.0 - (1.0 - c) ** (2 * self._steps)) < (1.4 + 2.0 / (len(step) + 1.0)) * self.expected_norm
        )
        self._path_c = (1.0 - self.c_c) * self._path_c + slow * np.sqrt(self.c_c * (2.0 - self.c_c) * mu) * step
        self._adapt_covariance(steps, slow)
        self._mean = self._mean + self._sigma * step
        self._sigma *= float(np.exp(min(1.0, c / self.d_sigma * (norm / self.expected_norm - 1.0))))

    def _adapt_covariance(self, steps: np.ndarray, slow: bool) -> None:
        """Rank-one and rank-mu updates from the steps (Q, D) of the parents, best first."""
        lost = (1.0 - slow) * self.c_c * (2.0 - self.c_c)
        kept = 1.0 - self.c_1 - self.c_mu + self.c_1 * lost
        moved: np.ndarray
        if self.is_diagonal:
            moved = self.c_1 * self._path_c**2 + self.c_mu * (self.weights @ steps**2)
        else:
            moved = self.c_1 * np.outer(self._path_c, self._path_c) + self.c_mu * ((steps.T * self.weights) @ steps)
        self._covariance = kept * self._covariance + moved

    def state_dict(self) -> dict[str, np.ndarray]:
        """See `Strategy.state_dict`."""
        return {
            "mean": self._mean.copy(),
            "sigma": np.array(self._sigma),
            "steps": np.array(float(self._steps)),
            "path_sigma": self._path_sigma.copy(),
            "path_c": self._path_c.copy(),
            "covariance": self._covariance.copy(),
        }

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Strategy.load_state_dict`."""
        self._mean, self._path_sigma, self._path_c, self._covariance = (
            state[name].copy() for name in ("mean", "path_sigma", "path_c", "covariance")
        )
        self._sigma, self._steps = float(state["sigma"]), int(state["steps"])
