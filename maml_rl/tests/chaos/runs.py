"""Commands in processes of their own, and what they leave behind."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import multiprocessing
import os
import resource
import signal as signals
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from maml_rl.tests.builders import wait_until

DEADLINE = 150.0
"""Seconds after which a command counts as hanging."""
CLOCKS = frozenset({"seconds", "sampling_seconds", "learning_seconds", "workers_replaced"})


def _command(argv: Sequence[str], errors: str, largest_file: int | None) -> None:
    """Run train.py with these arguments as the leader of a session; the exit code is the command's."""
    os.setsid()
    signals.signal(signals.SIGINT, signals.default_int_handler)
    handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(handle, 2)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    from maml_rl.cli import train_command

    code = train_command(list(argv))
    sys.stderr.flush()
    os._exit(code)


@dataclass(frozen=True)
class Ending:
    """How a command ended.

    Attributes
    ----------
    code
        Exit code; negative: the signal that killed it.
    error
        Its standard error.
    """

    code: int
    error: str


class Command:
    """A run of train.py in a session of its own, forked from a server that has imported the libraries.

    Parameters
    ----------
    folder
        Of the run; standard error stands in a file beside it.
    flags
        Of train.py.
    largest_file
        Bytes after which no file of its grows, as on a full disk; ``None``: no limit.
    """

    def __init__(self, folder: Path, *flags: str, largest_file: int | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["maml_rl.cli", "torch._dynamo"])  # derivatives import the second, for seconds
        self.folder = folder
        self._errors = folder.parent / f"{folder.name}-{time.monotonic_ns()}.err"
        self._errors.touch()  # it may be killed before it opens it
        argv = ("--output-folder", str(folder), *flags)
        self.process = context.Process(target=_command, args=(argv, str(self._errors), largest_file))
        self.process.start()
        self.id = int(self.process.pid or 0)

    def reached(self, iteration: int) -> bool:
        """Wait until so many iterations are in the metrics; False if the command ends before."""
        wait_until(lambda: num_rows(self.folder) >= iteration or not self.process.is_alive(), DEADLINE)
        return num_rows(self.folder) >= iteration

    def signal(self, number: signals.Signals, *, everyone: bool = False) -> None:
        """Send a signal to the command, or to all processes of its session, as a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            if everyone:
                os.killpg(self.id, number)
            else:
                os.kill(self.id, number)

    def signal_worker(self, process: int, number: signals.Signals) -> None:
        """Send a signal to one of `workers`."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, number)

    def workers(self) -> list[int]:
        """Process ids of its session's other processes."""
        return [process for process in session(self.id) if process != self.id]

    def end(self) -> Ending:
        """Wait for the end; nothing of the session may be left, neither a process nor shared memory.

        Raises
        ------
        AssertionError
            If it hangs, or something is left.
        """
        seen = {self.id, *self.workers()}
        self.process.join(DEADLINE)
        hangs = self.process.is_alive()
        if hangs:
            self.signal(signals.SIGKILL, everyone=True)
            self.process.join()
        assert not hangs, f"no end after {DEADLINE:g} s: {self._errors.read_text(encoding='utf-8')}"
        gone = wait_until(lambda: not session(self.id), 20.0)
        assert gone, f"orphans: {session(self.id)}"
        shared = [path.name for path in Path("/dev/shm").glob("*") if any(str(pid) in path.name for pid in seen)]
        assert not shared, f"shared memory: {shared}"
        code = self.process.exitcode
        assert code is not None
        return Ending(code, self._errors.read_text(encoding="utf-8"))


def session(leader: int) -> list[int]:
    """Running processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, own, *_ = path.read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(own) == leader and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def num_rows(folder: Path) -> int:
    """Rows of a run's metrics."""
    try:
        return max((folder / "metrics.csv").read_bytes().count(b"\n") - 1, 0)
    except OSError:
        return 0


def metrics(folder: Path) -> list[dict[str, str]]:
    """Rows of a run's metrics, without its clocks."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [{name: text for name, text in row.items() if name not in CLOCKS} for row in csv.DictReader(file)]


def contents(folder: Path) -> dict[str, str]:
    """Digest of every file of a folder by name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}
