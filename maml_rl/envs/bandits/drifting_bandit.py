"""A bandit whose arms drift, with a fixation step before every choice."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.utils.checks import check_at_least

STEPS_PER_TRIAL = 2


class DriftingBanditVectorEnv(MetaVectorEnv):
    """DriftingBandit-v0: 150 trials of fixation and choice among four arms whose mean payoffs drift, in one episode.

    Daw et al. 2006; Bornstein et al. 2017. A trial takes two steps:

    1. Fixation. The observation is (1, 0). The last action, ``num_arms``, fixates: reward 0; of an arm it is
       -`penalty`.
    2. Decision. The observation is (0, 1). The reward of arm a is
       ``N(means[t, a], payoff_deviation^2) / payoff_scale``, of fixating again -`penalty`.

    Task: ``{"means": (T, K)}``, the arms' means in every trial: uniform on [0, 2 * `centre`] in the first one, then
    ``means[t + 1] = decay * means[t] + (1 - decay) * centre + N(0, drift_deviation^2)``. They drift whatever is chosen.
    An episode is `num_trials` trials, ``2 * num_trials`` steps, after which it terminates; the last observation is that
    of fixation.

    Parameters
    ----------
    num_envs
        Number of bandits N.
    num_arms
        Arms K, >= 1.
    num_trials
        Trials T per episode, >= 1.
    decay
        Fraction of its distance from the centre that a mean keeps, in [0, 1].
    centre
        Mean payoff to which arms return, in points, > 0.
    drift_deviation, payoff_deviation
        Standard deviations, in points, of a mean's step and of a payoff around its mean, >= 0.
    payoff_scale
        Points to a reward of 1, > 0.
    penalty
        What a wrong action costs, as a reward, >= 0.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        num_arms: int = 4,
        num_trials: int = 150,
        decay: float = 0.9836,
        centre: float = 50.0,
        drift_deviation: float = 2.8,
        payoff_deviation: float = 4.0,
        payoff_scale: float = 50.0,
        penalty: float = 1.0,
    ) -> None:
        check_at_least(1, num_arms=num_arms, num_trials=num_trials)
        for name, value in (("centre", centre), ("payoff_scale", payoff_scale)):
            if not value > 0:
                raise ValueError(f"{name}: got {value}, expected a number > 0")
        for name, value in (
            ("drift_deviation", drift_deviation),
            ("payoff_deviation", payoff_deviation),
            ("penalty", penalty),
        ):
            if not value >= 0:
                raise ValueError(f"{name}: got {value}, expected a number >= 0")
        if not 0 <= decay <= 1:
            raise ValueError(f"decay: got {decay}, expected a number in [0, 1]")
        space = gym.spaces.Box(0.0, 1.0, (STEPS_PER_TRIAL,), np.float32)
        super().__init__(num_envs, space, gym.spaces.Discrete(num_arms + 1), max_episode_steps=None)
        self.num_arms, self.num_trials = num_arms, num_trials
        self.decay, self.centre, self.drift_deviation = float(decay), float(centre), float(drift_deviation)
        self.payoff_deviation, self.payoff_scale = float(payoff_deviation), float(payoff_scale)
        self.penalty = float(penalty)
        self._codes = np.eye(STEPS_PER_TRIAL, dtype=np.float32)
        self._rows = np.arange(num_envs)
        self._means = np.full((num_envs, num_trials, num_arms), self.centre)
        self._drawn = (np.zeros(num_envs, bool), np.zeros(num_envs, bool), np.zeros(num_envs))

    def default_task(self) -> Task:
        """Every arm stays at the centre."""
        return {"means": np.full((self.num_trials, self.num_arms), self.centre)}

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw where the arms start and how they drift."""
        starts = rng.uniform(0.0, 2.0 * self.centre, (num_tasks, self.num_arms))
        moves = self.drift_deviation * rng.standard_normal((num_tasks, self.num_trials - 1, self.num_arms))
        means = np.empty((num_tasks, self.num_trials, self.num_arms))
        means[:, 0] = starts
        for trial in range(1, self.num_trials):
            means[:, trial] = self.centre + self.decay * (means[:, trial - 1] - self.centre) + moves[:, trial - 1]
        return [{"means": drift} for drift in means]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        expected = (self.num_trials, self.num_arms)
        for task in tasks:
            means = np.asarray(task["means"], dtype=np.float64)
            if means.shape != expected or not np.isfinite(means).all():
                raise ValueError(f"task['means']: got shape {means.shape}, expected finite numbers {expected}")
        self._means = np.stack([np.asarray(task["means"], dtype=np.float64) for task in tasks])

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        return self._codes[np.zeros(self.num_envs, dtype=np.int64)]

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        stage, trial = (
            self._elapsed % STEPS_PER_TRIAL,
            np.minimum(self._elapsed // STEPS_PER_TRIAL, self.num_trials - 1),
        )
        noise = self.payoff_deviation * self._normal()
        chosen = self._means[self._rows, trial, np.minimum(actions, self.num_arms - 1)]
        fixates, deciding = actions == self.num_arms, stage == 1
        self._drawn = fixates, deciding, chosen
        rewards = self._rewards_of(fixates, deciding, chosen + noise)
        return self._codes[1 - stage], rewards, self._elapsed + 1 >= STEPS_PER_TRIAL * self.num_trials

    def _rewards_of(self, fixates: np.ndarray, deciding: np.ndarray, payoffs: np.ndarray) -> np.ndarray:
        """Rewards (N,) of actions that fixate or choose an arm with these payoffs in points (N,)."""
        right = np.where(deciding, payoffs / self.payoff_scale, 0.0)
        return np.where(fixates == deciding, -self.penalty, right)

    def _expected_rewards(self) -> np.ndarray:
        return self._rewards_of(*self._drawn)
