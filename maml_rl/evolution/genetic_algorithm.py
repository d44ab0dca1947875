"""A genetic algorithm: the best individuals live on, and have children by crossover and mutation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from maml_rl.evolution.candidates import Candidates, VectorCandidates
from maml_rl.evolution.strategy import Strategy


class GeneticAlgorithm(Strategy):
    """Truncation selection with elites (Such et al. 2017), uniform crossover and Gaussian mutation.

    A generation is asked for whole, elites among it: their fitness is measured again, so that a lucky life does not
    make an elite for ever. Of a child's parameters each is one of its two parents', and a fraction of them is mutated.

    Parameters
    ----------
    initial
        Vector (D,) around which the first generation is mutated; it is its first member.
    population_size
        Individuals P of a generation, >= 2.
    sigma
        Standard deviation of a mutation, > 0.
    mutation_rate
        Probability with which a parameter of a child is mutated, in (0, 1].
    elite_fraction
        Fraction of a generation that lives on unchanged; at least one individual.
    parent_fraction
        Fraction of a generation that has children; at least two individuals.
    crossover_rate
        Probability with which a child has two parents and not one.
    """

    def __init__(
        self,
        initial: np.ndarray,
        *,
        population_size: int,
        sigma: float,
        mutation_rate: float = 1.0,
        elite_fraction: float = 0.02,
        parent_fraction: float = 0.2,
        crossover_rate: float = 0.5,
    ) -> None:
        if population_size < 2:
            raise ValueError(f"population-size: got {population_size}, expected at least 2")
        self.population_size = population_size
        self.sigma, self.mutation_rate, self.crossover_rate = sigma, mutation_rate, crossover_rate
        self.num_elites = min(population_size - 1, max(1, round(elite_fraction * population_size)))
        self.num_parents = min(population_size, max(2, round(parent_fraction * population_size), self.num_elites))
        self._parents = np.tile(initial.astype(np.float64), (self.num_parents, 1))
        self._generation = 0

    @property
    def solution(self) -> np.ndarray:
        """See `Strategy.solution`: the best of the last generation."""
        return self._parents[0].copy()

    def ask(self, rng: np.random.Generator) -> VectorCandidates:
        """See `Strategy.ask`: elites first, best first, then children."""
        elites = self.num_elites if self._generation else 1
        count, size = self.population_size - elites, self._parents.shape[1]
        mothers, fathers = rng.integers(self.num_parents, size=(2, count))
        crossed = rng.random((count, 1)) < self.crossover_rate
        from_father = crossed & (rng.random((count, size)) < 0.5)
        children = np.where(from_father, self._parents[fathers], self._parents[mothers])
        noise = rng.standard_normal((count, size))
        mutated = rng.random((count, size)) < self.mutation_rate
        children += self.sigma * noise * mutated
        return VectorCandidates(np.concatenate([self._parents[:elites], children]))

    def tell(self, candidates: Candidates, fitness: np.ndarray) -> None:
        """See `Strategy.tell`."""
        finite = np.isfinite(fitness)
        if not finite.any():
            return
        order = np.argsort(-np.where(finite, fitness, -np.inf), kind="stable")
        order = order[: max(1, min(self.num_parents, int(finite.sum())))]
        self._parents = candidates.vectors[np.resize(order, self.num_parents)]
        self._generation += 1

    def state_dict(self) -> dict[str, np.ndarray]:
        """See `Strategy.state_dict`: parents (Q, D), best first, and the number of generations."""
        return {"parents": self._parents.copy(), "generation": np.array(float(self._generation))}

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """See `Strategy.load_state_dict`."""
        self._parents, self._generation = state["parents"].copy(), int(state["generation"])
