"""Messages between two processes whose large arrays go through memory that both share, not through the pipe."""

from __future__ import annotations

import pickle
from multiprocessing.connection import Connection
from typing import Any

_LEAST_BYTES = 4096
"""Smaller arrays are not worth a place."""


class SharedPickles:
    """One end of a pipe on which messages and answers alternate, so that memory is free again with every answer.

    A pipe takes 64 kB at a time, and both ends are woken for each part of a longer message. Arrays that do not fit
    into the memory go through the pipe. What is received is a copy, that nobody else writes to.

    Parameters
    ----------
    pipe
        One end of a connection.
    outgoing, incoming
        Shared bytes for what is sent, and for what is received; the other end has them the other way round.
    """

    def __init__(self, pipe: Connection, outgoing: Any, incoming: Any) -> None:
        self.pipe = pipe
        self._outgoing, self._incoming = memoryview(outgoing).cast("B"), memoryview(incoming).cast("B")

    def send(self, message: object) -> None:
        """Send a message; OSError if the other end is gone."""
        places: list[tuple[int, int]] = []

        def travels_inside(buffer: pickle.PickleBuffer) -> bool:
            raw = buffer.raw()
            start = sum(places[-1]) if places else 0
            if raw.nbytes < _LEAST_BYTES or start + raw.nbytes > len(self._outgoing):
                return True
            self._outgoing[start : start + raw.nbytes] = raw
            places.append((start, raw.nbytes))
            return False

        body = pickle.dumps(message, protocol=5, buffer_callback=travels_inside)
        self.pipe.send_bytes(pickle.dumps((body, places)))

    def receive(self) -> Any:
        """Wait for a message; EOFError or OSError if the other end is gone."""
        body, places = pickle.loads(self.pipe.recv_bytes())
        buffers = [bytearray(self._incoming[start : start + size]) for start, size in places]
        return pickle.loads(body, buffers=buffers)
