"""Tasks and goals of Meta-World's benchmarks, by seeds of our own."""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Any

import numpy as np
from metaworld import env_dict

from maml_rl.utils.field_words import did_you_mean
from maml_rl.utils.random import Purpose, generator

SPLITS = ("train", "test")
GOALS_PER_TASK = 50
"""Goals of every task in every split, as in the benchmarks."""
GOAL_SIZE = 6
"""Most numbers that a goal has."""
TASK_NAMES = tuple(env_dict.ALL_V3_ENVIRONMENTS)
"""Upstream's names of its 50 tasks, such as ``"reach-v3"``, in its order."""


class _Draws(IntEnum):
    """Purposes of streams beside those of runs."""

    GOALS = int(Purpose.PICTURES)


def task_names(benchmark: str, task: str | None) -> dict[str, tuple[str, ...]]:
    """Names of a benchmark's tasks in each split, in the order that upstream numbers them.

    Parameters
    ----------
    benchmark
        ``"ML1"``, whose splits differ in goals alone; ``"ML10"`` or ``"ML45"``, whose splits have different tasks.
    task
        The one task of ML1, such as ``"reach"``.

    Raises
    ------
    ValueError
        If there is no such benchmark, or no such task.
    """
    if benchmark == "ML1":
        names = [name.removesuffix("-v3") for name in TASK_NAMES]
        if task not in names:
            raise ValueError(
                f"task: got {task!r}, expected one of Meta-World's: {', '.join(names)}{did_you_mean(str(task), names)}"
            )
        return dict.fromkeys(SPLITS, (f"{task}-v3",))
    if benchmark not in ("ML10", "ML45"):
        raise ValueError(f"benchmark: got {benchmark!r}, expected 'ML1', 'ML10' or 'ML45'")
    if task is not None:
        raise ValueError(f"task: got {task!r} with benchmark {benchmark}, expected none; it has tasks of its own")
    splits = getattr(env_dict, f"{benchmark}_V3")
    return {split: tuple(splits[split]) for split in SPLITS}


class _WithoutHand:
    """A task while its goals are drawn: they do not depend on where the hand is."""

    def _reset_hand(self, steps: int = 50) -> None:
        self.init_tcp = self.tcp_center  # type: ignore[attr-defined]


@cache
def goals_of(name: str, split: str, seed: int) -> np.ndarray:
    """Goals (50, K) of a task in a split: the vectors that upstream calls random, drawn as it draws them.

    Upstream draws from NumPy's global generator; here they are a function of task, split and `seed`, >= 0, so that
    those of both splits are different and stay the same.
    """
    task_class: type[Any] = env_dict.ALL_V3_ENVIRONMENTS[name]
    env = type(task_class.__name__, (_WithoutHand, task_class), {})()
    number = TASK_NAMES.index(name)
    env.np_random = generator(seed, _Draws.GOALS, task=number, iteration=1000 + SPLITS.index(split))
    env._freeze_rand_vec, env.seeded_rand_vec, env._set_task_called = False, True, True
    found = []
    for _ in range(GOALS_PER_TASK):
        env.reset_model()
        found.append(np.array(env._last_rand_vec, dtype=np.float64))
    env.close()
    goals = np.stack(found)
    if len(np.unique(goals, axis=0)) < GOALS_PER_TASK:
        raise RuntimeError(f"{name}: drew goals that are alike; choose another goal_seed")
    goals.setflags(write=False)
    return goals
