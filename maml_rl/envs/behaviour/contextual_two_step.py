"""The two-step task with contexts that recall past trials: does an agent plan with what it remembers?"""

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
from maml_rl.envs.behaviour.two_step import NUM_STATES
from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.utils.checks import check_probabilities

_NONE = -1


class ContextualTwoStepVectorEnv(MetaVectorEnv):
    """ContextualTwoStep-v0: a two-step trial is an episode; those of the second half recall those of the first.

    Ritter et al. 2018, section 4.3. The observation is the state, one-hot as in `TwoStep-v0`, then a context's code,
    `bits` numbers -1 or 1, or zeros. A trial is an episode of two steps:

    1. Stage one, (1, 0, 0). Action a leads to second state a with `common_probability`, else to the other one; the
       reward is 0. An uncued trial shows zeros; a cued one the context of the trial it recalls.
    2. Stage two, (0, 1, 0) or (0, 0, 1). Both actions do the same, and the trial terminates. An uncued trial shows a
       context of its own; a cued one zeros. The reward is 1 with `rich_probability` in the rich state, with
       `poor_probability` in the other, else 0; but in a cued trial that reaches the second state of the recalled one
       it is the reward that was obtained there.

    The first half of `num_trials` T trials is uncued. Then every uncued trial is recalled once: those of the first
    quarter, in random order, before those of the second. After each trial the rich state becomes the poor one with
    `switch_probability`. What lasts, the rich state and past trials, belongs to the task: a trial is the n-th episode
    on it since tasks or generators were given, n counted modulo T, and with trial 0 all begins anew. A trial that was
    abandoned before its reward recalls nothing. Meta-episodes of T episodes are the published task.

    Task: ``{"rich": rich state in trial 0, "codes": (T / 2, bits), "order": (T / 2,)}``: the rich state by the toss of
    a coin, different codes uniformly drawn, and the trial that each cued one recalls.

    Parameters
    ----------
    num_envs
        Number of sub-environments N.
    num_trials
        Trials T, an even number >= 2.
    bits
        Numbers of a code, in [1, 62]; T / 2 different ones must exist.
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
        bits: int = 10,
        common_probability: float = 0.8,
        rich_probability: float = 0.9,
        poor_probability: float = 0.1,
        switch_probability: float = 0.025,
    ) -> None:
        if num_trials < 2 or num_trials % 2:
            raise ValueError(f"num_trials: got {num_trials}, expected an even number of at least 2")
        check_code_space(bits, num_trials=num_trials // 2)
        check_probabilities(
            common_probability=common_probability,
            rich_probability=rich_probability,
            poor_probability=poor_probability,
            switch_probability=switch_probability,
        )
        space = gym.spaces.Box(-1.0, 1.0, (NUM_STATES + bits,), np.float32)
        super().__init__(num_envs, space, gym.spaces.Discrete(2), max_episode_steps=None)
        self.num_trials, self.num_uncued, self.bits = num_trials, num_trials // 2, bits
        self.common_probability, self.switch_probability = float(common_probability), float(switch_probability)
        self.rich_probability, self.poor_probability = float(rich_probability), float(poor_probability)
        self._rows = np.arange(num_envs)
        self._start = np.zeros(num_envs, dtype=np.int64)
        self._codes = np.zeros((num_envs, self.num_uncued, bits), dtype=np.float32)
        self._order = np.zeros((num_envs, self.num_uncued), dtype=np.int64)
        self._rich = np.zeros(num_envs, dtype=np.int64)
        self._second = np.zeros(num_envs, dtype=np.int64)
        self._past_second = np.full((num_envs, self.num_uncued), _NONE)
        self._past_reward = np.zeros((num_envs, self.num_uncued))
        self._drawn = (np.ones(num_envs, dtype=bool), np.zeros(num_envs))

    @property
    def rich_states(self) -> np.ndarray:
        """(N,): the second state that is rich now; for oracles and regret, not for agents."""
        return self._rich.copy()

    @property
    def trials(self) -> np.ndarray:
        """(N,): index of the present trial, from 0 to ``num_trials - 1``."""
        return self._episode_index % self.num_trials

    @property
    def recalled_trials(self) -> np.ndarray:
        """(N,): index of the trial that the present one recalls, -1 if it is uncued."""
        cued = self.trials - self.num_uncued
        return np.where(cued < 0, _NONE, self._order[self._rows, np.maximum(cued, 0)])

    def default_task(self) -> Task:
        """Second state 0 is rich at first, codes count in binary, trials are recalled in turn."""
        trials = np.arange(self.num_uncued)
        return {"rich": 0, "codes": codes_of(trials, self.bits), "order": trials}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw the state that is rich at first, codes, and the order in which trials are recalled."""
        early, late = np.split(np.arange(self.num_uncued), [self.num_uncued // 2])
        return [
            {
                "rich": int(rng.integers(2)),
                "codes": draw_codes(self.num_uncued, self.bits, rng),
                "order": np.concatenate([rng.permutation(early), rng.permutation(late)]),
            }
            for _ in range(num_tasks)
        ]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        count = self.num_uncued
        for task in tasks:
            if task["rich"] not in (0, 1):
                raise ValueError(f"task['rich']: got {task['rich']}, expected 0 or 1")
        codes = [checked_codes(task["codes"], (count, self.bits)) for task in tasks]
        order = [checked_indices("order", task["order"], count, count) for task in tasks]
        self._start = np.array([task["rich"] for task in tasks], dtype=np.int64)
        self._rich = self._start.copy()
        self._codes, self._order = np.stack(codes), np.stack(order)

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        begins = mask & (self.trials == 0)
        self._rich = np.where(begins, self._start, self._rich)
        self._past_second[begins] = _NONE
        recalled = self.recalled_trials
        return self._observe(np.zeros(self.num_envs, dtype=np.int64), recalled, shown=recalled >= 0)

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chance, switch = self._uniform(2).T  # (N, 2) -> two of (N,)
        choosing, trials, recalled = self._elapsed == 0, self.trials, self.recalled_trials
        reached = np.where(chance < self.common_probability, actions, 1 - actions)
        self._second = np.where(active & choosing, reached, self._second)
        probability = self._reward_probability(recalled)
        rewards = (~choosing & (chance < probability)).astype(np.float64)
        self._drawn = choosing, probability
        ended = active & ~choosing
        kept = np.flatnonzero(ended & (recalled < 0))
        self._past_second[kept, trials[kept]] = self._second[kept]
        self._past_reward[kept, trials[kept]] = rewards[kept]
        observations = self._observe(1 + self._second, trials, shown=recalled < 0)
        self._rich = np.where(ended & (switch < self.switch_probability), 1 - self._rich, self._rich)
        return observations, rewards, ~choosing

    def _reward_probability(self, recalled: np.ndarray) -> np.ndarray:
        """Probability of reward (N,) in the second state, when these trials (N,) are recalled, or none: -1."""
        drawn = np.where(self._second == self._rich, self.rich_probability, self.poor_probability)
        past = self._rows, np.maximum(recalled, 0)
        again = (recalled >= 0) & (self._past_second[past] == self._second)
        return np.where(again, self._past_reward[past], drawn)

    def _observe(self, states: np.ndarray, trials: np.ndarray, *, shown: np.ndarray) -> np.ndarray:
        """Observations (N, 3 + bits) of states (N,), with the contexts of uncued trials (N,) where `shown` (N,)."""
        observations = np.zeros((self.num_envs, NUM_STATES + self.bits), dtype=np.float32)
        observations[self._rows, states] = 1.0
        rows = np.flatnonzero(shown)
        observations[rows, NUM_STATES:] = self._codes[rows, trials[rows]]
        return observations

    def _expected_rewards(self) -> np.ndarray:
        choosing, probability = self._drawn
        return np.where(choosing, 0.0, probability)
