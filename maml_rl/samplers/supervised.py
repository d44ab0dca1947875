"""Supervision of workers, whatever carries the calls: losses, deadlines, stragglers, and lost work done again."""

from __future__ import annotations

import abc
import contextlib
import math
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any

from maml_rl.samplers.backend import Backend, Journal, WorkerError, WorkerSpec
from maml_rl.samplers.jobs import Job, Part, Worker
from maml_rl.samplers.link import Link, LinkLostError
from maml_rl.samplers.pace import Pace

_POLL_SECONDS = 0.5
_START_SECONDS = 60.0
"""Silence allowed to a worker that is still importing libraries and building."""
_MAX_LOSSES = 3
_LEAST_LATE_SECONDS = 0.1
"""Calls shorter than this are never given to a second worker."""


class SupervisedBackend(Backend):
    """Workers behind links, of which one may break at any moment.

    Shards are dealt to workers: to the one that holds a shard's state, else to the one that served it last, else to
    whoever is free. Results do not depend on who serves a shard.

    A worker that is lost, or shows no sign of life for `timeout_seconds`, is replaced, and `warn` is told so; its
    successor, or another worker, makes the calls that built the lost state again, and since these are functions of
    their arguments the run goes on as if nothing had happened. A worker that raises stops the run. A call that is late
    is given to a free worker as well; the first answer counts.

    A transport derives from this class: it says how a worker is started, which links have an answer, and how many
    workers there is room for.

    Parameters
    ----------
    spec
        Specification of the workers; picklable.
    num_shards
        Number of shards, >= 1.
    num_workers
        Most workers, >= 1; ``None``: one for each shard. More than there are shards are never started.
    timeout_seconds
        Longest silence of a busy worker; until its first answer at least a minute. Its successor has twice as long.
    straggler_factor
        A call is late after this many times the seconds that it takes others, from the journal on; infinity: never.

    Attributes
    ----------
    num_duplicates
        Calls given to a second worker so far because they were late.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        num_shards: int,
        *,
        num_workers: int | None = None,
        timeout_seconds: float = 60.0,
        straggler_factor: float = math.inf,
    ) -> None:
        self.spec = spec
        self.num_shards = num_shards
        self.timeout_seconds = timeout_seconds
        self.straggler_factor = straggler_factor
        self.num_duplicates = 0
        self._most_workers = num_shards if num_workers is None else num_workers
        self._parts = [Part(index, Journal(spec)) for index in range(num_shards)]
        self._pace = Pace()
        self._workers: list[Worker] = []
        self._waiting: deque[Job] = deque()
        try:
            self._fit()
        except BaseException:
            self.close()
            raise

    @property
    def links(self) -> list[Link]:
        """Links to the workers."""
        return [worker.link for worker in self._workers]

    @abc.abstractmethod
    def _start(self, number: int) -> Link:
        """Start worker `number` and return at once."""

    @abc.abstractmethod
    def _ready(self, links: Sequence[Link], seconds: float) -> list[Link]:
        """Links over which something can be received, waiting for at most this long."""

    def _room(self) -> int:
        """Workers there is room for now; by default as many as were asked for."""
        return self._most_workers

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        """Surround every start of workers; by default nothing."""
        yield

    def _fit(self) -> None:
        """Have as many workers as there is room and work for."""
        wanted = max(1, min(self._room(), self.num_shards))
        for worker in [one for one in self._workers if one.job is None and one.link.ending()]:
            self._dismiss(worker)
        with self._starting():
            while len(self._workers) < wanted:
                numbers = {worker.number for worker in self._workers}
                number = next(n for n in range(wanted) if n not in numbers)
                self._workers.append(Worker(number, self._start(number)))
        for worker in [one for one in self._workers if one.job is None and not one.link.is_open]:
            if len(self._workers) > wanted:
                worker.link.stop()
                self._dismiss(worker)
        self.num_workers = len(self._workers)

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Backend.map`."""
        jobs = [Job(part, (method, args)) for part, args in zip(self._parts, arguments, strict=True)]
        if not any(job.before for job in jobs):
            self._fit()
        self._waiting = deque(jobs)
        left, since = len(jobs), time.monotonic()
        while left:
            self._deal()
            busy = [worker for worker in self._workers if worker.job is not None]
            if busy:
                left, since = left - self._listen(busy), time.monotonic()
            else:
                self._await_start(since)
        return [job.result for job in jobs]

    def _deal(self) -> None:
        """Give jobs to free workers: first their own, then those that are nobody's, then those that are late."""
        free = [worker for worker in self._workers if worker.is_free]
        if free and self._waiting:
            own: dict[Worker, deque[Job]] = defaultdict(deque)
            for job in self._waiting:
                for worker in job.part.holders if job.is_bound else filter(None, [job.part.home]):
                    own[worker].append(job)
            for worker in free:
                self._give(worker, next((job for job in own[worker] if not job.workers), None))
        loose = deque(job for job in self._waiting if not (job.workers or job.is_bound)) if free else deque()
        for worker in free:
            if worker.job is None:
                self._give(worker, loose.popleft() if loose else None)
        self._waiting = deque(job for job in self._waiting if not job.workers)
        if math.isfinite(self.straggler_factor):
            for worker, job in zip([one for one in free if one.job is None], list(self._late()), strict=False):
                self.num_duplicates += 1
                self._give(worker, job)
            self._waiting = deque(job for job in self._waiting if not job.workers)

    @staticmethod
    def _give(worker: Worker, job: Job | None) -> None:
        if job is not None:
            worker.give(job)

    def _late(self) -> Iterator[Job]:
        """Jobs that only one worker has had for too long, and those that wait for a worker that is late."""
        late = {worker for worker in self._workers if self._is_late(worker)}
        for worker in late:
            if worker.job is not None and not worker.job.done and len(worker.job.workers) == 1:
                yield worker.job
        for job in self._waiting:
            if job.is_bound and job.part.holders <= late:
                yield job

    def _is_late(self, worker: Worker) -> bool:
        if worker.job is None:
            return False
        usual = max(self._pace.expected(worker.job.methods), _LEAST_LATE_SECONDS)
        return time.monotonic() - worker.called > self.straggler_factor * usual

    def _listen(self, busy: Sequence[Worker]) -> int:
        """Hear what busy workers have to say, and replace those that are lost; the number of jobs done."""
        by_link = {worker.link: worker for worker in busy}
        ready = self._ready(list(by_link), self._patience(busy))
        done = sum(self._receive(by_link[link]) for link in ready)
        for worker in busy:
            if worker.link not in ready and (fate := self._fate(worker)) and not self._ready([worker.link], 0.0):
                self._replace(worker, fate)  # an answer may have come while others were heard
        return done

    def _patience(self, busy: Sequence[Worker]) -> float:
        """Seconds to wait for answers: few where somebody might be late or is starting."""
        return _POLL_SECONDS if len(busy) == len(self._workers) else min(_POLL_SECONDS, _LEAST_LATE_SECONDS)

    def _receive(self, worker: Worker) -> bool:
        """Take an answer; whether it was the first one of its job."""
        assert worker.sent is not None
        try:
            answer = worker.link.receive()
        except LinkLostError:
            self._replace(worker, worker.link.ending() or "broke its connection")
            return False
        worker.has_answered = True
        job, seconds = worker.finish(), time.monotonic() - worker.called
        if not answer.succeeded and not job.done:
            method, arguments = worker.sent.calls[answer.position]
            about = job.part.journal.describe(method, arguments)
            raise WorkerError(f"worker {worker.number} raised in {method} ({about}):\n{answer.value}")
        if len(worker.sent.calls) == 1:
            self._pace.record(job.call[0], seconds)
        if not worker.settle(job):
            return False
        job.part.journal.record(*job.call)
        job.done, job.result = True, answer.value
        return True

    def _fate(self, worker: Worker) -> str:
        """Words for how a worker was lost; "" while it lives."""
        if ending := worker.link.ending():
            return ending
        allowed = self.timeout_seconds if worker.has_answered else max(self.timeout_seconds, _START_SECONDS)
        losses = worker.job.losses if worker.job is not None else 0
        allowed *= 2.0**losses  # a successor that is only slow, compiling on a busy machine, gets there
        hangs = time.monotonic() - max(worker.link.last_pulse(), worker.called) > allowed
        return f"gave no sign of life for {allowed:g} s" if hangs else ""

    def _replace(self, worker: Worker, fate: str) -> None:
        """Start a successor, if there is room; what the worker was busy with waits for whoever is free."""
        job = worker.finish()
        job.losses += 1
        self.num_restarts += 1
        if job.losses > _MAX_LOSSES:
            raise WorkerError(
                f"worker {worker.number} died or hung {job.losses} times in {job.about}; the last one {fate}"
            )
        cure = "" if worker.link.ending() else "; raise worker-timeout if it was only slow"
        self.warn(
            f"worker {worker.number} ({worker.link.name}) {fate} in {job.about}: replaced, its work is done again{cure}"
        )
        with self._starting():
            worker.link.stop()
            self._dismiss(worker)
            if len(self._workers) < max(1, min(self._room(), self.num_shards)):
                successor = Worker(worker.number, self._start(worker.number))
                self._workers.append(successor)
                self._workers.sort(key=lambda one: one.number)
                for part in self._parts:
                    part.home = successor if part.home is worker else part.home
        self.num_workers = len(self._workers)
        if not (job.done or job.workers):
            job.part.home = next((one for one in self._workers if one.number == worker.number), job.part.home)
            self._waiting.appendleft(job)

    def _dismiss(self, worker: Worker) -> None:
        """Strike a worker off all lists."""
        self._workers.remove(worker)
        for part in self._parts:
            part.holders.discard(worker)

    def _await_start(self, since: float) -> None:
        """Wait a moment for a worker to start, while none can be called."""
        for worker in self._workers:
            if ending := worker.link.ending():
                raise WorkerError(f"worker {worker.number} ({worker.link.name}) {ending} before it had started")
        allowed = max(self.timeout_seconds, _START_SECONDS)
        if time.monotonic() - since > allowed:
            raise WorkerError(f"no worker could be started within {allowed:g} s; {self._cure_of_no_room()}")
        time.sleep(0.02)

    def _cure_of_no_room(self) -> str:
        """Words for what to do if no worker starts."""
        return "free memory or cores of this machine"

    def close(self) -> None:
        """See `Backend.close`."""
        for worker in self._workers:
            worker.link.stop()
        self._workers = []
