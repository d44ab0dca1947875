"""A bandit in which a poor arm tells which arm is the best: knowledge has to be bought."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_rl.envs.bandits.bandit import BanditVectorEnv
from maml_rl.envs.meta_env import Task
from maml_rl.utils.checks import check_at_least


class InformativeArmVectorEnv(BanditVectorEnv):
    """InformativeArm-v0: one of K arms is the target, and arm K rewards little but names it.

    Wang et al. 2016, section 3.1. Task: ``{"target": j}``, j uniform on 0 ... K - 1. The reward of arm j is
    `target_reward`, of the other K - 1 `other_reward`, and of the last arm ``(j + 1) / K``: with the paper's K = 10 a
    tenth of the target's index, counted from 1. Nothing is random once the task is set. With the paper's five pulls,
    the best agent pulls the informative arm first and the target then.

    Parameters
    ----------
    num_envs
        Number of bandits N.
    num_candidates
        Arms K that may be the target, >= 2; there are K + 1 arms.
    target_reward, other_reward
        Rewards of the target and of the other candidates; finite, the former larger.
    num_pulls
        Pulls per episode, >= 1.
    show_time
        True: the observation (1,) is the fraction of the pulls already made. False: it is 1.
    """

    constant_observation = 1.0

    def __init__(
        self,
        num_envs: int = 1,
        *,
        num_candidates: int = 10,
        target_reward: float = 5.0,
        other_reward: float = 1.1,
        num_pulls: int = 5,
        show_time: bool = True,
    ) -> None:
        check_at_least(2, num_candidates=num_candidates)
        if not (np.isfinite([target_reward, other_reward]).all() and target_reward > other_reward):
            raise ValueError(f"target_reward: got {target_reward}, expected more than {other_reward}, the other_reward")
        super().__init__(num_envs, k=num_candidates + 1, num_pulls=num_pulls, show_time=show_time)
        self.num_candidates = num_candidates
        self.target_reward, self.other_reward = float(target_reward), float(other_reward)

    def default_task(self) -> Task:
        """The first arm is the target."""
        return {"target": 0}

    @property
    def num_distinct_tasks(self) -> int:
        """Each candidate may be the target."""
        return self.num_candidates

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw uniform targets."""
        return [{"target": int(target)} for target in rng.integers(self.num_candidates, size=num_tasks)]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        targets = [task["target"] for task in tasks]
        for target in targets:
            if target not in range(self.num_candidates):
                raise ValueError(f"task['target']: got {target}, expected 0 to {self.num_candidates - 1}")
        indices = np.array(targets, dtype=np.int64)  # (N,)
        means = np.full((self.num_envs, self.k), self.other_reward)
        means[self._rows, indices] = self.target_reward
        means[:, -1] = (indices + 1) / self.num_candidates
        self._means = means

    def _draw_rewards(self, means: np.ndarray) -> np.ndarray:
        return means
