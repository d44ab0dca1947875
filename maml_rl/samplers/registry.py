"""Backends by name."""

from __future__ import annotations

from collections.abc import Callable

from maml_rl.samplers.backend import Backend, WorkerSpec
from maml_rl.samplers.multiprocess import MultiprocessBackend
from maml_rl.samplers.serial import SerialBackend
from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean

BackendFactory = Callable[[WorkerSpec, int, float], Backend]
"""Makes a backend of a specification, a number of workers and the seconds of silence it allows them."""

_FACTORIES: dict[str, BackendFactory] = {
    "serial": lambda spec, num_workers, _: SerialBackend(spec, num_workers),
    "multiprocess": lambda spec, num_workers, seconds: MultiprocessBackend(spec, num_workers, timeout_seconds=seconds),
}


def register_backend(name: str, factory: BackendFactory) -> None:
    """Let ``--backend NAME`` mean the backends that `factory` makes."""
    _FACTORIES[name] = factory


def registered_backends() -> list[str]:
    """Names that ``--backend`` may have."""
    return sorted(_FACTORIES)


def check_backend(name: str) -> None:
    """Refuse a name that no backend has.

    Raises
    ------
    InputError
        In one line.
    """
    if name not in _FACTORIES:
        names = ", ".join(registered_backends())
        raise InputError(f"--backend: got {name!r}, expected one of {names}{did_you_mean(name, _FACTORIES)}")


def start_workers(spec: WorkerSpec, num_workers: int, *, backend: str, timeout_seconds: float = 60.0) -> Backend:
    """Start workers of a specification.

    Raises
    ------
    InputError
        If no backend of that name is registered.
    """
    check_backend(backend)
    return _FACTORIES[backend](spec, num_workers, timeout_seconds)
