"""What every backend offers: n workers of one spec, called together."""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Protocol, TypeVar

B = TypeVar("B", bound="Backend")


class WorkerSpec(Protocol):
    """What a worker is built from. Specs and arguments of calls must be picklable."""

    @property
    def replayed_methods(self) -> Mapping[str, str]:
        """Methods that build a worker's state: ``"restart"`` begins it anew, ``"keep"`` adds to it."""

    def build(self, heartbeat: Callable[[], None]) -> Any:
        """Make the worker; it calls `heartbeat` often, to show that it is alive."""

    def describe(self, method: str, arguments: tuple[Any, ...]) -> str:
        """Say in words which seed and tasks a call is about."""


class WorkerError(RuntimeError):
    """A worker raised, or died again and again; the message holds its traceback, tasks and seed."""


def _warn_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Backend(abc.ABC):
    """n workers of one spec; a context manager that leaves no process behind.

    Attributes
    ----------
    num_workers
        n.
    num_restarts
        Workers replaced so far because they died or hung.
    warn
        Receives one line for each of them, when it is replaced; standard error by default.
    """

    num_workers: int
    num_restarts: int = 0
    warn: Callable[[str], None] = staticmethod(_warn_on_stderr)

    @abc.abstractmethod
    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call `method` of worker i with ``arguments[i]``; return the n results, in order.

        Raises
        ------
        WorkerError
            If a worker raises, or cannot be kept alive.
        """

    def broadcast(self, method: str, *arguments: Any) -> list[Any]:
        """Call `method` of every worker with the same arguments."""
        return self.map(method, [arguments] * self.num_workers)

    @abc.abstractmethod
    def close(self) -> None:
        """Stop all workers; may be called twice."""

    def __enter__(self: B) -> B:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Journal:
    """The calls that built a worker's state, to be made again by its successor."""

    def __init__(self, spec: WorkerSpec) -> None:
        self._methods = spec.replayed_methods
        self._spec = spec
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def record(self, method: str, arguments: tuple[Any, ...]) -> None:
        """Remember a finished call, if it builds state."""
        kind = self._methods.get(method)
        if kind == "restart":
            self.calls = []
        if kind is not None:
            self.calls.append((method, arguments))

    def before(self, method: str) -> list[tuple[str, tuple[Any, ...]]]:
        """Return the calls a successor has to make before this one."""
        return [] if self._methods.get(method) == "restart" else self.calls

    def describe(self, method: str, arguments: tuple[Any, ...]) -> str:
        """Say what a call was about, by itself or by the state it worked on."""
        if self._methods.get(method) == "restart" or not self.calls:
            return self._spec.describe(method, arguments)
        return self._spec.describe(*self.calls[0])
