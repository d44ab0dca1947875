"""Bookkeeping of a supervisor: shards, the calls they wait for, and the workers that make these."""

from __future__ import annotations

import time
from typing import Any

from maml_rl.samplers.backend import Journal
from maml_rl.samplers.hosting import Call, Message
from maml_rl.samplers.link import Link


class Part:
    """One shard: its journal and where its state is.

    Attributes
    ----------
    index
        Number of the shard.
    journal
        Calls that built its state.
    version
        Counts the calls that built state.
    holders
        Workers that hold the state of this version.
    home
        The worker that served it last.
    """

    def __init__(self, index: int, journal: Journal) -> None:
        self.index, self.journal = index, journal
        self.version = 0
        self.holders: set[Worker] = set()
        self.home: Worker | None = None


class Job:
    """A call for one shard.

    Attributes
    ----------
    part, call
        The shard and the call.
    before
        Calls that build the state it works on.
    version
        Version of the state after it.
    workers
        Those that are busy with it.
    losses
        Workers that were lost with it.
    done, result
        Whether it was answered, and the first answer.
    """

    def __init__(self, part: Part, call: Call) -> None:
        self.part, self.call = part, call
        self.before = tuple(part.journal.before(call[0]))
        self.version = part.version + part.journal.builds(call[0])
        self.workers: list[Worker] = []
        self.losses = 0
        self.done = False
        self.result: Any = None

    @property
    def methods(self) -> list[str]:
        """Methods to be called where nothing of the state is there."""
        return [method for method, _ in (*self.before, self.call)]

    @property
    def about(self) -> str:
        """Words for the call and its subject."""
        return f"{self.call[0]} ({self.part.journal.describe(*self.call)})"

    @property
    def is_bound(self) -> bool:
        """True if some worker holds the state it works on."""
        return bool(self.before and self.part.holders)


class Worker:
    """A process behind a link, and the job it is busy with.

    Attributes
    ----------
    number, link
        Its number among the workers, and the way to it.
    job, called
        What it is busy with, and since when, as `time.monotonic` counts; ``None``: nothing.
    sent
        The message that it is busy with.
    has_answered
        Whether it ever did.
    """

    def __init__(self, number: int, link: Link) -> None:
        self.number, self.link = number, link
        self.job: Job | None = None
        self.called = 0.0
        self.sent: Message | None = None
        self.has_answered = False
        self._stale: set[int] = set()

    @property
    def is_free(self) -> bool:
        """True if it has nothing to do and would hear a call."""
        return self.job is None and self.link.is_open

    def give(self, job: Job) -> None:
        """Send a job, with all that has to be done before."""
        index = job.part.index
        self._stale.discard(index)
        calls = (job.call,) if self in job.part.holders else (*job.before, job.call)
        self.sent = Message(index, calls, tuple(sorted(self._stale)))
        self._stale.clear()
        self.job, self.called = job, time.monotonic()
        job.workers.append(self)
        self.link.send(self.sent)

    def finish(self) -> Job:
        """Be free again; the job it was busy with."""
        assert self.job is not None
        job, self.job = self.job, None
        job.workers.remove(self)
        return job

    def settle(self, job: Job) -> bool:
        """Enter where the state is after the worker's answer; true if it was the job's first one."""
        part, is_first = job.part, not job.done
        if is_first and job.version != part.version:
            for other in part.holders - {self}:
                other._stale.add(part.index)
            part.version, part.holders = job.version, set()
        if job.version == part.version:
            part.holders.add(self)
        else:
            part.holders.discard(self)
            self._stale.add(part.index)
        if is_first:
            part.home = self
        return is_first
