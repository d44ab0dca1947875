"""Meta-World's ML benchmarks as task families. Needs metaworld: ``pip install 'maml_rl[metaworld]'``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import gymnasium as gym
import mujoco
import numpy as np

from maml_rl.envs.behaviour.context_codes import (
    check_code_space,
    checked_codes,
    checked_indices,
    codes_of,
    draw_codes,
)
from maml_rl.envs.manipulation.benchmark_goals import (
    GOAL_SIZE,
    GOALS_PER_TASK,
    SPLITS,
    TASK_NAMES,
    goals_of,
    task_names,
)
from maml_rl.envs.manipulation.shared_arm import Arm, SharedArm
from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.utils.checks import check_at_least

_OBSERVED = 39
_CAMERA = "corner2"
_SHOWN_BY_CONTACT = ("plate-slide-back", "plate-slide-back-side", "plate-slide-side")
"""Tasks of ML1 in which reward tells nothing of the goal before the plate has moved."""


class MetaWorldVectorEnv(MetaVectorEnv):
    """ML1-TASK-v0, ML10-v0, ML45-v0: a robot arm whose goal is hidden (Yu et al. 2019; McLean et al. 2025).

    A task of the family is what Meta-World calls a task, such as *reach*, with one of its goals: each has 50 in either
    split. ML1's splits differ in goals, ML10's and ML45's in tasks. The observation is upstream's, 39 numbers with the
    goal's three at 0; the reward is upstream's, up to 10 a step. Nothing ends an episode but time. Measures:
    ``success`` is 1 from the first step of an episode in which upstream reports success, and ``steps_to_success`` the
    number of steps up to there, or up to now.

    Task: ``{"number": (G,), "goal": (G, 6), "order": (E,)}`` and, with context bits, ``"codes": (G, bits)``: G pairs of
    one of upstream's tasks, as `TASK_NAMES` numbers them, and one of its goals, the vector that upstream calls random
    and zeros behind it; and which pair each of E episodes has. After the last of these the order begins again.

    Parameters
    ----------
    num_envs
        Number of arms N.
    benchmark
        ``"ML1"``, ``"ML10"`` or ``"ML45"``.
    task
        The task of ML1, such as ``"reach"``.
    split
        ``"train"`` or ``"test"``: the one that tasks are sampled from when none is named.
    goal_seed
        Goals are a function of it, >= 0.
    context_bits
        Numbers -1 or 1 that follow the observation and are different for every goal of a task, in [0, 62].
    revisit
        Goals G of a task, each met `exposures` times in an order that is drawn, >= 1.
    exposures
        Episodes with each goal, >= 1.
    max_episode_steps
        Steps of an episode; upstream's have 500.
    render_mode
        ``"rgb_array"`` for pictures.
    """

    measures = ("success", "steps_to_success")
    metadata = {**MetaVectorEnv.metadata, "render_modes": ["rgb_array"], "render_fps": 80}  # noqa: RUF012

    def __init__(
        self,
        num_envs: int = 1,
        *,
        benchmark: Literal["ML1", "ML10", "ML45"] = "ML1",
        task: str | None = None,
        split: Literal["train", "test"] = "train",
        goal_seed: int = 0,
        context_bits: int = 0,
        revisit: int = 1,
        exposures: int = 1,
        max_episode_steps: int | None = 500,
        render_mode: str | None = None,
    ) -> None:
        check_at_least(1, revisit=revisit, exposures=exposures)
        check_at_least(0, goal_seed=goal_seed, context_bits=context_bits)
        if context_bits:
            check_code_space(context_bits, revisit=revisit)
        for name, value, choices in (("split", split, SPLITS), ("render_mode", render_mode, (None, "rgb_array"))):
            if value not in choices:
                raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(map(repr, choices))}")
        self._names_of = task_names(benchmark, task)
        if revisit > len(self._names_of[split]) * GOALS_PER_TASK:
            raise ValueError(f"revisit: got {revisit}, expected at most {len(self._names_of[split]) * GOALS_PER_TASK}")
        bound = np.full(_OBSERVED + context_bits, np.inf, np.float32)
        super().__init__(
            num_envs,
            gym.spaces.Box(-bound, bound, dtype=np.float32),
            gym.spaces.Box(-1.0, 1.0, (4,), np.float32),
            max_episode_steps=max_episode_steps,
        )
        self.splits, self.split = SPLITS, split
        self.benchmark, self.goal_seed, self.context_bits = benchmark, goal_seed, context_bits
        self.revisit, self.exposures, self.render_mode = revisit, exposures, render_mode
        self._shared: dict[str, SharedArm] = {}
        self._arms: list[tuple[SharedArm, Arm] | None] = [None] * num_envs
        self._success, self._steps = np.zeros(num_envs), np.zeros(num_envs)
        self._renderers: dict[str, mujoco.Renderer] = {}

    def default_task(self) -> Task:
        """The first goals of the split's first tasks, in turn."""
        numbers = [TASK_NAMES.index(name) for name in self._names_of[self.split]]
        pairs = [(number, goal) for goal in range(GOALS_PER_TASK) for number in numbers][: self.revisit]
        codes = codes_of(np.arange(self.revisit), self.context_bits) if self.context_bits else None
        return self._task(pairs, np.tile(np.arange(self.revisit), self.exposures), codes, self.split)

    @property
    def num_distinct_tasks(self) -> int | None:
        """Pairs of task and goal of the split; ``None`` where a task has several, or codes."""
        if self.revisit > 1 or self.context_bits:
            return None
        return len(self._names_of[self.split]) * GOALS_PER_TASK

    @property
    def shows_tasks_to_random_actions(self) -> bool:
        """See `MetaVectorEnv.shows_tasks_to_random_actions`: not where a plate has to be pushed first."""
        return not set(self._names_of[self.split]) <= {f"{name}-v3" for name in _SHOWN_BY_CONTACT}

    def label(self, task: Task) -> str:
        """Upstream's name of the task's first pair, where the split has several."""
        several = len(self._names_of[self.split]) > 1
        return TASK_NAMES[int(task["number"][0])].removesuffix("-v3") if several else ""

    def _task(self, pairs: Sequence[Sequence[int]], order: np.ndarray, codes: np.ndarray | None, split: str) -> Task:
        """A task of G pairs of upstream's task and the place of one of its goals in the split."""
        goals = np.zeros((len(pairs), GOAL_SIZE))
        for row, (number, place) in zip(goals, pairs, strict=True):
            vector = goals_of(TASK_NAMES[number], split, self.goal_seed)[place]
            row[: len(vector)] = vector
        own = {} if codes is None else {"codes": codes}
        return {"number": np.array([number for number, _ in pairs]), "goal": goals, "order": order, **own}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw pairs: upstream's tasks equally often, none of their goals again before all have come."""
        numbers = np.array([TASK_NAMES.index(name) for name in self._names_of[split]])
        total, size = num_tasks * self.revisit, len(numbers)
        rounds = -(-total // size)
        drawn = np.concatenate([rng.permutation(size) for _ in range(rounds)])[:total]
        goals = np.stack([_in_cycles(rounds, rng) for _ in range(size)])  # (tasks, rounds)
        round_of = np.arange(total) // size
        pairs = np.stack([numbers[drawn], goals[drawn, round_of]], axis=1).reshape(num_tasks, self.revisit, 2)
        episodes = np.repeat(np.arange(self.revisit), self.exposures)
        bits = self.context_bits
        return [
            self._task(own, rng.permutation(episodes), draw_codes(self.revisit, bits, rng) if bits else None, split)
            for own in pairs.tolist()
        ]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        size = self.revisit
        self._numbers = np.stack([checked_indices("number", task["number"], size, len(TASK_NAMES)) for task in tasks])
        self._goals = np.stack([_checked_goals(task["goal"], (size, GOAL_SIZE)) for task in tasks])
        length = size * self.exposures
        self._orders = np.stack([checked_indices("order", task["order"], length, size) for task in tasks])
        shape = (size, self.context_bits)
        self._codes = np.zeros((len(tasks), *shape), np.float32)
        if self.context_bits:
            self._codes[:] = [checked_codes(task["codes"], shape) for task in tasks]

    @property
    def contexts(self) -> np.ndarray:
        """(N,): index of the present episode's goal among those of the task."""
        return self._orders[np.arange(self.num_envs), self._episode_index % self._orders.shape[1]]

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        observations, contexts = self._observations.copy(), self.contexts
        for index in np.flatnonzero(mask).tolist():
            context = contexts[index]
            shared = self._shared_arm(TASK_NAMES[self._numbers[index, context]])
            arm, seen = shared.begin(self._goals[index, context])
            self._arms[index] = shared, arm
            observations[index, :_OBSERVED] = seen
            observations[index, _OBSERVED:] = self._codes[index, context]
        self._success[mask] = self._steps[mask] = 0.0
        return observations

    def _shared_arm(self, name: str) -> SharedArm:
        if name not in self._shared:
            self._shared[name] = SharedArm(name)
        return self._shared[name]

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        observations, rewards = self._observations.copy(), np.zeros(self.num_envs)
        self._steps += active & (self._success == 0.0)
        clipped = np.clip(actions, -1.0, 1.0).astype(np.float32)
        for index in np.flatnonzero(active).tolist():
            held = self._arms[index]
            assert held is not None
            seen, rewards[index], succeeded = held[0].step(held[1], clipped[index])
            observations[index, :_OBSERVED] = seen
            self._success[index] = max(self._success[index], succeeded)
        return observations, rewards, np.zeros(self.num_envs, dtype=bool)

    def _measure(self) -> dict[str, np.ndarray]:
        return {"success": self._success.copy(), "steps_to_success": self._steps.copy()}

    def render(self) -> tuple[np.ndarray, ...]:
        """One picture (240, 320, 3) uint8 of every arm."""
        if self.render_mode is None:
            raise ValueError("render: got render_mode None, expected 'rgb_array'; pass it to make")
        pictures = []
        for held in self._arms:
            if held is None:
                raise ValueError("render: got no episode, expected one; call reset first")
            shared, arm = held
            shared.show(arm)
            if shared.name not in self._renderers:
                self._renderers[shared.name] = mujoco.Renderer(shared.model, height=240, width=320)
            renderer = self._renderers[shared.name]
            renderer.update_scene(shared.data, camera=_CAMERA)
            pictures.append(renderer.render())
        return tuple(pictures)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers = {}


def _in_cycles(count: int, rng: np.random.Generator) -> np.ndarray:
    """Numbers (count,) of goals, none again before all have come."""
    cycles = -(-count // GOALS_PER_TASK)
    return np.concatenate([rng.permutation(GOALS_PER_TASK) for _ in range(cycles)])[:count]


def _checked_goals(goals: Any, shape: tuple[int, int]) -> np.ndarray:
    """Goals of a task as float64 of this shape (G, 6)."""
    found = np.asarray(goals, dtype=np.float64)
    if found.shape != shape or not np.isfinite(found).all():
        raise ValueError(f"task['goal']: got shape {found.shape}, expected finite numbers of shape {shape}")
    return found
