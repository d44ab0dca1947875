"""Emulators of Atari games, and the first frame of every mode and difficulty."""

from __future__ import annotations

import difflib
import functools
from typing import Any, NamedTuple

import numpy as np
from ale_py import ALEInterface, LoggerMode, roms

from maml_rl.envs.errors import EnvironmentArgumentError

_FOR_TWO = frozenset({"combat", "joust", "maze_craze", "warlords"})
"""Cartridges that ale-py knows and that need two players: loading one ends the process."""
MODE_BYTES = {"demon_attack": 0x6A}
"""Address at which a game keeps its mode in memory. Selected by ale-py 0.12.1, its modes are over at once."""


def make_emulator(game: str) -> ALEInterface:
    """A console with the game's cartridge, in its default mode; nothing in it is random."""
    known = sorted(set(roms.get_all_rom_ids()) - _FOR_TWO)
    if game not in known:
        near = difflib.get_close_matches(game.lower(), known, n=3, cutoff=0.5)
        kind = "a game for one player" if game in _FOR_TWO else "a game of ale-py"
        raise EnvironmentArgumentError(
            f"env-kwargs.game: got {game!r}, expected {kind} such as {', '.join(near or known[:5])}"
        )
    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    emulator.setFloat("repeat_action_probability", 0.0)
    emulator.setInt("frame_skip", 1)
    emulator.setInt("random_seed", 0)
    path = roms.get_rom_path(game)
    assert path is not None
    emulator.loadROM(path)
    return emulator


class Beginning(NamedTuple):
    """A task's first frame: an emulator's state, which restoring does not change, and the screen, no part of it."""

    state: Any
    grey: np.ndarray
    colours: np.ndarray


class _OverAtOnceError(ValueError):
    """A mode ends before its first step."""


def is_over_at_once(game: str, mode: int, difficulty: int) -> bool:
    """True if ale-py ends this task before its first step."""
    try:
        beginning_of(game, mode, difficulty)
    except _OverAtOnceError:
        return True
    return False


@functools.cache
def beginning_of(game: str, mode: int, difficulty: int) -> Beginning:
    """The first frame of a task."""
    emulator = make_emulator(game)
    emulator.setDifficulty(difficulty)
    emulator.setMode(mode)
    emulator.reset_game()
    if emulator.game_over():  # as ale-py begins it; so begin the default mode, and make it this one
        if game not in MODE_BYTES:
            raise _OverAtOnceError(f"task['mode']: got {mode}, which ale-py ends at once in {game}; choose another")
        emulator = make_emulator(game)
        emulator.setDifficulty(difficulty)
        emulator.reset_game()
        emulator.setRAM(MODE_BYTES[game], mode)
    return Beginning(emulator.cloneState(include_rng=True), emulator.getScreenGrayscale(), emulator.getScreenRGB())
