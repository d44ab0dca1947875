"""Recorders that keep pictures of a rollout."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv
from maml_rl.samplers.recorders import Recorder, Step

Picture = TypeVar("Picture")
Part = Literal["whole", "start", "end"]


@dataclass(frozen=True)
class Film(Generic[Picture]):
    """Pictures of episodes.

    Attributes
    ----------
    pictures
        One of each of N sub-environments, before the first step and after every one.
    returns
        What each had obtained by then, (N, T + 1).
    """

    pictures: Sequence[Sequence[Picture]]
    returns: np.ndarray


class FrameRecorder(Recorder[Film[Picture]]):
    """Keeps a picture of every step.

    Parameters
    ----------
    draw
        Takes a picture of each sub-environment.
    max_steps
        Steps shown, >= 1.
    """

    def __init__(self, draw: Callable[[MetaVectorEnv], Sequence[Picture]], max_steps: int) -> None:
        self._draw = draw
        self._max_steps = max_steps

    def begin(self, env: MetaVectorEnv, shape: tuple[int, int], state: Any) -> None:
        """See `Recorder.begin`."""
        self._env, self._pictures, self._rewards = env, [self._draw(env)], [np.zeros(env.num_envs)]

    def step(self, step: Step) -> None:
        """See `Recorder.step`."""
        if len(self._rewards) <= self._max_steps:
            self._pictures.append(self._draw(self._env))
            self._rewards.append(step.rewards)

    def result(self) -> Film[Picture]:
        """See `Recorder.result`."""
        return Film(self._pictures, np.cumsum(np.stack(self._rewards, 1), axis=1))


class EndRecorder(Recorder[Film[Picture]]):
    """Keeps a picture of every step at one end of each episode, of at most half of its steps.

    Parameters
    ----------
    draw
        Takes a picture of each sub-environment.
    max_steps
        Steps shown, >= 1.
    part
        The end.
    """

    def __init__(
        self, draw: Callable[[MetaVectorEnv], Sequence[Picture]], max_steps: int, part: Literal["start", "end"]
    ) -> None:
        self._draw, self._max_steps, self._part = draw, max_steps, part

    def begin(self, env: MetaVectorEnv, shape: tuple[int, int], state: Any) -> None:
        """See `Recorder.begin`."""
        self._env, self._returns, self._num_steps = env, np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=np.int64)
        longest = None if self._part == "start" else self._max_steps + 1
        self._shown = [deque([(picture, 0.0)], longest) for picture in self._draw(env)]

    def step(self, step: Step) -> None:
        """See `Recorder.step`."""
        self._returns += step.rewards
        self._num_steps += step.active
        if self._part == "start" and self._num_steps.max() > self._max_steps:
            return
        for row, picture in enumerate(self._draw(self._env)):
            if step.active[row]:
                self._shown[row].append((picture, self._returns[row]))

    def result(self) -> Film[Picture]:
        """See `Recorder.result`; shorter rows stay at their last picture."""
        rows = []
        for shown, num_steps in zip(self._shown, self._num_steps.tolist(), strict=True):
            number = min(self._max_steps, max(1, num_steps // 2)) + 1
            rows.append(list(shown)[:number] if self._part == "start" else list(shown)[-number:])
        filled = _filled(rows)
        pictures = [[row[t][0] for row in filled] for t in range(len(filled[0]))]
        return Film(pictures, np.array([[total for _, total in row] for row in filled]))


def _filled(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Rows of one length: the last value of a shorter one stays."""
    longest = max(map(len, rows))
    return [[*row, *[row[-1]] * (longest - len(row))] for row in rows]
