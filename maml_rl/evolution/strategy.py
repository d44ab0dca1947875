"""The contract of an evolution strategy: ask for candidates, tell their fitness; it sees vectors and nothing else."""

from __future__ import annotations

import abc
from collections.abc import Mapping

import numpy as np

from maml_rl.evolution.candidates import Candidates


class Strategy(abc.ABC):
    """A distribution over vectors (D,) that moves towards those of higher fitness.

    One generation is ``candidates = ask(rng); tell(candidates, fitness)``. `ask` changes nothing, so that an
    interrupted generation is simply asked for again; the state after `tell` is a function of the state before, of
    candidates and fitness.
    """

    population_size: int

    @abc.abstractmethod
    def ask(self, rng: np.random.Generator) -> Candidates:
        """P candidates of the next generation, a function of what `rng` draws."""

    @abc.abstractmethod
    def tell(self, candidates: Candidates, fitness: np.ndarray) -> None:
        """Move on by the P candidates of the last `ask` and their fitness (P,).

        A fitness that is not a finite number counts as lower than all others; if none is finite, nothing moves.
        """

    @property
    @abc.abstractmethod
    def solution(self) -> np.ndarray:
        """The vector (D,) that stands for the distribution: its mean, or the best individual."""

    @abc.abstractmethod
    def state_dict(self) -> dict[str, np.ndarray]:
        """Everything the future depends on, float64 arrays by name, of the same shapes from the beginning on."""

    @abc.abstractmethod
    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a `state` that `state_dict` gave: arrays (D,), () and others of its shapes, by name."""


def centred_ranks(fitness: np.ndarray) -> np.ndarray:
    """Ranks of a fitness (P,) from -0.5 to 0.5, ties sharing the mean of their ranks.

    See Salimans et al. 2017, section 2.1. What is not finite has the lowest rank.

    Examples
    --------
    >>> centred_ranks(np.array([10.0, np.nan, 20.0, 20.0])).round(3)
    array([-0.167, -0.5  ,  0.333,  0.333])
    """
    values = np.where(np.isfinite(fitness), fitness, -np.inf)
    distinct, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    mean_ranks = ends - 0.5 * (counts + 1)  # of each distinct value, ranks from 0
    assert len(mean_ranks) == len(distinct)
    return mean_ranks[which.reshape(-1)] / max(1, len(fitness) - 1) - 0.5
