"""Workers in an actor of Ray, and the link to it."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from maml_rl.samplers.backend import WorkerSpec
from maml_rl.samplers.hosting import Answer, Call, Host, Message
from maml_rl.samplers.link import Link, LinkLostError

PULSE = "pulse"
"""Thread of an actor that does not wait for the call that it is busy with."""
_PULSE_SECONDS = 1.0
"""Time between two questions whether an actor is alive."""


class _Place(NamedTuple):
    """Stands among the arguments of a call in place of an array, which travels beside them."""

    position: int


class HostActor:
    """Workers of some shards; answers calls in one thread, and says in another when it last showed a sign of life.

    Parameters
    ----------
    spec
        Specification of the workers.
    """

    def __init__(self, spec: WorkerSpec) -> None:
        import torch

        torch.set_num_threads(1)
        self._pulse = time.monotonic()
        self._host = Host(spec, self._beat)

    def _beat(self) -> None:
        self._pulse = time.monotonic()

    def place(self) -> str:
        """Words for where it is."""
        import os
        import socket

        return f"process {os.getpid()} on {socket.gethostname()}"

    def silence(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._pulse

    def answer(self, shard: int, calls: tuple[Call, ...], forget: tuple[int, ...], *arrays: np.ndarray) -> Answer:
        """See `Host.answer`; `arrays` (D,) are the arguments whose places stand in the calls."""
        self._beat()
        whole = tuple(
            (method, tuple(arrays[one.position] if isinstance(one, _Place) else one for one in arguments))
            for method, arguments in calls
        )
        return self._host.answer(Message(shard, whole, forget))


class RayLink(Link):
    """An actor on some node of a cluster.

    Parameters
    ----------
    ray
        The library.
    actor
        A `HostActor`, which may have to wait for a node with a free core.
    stored
        Turns an array (D,) into what travels in its place: itself, or a reference to it in the object store.
    """

    def __init__(self, ray: Any, actor: Any, stored: Callable[[np.ndarray], Any]) -> None:
        self._ray, self._actor, self._stored = ray, actor, stored
        self.opening = actor.place.remote()
        self.answer: Any = None
        self._place, self._ending = "", ""
        self._pulse = self._asked = time.monotonic()
        self._silence: Any = None

    @property
    def name(self) -> str:
        """See `Link.name`."""
        return self._place or "no node yet"

    @property
    def is_open(self) -> bool:
        """See `Link.is_open`: whether the actor has found a place."""
        if not (self._place or self._ending) and self._has(self.opening):
            try:
                self._place = self._ray.get(self.opening)
            except self._ray.exceptions.RayError as error:
                self._ending = _words(error)
        return bool(self._place)

    def _has(self, reference: Any) -> bool:
        return bool(self._ray.wait([reference], timeout=0)[0])

    def send(self, message: Message) -> None:
        """See `Link.send`."""
        arrays: list[Any] = []
        calls = []
        for method, arguments in message.calls:
            placed = []
            for one in arguments:
                placed.append(_Place(len(arrays)) if isinstance(one, np.ndarray) else one)
                if isinstance(one, np.ndarray):
                    arrays.append(self._stored(one))
            calls.append((method, tuple(placed)))
        self.answer = self._actor.answer.remote(message.shard, tuple(calls), message.forget, *arrays)

    def receive(self) -> Answer:
        """See `Link.receive`."""
        try:
            answer: Answer = self._ray.get(self.answer)
        except self._ray.exceptions.RayTaskError as error:  # an answer that cannot travel
            answer = Answer(False, str(error))
        except self._ray.exceptions.RayError as error:
            self._ending = _words(error)
            raise LinkLostError from error
        finally:
            self.answer = None
        self._pulse = time.monotonic()
        return answer

    def last_pulse(self) -> float:
        """See `Link.last_pulse`."""
        now = time.monotonic()
        if self._silence is None and now - self._asked > _PULSE_SECONDS:
            self._silence, self._asked = self._actor.silence.options(concurrency_group=PULSE).remote(), now
        elif self._silence is not None and self._has(self._silence):
            with contextlib.suppress(self._ray.exceptions.RayError):  # the answer says so, too
                self._pulse = max(self._pulse, self._asked - self._ray.get(self._silence))
            self._silence = None
        return self._pulse

    def ending(self) -> str:
        """See `Link.ending`."""
        return self._ending

    def stop(self) -> None:
        """See `Link.stop`."""
        self.answer = self._silence = None
        with contextlib.suppress(Exception):  # the cluster may be gone
            self._ray.kill(self._actor, no_restart=True)


def _words(error: Exception) -> str:
    """Words for how an actor was lost."""
    found = re.search(r"died because (its node has died|of [^.\n]*|[^.\n]*)", str(error))
    return f"was lost because {found[1]}" if found else f"was lost ({type(error).__name__})"
