"""Backend that runs the workers of all shards in this process, one after another."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

from maml_rl.samplers.backend import Backend, Journal, WorkerError, WorkerSpec


class SerialBackend(Backend):
    """Workers in this process: nothing to start, easy to debug.

    Parameters
    ----------
    spec
        What the workers are built from.
    num_shards
        Number of shards, >= 1, each with a worker of its own.
    """

    num_workers = 1

    def __init__(self, spec: WorkerSpec, num_shards: int = 1) -> None:
        self.num_shards = num_shards
        self._workers = [spec.build(lambda: None) for _ in range(num_shards)]
        self._journals = [Journal(spec) for _ in range(num_shards)]

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Backend.map`."""
        results = []
        for index, (worker, args) in enumerate(zip(self._workers, arguments, strict=True)):
            try:
                results.append(getattr(worker, method)(*args))
            except (Exception, SystemExit) as error:  # an environment may call sys.exit
                about = self._journals[index].describe(method, args)
                raise WorkerError(f"worker {index} raised in {method} ({about}):\n{traceback.format_exc()}") from error
            self._journals[index].record(method, args)
        return results

    def close(self) -> None:
        """See `Backend.close`."""
        for worker in self._workers:
            worker.close()
        self._workers = []


class InlineBackend:
    """One worker that exists already, as learners see workers; what it raises is raised.

    Parameters
    ----------
    worker
        The worker.
    """

    num_shards = num_workers = 1

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Backend.map`."""
        return [getattr(self._worker, method)(*arguments[0])]

    def broadcast(self, method: str, *arguments: Any) -> list[Any]:
        """See `Backend.broadcast`."""
        return [getattr(self._worker, method)(*arguments)]
