"""Contract of a backend: the workers of all shards, called together."""

from __future__ import annotations

import abc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar

from maml_rl.utils.modules import import_allowed

B = TypeVar("B", bound="Backend")


class WorkerSpec(Protocol):
    """Everything a worker is built from. Specs and arguments of calls must be picklable."""

    @property
    def worker_class(self) -> type[Any]:
        """Class of the worker, whose methods say by `builds_state` what a successor has to do again."""

    def build(self, heartbeat: Callable[[], None]) -> Any:
        """Make the worker; it calls `heartbeat` often, to show that it is alive."""


Method = TypeVar("Method", bound=Callable[..., Any])


def builds_state(kind: Literal["restart", "keep"]) -> Callable[[Method], Method]:
    """Mark a worker's method that builds state: ``"restart"`` begins it anew, ``"keep"`` adds to it.

    The successor of a lost worker makes such calls again, from the last restart on.
    """

    def mark(method: Method) -> Method:
        method.builds_state = kind  # type: ignore[attr-defined]
        return method

    return mark


def state_builders(worker_class: type[Any]) -> dict[str, str]:
    """Methods of a class that build state, and how they do: see `builds_state`."""
    kinds = {name: getattr(getattr(worker_class, name), "builds_state", None) for name in dir(worker_class)}
    return {name: kind for name, kind in kinds.items() if kind is not None}


@dataclass(frozen=True)
class ModularSpec:
    """A specification whose workers import allowed modules first, wherever they are built; picklable.

    Attributes
    ----------
    spec
        The specification.
    modules
        Names of modules.
    """

    spec: WorkerSpec
    modules: tuple[str, ...]

    @property
    def worker_class(self) -> type[Any]:
        """See `WorkerSpec`."""
        return self.spec.worker_class

    def build(self, heartbeat: Callable[[], None]) -> Any:
        """See `WorkerSpec`."""
        import_allowed(self.modules)
        return self.spec.build(heartbeat)


class WorkerError(RuntimeError):
    """A worker raised, or died again and again; the message holds its traceback, tasks and seed."""


def _warn_on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


class Backend(abc.ABC):
    """The workers of S shards; a context manager that leaves no process behind.

    Attributes
    ----------
    num_shards
        S, the parts into which work is divided; fixed, for sums are rounded by it.
    num_workers
        Processes that work at a time, in this one or elsewhere; each serves as many shards as fall to it.
    num_restarts
        Workers replaced so far because they died or hung.
    warn
        Receives one line for each of them, when it is replaced; standard error by default.
    """

    num_shards: int
    num_workers: int
    num_restarts: int = 0
    warn: Callable[[str], None] = staticmethod(_warn_on_stderr)

    @abc.abstractmethod
    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call `method` of the worker of shard i with ``arguments[i]``; return the S results, in order.

        Raises
        ------
        WorkerError
            If a worker raises, or cannot be kept alive.
        """

    def broadcast(self, method: str, *arguments: Any) -> list[Any]:
        """Call `method` of every shard's worker with the same arguments."""
        return self.map(method, [arguments] * self.num_shards)

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
        self._kinds = state_builders(spec.worker_class)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def _kind(self, method: str) -> str | None:
        return self._kinds.get(method)

    def builds(self, method: str) -> bool:
        """True if a call of this method builds state."""
        return method in self._kinds

    def record(self, method: str, arguments: tuple[Any, ...]) -> None:
        """Remember a finished call, if it builds state."""
        kind = self._kind(method)
        if kind == "restart":
            self.calls = []
        if kind is not None:
            self.calls.append((method, arguments))

    def before(self, method: str) -> list[tuple[str, tuple[Any, ...]]]:
        """Return the calls a successor has to make before this one."""
        return [] if self._kind(method) == "restart" else self.calls

    def describe(self, method: str, arguments: tuple[Any, ...]) -> str:
        """Words for a call's subject: its own first argument, or that of the call whose state it worked on."""
        if self._kind(method) != "restart" and self.calls:
            _, arguments = self.calls[0]
        subject = arguments[0] if arguments else method
        return "; ".join(map(str, subject)) if isinstance(subject, list) else str(subject)
