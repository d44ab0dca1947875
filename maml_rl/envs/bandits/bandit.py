"""Multi-armed bandits whose arms stay as they are: the arms' means are the task."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.utils.checks import check_at_least, check_low_high


class BanditVectorEnv(MetaVectorEnv):
    """k arms, of which one is pulled per step, for `num_pulls` steps.

    Task: ``{"mean": (k,)}``, every mean uniform on [0, 1]. The observation (1,) is a constant, or with `show_time` the
    fraction of the episode's pulls already made. Episodes terminate: after the last pull no reward is left. With
    ``num_pulls=1`` a pull is an episode (Duan et al. 2016, section 3.1).

    Parameters
    ----------
    num_envs
        Number of bandits N side by side.
    k
        Number of arms, >= 2.
    num_pulls
        Pulls per episode, >= 1.
    show_time
        Whether the observation tells the time.
    """

    constant_observation: float

    def __init__(self, num_envs: int = 1, *, k: int, num_pulls: int = 1, show_time: bool = False) -> None:
        if k < 2:
            raise ValueError(f"k: got {k}, expected at least 2 arms")
        check_at_least(1, num_pulls=num_pulls)
        super().__init__(
            num_envs,
            gym.spaces.Box(0.0, 1.0, (1,), np.float32),
            gym.spaces.Discrete(k),
            max_episode_steps=None,
        )
        self.k, self.num_pulls, self.show_time = k, num_pulls, show_time
        self._rows = np.arange(num_envs)
        self._constant = np.full((num_envs, 1), self.constant_observation, dtype=np.float32)
        self._means = np.zeros((num_envs, k))
        self._chosen_means = np.zeros(num_envs)

    @property
    def arm_means(self) -> np.ndarray:
        """(N, k): mean reward of each arm at the next pull; for oracles and regret, not for agents."""
        return self._means.copy()

    def default_task(self) -> Task:
        """All arms alike, mean 0.5."""
        return {"mean": np.full(self.k, 0.5)}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw every arm's mean uniformly from [0, 1]."""
        return [{"mean": mean} for mean in rng.random((num_tasks, self.k))]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        means = np.array([np.asarray(task["mean"], dtype=np.float64) for task in tasks])  # (N, k)
        if means.shape != (self.num_envs, self.k):
            raise ValueError(f"task['mean']: got shape {means.shape[1:]}, expected ({self.k},)")
        self._means = means

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        return self._observe(np.zeros(self.num_envs, dtype=np.int64))

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        pulls = self._elapsed + 1
        self._chosen_means = self._means[self._rows, actions]
        return self._observe(pulls), self._draw_rewards(self._chosen_means), pulls >= self.num_pulls

    def _expected_rewards(self) -> np.ndarray:
        return self._chosen_means

    def _observe(self, pulls: np.ndarray) -> np.ndarray:
        """Observations (N, 1) after this many pulls (N,)."""
        return (pulls[:, None] / self.num_pulls).astype(np.float32) if self.show_time else self._constant

    @abc.abstractmethod
    def _draw_rewards(self, means: np.ndarray) -> np.ndarray:
        """Draw the rewards (N,) of arms with these means (N,)."""


class BernoulliBanditVectorEnv(BanditVectorEnv):
    """Bandit-K5-v0, Bandit-K10-v0, Bandit-K50-v0: an arm rewards 1 with probability ``mean``, else 0."""

    constant_observation = 1.0

    def _draw_rewards(self, means: np.ndarray) -> np.ndarray:
        return (self._uniform() < means).astype(np.float64)


class GaussianBanditVectorEnv(BanditVectorEnv):
    """GaussianBandit-K5-v0, -K10-v0, -K50-v0: an arm rewards ``N(mean, std^2)``.

    Task: ``{"mean": (k,), "std": s}``. Means are uniform on [`low`, `high`]; s is the same for all arms, and `std` in
    all tasks, or with `max_std` uniform on [`std`, `max_std`]. A task without ``"std"`` has `std`.

    Parameters
    ----------
    num_envs, k, num_pulls, show_time
        As in `BanditVectorEnv`.
    low, high
        Range of the means.
    std, max_std
        Standard deviation of a reward, >= 0, and its largest value if tasks differ in it.
    """

    constant_observation = 0.0

    def __init__(
        self,
        num_envs: int = 1,
        *,
        k: int,
        num_pulls: int = 1,
        show_time: bool = False,
        low: float = 0.0,
        high: float = 1.0,
        std: float = 1.0,
        max_std: float | None = None,
    ) -> None:
        check_low_high(low, high)
        if not (np.isfinite(std) and std >= 0):
            raise ValueError(f"std: got {std}, expected a number >= 0")
        if max_std is not None and not (np.isfinite(max_std) and max_std >= std):
            raise ValueError(f"max_std: got {max_std}, expected at least {std}, the std")
        super().__init__(num_envs, k=k, num_pulls=num_pulls, show_time=show_time)
        self.low, self.high = float(low), float(high)
        self.std, self.max_std = float(std), float(std if max_std is None else max_std)
        self._stds = np.full(num_envs, self.std)

    def default_task(self) -> Task:
        """All means in the middle of their range, the smallest standard deviation."""
        return {"mean": np.full(self.k, (self.low + self.high) / 2), "std": self.std}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw uniform means and, if tasks differ in it, a uniform standard deviation."""
        means = self.low + (self.high - self.low) * rng.random((num_tasks, self.k))
        stds = np.full(num_tasks, self.std)
        if self.max_std > self.std:
            stds = rng.uniform(self.std, self.max_std, num_tasks)
        return [{"mean": mean, "std": float(std)} for mean, std in zip(means, stds, strict=True)]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        super()._apply_tasks(tasks)
        stds = np.array([task.get("std", self.std) for task in tasks], dtype=np.float64)  # (N,)
        if not (np.isfinite(stds) & (stds >= 0)).all():
            raise ValueError(f"task['std']: got {stds.tolist()}, expected numbers >= 0")
        self._stds = stds

    def _draw_rewards(self, means: np.ndarray) -> np.ndarray:
        return means + self._stds * self._normal()
