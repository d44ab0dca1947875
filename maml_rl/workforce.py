"""Workers of a run or an evaluation, started and gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from maml_rl.algorithms import Algorithm
from maml_rl.samplers import Backend, BackendChoice, WorkerPlan, start_workers
from maml_rl.samplers.backend import ModularSpec
from maml_rl.utils.log import LOGGER


@dataclass(frozen=True)
class Workforce:
    """Workers of a command.

    Attributes
    ----------
    num_workers
        Most workers, >= 1; ``None``: as many as the backend has room for.
    backend
        The registered backend that runs them, or its name where it has its usual options.
    """

    num_workers: int | None = 1
    backend: BackendChoice | str = "serial"


@contextmanager
def workers(
    algorithm: Algorithm,
    num_workers: int | None,
    backend: BackendChoice | str = "serial",
    *,
    num_shards: int | None = None,
    max_shards: int | None = None,
) -> Iterator[Backend]:
    """Start workers, at most one for each shard; they are gone however the context ends.

    Parameters
    ----------
    algorithm
        The algorithm whose workers they are.
    num_workers, backend
        See `Workforce`.
    num_shards
        Number of shards, >= 1; ``None``: one for each worker of the start.
    max_shards
        Most shards, >= 1; ``None``: as many parts as the algorithm can divide an iteration's work into.
    """
    torch.set_num_threads(1)
    run, most = algorithm.config.run, algorithm.max_shards
    plan = WorkerPlan(
        ModularSpec(algorithm.worker_spec, run.allow_module),
        num_workers,
        num_shards,
        max_shards=most if max_shards is None else min(most, max_shards),
        timeout_seconds=run.worker_timeout,
    )
    with start_workers(plan, BackendChoice(backend) if isinstance(backend, str) else backend) as running:
        running.warn = LOGGER.warning
        yield running
