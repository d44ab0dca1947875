"""Transport of calls to local processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from multiprocessing import connection, resource_tracker
from typing import Any

from pydantic import Field

from maml_rl.samplers.backend import WorkerSpec
from maml_rl.samplers.hosting import Answer, Host, Message
from maml_rl.samplers.link import Link, LinkLostError
from maml_rl.samplers.shared_pickles import SharedPickles
from maml_rl.samplers.supervised import SupervisedBackend
from maml_rl.settings import Settings

_SHARED_BYTES = 2**20
"""Memory for the arrays of a message, and as much for those of an answer."""


class MultiprocessOptions(Settings):
    """Options of local processes."""

    serve_here: bool = Field(
        default=False,
        description=(
            "start one worker less; the process that learns does its work. Fewer messages, for small "
            "minibatches; an environment that crashes or hangs there takes the run along."
        ),
    )


def _serve(spec: WorkerSpec, pipe: Any, shared: tuple[Any, Any], pulse: Any, parent: int) -> None:
    """Run one process's workers: answer messages until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)

    def heartbeat() -> None:
        pulse.value = time.monotonic()
        if os.getppid() != parent:
            os._exit(1)

    heartbeat()
    host, messages = Host(spec, heartbeat), SharedPickles(pipe, *shared)
    while True:
        try:
            message = messages.receive()
        except (EOFError, OSError):
            return
        heartbeat()
        try:
            messages.send(host.answer(message))
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


class ProcessLink(Link):
    """A spawned, single-threaded process behind a pipe.

    Parameters
    ----------
    spec
        Specification of the worker.
    index
        Number of the worker, for the process's name.
    """

    def __init__(self, spec: WorkerSpec, index: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pulse = context.Value("d", 0.0, lock=False)
        self.pipe, child = context.Pipe()
        calls, answers = (context.RawArray("b", _SHARED_BYTES) for _ in range(2))
        self._messages = SharedPickles(self.pipe, calls, answers)
        self.process = context.Process(
            target=_serve,
            args=(spec, child, (answers, calls), self._pulse, os.getpid()),
            name=f"maml_rl-worker-{index}",
            daemon=True,
        )
        self.process.start()
        child.close()

    @property
    def name(self) -> str:
        """See `Link.name`."""
        return f"process {self.process.pid}"

    def send(self, message: Message) -> None:
        """See `Link.send`."""
        with contextlib.suppress(OSError):
            self._messages.send(message)

    def receive(self) -> Answer:
        """See `Link.receive`."""
        try:
            answer: Answer = self._messages.receive()
        except (EOFError, OSError) as error:
            self.process.join(1.0)  # its pipe can close a moment before it has an exit code
            raise LinkLostError from error
        return answer

    def last_pulse(self) -> float:
        """See `Link.last_pulse`."""
        return float(self._pulse.value)

    def ending(self) -> str:
        """See `Link.ending`."""
        code = self.process.exitcode
        if code is None:
            return ""
        if code >= 0:
            return f"ended with exit code {code}"
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:  # signals of real time have no names
            return f"was killed by signal {-code}"

    def stop(self) -> None:
        """See `Link.stop`."""
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.process.close()


class LinkHere(Link):
    """Workers of this process: a message is answered when its answer is asked for, which takes as long as the work.

    Other workers are not heard meanwhile, so that with more shards than workers some wait for their next one.

    Parameters
    ----------
    spec
        Specification of the worker.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        self._host = Host(spec, lambda: None)
        self._message: Message | None = None

    @property
    def name(self) -> str:
        """See `Link.name`."""
        return f"process {os.getpid()}"

    def send(self, message: Message) -> None:
        """See `Link.send`."""
        self._message = message

    def receive(self) -> Answer:
        """See `Link.receive`: does the work."""
        message, self._message = self._message, None
        assert message is not None, "an answer is asked for once, after a message"
        return self._host.answer(message)

    def last_pulse(self) -> float:
        """See `Link.last_pulse`: whoever asks is alive."""
        return time.monotonic()

    def ending(self) -> str:
        """See `Link.ending`: never."""
        return ""

    def stop(self) -> None:
        """See `Link.stop`."""
        self._host.close()


class MultiprocessBackend(SupervisedBackend):
    """One single-threaded spawned process per worker, or all but one; see `SupervisedBackend`.

    Parameters
    ----------
    spec, num_shards, num_workers, timeout_seconds
        As in `SupervisedBackend`.
    serve_here
        True: the last worker is in this process, and works while the others do.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        num_shards: int,
        *,
        num_workers: int | None = None,
        timeout_seconds: float = 60.0,
        serve_here: bool = False,
    ) -> None:
        self._serve_here = serve_here
        super().__init__(spec, num_shards, num_workers=num_workers, timeout_seconds=timeout_seconds)

    @property
    def process_ids(self) -> list[int]:
        """Process identifiers of the workers."""
        return [int(link.process.pid or 0) for link in self.links if isinstance(link, ProcessLink)]

    def _start(self, index: int) -> Link:
        if self._serve_here and index == min(self._most_workers, self.num_shards) - 1:
            return LinkHere(self.spec)
        return ProcessLink(self.spec, index)

    def _ready(self, links: Sequence[Link], seconds: float) -> list[Link]:
        here = [link for link in links if isinstance(link, LinkHere)]
        by_pipe = {link.pipe: link for link in links if isinstance(link, ProcessLink)}
        ready = connection.wait(list(by_pipe), timeout=0.0 if here else seconds)
        return [*(by_pipe[pipe] for pipe in ready)] or [*here]  # type: ignore[index]

    @contextlib.contextmanager
    def _starting(self) -> Iterator[None]:
        with _interrupts_deferred():
            yield
