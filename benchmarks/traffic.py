"""Bytes that go between a learner and its workers, and workers that do nothing but exchange them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from maml_rl.samplers.backend import Backend
from maml_rl.samplers.hosting import Answer, Message


class CountedBackend(Backend):
    """A backend whose messages and answers are counted as they travel to local processes.

    Parameters
    ----------
    backend
        It makes the calls; closed with this one.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.num_shards, self.num_workers = backend.num_shards, backend.num_workers
        self.sent = np.zeros(self.num_shards, dtype=np.int64)
        self.received = np.zeros(self.num_shards, dtype=np.int64)
        self.num_calls = 0

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Backend.map`."""
        results = self._backend.map(method, arguments)
        for shard, (args, result) in enumerate(zip(arguments, results, strict=True)):
            self.sent[shard] += _size(Message(shard, ((method, args),)))
            self.received[shard] += _size(Answer(True, result))
        self.num_calls += 1
        return results

    def forget(self) -> None:
        """Count from 0."""
        self.sent[:], self.received[:], self.num_calls = 0, 0, 0

    def close(self) -> None:
        """See `Backend.close`."""
        self._backend.close()


def _size(value: Any) -> int:
    return len(ForkingPickler.dumps(value))


@dataclass(frozen=True)
class EchoSpec:
    """Specification of an `Echo`; picklable."""

    @property
    def worker_class(self) -> type[Echo]:
        """See `WorkerSpec`."""
        return Echo

    def build(self, heartbeat: Callable[[], None]) -> Echo:
        """Make the worker."""
        return Echo()


class Echo:
    """A worker that answers at once."""

    def echo(self, vector: np.ndarray) -> np.ndarray:
        """The vector (D,) it is given, as `MAMLWorker.fisher_vector_product` answers with one."""
        return vector

    def close(self) -> None:
        """Nothing to free."""
