"""Bandits that come back, each under its own context: does an agent remember what it has learned of them?"""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from maml_rl.envs.behaviour.context_codes import (
    check_code_space,
    checked_codes,
    checked_indices,
    codes_of,
    draw_codes,
)
from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.utils.checks import check_at_least


class ContextualBanditVectorEnv(MetaVectorEnv):
    """ContextualBandit-v0: an episode is ten pulls of a bandit under its context; on a task, bandits come back.

    Ritter et al. 2018, section 4.1. The observation is the context's code, `bits` numbers -1 or 1, in every step of
    an episode. One of k arms obtains 1 with `best_probability`, every other one with `other_probability`, else 0. The
    episode terminates after `num_pulls` pulls.

    Task: ``{"codes": (C, bits), "best": (C,), "order": (C * exposures,)}``: different codes of C contexts, uniformly
    drawn; the best arm of each, uniformly and independently drawn; the context of each episode, a uniform shuffle in
    which every context comes `exposures` times. The e-th episode on a task since tasks or generators were given has
    context ``order[e]``; after the last one the order begins again. In one episode there is nothing to be remembered:
    meta-episodes of ``C * exposures`` episodes are the published task.

    Parameters
    ----------
    num_envs
        Number of sub-environments N.
    k
        Arms, >= 2.
    num_pulls
        Pulls of an episode, >= 1.
    num_contexts
        Contexts C of a task, in [1, 2**bits].
    exposures
        Episodes of each context, >= 1; `num_contexts` if not given.
    bits
        Numbers of a code, in [1, 62].
    best_probability, other_probability
        Probabilities of reward of the best arm and of the others, ``0 <= other < best <= 1``.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        k: int = 10,
        num_pulls: int = 10,
        num_contexts: int = 10,
        exposures: int | None = None,
        bits: int = 10,
        best_probability: float = 0.9,
        other_probability: float = 0.1,
    ) -> None:
        check_at_least(2, k=k)
        check_at_least(1, num_pulls=num_pulls, exposures=exposures)
        check_code_space(bits, num_contexts=num_contexts)
        if not 0 <= other_probability < best_probability <= 1:
            raise ValueError(
                f"best_probability, other_probability: got {best_probability}, {other_probability}, "
                "expected 0 <= other < best <= 1"
            )
        space = gym.spaces.Box(-1.0, 1.0, (bits,), np.float32)
        super().__init__(num_envs, space, gym.spaces.Discrete(k), max_episode_steps=None)
        self.k, self.num_pulls, self.num_contexts, self.bits = k, num_pulls, num_contexts, bits
        self.exposures = num_contexts if exposures is None else exposures
        self.best_probability, self.other_probability = float(best_probability), float(other_probability)
        self._rows = np.arange(num_envs)
        self._codes = np.ones((num_envs, num_contexts, bits), dtype=np.float32)
        self._best = np.zeros((num_envs, num_contexts), dtype=np.int64)
        self._order = np.zeros((num_envs, self.episodes_per_task), dtype=np.int64)
        self._drawn = np.zeros(num_envs)

    @property
    def episodes_per_task(self) -> int:
        """Episodes after which the order of contexts begins again: those of the published task."""
        return self.num_contexts * self.exposures

    @property
    def contexts(self) -> np.ndarray:
        """(N,): index of the present episode's context among those of the task; agents see its code."""
        return self._order[self._rows, self._episode_index % self.episodes_per_task]

    @property
    def best_arms(self) -> np.ndarray:
        """(N,): the best arm of the present episode; for oracles and regret, not for agents."""
        return self._best[self._rows, self.contexts]

    def default_task(self) -> Task:
        """Codes that count in binary, a best arm after the other, all contexts in turn."""
        contexts = np.arange(self.num_contexts)
        return {
            "codes": codes_of(contexts, self.bits),
            "best": contexts % self.k,
            "order": np.tile(contexts, self.exposures),
        }

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw codes, best arms and an order."""
        episodes = np.repeat(np.arange(self.num_contexts), self.exposures)
        return [
            {
                "codes": draw_codes(self.num_contexts, self.bits, rng),
                "best": rng.integers(self.k, size=self.num_contexts),
                "order": rng.permutation(episodes),
            }
            for _ in range(num_tasks)
        ]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        shape = (self.num_contexts, self.bits)
        codes = [checked_codes(task["codes"], shape) for task in tasks]
        best = [checked_indices("best", task["best"], self.num_contexts, self.k) for task in tasks]
        order = [checked_indices("order", task["order"], self.episodes_per_task, self.num_contexts) for task in tasks]
        self._codes, self._best, self._order = np.stack(codes), np.stack(best), np.stack(order)

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        return self._codes[self._rows, self.contexts]

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self._drawn = np.where(actions == self.best_arms, self.best_probability, self.other_probability)
        rewards = (self._uniform() < self._drawn).astype(np.float64)
        return self._codes[self._rows, self.contexts], rewards, self._elapsed + 1 >= self.num_pulls

    def _expected_rewards(self) -> np.ndarray:
        return self._drawn
