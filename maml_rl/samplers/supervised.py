"""Supervision of workers, whatever carries the calls: losses, deadlines, and the work of the lost done again."""

from __future__ import annotations

import abc
import contextlib
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from maml_rl.samplers.backend import Backend, Journal, WorkerError, WorkerSpec

_POLL_SECONDS = 0.5
_START_SECONDS = 60.0
"""Silence allowed to a worker that is still importing libraries and building."""
_MAX_LOSSES = 3

Call = tuple[str, tuple[Any, ...]]


class LinkLostError(ConnectionError):
    """No answer can come over a link any more."""


class Link(abc.ABC):
    """One worker as its supervisor sees it: calls go there, answers come back, and it shows that it is alive."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Words for the worker's place, such as its process."""

    @abc.abstractmethod
    def send(self, call: Call) -> None:
        """Send a call; that the worker is lost is noticed later, by `receive` or `ending`."""

    @abc.abstractmethod
    def receive(self) -> tuple[bool, Any]:
        """An answer that is there: True and the result, or False and a traceback.

        Raises
        ------
        LinkLostError
            If the worker is gone.
        """

    @abc.abstractmethod
    def last_pulse(self) -> float:
        """Time of the last sign of life, as `time.monotonic` counts."""

    @abc.abstractmethod
    def ending(self) -> str:
        """Words for how the worker ended, such as "was killed by SIGKILL"; "" while it lives."""

    @abc.abstractmethod
    def stop(self) -> None:
        """End the worker, whatever it does."""


class _Slot:
    """One worker's link, the calls it still has to make, and its journal."""

    def __init__(self, index: int, journal: Journal, link: Link) -> None:
        self.index, self.journal, self.link = index, journal, link
        self.pending: deque[Call] = deque()
        self.losses = 0
        self.has_answered = False
        self.called = 0.0

    def send(self) -> None:
        """Send the first pending call."""
        self.called = time.monotonic()
        self.link.send(self.pending[0])


class SupervisedBackend(Backend):
    """Workers behind links, of which one may break at any moment.

    A worker that is lost, or shows no sign of life for `timeout_seconds`, is replaced, and `warn` is told so; its
    successor makes the calls that built the lost state again, and since these are functions of their arguments
    the run goes on as if nothing had happened. A worker that raises stops the run.

    A transport derives from this class: it says how a worker is started and which links have an answer.

    Parameters
    ----------
    spec
        Specification of the workers; picklable.
    num_workers
        Number of workers, >= 1.
    timeout_seconds
        Longest silence of a busy worker; until its first answer at least a minute. Its successor has twice as long.
    """

    def __init__(self, spec: WorkerSpec, num_workers: int, *, timeout_seconds: float = 60.0) -> None:
        self.spec = spec
        self.num_workers = num_workers
        self.timeout_seconds = timeout_seconds
        self._slots: list[_Slot] = []
        try:
            with self._starting():
                for index in range(num_workers):
                    self._slots.append(_Slot(index, Journal(spec), self._start(index)))
        except BaseException:
            self.close()
            raise

    @abc.abstractmethod
    def _start(self, index: int) -> Link:
        """Start worker `index` and return at once."""

    @abc.abstractmethod
    def _ready(self, links: Sequence[Link], seconds: float) -> list[Link]:
        """Links over which something can be received, waiting for at most this long."""

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        """Surround every start of workers; by default nothing."""
        yield

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Backend.map`."""
        calls = [(method, args) for args in arguments]
        for slot, call in zip(self._slots, calls, strict=True):
            slot.pending, slot.losses = deque([call]), 0
            slot.send()
        results: dict[int, Any] = {}
        while len(results) < self.num_workers:
            busy = {slot.link: slot for slot in self._slots if slot.index not in results}
            ready = self._ready(list(busy), _POLL_SECONDS)
            for link in ready:
                self._receive(busy[link], calls, results)
            for link, slot in busy.items():
                if link not in ready and (fate := self._fate(slot)):
                    self._replace(slot, calls[slot.index], fate)
        return [results[index] for index in range(self.num_workers)]

    def _receive(self, slot: _Slot, calls: Sequence[Call], results: dict[int, Any]) -> None:
        try:
            succeeded, value = slot.link.receive()
        except LinkLostError:
            self._replace(slot, calls[slot.index], slot.link.ending() or "broke its connection")
            return
        slot.has_answered = True
        method, arguments = slot.pending.popleft()
        if not succeeded:
            about = slot.journal.describe(method, arguments)
            raise WorkerError(f"worker {slot.index} raised in {method} ({about}):\n{value}")
        if slot.pending:
            slot.send()
            return
        slot.journal.record(method, arguments)
        results[slot.index] = value

    def _fate(self, slot: _Slot) -> str:
        """Words for how a worker was lost; "" while it lives."""
        if ending := slot.link.ending():
            return ending
        allowed = self.timeout_seconds if slot.has_answered else max(self.timeout_seconds, _START_SECONDS)
        allowed *= 2.0**slot.losses  # a successor that is only slow, compiling on a busy machine, gets there
        hangs = time.monotonic() - max(slot.link.last_pulse(), slot.called) > allowed
        return f"gave no sign of life for {allowed:g} s" if hangs else ""

    def _replace(self, slot: _Slot, call: Call, fate: str) -> None:
        """Start a successor that makes the journal's calls and then `call` again."""
        slot.losses += 1
        self.num_restarts += 1
        about = slot.journal.describe(*call)
        if slot.losses > _MAX_LOSSES:
            raise WorkerError(
                f"worker {slot.index} died or hung {slot.losses} times in {call[0]} ({about}); the last one {fate}"
            )
        cure = "" if slot.link.ending() else "; raise worker-timeout if it was only slow"
        self.warn(
            f"worker {slot.index} ({slot.link.name}) {fate} in {call[0]} ({about}): "
            f"replaced, its work is done again{cure}"
        )
        with self._starting():
            slot.link.stop()
            slot.link, slot.has_answered = self._start(slot.index), False
        slot.pending = deque([*slot.journal.before(call[0]), call])
        slot.send()

    def close(self) -> None:
        """See `Backend.close`."""
        for slot in self._slots:
            slot.link.stop()
        self._slots = []
