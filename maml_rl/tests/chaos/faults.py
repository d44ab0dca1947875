"""Faults by name, each inflicted on a run at a random moment, and the claim that it is survived.

A fault is survived if the command completes with the undisturbed run's metrics and policy, or ends with a clear
message; and if the run, resumed, then completes with them or refuses in one line, changing nothing. Nothing hangs, no
process and no shared memory is left.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maml_rl.config import Config
from maml_rl.tests.builders import wait_until, write_config
from maml_rl.tests.chaos.faulty_family import BAD_NUMBERS, TROUBLES
from maml_rl.tests.chaos.runs import Command, Ending, contents, metrics, num_rows

NUM_ITERATIONS = 12
NUM_WORKERS = 2
_TIMEOUT = 3.0
_SPREAD = 0.15
"""Longest wait in seconds between an iteration's end and a blow."""
ALGORITHMS: dict[str, dict[str, Any]] = {
    "maml": {"algorithm": "maml", "fast_batch_size": 4},
    "maml-rnn": {"algorithm": "maml", "policy": "rnn", "fast_batch_size": 4},
    "rl2": {"algorithm": "rl2", "policy": "lstm", "fast_batch_size": 2},
    "ensemble": {"algorithm": "rl2", "policy": "lstm", "fast_batch_size": 2, "num_agents": 2},
    "evolution": {"algorithm": "evolution", "policy": "mlp", "fast_batch_size": 2, "population_size": 8},
}


def configuration(algorithm: str, fuse: Path) -> Config:
    """A run of some seconds of one of `ALGORITHMS`, in a family with this fuse."""
    return Config(
        env_name="maml_rl.tests.chaos.faulty_family:Faulty-v0",
        env_kwargs={"fuse": str(fuse)},
        hidden_sizes=(4,),
        meta_batch_size=4,
        num_batches=NUM_ITERATIONS,
        worker_timeout=_TIMEOUT,
        seed=3,
        **ALGORITHMS[algorithm],
    )


@dataclass(frozen=True)
class Scene:
    """Where a fault strikes.

    Attributes
    ----------
    rng
        Decides moments and victims.
    config, fuse
        Configuration file, and the fuse of its environment.
    folder
        Of the run.
    backend
        Of the run when the fault strikes; it is resumed in one process.
    expected
        Folder of the undisturbed run.
    """

    rng: np.random.Generator
    config: Path
    fuse: Path
    folder: Path
    backend: str
    expected: Path

    def start(self, *flags: str, backend: str | None = None, largest_file: int | None = None) -> Command:
        """Start the run."""
        own = ("--config", str(self.config), "--num-workers", str(NUM_WORKERS), "--backend", backend or self.backend)
        return Command(self.folder, *own, *flags, largest_file=largest_file)

    def some_iteration(self, last: int = NUM_ITERATIONS - 2) -> int:
        """One that is early enough for something to follow."""
        return int(self.rng.integers(0, last + 1))

    def wait(self, command: Command, *, first: int = 0) -> None:
        """Wait for a random moment of the run, after `first` iterations at least."""
        assert command.reached(max(first, self.some_iteration())), command.end()
        wait_until(lambda: False, self.rng.uniform(0.0, _SPREAD))

    def light(self, command: Command, trouble: str) -> None:
        """Let the environment come to grief from a random moment on, once the command has tried it out."""
        self.wait(command, first=1)
        whole = self.fuse.with_suffix(".whole")
        whole.write_text(trouble, encoding="utf-8")
        whole.rename(self.fuse)  # never read half-written

    def partly_done(self) -> None:
        """Make a run of which some iterations are done, by killing it."""
        command = self.start(backend="serial")
        assert command.reached(1 + self.some_iteration()), command.end()
        command.signal(signal.SIGKILL)
        command.end()


def survives(scene: Scene, fault: str) -> None:
    """Inflict a fault of `FAULTS` and check all that is claimed.

    Raises
    ------
    AssertionError
        If it is not survived.
    """
    FAULTS[fault](scene)
    check_resumed(scene)


def check_completed(scene: Scene, ending: Ending) -> None:
    """The run is the undisturbed one."""
    assert ending.code == 0, ending
    assert metrics(scene.folder) == metrics(scene.expected)
    mine, theirs = (torch.load(folder / "policy.th", weights_only=True) for folder in (scene.folder, scene.expected))
    for name, value in theirs.items():
        torch.testing.assert_close(mine[name], value, rtol=0, atol=0)


def check_resumed(scene: Scene) -> None:
    """The run, resumed without faults, ends as the undisturbed one does, or is refused in one line."""
    if not (scene.folder / "config.json").exists():  # it had not begun
        check_completed(scene, scene.start(backend="serial").end())
        return
    before = contents(scene.folder)
    ending = scene.start("--resume", backend="serial").end()
    if ending.code == 2:
        assert_clear(ending, lines=1)
        assert contents(scene.folder) == before
        return
    check_completed(scene, ending)


def assert_clear(ending: Ending, *, lines: int | None = None) -> None:
    """Standard error ends with a message of ours, not with a traceback of this process."""
    own = [line for line in ending.error.splitlines() if line.startswith(("error: ", "interrupted"))]
    assert own, ending
    if lines is not None:
        assert ending.error.count("\n") == lines, ending


def _strike_main(number: signal.Signals, *, everyone: bool) -> Callable[[Scene], None]:
    def strike(scene: Scene) -> None:
        command = scene.start()
        scene.wait(command)
        command.signal(number, everyone=everyone)
        ending = command.end()
        if ending.code == 0:  # it came too late
            return
        if number == signal.SIGINT:
            assert ending.code == 130, ending
            assert_clear(ending)
        else:
            assert (ending.code, ending.error) == (-number, ""), ending

    return strike


def _strike_worker(number: signal.Signals) -> Callable[[Scene], None]:
    def strike(scene: Scene) -> None:
        command = scene.start(backend="multiprocess")
        scene.wait(command)
        if workers := command.workers():
            victim = workers[int(scene.rng.integers(len(workers)))]
            command.signal_worker(victim, number)
        check_completed(scene, command.end())

    return strike


def _environment(trouble: str) -> Callable[[Scene], None]:
    def strike(scene: Scene) -> None:
        # Only a process of its own can be killed or wait forever without taking the run along.
        command = scene.start(backend="multiprocess" if trouble in ("kills", "hangs") else None)
        scene.light(command, trouble)
        ending = command.end()
        scene.fuse.unlink(missing_ok=True)  # the run was over before
        if ending.code == 0:
            check_completed(scene, ending)
            return
        assert trouble in ("raises", "leaves"), ending
        assert ending.code == 1, ending
        assert_clear(ending)

    return strike


def _bad_numbers(kind: str) -> Callable[[Scene], None]:
    def strike(scene: Scene) -> None:
        command = scene.start()
        scene.light(command, kind)
        ending = command.end()
        scene.fuse.unlink(missing_ok=True)
        assert ending.code in (0, 1), ending
        if ending.code == 1:
            assert_clear(ending)
        policy = torch.load(scene.folder / "policy.th", weights_only=True)
        assert all(bool(value.isfinite().all()) for value in policy.values())
        rows, undisturbed = metrics(scene.folder), metrics(scene.expected)
        first = next((i for i, (a, b) in enumerate(zip(rows, undisturbed, strict=False)) if a != b), len(rows))
        if first < len(rows):  # the fault is seen where it struck, and what came before is as it was
            refused = "0" in (rows[first]["finite"], rows[first]["step_accepted"])  # an ensemble goes on without one
            refused = refused or float(rows[first].get("lost", 0)) > 0
            assert refused, rows[first]
            _begin_again(scene)

    return strike


def _begin_again(scene: Scene) -> None:
    """Remove the run: what bad numbers have changed cannot be resumed to the undisturbed one, nor should it."""
    for path in scene.folder.iterdir():
        path.unlink()


def _full_disk(scene: Scene) -> None:
    whole = (scene.expected / "checkpoint.pt").stat().st_size
    ending = scene.start(largest_file=int(scene.rng.integers(50, 2 * whole))).end()
    if ending.code == 0:
        check_completed(scene, ending)
        return
    assert ending.code in (1, 2), ending
    assert_clear(ending)
    assert "File too large" in ending.error, ending


def _two_processes(scene: Scene) -> None:
    first = scene.start()
    scene.wait(first)
    busy = first.process.is_alive() and num_rows(scene.folder) < NUM_ITERATIONS
    flags = ("--resume",) if scene.rng.random() < 0.5 else ()
    second = scene.start(*flags, backend="serial").end()
    if busy and second.code != 0:
        assert second.code == 2, second
        assert_clear(second, lines=1)
    check_completed(scene, first.end())


def _damaged(name: str, *, truncated: bool) -> Callable[[Scene], None]:
    def strike(scene: Scene) -> None:
        scene.partly_done()
        path = scene.folder / name
        if not path.exists():
            return
        data = bytearray(path.read_bytes())
        place = int(scene.rng.integers(len(data)))
        if truncated:
            del data[place:]
        else:
            data[place] ^= 1 << int(scene.rng.integers(8))
        path.write_bytes(data)

    return strike


FAULTS: dict[str, Callable[[Scene], None]] = {
    "main process killed": _strike_main(signal.SIGKILL, everyone=False),
    "main process terminated": _strike_main(signal.SIGTERM, everyone=False),
    "Ctrl-C": _strike_main(signal.SIGINT, everyone=True),
    "worker killed": _strike_worker(signal.SIGKILL),
    "worker stopped": _strike_worker(signal.SIGSTOP),
    **{f"environment {trouble}": _environment(trouble) for trouble in TROUBLES},
    **{kind: _bad_numbers(kind) for kind in BAD_NUMBERS},
    "disk full": _full_disk,
    "two processes": _two_processes,
    **{
        f"{name} {'truncated' if truncated else 'flipped'}": _damaged(name, truncated=truncated)
        for name in ("config.json", "metrics.csv", "policy.th", "checkpoint.pt")
        for truncated in (True, False)
    },
}
"""All faults by name."""

OF_PROCESSES = frozenset({"worker killed", "worker stopped", "environment kills", "environment hangs"})
"""Faults that need workers in processes of their own, which take seconds to start."""


def make_scene(seed: int, algorithm: str, *, backend: str, parent: Path, expected: Path) -> Scene:
    """A scene whose moments are functions of a seed."""
    parent.mkdir(parents=True, exist_ok=True)
    fuse = parent / "fuse"
    config = write_config(parent / "config-of-the-run.json", configuration(algorithm, fuse))
    return Scene(np.random.default_rng(seed), config, fuse, parent / "run", backend, expected)
