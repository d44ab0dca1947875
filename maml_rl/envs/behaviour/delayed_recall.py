"""Delayed recall: a cue, a wait, then a choice that only a memory can get right."""

from __future__ import annotations

import math
from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv, Task

NUM_DISTRACTORS = 2


class DelayedRecallVectorEnv(MetaVectorEnv):
    """DelayedRecall-v0: in step 0 one of K cues is shown, d steps later a signal asks for a choice.

    Task: ``{"rule": permutation of 0 ... K - 1, "delay": d}``, the rule uniformly, the delay log-uniformly drawn from
    `min_delay` to `delay`; the reward of the choice ``rule[cue]`` is 1, of every other one and of every action before
    the signal 0. An episode has d + 1 steps. Without the cue in memory, or without the rule, it is 1 / K on average.

    Observation (K + 3,): the cue as a one-hot vector in step 0 and zeros after it; 1 when the choice is due,
    else 0; two distractors, uniform on [-1, 1] in every step.

    Parameters
    ----------
    num_envs
        Number of sub-environments N.
    delay
        Steps from cue to choice, >= 1; of the slowest tasks if there is a `min_delay`.
    min_delay
        Steps of the fastest tasks, in [1, `delay`]; `delay` if not given. A short wait is learnt first, and helps to
        learn a long one.
    num_cues
        Cues and actions K, >= 2.
    """

    def __init__(self, num_envs: int = 1, *, delay: int = 10, min_delay: int | None = None, num_cues: int = 2) -> None:
        for name, value, least in (("delay", delay, 1), ("num_cues", num_cues, 2)):
            if value < least:
                raise ValueError(f"{name}: got {value}, expected at least {least}")
        space = gym.spaces.Box(-1.0, 1.0, (num_cues + 1 + NUM_DISTRACTORS,), np.float32)
        super().__init__(num_envs, space, gym.spaces.Discrete(num_cues), max_episode_steps=None)
        self.delay, self.num_cues = delay, num_cues
        self.min_delay = delay if min_delay is None else min_delay
        if not 1 <= self.min_delay <= delay:
            raise ValueError(f"min_delay: got {min_delay}, expected 1 to {delay}, the delay")
        self._rows = np.arange(num_envs)
        self._cues = np.zeros(num_envs, dtype=np.int64)

    def default_task(self) -> Task:
        """Choose what was shown."""
        return {"rule": list(range(self.num_cues)), "delay": self.delay}

    @property
    def num_distinct_tasks(self) -> int:
        """Permutations of the cues, times delays."""
        return math.factorial(self.num_cues) * (self.delay - self.min_delay + 1)

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw uniform permutations and log-uniform delays."""
        rules = [rng.permutation(self.num_cues).tolist() for _ in range(num_tasks)]
        spread = np.exp(rng.uniform(np.log(self.min_delay), np.log(self.delay + 1), num_tasks))
        delays = np.clip(spread.astype(np.int64), self.min_delay, self.delay).tolist()
        return [{"rule": rule, "delay": delay} for rule, delay in zip(rules, delays, strict=True)]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        rules = [list(task["rule"]) for task in tasks]
        for rule in rules:
            if sorted(rule) != list(range(self.num_cues)):
                raise ValueError(f"task['rule']: got {rule}, expected a permutation of 0 ... {self.num_cues - 1}")
        delays = [task["delay"] for task in tasks]
        for delay in delays:
            if not 1 <= delay <= self.delay:
                raise ValueError(f"task['delay']: got {delay}, expected 1 to {self.delay}")
        self._rules = np.array(rules)  # (N, K)
        self._delays = np.array(delays)  # (N,)

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        drawn = np.minimum((self._uniform() * self.num_cues).astype(np.int64), self.num_cues - 1)
        self._cues = np.where(mask, drawn, self._cues)
        observations = self._observe(np.zeros(self.num_envs, dtype=np.int64))
        observations[self._rows, self._cues] = 1.0
        return observations

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = self._elapsed == self._delays
        correct = actions == self._rules[self._rows, self._cues]
        return self._observe(self._elapsed + 1), (chosen & correct).astype(np.float64), chosen

    def _observe(self, steps: np.ndarray) -> np.ndarray:
        """Observations (N, K + 3) in these steps (N,), without the cue."""
        observations = np.zeros((self.num_envs, self.num_cues + 1 + NUM_DISTRACTORS), dtype=np.float32)
        observations[:, self.num_cues] = steps == self._delays
        observations[:, self.num_cues + 1 :] = 2.0 * self._uniform(NUM_DISTRACTORS) - 1.0
        return observations
