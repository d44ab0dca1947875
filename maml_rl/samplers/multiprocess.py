"""Backend of local processes that notices when one of them dies or hangs, and replaces it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing import connection, resource_tracker
from typing import Any

from maml_rl.samplers.backend import Backend, Journal, WorkerError, WorkerSpec

_POLL_SECONDS = 0.5
_START_SECONDS = 60.0
"""Silence allowed to a process that has answered nothing yet: it imports libraries and builds the worker."""
_MAX_LOSSES = 3

Call = tuple[str, tuple[Any, ...]]


def _serve(spec: WorkerSpec, pipe: Any, pulse: Any, parent: int) -> None:
    """Run one worker: build it, then answer calls until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)

    def heartbeat() -> None:
        pulse.value = time.monotonic()
        if os.getppid() != parent:
            os._exit(1)

    heartbeat()
    worker = None
    while True:
        try:
            message = pipe.recv()
        except (EOFError, OSError):
            return
        heartbeat()
        if message is None:
            if worker is not None:
                worker.close()
            return
        method, arguments = message
        try:
            if worker is None:
                worker = spec.build(heartbeat)
            answer = (True, getattr(worker, method)(*arguments))
        except (Exception, SystemExit):  # an environment may call sys.exit
            answer = (False, traceback.format_exc())
        try:
            pipe.send(answer)
        except OSError:
            return


@contextlib.contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Let Ctrl-C wait until processes have started.

    They inherit the blocked signal and so never hear of it, not even while they import libraries; this process
    is not torn out of the middle of a start, which would leave half a process behind, and answers afterwards.
    """
    before = signal.getsignal(signal.SIGINT)
    late: list[object] = []
    # Another thread may receive the signal, and Python then answers in the main one.
    is_ours = threading.current_thread() is threading.main_thread() and before is not None
    if is_ours:
        signal.signal(signal.SIGINT, lambda *arguments: late.append(arguments))
    resource_tracker.ensure_running()  # every start makes sure of it, and its own start unblocks the signal
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if is_ours:
            signal.signal(signal.SIGINT, before)
    if late:
        signal.raise_signal(signal.SIGINT)


class _Slot:
    """One worker process, the calls it still has to make, and its journal."""

    def __init__(self, spec: WorkerSpec, index: int) -> None:
        self.spec = spec
        self.index = index
        self.journal = Journal(spec)
        self.pending: deque[Call] = deque()
        self.losses = 0
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pulse = context.Value("d", 0.0, lock=False)
        self.has_answered = False
        self.pipe, child = context.Pipe()
        self.process = context.Process(
            target=_serve,
            args=(self.spec, child, self.pulse, os.getpid()),
            name=f"maml_rl-worker-{self.index}",
            daemon=True,
        )
        self.process.start()
        child.close()

    def send(self) -> None:
        """Send the first pending call; a broken pipe is noticed when the answer is awaited."""
        self.called = time.monotonic()
        with contextlib.suppress(OSError):
            self.pipe.send(self.pending[0])

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.process.close()

    def replace(self, call: Call) -> None:
        """Start a successor that makes the journal's calls and then `call` again."""
        self.stop()
        self.start()
        self.pending = deque([*self.journal.before(call[0]), call])
        self.send()


def _death(slot: _Slot) -> str:
    """Say in words how a process ended."""
    slot.process.join(1.0)  # its pipe can close a moment before it has an exit code
    code = slot.process.exitcode
    if code is None or code >= 0:
        return "closed its pipe" if code is None else f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # signals of real time have no names
        return f"was killed by signal {-code}"


class MultiprocessBackend(Backend):
    """One single-threaded spawned process per worker.

    A worker that dies, or shows no sign of life for `timeout_seconds`, is replaced, and `warn` is told so; its
    successor makes the calls that built the lost state again, and since these are functions of their arguments
    the run goes on as if nothing had happened. A worker that raises stops the run.

    Parameters
    ----------
    spec
        What the workers are built from; picklable.
    num_workers
        Number of processes, >= 1.
    timeout_seconds
        Longest silence of a busy worker; until its first answer at least a minute.
    """

    def __init__(self, spec: WorkerSpec, num_workers: int, *, timeout_seconds: float = 60.0) -> None:
        self.num_workers = num_workers
        self.timeout_seconds = timeout_seconds
        self._slots: list[_Slot] = []
        try:
            with _interrupts_deferred():
                for index in range(num_workers):
                    self._slots.append(_Slot(spec, index))
        except BaseException:
            self.close()
            raise

    @property
    def process_ids(self) -> list[int]:
        """Process identifiers of the workers."""
        return [int(slot.process.pid or 0) for slot in self._slots]

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """See `Backend.map`."""
        calls = [(method, args) for args in arguments]
        for slot, call in zip(self._slots, calls, strict=True):
            slot.pending = deque([call])
            slot.losses = 0
            slot.send()
        results: dict[int, Any] = {}
        while len(results) < self.num_workers:
            busy = {slot.pipe: slot for slot in self._slots if slot.index not in results}
            ready = connection.wait(list(busy), timeout=_POLL_SECONDS)
            for pipe in ready:
                self._receive(busy[pipe], calls, results)  # type: ignore[index]
            for slot in busy.values():
                if slot.pipe not in ready and (fate := self._fate(slot)):
                    self._replace(slot, calls[slot.index], fate)
        return [results[index] for index in range(self.num_workers)]

    def _receive(self, slot: _Slot, calls: Sequence[Call], results: dict[int, Any]) -> None:
        try:
            succeeded, value = slot.pipe.recv()
        except (EOFError, OSError):
            self._replace(slot, calls[slot.index], _death(slot))
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
        """Say in words how a worker was lost; "" while it lives."""
        if not slot.process.is_alive():
            return _death(slot)
        allowed = self.timeout_seconds if slot.has_answered else max(self.timeout_seconds, _START_SECONDS)
        hangs = time.monotonic() - max(slot.pulse.value, slot.called) > allowed
        return f"gave no sign of life for {allowed:g} s" if hangs else ""

    def _replace(self, slot: _Slot, call: Call, fate: str) -> None:
        slot.losses += 1
        self.num_restarts += 1
        about = slot.journal.describe(*call)
        if slot.losses > _MAX_LOSSES:
            raise WorkerError(
                f"worker {slot.index} died or hung {slot.losses} times in {call[0]} ({about}); "
                f"last exit code {slot.process.exitcode}, silence allowed {self.timeout_seconds:g} s"
            )
        cure = "; raise worker-timeout if it was only slow" if slot.process.is_alive() else ""
        self.warn(
            f"worker {slot.index} (process {slot.process.pid}) {fate} in {call[0]} ({about}): "
            f"replaced, its work is done again{cure}"
        )
        with _interrupts_deferred():
            slot.replace(call)

    def close(self) -> None:
        """See `Backend.close`."""
        for slot in self._slots:
            slot.stop()
        self._slots = []
