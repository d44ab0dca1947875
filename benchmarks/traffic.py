"""Bytes that go between a learner and its workers, and workers that do nothing but exchange them.

`python -m benchmarks.traffic` counts them in an iteration of each algorithm with two shards, with two episodes of each
task and with ten. Nothing is measured: the same numbers come out on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

from maml_rl.algorithms import make_algorithm
from maml_rl.config import Config, load_config
from maml_rl.samplers import SerialBackend
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


RL2 = "configs/rl2/bandit-k5-n100.yaml"
EVOLUTION = "configs/evolution/cart-pole.yaml"
STRATEGIES = ("openai-es", "cma-es", "genetic-algorithm")
WIDE = {"hidden_sizes": (64, 64), "env_kwargs": {"max_episode_steps": 20}}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "maml": ("configs/maml/halfcheetah-dir.yaml", {"env_kwargs": {"max_episode_steps": 20}}),
    "rl2, 2 epochs of 4 minibatches": (RL2, {"num_epochs": 2, "num_minibatches": 4}),
    "rl2, a2c": (RL2, {"outer_step": "a2c"}),
    "ensemble of two": (RL2, {"outer_step": "a2c", "num_agents": 2}),
    **{f"evolution, {one}": (EVOLUTION, {"es_strategy": one, **WIDE}) for one in STRATEGIES},
}
NUM_SHARDS, NUM_TASKS = 2, 4


def counted(config: Config) -> dict[str, Any]:
    """Bytes of an iteration between the learner and the worker that has most, and as vectors (D,) of numbers."""
    algorithm = make_algorithm(config)
    with CountedBackend(SerialBackend(algorithm.worker_spec, NUM_SHARDS)) as backend:
        learner = algorithm.learner(backend, algorithm.initial_parameters())
        learner.step(algorithm.sample_tasks(0), 0)
        most, calls = int((backend.sent + backend.received).max()), backend.num_calls
    size = algorithm.layout.size
    return {"D": size, "bytes": most, "vectors": round(most / (8 * size), 2), "calls": calls}


def main() -> None:
    """Count and print a line for each case."""
    for name, (path, changes) in CASES.items():
        config = load_config(path).replace(meta_batch_size=NUM_TASKS, **changes)
        few, more = (counted(config.replace(fast_batch_size=count)) for count in (2, 10))
        print(json.dumps({"case": name, **few, "bytes_with_ten_episodes": more["bytes"]}), flush=True)


if __name__ == "__main__":
    main()
