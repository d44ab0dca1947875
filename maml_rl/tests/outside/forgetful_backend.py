"""A backend in this process that loses every worker after every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maml_rl.samplers import Backend, WorkerSpec, register_backend
from maml_rl.samplers.backend import Journal


class ForgetfulBackend(Backend):
    """Each call is answered by a successor, which first makes the calls that built the state."""

    num_workers = 1

    def __init__(self, spec: WorkerSpec, num_shards: int) -> None:
        self.num_shards = num_shards
        self._spec = spec
        self._journals = [Journal(spec) for _ in range(num_shards)]

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Backend.map`."""
        results = []
        for journal, own in zip(self._journals, arguments, strict=True):
            worker = self._spec.build(lambda: None)
            for earlier, theirs in journal.before(method):
                getattr(worker, earlier)(*theirs)
            results.append(getattr(worker, method)(*own))
            worker.close()
            journal.record(method, own)
        return results

    def close(self) -> None:
        """Nothing is left."""


register_backend("forgetful", lambda plan, _: ForgetfulBackend(plan.spec, plan.shards(room=1)))
