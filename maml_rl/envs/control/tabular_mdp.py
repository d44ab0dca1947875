"""Random tabular Markov decision processes: transition table and mean rewards are the task."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium as gym
import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.utils.checks import check_at_least


class TabularMDPVectorEnv(MetaVectorEnv):
    """TabularMDP-v0: short episodes in a random MDP (Duan et al. 2016, section 3.1).

    Task: ``{"transitions": (S, A, S), "rewards_mean": (S, A)}`` with ``P(. | s, a) ~ Dirichlet(1)``
    and ``m(s, a) ~ N(1, 1)``. Episodes start in state 0; the reward of action a in state s is ``N(m(s, a), 1)``.

    Parameters
    ----------
    num_envs
        Number of processes N.
    num_states, num_actions
        Sizes S and A of the tables, >= 1.
    reachable_states
        Each task's transitions lead to that many states only, to state 0 and others drawn at random; ``None``: to all
        of them, the published distribution. Tasks with few states teach an agent what there is to remember.
    max_episode_steps
        Steps per episode.
    one_hot
        False: the observation (1,) is the index of the state, as in pytorch-maml-rl, so that its
        trained policies load. True: a one-hot vector (S,), from which a network learns far more
        easily.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        num_states: int = 10,
        num_actions: int = 5,
        reachable_states: int | None = None,
        max_episode_steps: int = 10,
        one_hot: bool = False,
    ) -> None:
        check_at_least(1, num_states=num_states, num_actions=num_actions)
        if reachable_states is not None and not 1 <= reachable_states <= num_states:
            raise ValueError(f"reachable_states: got {reachable_states}, expected 1 to {num_states}, the num_states")
        if one_hot:
            codes = np.eye(num_states, dtype=np.float32)
        else:
            codes = np.arange(num_states, dtype=np.float32)[:, None]
        super().__init__(
            num_envs,
            gym.spaces.Box(0.0, float(max(codes.max(), 1.0)), codes.shape[1:], np.float32),
            gym.spaces.Discrete(num_actions),
            max_episode_steps=max_episode_steps,
        )
        self.num_states, self.num_actions, self.one_hot = num_states, num_actions, one_hot
        self.reachable_states = num_states if reachable_states is None else reachable_states
        self._codes = codes
        self._rows = np.arange(num_envs)
        self._states = np.zeros(num_envs, dtype=np.int64)
        self._never = np.zeros(num_envs, dtype=bool)
        self._chosen_means = np.zeros(num_envs)

    def default_task(self) -> Task:
        """Every transition equally likely, every mean reward 1."""
        shape = (self.num_states, self.num_actions)
        return {
            "transitions": np.full((*shape, self.num_states), 1.0 / self.num_states),
            "rewards_mean": np.ones(shape),
        }

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw transition tables from Dirichlet(1) and mean rewards from N(1, 1)."""
        shape = (num_tasks, self.num_states, self.num_actions)
        transitions = rng.dirichlet(np.ones(self.num_states), size=shape)  # (M, S, A, S)
        rewards_mean = 1.0 + rng.standard_normal(shape)  # (M, S, A)
        if self.reachable_states < self.num_states:
            order = np.concatenate([np.zeros((num_tasks, 1)), 1.0 - rng.random((num_tasks, self.num_states - 1))], 1)
            reachable = order.argsort(axis=1).argsort(axis=1) < self.reachable_states  # (M, S), state 0 among them
            transitions *= reachable[:, np.newaxis, np.newaxis]
            transitions /= transitions.sum(axis=-1, keepdims=True)  # Dirichlet(1) again, of fewer states
        return [
            {"transitions": table, "rewards_mean": means}
            for table, means in zip(transitions, rewards_mean, strict=True)
        ]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        shape = (self.num_states, self.num_actions)
        transitions = np.array([np.asarray(task["transitions"], dtype=np.float64) for task in tasks])
        means = np.array([np.asarray(task["rewards_mean"], dtype=np.float64) for task in tasks])
        if transitions.shape[1:] != (*shape, self.num_states):
            raise ValueError(
                f"task['transitions']: got shape {transitions.shape[1:]}, expected {(*shape, self.num_states)}"
            )
        if means.shape[1:] != shape:
            raise ValueError(f"task['rewards_mean']: got shape {means.shape[1:]}, expected {shape}")
        if (transitions < 0).any() or not np.allclose(transitions.sum(axis=-1), 1.0):
            raise ValueError("task['transitions']: got rows that are not probabilities, expected sums of 1")
        self._cumulative = transitions.cumsum(axis=-1)[..., :-1]  # (N, S, A, S - 1)
        self._means = means  # (N, S, A)

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        self._states[mask] = 0
        return self._codes[self._states]

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chosen = (self._rows, self._states, actions)
        self._chosen_means = self._means[chosen]
        rewards = self._chosen_means + self._normal()
        # Inverse of the distribution function: the state is how many thresholds the number passes.
        following = (self._uniform(1) >= self._cumulative[chosen]).sum(axis=-1)
        self._states = np.where(active, following, self._states)
        return self._codes[self._states], rewards, self._never

    def _expected_rewards(self) -> np.ndarray:
        return self._chosen_means
