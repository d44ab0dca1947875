"""Restless two-armed bandits: the arms change while they are pulled, in some episodes faster than in others."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np

from maml_rl.envs.bandits.bandit import BernoulliBanditVectorEnv
from maml_rl.envs.meta_env import Task


class RestlessBanditVectorEnv(BernoulliBanditVectorEnv):
    """Two arms that change: ``p2 = 1 - p1``, and p1 moves after every pull, as fast as the volatility says.

    After Behrens et al. 2007; Wang et al. 2016, section 3.1; Wang et al. 2018, figure 3. An episode has `num_blocks`
    blocks of equal length that alternate between `low_volatility` and `high_volatility`; a coin decides which is first.
    Task: ``{"probability": p1 at the first pull, "volatility": (num_blocks,)}``. An arm rewards 1 with its probability,
    else 0, whatever was pulled before. The agent sees nothing of either.

    Parameters
    ----------
    num_envs
        Number of bandits N.
    low_volatility, high_volatility
        The two speeds; what they measure is the subclass's.
    num_blocks
        Blocks per episode, 1 to `num_pulls`; 1: an episode has one volatility.
    num_pulls
        Pulls per episode, >= 1.
    show_time
        True: the observation (1,) is the fraction of the pulls already made. False: it is 1.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        low_volatility: float,
        high_volatility: float,
        num_blocks: int = 1,
        num_pulls: int = 100,
        show_time: bool = True,
    ) -> None:
        if not 0 <= low_volatility <= high_volatility <= 1:
            raise ValueError(
                f"low_volatility: got {low_volatility} with high_volatility = {high_volatility}, "
                "expected 0 <= low <= high <= 1"
            )
        super().__init__(num_envs, k=2, num_pulls=num_pulls, show_time=show_time)
        if not 1 <= num_blocks <= num_pulls:
            raise ValueError(f"num_blocks: got {num_blocks}, expected 1 to {num_pulls}, the num_pulls")
        self.low_volatility, self.high_volatility = float(low_volatility), float(high_volatility)
        self.num_blocks = num_blocks
        self._start = np.full(num_envs, 0.5)
        self._probability = np.full(num_envs, 0.5)  # p1 now
        self._volatility = np.zeros((num_envs, num_blocks))

    @property
    def arm_means(self) -> np.ndarray:
        """(N, 2): the arms' probabilities at the next pull; for oracles and regret, not for agents."""
        return np.stack([self._probability, 1.0 - self._probability], axis=1)

    def default_task(self) -> Task:
        """Start at 0.5, with low volatility first."""
        return {"probability": 0.5, "volatility": self._blocks(0)}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw where p1 starts and which volatility is first."""
        starts = self._draw_starts(num_tasks, rng)
        firsts = rng.integers(2, size=num_tasks)
        return [
            {"probability": float(start), "volatility": self._blocks(int(first))}
            for start, first in zip(starts, firsts, strict=True)
        ]

    def _blocks(self, first: int) -> np.ndarray:
        """Volatilities (num_blocks,) of an episode that starts with the low one (0) or the high one (1)."""
        return np.array([self.low_volatility, self.high_volatility])[(first + np.arange(self.num_blocks)) % 2]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        starts = np.array([task["probability"] for task in tasks], dtype=np.float64)
        volatilities = [np.asarray(task["volatility"], dtype=np.float64) for task in tasks]
        if not ((starts >= 0) & (starts <= 1)).all():
            raise ValueError(f"task['probability']: got {starts.tolist()}, expected probabilities")
        for volatility in volatilities:
            if volatility.shape != (self.num_blocks,):
                raise ValueError(f"task['volatility']: got shape {volatility.shape}, expected ({self.num_blocks},)")
            if not ((volatility >= 0) & (volatility <= 1)).all():
                raise ValueError(f"task['volatility']: got {volatility.tolist()}, expected numbers in [0, 1]")
        self._start, self._volatility = starts, np.stack(volatilities)
        self._probability = starts.copy()

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        self._probability = np.where(mask, self._start, self._probability)
        return super()._reset(mask)

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self._means = self.arm_means
        result = super()._step(actions, active)
        block = np.minimum(self._elapsed, self.num_pulls - 1) * self.num_blocks // self.num_pulls
        moved = self._move(self._probability, self._volatility[self._rows, block])
        self._probability = np.where(active, moved, self._probability)
        return result

    @abc.abstractmethod
    def _draw_starts(self, num_tasks: int, rng: np.random.Generator) -> np.ndarray:
        """Draw p1 (num_tasks,) at the first pull."""

    @abc.abstractmethod
    def _move(self, probability: np.ndarray, volatility: np.ndarray) -> np.ndarray:
        """Return p1 (N,) of the next pull, given p1 (N,) and the volatility (N,) of this one."""


class ReversalBanditVectorEnv(RestlessBanditVectorEnv):
    """RestlessBandit-Reversal-v0: after a pull the arms change places with probability ``volatility``.

    ``p1`` is `good_probability` or ``1 - good_probability``, at first by the toss of a coin.

    Parameters
    ----------
    num_envs, num_blocks, num_pulls, show_time
        As in `RestlessBanditVectorEnv`.
    low_volatility, high_volatility
        Probability of a reversal after a pull, in [0, 1]. As in Behrens et al. 2007, the default low one is none, and
        the high one comes every 33 pulls on average; there, reversals come after 30 or 40.
    good_probability
        Probability of the better arm, in [0.5, 1].
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        low_volatility: float = 0.0,
        high_volatility: float = 0.03,
        good_probability: float = 0.8,
        num_blocks: int = 1,
        num_pulls: int = 100,
        show_time: bool = True,
    ) -> None:
        if not 0.5 <= good_probability <= 1:
            raise ValueError(f"good_probability: got {good_probability}, expected a number in [0.5, 1]")
        super().__init__(
            num_envs,
            low_volatility=low_volatility,
            high_volatility=high_volatility,
            num_blocks=num_blocks,
            num_pulls=num_pulls,
            show_time=show_time,
        )
        self.good_probability = float(good_probability)

    @property
    def num_distinct_tasks(self) -> int:
        """Better arms at first times volatilities at first; what is alike counts once."""
        return (1 if self.good_probability == 0.5 else 2) * (1 if self.low_volatility == self.high_volatility else 2)

    def _draw_starts(self, num_tasks: int, rng: np.random.Generator) -> np.ndarray:
        return np.where(rng.random(num_tasks) < 0.5, self.good_probability, 1.0 - self.good_probability)

    def _move(self, probability: np.ndarray, volatility: np.ndarray) -> np.ndarray:
        return np.where(self._uniform() < volatility, 1.0 - probability, probability)


class RandomWalkBanditVectorEnv(RestlessBanditVectorEnv):
    """RestlessBandit-RandomWalk-v0: after a pull p1 moves by ``N(0, volatility^2)`` and is reflected at 0 and 1.

    At the first pull p1 is uniform on [0, 1]; reflection keeps it so at every later one.

    Parameters
    ----------
    num_envs, num_blocks, num_pulls, show_time
        As in `RestlessBanditVectorEnv`.
    low_volatility, high_volatility
        Standard deviation of a move, in [0, 1].
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        low_volatility: float = 0.02,
        high_volatility: float = 0.1,
        num_blocks: int = 1,
        num_pulls: int = 100,
        show_time: bool = True,
    ) -> None:
        super().__init__(
            num_envs,
            low_volatility=low_volatility,
            high_volatility=high_volatility,
            num_blocks=num_blocks,
            num_pulls=num_pulls,
            show_time=show_time,
        )

    def _draw_starts(self, num_tasks: int, rng: np.random.Generator) -> np.ndarray:
        return rng.random(num_tasks)

    def _move(self, probability: np.ndarray, volatility: np.ndarray) -> np.ndarray:
        # The line folded like a concertina at every whole number: reflection at both ends, however far the move.
        return np.abs((probability + volatility * self._normal() + 1.0) % 2.0 - 1.0)
