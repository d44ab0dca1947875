"""Atari games whose modes and difficulties are tasks. Needs ale-py: ``pip install 'maml_rl[atari]'``."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import gymnasium as gym
import numpy as np
from ale_py import Action, ALEInterface, LoggerMode, roms

from maml_rl.envs.errors import EnvironmentArgumentError
from maml_rl.envs.meta_env import MetaVectorEnv, Task

_HEIGHT, _WIDTH = 210, 160
_RAM_SIZE = 128
_MAX_STACK = 16
_FOR_TWO = frozenset({"combat", "joust", "maze_craze", "warlords"})
"""Cartridges that ale-py knows but a single player cannot play: loading one ends the process."""
_MODE_BYTES = {"demon_attack": 0x6A}
"""Where in its memory a game keeps its mode. Selected by ale-py 0.12.1, modes of these games are over at once."""


class AtariModesVectorEnv(MetaVectorEnv):
    """AtariModes-v0: a game of the Arcade Learning Environment; task = (mode, difficulty).

    Machado et al. 2018, section 5: modes change rules, speed and looks of a game, difficulties the equipment of
    its player. Task: ``{"mode": m, "difficulty": d}``, as the cartridge numbers them. Actions are the game's minimal
    set, in the emulator's order. Rewards are points, never clipped; a learner may clip them for itself.

    Every sub-environment has an emulator of its own. An episode begins at the task's first frame; all that varies from
    then on are sticky actions, drawn here and not by the emulator.

    Parameters
    ----------
    num_envs
        Number of emulators N.
    game
        Name of the game as in ale-py, e.g. ``"space_invaders"``.
    modes, difficulties
        Which of the game's there are tasks of; ``None``: all.
    held_out_modes
        Modes that are never sampled with ``split="train"`` and only with ``split="held-out"``; with ``"all"`` they
        make no difference.
    split
        Which tasks are sampled.
    observation
        ``"ram"``: the 128 bytes of the console's memory. ``"pixels"``: grey images, also in bytes, each the maximum of
        a step's last two frames (objects flicker) if it has two, averaged down to `size`.
    size
        Height and width of an image, 1 to 160.
    num_stack
        Latest observations seen together, 1 to 16; ``None``: 1 of "ram", 4 of "pixels". The first is repeated.
    frame_skip
        Frames an action lasts, >= 1.
    sticky_actions
        Probability per frame that the action before goes on, in [0, 1] (Machado et al. 2018, section 4.2).
    life_loss
        Whether the loss of a life ends an episode.
    max_episode_steps
        Steps after which an episode is cut short.
    render_mode
        ``"rgb_array"`` for pictures.
    """

    metadata = {**MetaVectorEnv.metadata, "render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        game: str,
        modes: list[int] | None = None,
        difficulties: list[int] | None = None,
        held_out_modes: list[int] | None = None,
        split: Literal["train", "held-out", "all"] = "train",
        observation: Literal["ram", "pixels"] = "ram",
        size: int = 42,
        num_stack: int | None = None,
        frame_skip: int = 4,
        sticky_actions: float = 0.25,
        life_loss: bool = False,
        max_episode_steps: int = 500,
        render_mode: str | None = None,
    ) -> None:
        if frame_skip < 1:
            raise ValueError(f"frame_skip: got {frame_skip}, expected at least 1")
        if num_stack is not None and not 1 <= num_stack <= _MAX_STACK:
            raise ValueError(f"num_stack: got {num_stack}, expected 1 to {_MAX_STACK}")
        if not 1 <= size <= _WIDTH:
            raise ValueError(f"size: got {size}, expected 1 to {_WIDTH}")
        if not 0 <= sticky_actions <= 1:
            raise ValueError(f"sticky_actions: got {sticky_actions}, expected a probability")
        for name, value, choices in (
            ("split", split, ("train", "held-out", "all")),
            ("observation", observation, ("ram", "pixels")),
        ):
            if value not in choices:
                raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, choices))}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {render_mode!r}, expected 'rgb_array' or None")
        self.metadata = {**self.metadata, "render_fps": 60 / frame_skip}
        self._emulators = [_emulator(game) for _ in range(num_envs)]
        self._actions = self._emulators[0].getMinimalActionSet()
        self._frame = (_RAM_SIZE,) if observation == "ram" else (size, size)
        self.num_stack = num_stack or (1 if observation == "ram" else 4)
        shape = (self.num_stack, *self._frame) if self.num_stack > 1 or observation == "pixels" else self._frame
        super().__init__(
            num_envs,
            gym.spaces.Box(0, 255, shape, np.uint8),
            gym.spaces.Discrete(len(self._actions)),
            max_episode_steps=max_episode_steps,
        )
        self.game, self.observation, self.frame_skip = game, observation, frame_skip
        self.sticky_actions, self.life_loss, self.render_mode = float(sticky_actions), life_loss, render_mode
        self.task_pairs = self._choose_tasks(modes, difficulties, held_out_modes or [], split)
        self._rows, self._columns = _averaging(_HEIGHT, size), _averaging(_WIDTH, size).T
        self._screens = np.zeros((2, _HEIGHT, _WIDTH), np.uint8)
        self._memory = np.zeros((num_envs, self.num_stack, *self._frame), np.uint8)
        self._previous = [Action.NOOP] * num_envs
        self._begun = np.ones(num_envs, dtype=bool)  # whose emulator still has the screen of another episode
        self._lives = np.zeros(num_envs, dtype=np.int64)
        self._pairs: list[tuple[int, int]] = []

    def _choose_tasks(
        self, modes: Sequence[int] | None, difficulties: Sequence[int] | None, held_out: Sequence[int], split: str
    ) -> list[tuple[int, int]]:
        """(mode, difficulty) of every task that is sampled."""
        emulator = self._emulators[0]
        legal_modes, legal_difficulties = emulator.getAvailableModes(), emulator.getAvailableDifficulties()
        for name, chosen, legal in (
            ("modes", modes or [], legal_modes),
            ("held_out_modes", held_out, legal_modes),
            ("difficulties", difficulties or [], legal_difficulties),
        ):
            wrong = [value for value in chosen if value not in legal or isinstance(value, bool)]
            if wrong:
                raise ValueError(
                    f"{name}: got {wrong[0]}, expected some of {self.game}'s own: {list(legal)}; give {name}"
                )
        for name, some in (("modes", modes), ("difficulties", difficulties)):
            if some == []:
                raise ValueError(f"{name}: got [], expected at least one; leave it out for all")
        kept = {
            mode: split == "all" or (mode in held_out) == (split == "held-out")
            for mode in (legal_modes if modes is None else modes)
        }
        pairs = [
            (mode, difficulty)
            for mode, keep in kept.items()
            if keep
            for difficulty in (legal_difficulties if difficulties is None else difficulties)
        ]
        if not pairs:
            raise ValueError(
                f"split: got {split!r} with held_out_modes {list(held_out)} of modes {list(kept)}, which leaves no "
                "task; choose others"
            )
        over = [pair for pair in pairs if _is_over_at_once(self.game, *pair)]
        if over:
            good = sorted({mode for mode, _ in pairs} - {mode for mode, _ in over})
            raise ValueError(
                f"modes: got {over[0][0]}, which ale-py ends at once in {self.game}; give modes, some of {good}"
            )
        return pairs

    def default_task(self) -> Task:
        """The first task of the split."""
        return dict(zip(("mode", "difficulty"), self.task_pairs[0], strict=True))

    @property
    def num_distinct_tasks(self) -> int:
        """Pairs of mode and difficulty of the split."""
        return len(self.task_pairs)

    def sample_tasks(self, num_tasks: int, rng: np.random.Generator) -> list[Task]:
        """Draw tasks of the split, each alike; none comes again before all have come.

        Modes pay very differently: a batch of tasks that were drawn independently would say more of them than of the
        player.
        """
        num_pairs = len(self.task_pairs)
        order = np.concatenate([rng.permutation(num_pairs) for _ in range(-(-num_tasks // num_pairs))])[:num_tasks]
        return [dict(zip(("mode", "difficulty"), self.task_pairs[index], strict=True)) for index in order.tolist()]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        emulator = self._emulators[0]
        for name, legal in (
            ("mode", emulator.getAvailableModes()),
            ("difficulty", emulator.getAvailableDifficulties()),
        ):
            wrong = [task[name] for task in tasks if task[name] not in legal]
            if wrong:
                raise ValueError(f"task[{name!r}]: got {wrong[0]}, expected one of {self.game}'s own: {list(legal)}")
        self._pairs = [(int(task["mode"]), int(task["difficulty"])) for task in tasks]

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        for index in np.flatnonzero(mask).tolist():
            emulator, beginning = self._emulators[index], _beginning(self.game, *self._pairs[index])
            emulator.restoreState(beginning.state)
            self._previous[index], self._lives[index], self._begun[index] = Action.NOOP, emulator.lives(), True
            self._memory[index] = emulator.getRAM() if self.observation == "ram" else self._shrink(beginning.grey)
        return self._memory.reshape(self.num_envs, *self._observation_shape)

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rewards, terminated = np.zeros(self.num_envs), np.zeros(self.num_envs, dtype=bool)
        sticks = np.zeros((self.num_envs, self.frame_skip), dtype=bool)
        if self.sticky_actions:
            sticks = self._uniform(self.frame_skip) < self.sticky_actions
        before_last = self.frame_skip - 2 if self.observation == "pixels" else -1
        for index in np.flatnonzero(active).tolist():
            emulator = self._emulators[index]
            act, game_over = emulator.act, emulator.game_over
            chosen, playing = self._actions[actions[index]], self._previous[index]
            paid, has_two = 0, False
            for frame, stick in enumerate(sticks[index].tolist()):
                if not stick:
                    playing = chosen
                paid += act(playing)
                if game_over():
                    break
                if frame == before_last:
                    emulator.getScreenGrayscale(self._screens[1])
                    has_two = True
            rewards[index], self._previous[index] = paid, playing
            lives = emulator.lives()
            terminated[index] = game_over() or (self.life_loss and lives < self._lives[index])
            self._lives[index] = lives
            self._memory[index, :-1] = self._memory[index, 1:]
            self._memory[index, -1] = self._observe(index, has_two)
        self._begun &= ~active
        return self._memory.reshape(self.num_envs, *self._observation_shape), rewards, terminated

    def _observe(self, index: int, has_two: bool) -> np.ndarray:
        """The latest frame of an emulator, and the one before it (`_screens[1]`) if the step has two."""
        emulator = self._emulators[index]
        if self.observation == "ram":
            return emulator.getRAM()
        emulator.getScreenGrayscale(self._screens[0])
        return self._shrink(np.maximum(*self._screens) if has_two else self._screens[0])

    def _shrink(self, screen: np.ndarray) -> np.ndarray:
        """A screen (210, 160) averaged down to the size of observations."""
        height = _HEIGHT // len(self._rows)
        if height * len(self._rows) == _HEIGHT:  # sums of whole rows, three times faster
            image = screen.reshape(-1, height, _WIDTH).sum(1, dtype=np.uint16) @ self._columns / np.float32(height)
        else:
            image = self._rows @ (screen.astype(np.float32) @ self._columns)
        return np.rint(image, out=image).astype(np.uint8)

    def render(self) -> tuple[np.ndarray, ...]:
        """One picture (210, 160, 3) per emulator."""
        if self.render_mode is None:
            raise ValueError("render: got render_mode None, expected 'rgb_array'; pass it to make")
        if not self._pairs:
            raise ValueError("render: got no episode, expected one; call reset first")
        return tuple(
            _beginning(self.game, *self._pairs[index]).colours.copy()
            if begun
            else self._emulators[index].getScreenRGB()
            for index, begun in enumerate(self._begun.tolist())
        )


def _emulator(game: str) -> ALEInterface:
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


class _Beginning(NamedTuple):
    """A task's first frame: an emulator's state, which restoring does not change, and the screen, no part of it."""

    state: Any
    grey: np.ndarray
    colours: np.ndarray


class _OverAtOnceError(ValueError):
    """A mode cannot be played."""


def _is_over_at_once(game: str, mode: int, difficulty: int) -> bool:
    try:
        _beginning(game, mode, difficulty)
    except _OverAtOnceError:
        return True
    return False


@functools.cache
def _beginning(game: str, mode: int, difficulty: int) -> _Beginning:
    emulator = _emulator(game)
    emulator.setDifficulty(difficulty)
    emulator.setMode(mode)
    emulator.reset_game()
    if emulator.game_over():  # as ale-py begins it; so begin the default mode, and make it this one
        if game not in _MODE_BYTES:
            raise _OverAtOnceError(f"task['mode']: got {mode}, which ale-py ends at once in {game}; choose another")
        emulator = _emulator(game)
        emulator.setDifficulty(difficulty)
        emulator.reset_game()
        emulator.setRAM(_MODE_BYTES[game], mode)
    return _Beginning(emulator.cloneState(include_rng=True), emulator.getScreenGrayscale(), emulator.getScreenRGB())


def _averaging(length: int, size: int) -> np.ndarray:
    """Weights (size, length) with which each of `size` equal stretches of a line averages its `length` pixels."""
    edges = np.linspace(0.0, length, size + 1)
    low, high = np.maximum(edges[:-1, None], np.arange(length)), np.minimum(edges[1:, None], np.arange(1, length + 1))
    return (np.maximum(high - low, 0.0) * size / length).astype(np.float32)
