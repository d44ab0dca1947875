"""Transport of calls to the nodes of a Ray cluster. Needs ray: ``pip install 'maml_rl[ray]'``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from pydantic import Field

from maml_rl.samplers.backend import WorkerSpec
from maml_rl.samplers.link import Link
from maml_rl.samplers.plan import WorkerPlan
from maml_rl.samplers.ray_actor import PULSE, HostActor, RayLink
from maml_rl.samplers.ray_session import RaySession
from maml_rl.samplers.supervised import SupervisedBackend
from maml_rl.settings import Settings

_STORED_BYTES = 2**20
"""An array that would travel as so many bytes in all, to every worker on its own, is put into the object store."""
_OPEN_SECONDS = 60.0


class RayOptions(Settings):
    """Options of the backend that runs workers on a Ray cluster."""

    address: str = Field(
        default="auto",
        min_length=1,
        examples=["head-node:6379"],
        description=(
            "Cluster that runs the workers: 'auto' the one that runs on this machine, 'local' one of this machine's "
            "cores that ends with the command, or the host of its head."
        ),
    )
    straggler_factor: float = Field(
        default=4.0,
        gt=1,
        le=1e6,
        description=(
            "A shard whose worker takes this many times as long as others is given to a free worker as well; the "
            "first answer counts."
        ),
    )


class RayBackend(SupervisedBackend):
    """One single-threaded actor for each CPU of a cluster, or as many as were asked for; see `SupervisedBackend`.

    Nodes may come and go: with `num_workers` ``None`` there are as many actors as the nodes have CPUs, counted anew
    whenever work without a state begins. The number of shards stays.

    An array that goes to many workers is put into the object store once, and freed as soon as the call is answered.

    Parameters
    ----------
    session
        Connection to the cluster, closed with the backend.
    spec, num_shards, num_workers, timeout_seconds, straggler_factor
        See `SupervisedBackend`; `num_workers` ``None``: one for each CPU of the cluster.
    """

    def __init__(
        self,
        session: RaySession,
        spec: WorkerSpec,
        num_shards: int,
        *,
        num_workers: int | None = None,
        timeout_seconds: float = 60.0,
        straggler_factor: float = 4.0,
    ) -> None:
        self.session = session
        self._asked_for = num_workers
        self._references: dict[int, tuple[np.ndarray, Any]] = {}
        ray = session.ray
        self._actors = ray.remote(num_cpus=1, max_restarts=0, concurrency_groups={PULSE: 1})(HostActor)
        self._sent_spec: Any = ray.put(spec)
        super().__init__(
            spec,
            num_shards,
            num_workers=num_workers,
            timeout_seconds=timeout_seconds,
            straggler_factor=straggler_factor,
        )
        self._await_places()

    @classmethod
    def of(cls, plan: WorkerPlan, options: RayOptions) -> RayBackend:
        """The backend that a plan asks for.

        Raises
        ------
        InputError
            If ray is not installed or the cluster cannot be reached.
        """
        session = RaySession(options.address)
        try:
            return cls(
                session,
                plan.spec,
                plan.shards(session.num_cpus()),
                num_workers=plan.num_workers,
                timeout_seconds=plan.timeout_seconds,
                straggler_factor=options.straggler_factor,
            )
        except BaseException:
            session.close()
            raise

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Backend.map`."""
        try:
            return super().map(method, arguments)
        finally:
            self._references.clear()  # what no actor reads any more is freed

    def _start(self, number: int) -> RayLink:
        actor = self._actors.options(scheduling_strategy="SPREAD").remote(self._sent_spec)
        return RayLink(self.session.ray, actor, self._stored)

    def _stored(self, array: np.ndarray) -> Any:
        """A reference to an array (D,), the same for all workers; a small one itself."""
        if array.nbytes * self.num_shards < _STORED_BYTES:
            return array
        if id(array) not in self._references:
            self._references[id(array)] = (array, self.session.ray.put(array))
        return self._references[id(array)][1]

    def _ready(self, links: Sequence[Link], seconds: float) -> list[Link]:
        by_answer = {cast(RayLink, link).answer: link for link in links}
        starting = [cast(RayLink, link).opening for link in self.links if not (link.is_open or link.ending())]
        self.session.ray.wait([*by_answer, *starting], num_returns=1, timeout=seconds)
        ready, _ = self.session.ray.wait(list(by_answer), num_returns=len(by_answer), timeout=0)
        return [by_answer[answer] for answer in ready]

    def _room(self) -> int:
        return self.session.num_cpus() if self._asked_for is None else self._asked_for

    def _await_places(self) -> None:
        """Give actors for which there are CPUs the time to start, so that the first shards find them all."""
        expected = min(len(self._workers), self.session.num_cpus())
        deadline = time.monotonic() + _OPEN_SECONDS
        openings = [cast(RayLink, link).opening for link in self.links]
        self.session.ray.wait(openings, num_returns=max(1, expected), timeout=deadline - time.monotonic())

    def _cure_of_no_room(self) -> str:
        return "add nodes with free CPUs to the cluster, see ray status"

    def close(self) -> None:
        """See `Backend.close`; the connection is closed, too."""
        super().close()
        self._sent_spec = None
        self.session.close()
