"""Workers where they run: those of several shards behind one link, built when they are first called."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

from maml_rl.samplers.backend import WorkerSpec, state_builders

Call = tuple[str, tuple[Any, ...]]
"""Name of a worker's method, and its arguments."""


class Message(NamedTuple):
    """Calls that go to one shard's worker, one after another.

    Attributes
    ----------
    shard
        Number of the shard.
    calls
        At least one; those before the last build the state that it works on.
    forget
        Shards whose workers are not needed here any more.
    """

    shard: int
    calls: tuple[Call, ...]
    forget: tuple[int, ...] = ()


class Answer(NamedTuple):
    """Result of a message's last call; or the traceback of one that raised, and its position among the calls."""

    succeeded: bool
    value: Any
    position: int = 0


class Host:
    """The workers of some shards in one process.

    One worker does for all shards where no method builds state.

    Parameters
    ----------
    spec
        Specification of the workers.
    heartbeat
        See `WorkerSpec.build`.
    """

    def __init__(self, spec: WorkerSpec, heartbeat: Callable[[], None]) -> None:
        self._spec = spec
        self._heartbeat = heartbeat
        self._stateless = not state_builders(spec.worker_class)
        self._workers: dict[int, Any] = {}

    def answer(self, message: Message) -> Answer:
        """Make the calls of a message; nothing is raised but what ends the process."""
        done, value = 0, None
        try:
            for shard in message.forget:
                self._forget(shard)
            worker = self._worker_of(message.shard)
            for method, arguments in message.calls:
                value = getattr(worker, method)(*arguments)
                done += 1
        except (Exception, SystemExit):  # an environment may call sys.exit
            return Answer(False, traceback.format_exc(), done)
        return Answer(True, value)

    def _worker_of(self, shard: int) -> Any:
        key = 0 if self._stateless else shard
        if key not in self._workers:
            self._workers[key] = self._spec.build(self._heartbeat)
        return self._workers[key]

    def _forget(self, shard: int) -> None:
        if not self._stateless and shard in self._workers:
            self._workers.pop(shard).close()

    def close(self) -> None:
        """Free what the workers hold."""
        for worker in self._workers.values():
            worker.close()
        self._workers = {}
