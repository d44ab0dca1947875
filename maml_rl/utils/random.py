"""Randomness as a function of (seed, iteration, task, purpose): no hidden generator state."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Purposes of streams of random numbers. Values are part of the results: never renumber."""

    INITIAL_PARAMETERS = 0
    TASKS = 1
    ENVIRONMENT = 2
    ACTIONS = 3
    EVALUATION_TASKS = 4
    EVALUATION_ENVIRONMENT = 5
    EVALUATION_ACTIONS = 6
    STATISTICS = 7
    MINIBATCHES = 8
    MUTATIONS = 9
    PICTURES = 10
    AGENT_ACTIONS = 11
    SHUFFLES = 12


def generator(
    seed: int, purpose: IntEnum, *, iteration: int = 0, task: int = 0, inner_step: int = 0
) -> np.random.Generator:
    """Return the generator that belongs to these coordinates, and to nothing else.

    Two calls with equal arguments give generators that produce equal numbers, in any process and
    for any number of workers; any differing argument gives a statistically independent stream
    (`numpy.random.SeedSequence` with the coordinates as spawn key).

    Parameters
    ----------
    seed
        Seed of the run, >= 0.
    purpose
        What the numbers are for: a `Purpose`, or of a module from outside the package a member of its own enumeration,
        with a value >= 1000.
    iteration, task, inner_step
        Outer iteration, index of the task in the meta-batch, and inner step; all >= 0.

    Examples
    --------
    >>> a = generator(1, Purpose.TASKS, iteration=3).random()
    >>> a == generator(1, Purpose.TASKS, iteration=3).random()
    True
    >>> a == generator(1, Purpose.TASKS, iteration=4).random()
    False
    """
    coordinates = (int(purpose), iteration, task, inner_step)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=coordinates)))


def subgenerator(seed: int, index: int) -> np.random.Generator:
    """Return the generator of one of many things alike, which those who need it make for themselves.

    Parameters
    ----------
    seed
        Number >= 0 that the generator of all these things has drawn (`draw_seed`).
    index
        Number of the thing, >= 0.

    Examples
    --------
    >>> subgenerator(5, 1).random() == subgenerator(5, 1).random() != subgenerator(5, 2).random()
    True
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(entropy=seed, spawn_key=(index,))))


def draw_seed(rng: np.random.Generator) -> int:
    """Draw a seed for `subgenerator`, in [0, 2^63)."""
    return int(rng.integers(2**63, dtype=np.uint64))
