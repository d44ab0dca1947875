"""Multi-armed bandits: one pull is one episode, the arms' means are the task."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv, Task


class BanditVectorEnv(MetaVectorEnv):
    """What the bandits share: k arms whose means are drawn uniformly from [0, 1].

    Task: ``{"mean": (k,)}``. The observation (1,) is constant; every episode terminates at its first
    step (Duan et al. 2016, section 3.1: "multi-armed bandits").

    Parameters
    ----------
    num_envs
        Number of bandits N played side by side.
    k
        Number of arms, >= 2.
    """

    constant_observation: float

    def __init__(self, num_envs: int = 1, *, k: int) -> None:
        if k < 2:
            raise ValueError(f"k: got {k}, expected at least 2 arms")
        super().__init__(
            num_envs,
            gym.spaces.Box(0.0, 1.0, (1,), np.float32),
            gym.spaces.Discrete(k),
            max_episode_steps=None,
        )
        self.k = k
        self._rows = np.arange(num_envs)
        self._terminated = np.ones(num_envs, dtype=bool)
        self._constant = np.full((num_envs, 1), self.constant_observation, dtype=np.float32)

    def default_task(self) -> Task:
        """All arms alike, mean 0.5."""
        return {"mean": np.full(self.k, 0.5)}

    def sample_tasks(self, num_tasks: int, rng: np.random.Generator) -> list[Task]:
        """Draw every arm's mean uniformly from [0, 1]."""
        return [{"mean": mean} for mean in rng.random((num_tasks, self.k))]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        means = np.array([np.asarray(task["mean"], dtype=np.float64) for task in tasks])  # (N, k)
        if means.shape != (self.num_envs, self.k):
            raise ValueError(f"task['mean']: got shape {means.shape[1:]}, expected ({self.k},)")
        self._means = means

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        return self._constant

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._constant, self._pay(self._means[self._rows, actions]), self._terminated

    @abc.abstractmethod
    def _pay(self, means: np.ndarray) -> np.ndarray:
        """Draw the rewards (N,) of arms with these means (N,)."""


class BernoulliBanditVectorEnv(BanditVectorEnv):
    """Bandit-K5-v0, Bandit-K10-v0, Bandit-K50-v0: an arm pays 1 with probability ``mean``, else 0."""

    constant_observation = 1.0

    def _pay(self, means: np.ndarray) -> np.ndarray:
        return (self._uniform() < means).astype(np.float64)


class GaussianBanditVectorEnv(BanditVectorEnv):
    """GaussianBandit-K5-v0, -K10-v0, -K50-v0: an arm pays ``N(mean, std^2)``.

    Parameters
    ----------
    num_envs, k
        As in `BanditVectorEnv`.
    std
        Standard deviation of a payment, the same for all arms and tasks, >= 0.
    """

    constant_observation = 0.0

    def __init__(self, num_envs: int = 1, *, k: int, std: float = 1.0) -> None:
        if not (np.isfinite(std) and std >= 0):
            raise ValueError(f"std: got {std}, expected a number >= 0")
        super().__init__(num_envs, k=k)
        self.std = float(std)

    def _pay(self, means: np.ndarray) -> np.ndarray:
        return means + self.std * self._normal()
