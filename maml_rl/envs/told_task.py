"""A family whose agent is told its task: the oracle that says how much there is to learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from maml_rl.envs.around_family import AroundFamily
from maml_rl.envs.making import make_meta_env
from maml_rl.envs.meta_env import Task
from maml_rl.envs.meta_episode import as_numbers


class ToldTaskVectorEnv(AroundFamily):
    """ToldTask-v0: another family whose observation says which task it is.

    The observation is [the family's observation as numbers, `task_features` of the task]. A policy trained here without
    adaptation is the oracle of Finn et al. 2017, section 5.3: what it obtains bounds what adaptation can gain.

    Parameters
    ----------
    num_envs
        Number of sub-environments N.
    env_name, env_kwargs
        The other family, as in `make_meta_env`.
    render_mode
        That of the other family, if it can be drawn.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        env_name: str,
        env_kwargs: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        drawn = {} if render_mode is None else {"render_mode": render_mode}
        env = make_meta_env(env_name, num_envs, {**(env_kwargs or {}), **drawn})
        self._take_over(env)
        self._features = np.zeros((num_envs, env.task_features([env.default_task()]).shape[1]), np.float32)
        self._begun: list[np.random.Generator] | None = None
        self._truncated = np.zeros(num_envs, dtype=bool)
        self._info: dict[str, Any] = {}
        size = int(np.prod(env.single_observation_space.shape or (1,))) + self._features.shape[1]
        box = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        super().__init__(num_envs, box, env.single_action_space, max_episode_steps=env.max_episode_steps)

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        self.env.set_tasks(tasks)
        self._features[:] = self.env.task_features(tasks)

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        options: dict[str, Any] = {"reset_mask": mask}
        if self._begun is not self._rngs:  # new generators: the first episodes
            self._begun = options["rngs"] = self._rngs
        return self._told(self.env.reset(options=options)[0])

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.env.reports_expected_rewards = self.reports_expected_rewards
        observations, rewards, terminated, self._truncated, self._info = self.env.step(actions)
        return self._told(observations), rewards, terminated

    def _out_of_time(self) -> np.ndarray:
        return self._truncated

    def _told(self, observations: np.ndarray) -> np.ndarray:
        """(N, O*) -> (N, O + K)."""
        shown = as_numbers(observations).reshape(self.num_envs, -1).astype(np.float32)
        return np.hstack([shown, self._features])

    def _measure(self) -> dict[str, np.ndarray]:
        return self._info

    def _expected_rewards(self) -> np.ndarray | None:
        return self._info.get("expected_rewards")
