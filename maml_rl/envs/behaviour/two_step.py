"""The two-step task: does an agent credit its choice for a reward, or the state in which the reward came?"""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.utils.checks import check_at_least, check_probabilities

NUM_STATES = 3
STEPS_PER_TRIAL = 2


class TwoStepVectorEnv(MetaVectorEnv):
    """TwoStep-v0: 100 trials of a choice, a chance transition and a reward, in one episode.

    Daw et al. 2011, in the form of Wang et al. 2016, section 3.2. A trial takes two steps:

    1. Stage one. The observation is (1, 0, 0). Action a leads to second state a with `common_probability`, else to the
       other one; the reward is 0.
    2. Stage two. The observation is (0, 1, 0) in second state 0 and (0, 0, 1) in second state 1. Both actions do the
       same: reward 1 with `rich_probability` in the rich state, with `poor_probability` in the other, else 0.

    After a trial the rich state becomes the poor one with `switch_probability`. Task: ``{"rich": state that is rich
    in the first trial}``, 0 or 1 by the toss of a coin. Which action commonly leads where never changes. An episode is
    one run of `num_trials` trials, ``2 * num_trials`` steps, after which it terminates; the last observation is stage
    one's. The agent sees neither the rich state nor, without remembering its action, whether a transition was common.

    Parameters
    ----------
    num_envs
        Number of sub-environments N.
    num_trials
        Trials per episode, >= 1.
    common_probability
        Probability of the common transition, in [0, 1].
    rich_probability, poor_probability
        Probabilities of reward in the rich and in the poor state, in [0, 1].
    switch_probability
        Probability that the states change roles after a trial, in [0, 1].
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        num_trials: int = 100,
        common_probability: float = 0.8,
        rich_probability: float = 0.9,
        poor_probability: float = 0.1,
        switch_probability: float = 0.025,
    ) -> None:
        check_at_least(1, num_trials=num_trials)
        check_probabilities(
            common_probability=common_probability,
            rich_probability=rich_probability,
            poor_probability=poor_probability,
            switch_probability=switch_probability,
        )
        space = gym.spaces.Box(0.0, 1.0, (NUM_STATES,), np.float32)
        super().__init__(num_envs, space, gym.spaces.Discrete(2), max_episode_steps=None)
        self.num_trials = num_trials
        self.common_probability, self.switch_probability = float(common_probability), float(switch_probability)
        self.rich_probability, self.poor_probability = float(rich_probability), float(poor_probability)
        self._codes = np.eye(NUM_STATES, dtype=np.float32)
        self._start = np.zeros(num_envs, dtype=np.int64)
        self._rich = np.zeros(num_envs, dtype=np.int64)
        self._second = np.zeros(num_envs, dtype=np.int64)
        self._drawn = (np.ones(num_envs, dtype=bool), np.zeros(num_envs))

    @property
    def rich_states(self) -> np.ndarray:
        """(N,): the second state that is rich now; for oracles and regret, not for agents."""
        return self._rich.copy()

    def default_task(self) -> Task:
        """Second state 0 is rich at first."""
        return {"rich": 0}

    @property
    def num_distinct_tasks(self) -> int:
        """Either second state may be rich at first."""
        return 2

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Toss a coin for the state that is rich at first."""
        return [{"rich": int(rich)} for rich in rng.integers(2, size=num_tasks)]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        for task in tasks:
            if task["rich"] not in (0, 1):
                raise ValueError(f"task['rich']: got {task['rich']}, expected 0 or 1")
        self._start = np.array([task["rich"] for task in tasks], dtype=np.int64)
        self._rich = self._start.copy()

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        self._rich = np.where(mask, self._start, self._rich)
        return self._codes[np.zeros(self.num_envs, dtype=np.int64)]

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chance, switch = self._uniform(2).T  # (N, 2) -> two of (N,)
        choosing = self._elapsed % STEPS_PER_TRIAL == 0
        reached = np.where(chance < self.common_probability, actions, 1 - actions)
        reward_probability = np.where(self._second == self._rich, self.rich_probability, self.poor_probability)
        rewards = (~choosing & (chance < reward_probability)).astype(np.float64)
        self._drawn = choosing, reward_probability
        self._second = np.where(active & choosing, reached, self._second)
        switched = active & ~choosing & (switch < self.switch_probability)
        self._rich = np.where(switched, 1 - self._rich, self._rich)
        states = np.where(choosing, 1 + self._second, 0)
        return self._codes[states], rewards, self._elapsed + 1 >= STEPS_PER_TRIAL * self.num_trials

    def _expected_rewards(self) -> np.ndarray:
        choosing, probability = self._drawn
        return np.where(choosing, 0.0, probability)
