"""Connection to a Ray cluster. Needs ray: ``pip install 'maml_rl[ray]'``."""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import socket
from collections.abc import Callable
from typing import Any

from maml_rl.utils.cores import available_cores
from maml_rl.utils.errors import InputError

_PORT = 6379
_CONNECT_SECONDS = 5.0
_OBJECT_STORE_BYTES = 256 * 2**20
"""Of a cluster on this machine alone: parameters, and nothing that grows with the number of episodes."""


def import_ray() -> Any:
    """The library.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise InputError(
            "--backend: got 'ray', expected a backend whose package is installed; pip install 'maml_rl[ray]' or choose "
            "--backend multiprocess"
        ) from error


class RaySession:
    """A connection to a cluster; one that this process has already is used and left open.

    Parameters
    ----------
    address
        ``"local"``: a cluster of this machine's cores, which ends with the session; ``"auto"``: the one that runs on
        this machine, or that the variable RAY_ADDRESS names; else the host of its head, with or without a port.

    Raises
    ------
    InputError
        In one line, if there is none.
    """

    def __init__(self, address: str) -> None:
        self.ray = import_ray()
        self._is_ours = not self.ray.is_initialized()
        if self._is_ours:
            _OPENERS.get(address, _open_host)(self.ray, address)

    def num_cpus(self) -> int:
        """CPUs of all nodes that are alive."""
        return int(self.ray.cluster_resources().get("CPU", 0))

    def close(self) -> None:
        """Disconnect; may be called twice."""
        if self._is_ours:
            self.ray.shutdown()


def _open(ray: Any, address: str, shown: str, **options: Any) -> None:
    """Connect; `shown` is what the user wrote."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address=address, **quiet, **options)
    except (OSError, RuntimeError, ValueError) as error:
        with contextlib.suppress(Exception):
            ray.shutdown()
        reason = " ".join(str(error).split("\n")[0].split())
        expected = f"a Ray cluster of the same version and RAY_AUTH_MODE ({reason})"
        raise _refusal(shown, expected, cure="see docs/cluster.md") from error


def _open_local(ray: Any, address: str) -> None:
    options = {"num_cpus": available_cores(), "object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False}
    _open(ray, address, address, **options)


def _open_running(ray: Any, address: str) -> None:
    """Connect to the cluster that RAY_ADDRESS names or that runs on this machine."""
    named = os.environ.get("RAY_ADDRESS", "")
    if named:
        _open_host(ray, named)
        return
    services = importlib.import_module("ray._private.services")
    running = sorted(services.find_gcs_addresses())
    if not running:
        raise _refusal(address, "a Ray cluster that runs on this machine, and found none")
    if len(running) > 1:
        raise _refusal(address, f"one Ray cluster on this machine, and found {', '.join(running)}", cure="name one")
    _open(ray, running[0], address)


def _open_host(ray: Any, address: str) -> None:
    """Connect to the head at a host."""
    host, _, port = address.rpartition(":") if ":" in address else (address, "", str(_PORT))
    if not host or not port.isdigit() or int(port) > 65535:
        raise _refusal(address, "auto, local, HOST or HOST:PORT")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()
    except socket.gaierror as error:
        raise _refusal(address, "a host whose name is known") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _refusal(address, f"the head of a Ray cluster, and none answers at {host}:{port} ({reason})") from error
    _open(ray, f"{host}:{port}", address)


def _refusal(
    address: str, expected: str, *, cure: str = "start one with ray start --head --port=6379, or give --address local"
) -> InputError:
    return InputError(f"--address: got {address!r}, expected {expected}; {cure}")


_OPENERS: dict[str, Callable[[Any, str], None]] = {"local": _open_local, "auto": _open_running}
