"""Atari games whose modes and difficulties are tasks. Needs ale-py: ``pip install 'maml_rl[atari]'``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import gymnasium as gym
import numpy as np
from ale_py import Action

from maml_rl.envs.atari_emulator import beginning_of, make_emulator
from maml_rl.envs.atari_images import GreyReader, ImageShrinker
from maml_rl.envs.atari_tasks import SPLITS, pairs_of_splits, refuse_tasks_over_at_once
from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.utils.checks import check_at_least, check_probabilities

_HEIGHT, _WIDTH = 210, 160
_RAM_SIZE = 128
_MAX_STACK = 16


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
        Modes that are never sampled from the split ``"train"`` and alone from ``"held-out"``; ``"all"`` has both.
    split
        The one that tasks are sampled from when none is named.
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
        check_at_least(1, frame_skip=frame_skip)
        if num_stack is not None and not 1 <= num_stack <= _MAX_STACK:
            raise ValueError(f"num_stack: got {num_stack}, expected 1 to {_MAX_STACK}")
        if not 1 <= size <= _WIDTH:
            raise ValueError(f"size: got {size}, expected 1 to {_WIDTH}")
        check_probabilities(sticky_actions=sticky_actions)
        for name, value, choices in (("split", split, SPLITS), ("observation", observation, ("ram", "pixels"))):
            if value not in choices:
                raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, choices))}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode: got {render_mode!r}, expected 'rgb_array' or None")
        self.metadata = {**self.metadata, "render_fps": 60 / frame_skip}
        self._emulators = [make_emulator(game) for _ in range(num_envs)]
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
        self._pairs_of = pairs_of_splits(game, self._emulators[0], modes, difficulties, held_out_modes or [])
        if split not in self._pairs_of:
            chosen = list(dict.fromkeys(mode for mode, _ in self._pairs_of["all"]))
            raise ValueError(
                f"split: got {split!r} with held_out_modes {list(held_out_modes or [])} of modes {chosen}, "
                "which leaves no task; choose others"
            )
        self.splits, self.split = tuple(self._pairs_of), split
        self.task_pairs = self._pairs_of[split]
        refuse_tasks_over_at_once(game, self.task_pairs)
        self._read_grey, self._shrink = GreyReader(_HEIGHT, _WIDTH), ImageShrinker(_HEIGHT, _WIDTH, size)
        self._screens = np.zeros((2, _HEIGHT, _WIDTH), np.uint8)
        self._memory = np.zeros((num_envs, self.num_stack, *self._frame), np.uint8)
        self._previous = [Action.NOOP] * num_envs
        self._begun = np.ones(num_envs, dtype=bool)  # episodes whose emulator still has another one's screen
        self._lives = np.zeros(num_envs, dtype=np.int64)
        self._pairs: list[tuple[int, int]] = []

    def default_task(self) -> Task:
        """The first task of the split."""
        return dict(zip(("mode", "difficulty"), self.task_pairs[0], strict=True))

    @property
    def num_distinct_tasks(self) -> int:
        """Pairs of mode and difficulty of the split."""
        return len(self.task_pairs)

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw tasks of the split, each alike; none comes again before all have come.

        Modes differ much in their points: a batch of tasks that were drawn independently would say more of them than of
        the agent.
        """
        pairs = self._pairs_of[split]
        refuse_tasks_over_at_once(self.game, pairs)
        order = np.concatenate([rng.permutation(len(pairs)) for _ in range(-(-num_tasks // len(pairs)))])[:num_tasks]
        return [dict(zip(("mode", "difficulty"), pairs[index], strict=True)) for index in order.tolist()]

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
            emulator, beginning = self._emulators[index], beginning_of(self.game, *self._pairs[index])
            emulator.restoreState(beginning.state)
            self._previous[index], self._lives[index], self._begun[index] = Action.NOOP, emulator.lives(), True
            if self.observation == "ram":
                emulator.getRAM(self._memory[index, 0])
            else:
                self._shrink(beginning.grey[None], self._memory[index, 0])
            self._memory[index, 1:] = self._memory[index, 0]
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
            points, has_two = 0, False
            for frame, stick in enumerate(sticks[index].tolist()):
                if not stick:
                    playing = chosen
                points += act(playing)
                if game_over():
                    break
                if frame == before_last:
                    self._read_grey(emulator, self._screens[1])
                    has_two = True
            rewards[index], self._previous[index] = points, playing
            lives = emulator.lives()
            terminated[index] = game_over() or (self.life_loss and lives < self._lives[index])
            self._lives[index] = lives
            self._memory[index, :-1] = self._memory[index, 1:]
            self._observe(index, has_two)
        self._begun &= ~active
        return self._memory.reshape(self.num_envs, *self._observation_shape), rewards, terminated

    def _observe(self, index: int, has_two: bool) -> None:
        """Write the latest frame of an emulator, and of the one before it (`_screens[1]`) if the step has two."""
        emulator, latest = self._emulators[index], self._memory[index, -1]
        if self.observation == "ram":
            emulator.getRAM(latest)
        else:
            self._read_grey(emulator, self._screens[0])
            self._shrink(self._screens if has_two else self._screens[:1], latest)

    def render(self) -> tuple[np.ndarray, ...]:
        """One picture (210, 160, 3) per emulator."""
        if self.render_mode is None:
            raise ValueError("render: got render_mode None, expected 'rgb_array'; pass it to make")
        if not self._pairs:
            raise ValueError("render: got no episode, expected one; call reset first")
        return tuple(
            beginning_of(self.game, *self._pairs[index]).colours.copy()
            if begun
            else self._emulators[index].getScreenRGB()
            for index, begun in enumerate(self._begun.tolist())
        )
