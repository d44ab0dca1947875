"""Candidates of a generation, in the form in which they travel to those who measure their fitness."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from maml_rl.utils.random import subgenerator


class Candidates(abc.ABC):
    """P vectors (P, D), or what they can be computed from; picklable."""

    @abc.abstractmethod
    def __len__(self) -> int:
        """P."""

    @property
    @abc.abstractmethod
    def vectors(self) -> np.ndarray:
        """The vectors (P, D) float64."""

    @property
    @abc.abstractmethod
    def base(self) -> np.ndarray:
        """The large array that they are computed from, (D,) or (P, D); parts may share it."""

    @abc.abstractmethod
    def on(self, base: np.ndarray) -> Candidates:
        """The same computed from another `base`, (D,) or (P, D); an empty one where it travels on its own."""

    @abc.abstractmethod
    def part(self, indices: Sequence[int]) -> Candidates:
        """Those at these positions."""

    def split(self, num_parts: int) -> list[Candidates]:
        """Contiguous parts, as even as possible.

        >>> [len(part) for part in VectorCandidates(np.zeros((5, 2))).split(2)]
        [3, 2]
        """
        return [self.part(part.tolist()) for part in np.array_split(np.arange(len(self)), num_parts)]


class VectorCandidates(Candidates):
    """Vectors themselves.

    Parameters
    ----------
    vectors
        (P, D).
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    @property
    def vectors(self) -> np.ndarray:
        """See `Candidates.vectors`."""
        return self._vectors

    @property
    def base(self) -> np.ndarray:
        """See `Candidates.base`: the vectors (P, D)."""
        return self._vectors

    def on(self, base: np.ndarray) -> VectorCandidates:
        """See `Candidates.on`."""
        return VectorCandidates(base)

    def part(self, indices: Sequence[int]) -> VectorCandidates:
        """See `Candidates.part`."""
        return VectorCandidates(self._vectors[indices])


@dataclass(frozen=True)
class AntitheticCandidates(Candidates):
    """Mirrored perturbations of a mean, each drawn where it is needed (Salimans et al. 2017, algorithm 2).

    Candidate i is ``mean + sigma epsilon_i`` in the first half of a generation, ``mean - sigma epsilon_(i - P / 2)`` in
    the second one; epsilon is a standard normal vector that `seed` and its index determine.

    Attributes
    ----------
    mean
        (D,).
    sigma
        Standard deviation of a perturbation, > 0.
    seed
        Of the generation, >= 0.
    half
        Number of pairs of the whole generation.
    indices
        Positions in the whole generation, in [0, 2 half).

    Examples
    --------
    >>> whole = AntitheticCandidates(np.array([1.0, 2.0]), 0.1, seed=3, half=2, indices=range(4))
    >>> bool(np.allclose(whole.vectors[:2] + whole.vectors[2:], 2 * whole.mean))
    True
    >>> np.array_equal(whole.part([3]).vectors[0], whole.vectors[3])
    True
    """

    mean: np.ndarray
    sigma: float
    seed: int
    half: int
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def vectors(self) -> np.ndarray:
        """See `Candidates.vectors`."""
        noise, rows = self.perturbations()
        signs = np.where(np.asarray(self.indices, dtype=int) < self.half, self.sigma, -self.sigma)
        return self.mean + signs[:, np.newaxis] * noise[rows]

    @property
    def base(self) -> np.ndarray:
        """See `Candidates.base`: the mean (D,)."""
        return self.mean

    def on(self, base: np.ndarray) -> AntitheticCandidates:
        """See `Candidates.on`."""
        return replace(self, mean=base)

    def perturbations(self) -> tuple[np.ndarray, np.ndarray]:
        """Perturbations (Q, D) that occur here, each once, and which of them (P,) each candidate has."""
        pairs, rows = np.unique(np.asarray(self.indices, dtype=int) % self.half, return_inverse=True)
        noise = np.empty((len(pairs), len(self.mean)))
        for row, pair in zip(noise, pairs.tolist(), strict=True):
            subgenerator(self.seed, pair).standard_normal(out=row)
        return noise, rows.reshape(-1)

    def part(self, indices: Sequence[int]) -> AntitheticCandidates:
        """See `Candidates.part`."""
        chosen = [self.indices[i] for i in indices]
        is_range = bool(chosen) and chosen == list(range(chosen[0], chosen[-1] + 1))
        return replace(self, indices=range(chosen[0], chosen[-1] + 1) if is_range else chosen)
