"""Scalars for TensorBoard, written at once and without a thread: a full disk ends them, and not the run."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


class EventLog:
    """Context manager around an event file of TensorBoard.

    TensorBoard's own writer has a thread, whose errors end in a traceback on standard error and in an exception
    at some later call. Here a file that cannot be written costs one line, once, and the run goes on without it.

    Parameters
    ----------
    folder
        Where the file is made.
    first_step
        Whatever earlier files say of this step and later ones is dropped by TensorBoard.
    warn
        Receives the line.
    """

    def __init__(self, folder: Path, *, first_step: int, warn: Callable[[str], None]) -> None:
        self._folder = folder
        self._first_step = first_step
        self._warn = warn
        self._file: IO[bytes] | None = None
        self._writer: Any = None

    def __enter__(self) -> EventLog:
        now = time.time_ns()
        name = f"events.out.tfevents.{now // 10**9:010d}.{socket.gethostname()}.{os.getpid()}.{now % 10**9}"
        try:
            self._file = (self._folder / name).open("wb")
        except OSError as error:
            self._stop(error)
            return self
        self._writer = RecordWriter(self._file)
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._write(self._event(self._first_step, session_log=SessionLog(status=SessionLog.START)))
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step by name."""
        scalars = [Summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]
        self._write(self._event(step, summary=Summary(value=scalars)))

    @staticmethod
    def _event(step: int, **content: Any) -> Event:
        return Event(wall_time=time.time(), step=step, **content)

    def _write(self, event: Event) -> None:
        if self._writer is None:
            return
        try:
            self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError as error:
            self._stop(error)

    def _close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written is still in its buffer
                self._file.close()

    def _stop(self, error: OSError) -> None:
        self._writer = None
        self._close()
        self._warn(
            f"TensorBoard: cannot write its file in {str(self._folder)!r} ({error.strerror}); its curves end here, "
            "the run goes on"
        )
