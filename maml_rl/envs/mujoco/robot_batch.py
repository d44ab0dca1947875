"""Robots that take turns in one simulation of MuJoCo, called from compiled code."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from functools import cache
from pathlib import Path

import llvmlite.binding
import mujoco
import numpy as np
from numba import types

from maml_rl.utils.kernels import compiled_exactly

_OF_MODEL_AND_DATA = types.void(types.intp, types.intp)
_mj_forward = types.ExternalFunction("mj_forward", _OF_MODEL_AND_DATA)
_mj_step = types.ExternalFunction("mj_step", _OF_MODEL_AND_DATA)
_mj_rne_post_constraint = types.ExternalFunction("mj_rnePostConstraint", _OF_MODEL_AND_DATA)


class RobotBatch:
    """N copies of one robot, simulated one after another in a single `mujoco.MjData`.

    Each copy is one row of a state matrix that holds qpos, qvel, qacc_warmstart and ctrl. Because the solver's
    warm start is part of the row, a copy's trajectory is bit for bit what a `MjData` of its own
    would give; because all copies share one `MjData`, the engine's working memory stays in cache.

    Parameters
    ----------
    num_robots
        N.
    model
        The robot, which may be changed between calls.

    Attributes
    ----------
    data
        The simulation.
    states
        (N, S) float64: the rows.
    qpos, qvel, warmstart, ctrl
        (N, ...) float64: views of the rows.
    """

    def __init__(self, num_robots: int, model: mujoco.MjModel) -> None:
        _load_engine()
        self.model, self.data = model, mujoco.MjData(model)
        self._engine, offsets = _engine_state(self.data)
        self.states = np.zeros((num_robots, len(self._engine)))
        self.qpos, self.qvel, self.warmstart, self.ctrl = (
            self.states[:, offset : offset + size] for offset, size in offsets
        )
        self._watched: tuple[np.ndarray, ...] = (np.zeros(0),)  # a tuple without entries has no type
        self._kept = np.zeros((num_robots, 0))
        self._contact_forces = False

    def watch(self, *parts: np.ndarray, contact_forces: bool = False) -> list[np.ndarray]:
        """Keep what the engine computed of each robot when it moved last; in place of what was watched before.

        Parameters
        ----------
        parts
            Contiguous float64 arrays of `data`, of any shape (...).
        contact_forces
            True: forces on bodies are computed too, which the engine leaves out by default.

        Returns
        -------
        list of numpy.ndarray
            For each part an array (N, its size), which changes as robots move.
        """
        self._watched, self._contact_forces = tuple(part.reshape(-1) for part in parts), contact_forces
        ends = np.cumsum([part.size for part in parts])
        self._kept = np.zeros((len(self.states), ends[-1]))
        return np.split(self._kept, ends[:-1], axis=1)

    def load(self, index: int) -> None:
        """Move a robot into the simulation, which then computes all that follows from its state."""
        self._engine[:] = self.states[index]
        mujoco.mj_forward(self.model, self.data)

    def settle(self, indices: np.ndarray) -> None:
        """Compute forces and the like of the robots `indices` (M,), int64, where they are."""
        self.advance(indices, 0)

    def advance(self, indices: np.ndarray, num_steps: int) -> None:
        """Make `num_steps` steps of the engine for each of the robots `indices` (M,), int64."""
        addresses = (self.model._address, self.data._address)
        _advance(
            addresses, self._engine, self.states, indices, num_steps, self._watched, self._kept, self._contact_forces
        )


@cache
def _load_engine() -> None:
    """Let compiled code find the functions of the engine that Python uses."""
    name = f"libmujoco.so.{mujoco.__version__}"
    folder = Path(mujoco.__file__).parent
    found = [path for path in (folder / name, *sorted(folder.glob("*mujoco*.d*"))) if path.is_file()]
    if not found:
        raise RuntimeError(f"mujoco {mujoco.__version__}: no library of the engine in {folder}; install mujoco==3.3.0")
    llvmlite.binding.load_library_permanently(str(found[0]))


def _engine_state(data: mujoco.MjData) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """View the stretch of the engine's memory from qpos to the end of ctrl as one array.

    The engine keeps qpos, qvel, qacc_warmstart and ctrl one after another, with a little padding, so that
    a robot is moved in or out by one copy.

    Returns
    -------
    span
        (S,) float64, shares the engine's memory.
    offsets
        (offset, size) of the four parts in it.
    """
    parts = [data.qpos, data.qvel, data.qacc_warmstart, data.ctrl]
    addresses = [int(part.__array_interface__["data"][0]) for part in parts]
    offsets = [((address - addresses[0]) // 8, part.size) for address, part in zip(addresses, parts, strict=True)]
    length = sum(offsets[-1])
    if [offset for offset, _ in offsets] != sorted(offset for offset, _ in offsets) or length > 4 * sum(
        size for _, size in offsets
    ):
        raise RuntimeError(f"mujoco {mujoco.__version__}: unknown layout of MjData; install mujoco==3.3.0")
    return np.lib.stride_tricks.as_strided(data.qpos, (length,), (8,)), offsets


@compiled_exactly
def _advance(addresses, engine, rows, indices, num_steps, watched, kept, contact_forces):
    """Move robots in, make their steps (none: compute what follows from their states), move them out, keep parts."""
    model, data = addresses
    for index in indices:
        row = rows[index]
        engine[:] = row
        if num_steps == 0:
            _mj_forward(model, data)
        for _ in range(num_steps):
            _mj_step(model, data)
        row[:] = engine
        if contact_forces:
            _mj_rne_post_constraint(model, data)
        column = 0
        for part in watched:
            for entry in range(part.size):
                kept[index, column + entry] = part[entry]
            column += part.size
