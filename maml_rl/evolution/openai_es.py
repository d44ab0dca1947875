"""OpenAI-ES: a Gaussian of fixed shape whose mean follows an estimate of the gradient of expected fitness."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from maml_rl.evolution.candidates import AntitheticCandidates, Candidates
from maml_rl.evolution.strategy import Strategy, centred_ranks
from maml_rl.utils.random import draw_seed

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class OpenAIES(Strategy):
    """Evolution strategy of Salimans et al. (2017, algorithm 1), with antithetic pairs, centred ranks and Adam.

        theta += Adam( 1 / (P sigma) * sum_i rank_i epsilon_i ) - weight_decay theta

    Parameters
    ----------
    initial
        Mean (D,) of the first generation.
    population_size
        Candidates P of a generation, even: one of a pair is the mirror image of the other.
    sigma
        Standard deviation of candidates around the mean, > 0.
    sigma_decay, sigma_limit
        Factor of `sigma` from one generation to the next, and the value it does not fall below.
    learning_rate
        Step size of Adam at the first `sigma`, > 0; it falls with sigma.
    weight_decay
        Fraction of the mean that is lost in every generation.

    Raises
    ------
    ValueError
        If the population is odd, or `sigma_limit` above `sigma`.
    """

    def __init__(
        self,
        initial: np.ndarray,
        *,
        population_size: int,
        sigma: float,
        learning_rate: float,
        sigma_decay: float = 1.0,
        sigma_limit: float = 0.0,
        weight_decay: float = 0.0,
    ) -> None:
        if population_size % 2:
            raise ValueError(f"population-size: got {population_size}, expected an even number for antithetic pairs")
        if sigma_limit > sigma:
            raise ValueError(f"es-sigma-limit: got {sigma_limit:g}, expected at most es-sigma, {sigma:g}")
        self.population_size = population_size
        self.learning_rate = learning_rate
        self.sigma_decay, self.sigma_limit, self.weight_decay = sigma_decay, sigma_limit, weight_decay
        self._mean = initial.astype(np.float64).copy()
        self._first, self._second = np.zeros_like(self._mean), np.zeros_like(self._mean)
        self._sigma, self._first_sigma, self._steps = float(sigma), float(sigma), 0

    @property
    def solution(self) -> np.ndarray:
        """See `Strategy.solution`: the mean."""
        return self._mean.copy()

    def ask(self, rng: np.random.Generator) -> AntitheticCandidates:
        """See `Strategy.ask`: pair i is candidates i and ``i + P / 2``."""
        size = self.population_size
        return AntitheticCandidates(self._mean, self._sigma, draw_seed(rng), size // 2, range(size))

    def tell(self, candidates: Candidates, fitness: np.ndarray) -> None:
        """See `Strategy.tell`."""
        if not np.isfinite(fitness).any():
            return
        half = self.population_size // 2
        ranks = centred_ranks(fitness)
        noise = (candidates.part(range(half)).vectors - self._mean) / self._sigma
        gradient = (ranks[:half] - ranks[half:]) @ noise / (self.population_size * self._sigma)
        self._steps += 1
        self._first = _BETA_1 * self._first + (1.0 - _BETA_1) * gradient
        self._second = _BETA_2 * self._second + (1.0 - _BETA_2) * gradient**2
        first = self._first / (1.0 - _BETA_1**self._steps)
        second = self._second / (1.0 - _BETA_2**self._steps)
        step_size = self.learning_rate * self._sigma / self._first_sigma
        self._mean = (1.0 - self.weight_decay) * self._mean + step_size * first / (np.sqrt(second) + _EPSILON)
        self._sigma = max(self._sigma * self.sigma_decay, self.sigma_limit)

    def state_dict(self) -> dict[str, np.ndarray]:
        """See `Strategy.state_dict`."""
        numbers = {"sigma": self._sigma, "steps": float(self._steps)}
        vectors = {"mean": self._mean, "first_moment": self._first, "second_moment": self._second}
        return {**{k: np.array(v) for k, v in numbers.items()}, **{k: v.copy() for k, v in vectors.items()}}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Strategy.load_state_dict`."""
        self._mean, self._first, self._second = (
            state[name].copy() for name in ("mean", "first_moment", "second_moment")
        )
        self._sigma, self._steps = float(state["sigma"]), int(state["steps"])
