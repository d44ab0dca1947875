"""Several episodes of a task as one, for agents whose memory learns the task."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import gymnasium as gym
import numpy as np

from maml_rl.envs.around_family import AroundFamily
from maml_rl.envs.making import make_meta_env
from maml_rl.envs.meta_env import MetaVectorEnv, StepResult, Task
from maml_rl.utils.checks import check_at_least

_LARGEST_CHANGE = 3.0
"""Most units of a change of reward that are observed."""
_UNITS = (1e-6, 1e6)
"""Range of these units."""


class Before(NamedTuple):
    """Past of an observation in each of N meta-episodes: the step that led to it.

    Attributes
    ----------
    shown
        What the environment had shown, as numbers (N, I).
    actions, rewards, ended
        Actions (N, *A), rewards (N,) and whether (N,) they ended an episode.
    episodes_over
        Episodes (N,) that are over.
    earlier_rewards
        Rewards (N,) of the step before this one, NaN where it was in another episode or there was none.
    """

    shown: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    ended: np.ndarray
    episodes_over: np.ndarray
    earlier_rewards: np.ndarray

    def rewards_before_the_next(self) -> np.ndarray:
        """Earlier rewards (N,) for the next step: `rewards`, NaN where an episode ended."""
        return np.where(self.ended, np.nan, self.rewards)


class MetaEpisodeVectorEnv(AroundFamily):
    """Rolls out `num_episodes` episodes of the same task one after another and calls them one meta-episode.

    The observation is (Duan et al. 2016, section 2.2; Wang et al. 2016, section 2)

        [observation, previous action, previous reward, previous done, fraction of the meta-episode that is over,
         change of reward, previous observation]

    with bytes counted from 0 to 1, a one-hot vector for a discrete action, zeros before the first action, the fraction
    only with `show_progress`, the change only with `reward_change_unit` and the previous observation only with
    `show_previous`. The change is that of the previous reward from the one before in the same episode, 0 before there
    are two. When an episode ends, the next
    observation is the first one of the next episode, the previous one that in which the last action was taken, and
    *previous done* is 1. The end of an episode does not end the meta-episode: terminated is only reported after the
    last one. Whoever steps this keeps its memory for as long as that, which is what makes it learn.

    Parameters
    ----------
    env
        The episodes' environment, with as many sub-environments as this is to have. It belongs to this one from
        now on.
    num_episodes
        Episodes of a meta-episode, >= 1.
    show_progress
        True: the fraction of episodes that are over is observed: the trial number of Wang et al. 2016, from 0 to 1.
    show_previous
        True: the observation in which the previous action was taken is observed, so that a single observation tells
        what an action did where (Mishra et al. 2018 show whole transitions for the same reason).
    reward_clip
        Size to which larger rewards are cut in the observation, > 0; the reward itself stays whole. ``None``: no limit.
    reward_change_unit
        Unit of the change of reward, in [1e-6, 1e6], of which at most 3 either way are observed; ``None``: none is.
    """

    def __init__(
        self,
        env: MetaVectorEnv,
        num_episodes: int,
        *,
        show_progress: bool = False,
        show_previous: bool = False,
        reward_clip: float | None = None,
        reward_change_unit: float | None = None,
    ) -> None:
        check_at_least(1, num_episodes=num_episodes)
        if reward_change_unit is not None and not _UNITS[0] <= reward_change_unit <= _UNITS[1]:
            raise ValueError(f"reward_change_unit: got {reward_change_unit}, expected a number in [1e-6, 1e6], or none")
        space = env.single_action_space
        if not isinstance(space, gym.spaces.Discrete | gym.spaces.Box):
            raise ValueError(f"action space: got {space}, expected Box or Discrete")
        self._take_over(env)
        self.num_episodes = num_episodes
        self.show_progress, self.show_previous = show_progress, show_previous
        self.reward_clip = math.inf if reward_clip is None else reward_clip
        self.reward_change_unit = reward_change_unit
        self._discrete = isinstance(space, gym.spaces.Discrete)
        self._num_inputs = int(np.prod(env.single_observation_space.shape or (1,)))
        self._action_size = int(space.n) if isinstance(space, gym.spaces.Discrete) else int(np.prod(space.shape))
        told = show_progress + (reward_change_unit is not None)
        size = self._num_inputs + self._action_size + 2 + told + self._num_inputs * show_previous
        box = gym.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        super().__init__(env.num_envs, box, space, max_episode_steps=None)
        self.shown_rewards: np.ndarray | None = None
        """Rewards (N, T) to be observed in place of those obtained, a control; ``None``: those obtained."""
        self.shows_ends = True
        """False: *previous done* is 0 in every observation, a control."""
        self._shown = np.zeros((env.num_envs, self._num_inputs), np.float32)
        self._earlier_rewards = np.full(env.num_envs, np.nan)
        self._episodes_over = np.zeros(env.num_envs, dtype=np.int64)
        self._episode_over = np.zeros(env.num_envs, dtype=bool)
        self._episodes_info: dict[str, Any] = {}
        self._step_index = 0

    @property
    def episodes_over(self) -> np.ndarray:
        """Episodes (N,) each meta-episode has behind it."""
        return self._episodes_over

    @property
    def num_inputs(self) -> int:
        """Length of the episodes' observation, which comes first."""
        return self._num_inputs

    @property
    def done_index(self) -> int:
        """Index of *previous done* in the observation."""
        return self._num_inputs + self._action_size + 1

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        self.env.set_tasks(tasks)

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        begun, _ = self.env.reset(options={"rngs": self._rngs, "reset_mask": mask})
        self._episodes_over[mask] = 0
        self._earlier_rewards[mask] = np.nan
        self._step_index = 0
        observations = np.zeros((self.num_envs, *self._observation_shape), np.float32)
        observations[:, : self._num_inputs] = as_numbers(begun).reshape(self.num_envs, -1)
        self._shown[mask] = observations[mask, : self._num_inputs]
        return observations

    def step(self, actions: np.ndarray) -> StepResult:
        """See `MetaVectorEnv.step`; in info, ``episode_over`` (N,) bool, where the actions (N, A*) ended an episode.

        The observation returned there closes that episode, and is the first one of the next.
        """
        *result, info = super().step(actions)
        return cast(StepResult, (*result, {**info, "episode_over": self._episode_over}))

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.env.reports_expected_rewards = self.reports_expected_rewards
        following, rewards, terminated, truncated, self._episodes_info = self.env.step(actions)
        self._episode_over = ended = terminated | truncated
        self._episodes_over += ended
        over = self._episodes_over >= self.num_episodes
        again = ended & ~over
        if again.any():
            following, _ = self.env.reset(options={"reset_mask": again})
        shown = rewards
        if self.shown_rewards is not None:
            shown = self.shown_rewards[:, min(self._step_index, self.shown_rewards.shape[1] - 1)]
        self._step_index += 1
        ends = ended & self.shows_ends
        before = Before(self._shown, actions, shown, ends, self._episodes_over, self._earlier_rewards)
        observations = self.completed(following, before)
        self._earlier_rewards = before.rewards_before_the_next()
        self._shown = observations[:, : self._num_inputs]
        return observations, rewards, over

    def completed(self, shown: np.ndarray, before: Before | None) -> np.ndarray:
        """Observations (N, O) of any number N of meta-episodes, whose environment shows `shown` (N, *O).

        `before` is what came before; ``None``: nothing, they begin.
        """
        count, stop = len(shown), self._num_inputs + self._action_size
        observations = np.zeros((count, *self._observation_shape), np.float32)
        observations[:, : self._num_inputs] = as_numbers(shown).reshape(count, -1)
        if before is None:
            return observations
        if self._discrete:
            observations[np.arange(count), self._num_inputs + before.actions] = 1.0
        else:
            observations[:, self._num_inputs : stop] = before.actions.reshape(count, -1)
        observations[:, stop] = np.clip(before.rewards, -self.reward_clip, self.reward_clip)
        observations[:, stop + 1] = before.ended
        if self.show_progress:
            observations[:, stop + 2] = before.episodes_over / self.num_episodes
        if self.reward_change_unit is not None:
            rewards, earlier = (
                np.clip(part, -self.reward_clip, self.reward_clip) for part in (before.rewards, before.earlier_rewards)
            )
            changes = np.nan_to_num((rewards - earlier) / self.reward_change_unit)
            observations[:, stop + 2 + self.show_progress] = np.clip(changes, -_LARGEST_CHANGE, _LARGEST_CHANGE)
        if self.show_previous:
            observations[:, -self._num_inputs :] = before.shown
        return observations

    def _measure(self) -> dict[str, np.ndarray]:
        return self._episodes_info

    def _expected_rewards(self) -> np.ndarray | None:
        return self._episodes_info.get("expected_rewards")


def as_numbers(observations: np.ndarray) -> np.ndarray:
    """`observations` (N, *O), bytes as numbers from 0 to 1; anything else as it is."""
    return observations / np.float32(255.0) if observations.dtype == np.uint8 else observations


def replayed_observations(
    shown: np.ndarray, actions: np.ndarray, rewards: np.ndarray, num_actions: int, ended: np.ndarray | None = None
) -> np.ndarray:
    """Observations that `MetaEpisodeVectorEnv` has shown, replayed from what happened in meta-episodes.

    Parameters
    ----------
    shown
        The environment's own observations (N, T, O).
    actions, rewards
        (N, T), discrete.
    num_actions
        Length of the one-hot vectors.
    ended
        (N, T) bool, steps that ended an episode; ``None``: none before the last.

    Returns
    -------
    (N, T, O + num_actions + 2) float32.
    """
    previous = np.zeros((*actions.shape, num_actions + 2), np.float32)
    previous[:, 1:, :num_actions] = np.eye(num_actions)[actions[:, :-1]]
    previous[:, 1:, num_actions] = rewards[:, :-1]
    if ended is not None:
        previous[:, 1:, num_actions + 1] = ended[:, :-1]
    return np.concatenate([shown.astype(np.float32), previous], axis=-1)


class MetaEpisodeFamily(MetaEpisodeVectorEnv):
    """MetaEpisode-v0: meta-episodes of another family as a family of its own.

    With it a policy with memory sees previous actions and rewards under MAML too: one episode of this family is a
    meta-episode of the other one, before or after an inner step.

    Parameters
    ----------
    num_envs
        Number of sub-environments N.
    env_name, env_kwargs
        The other family, as in `make_meta_env`.
    num_episodes, show_progress, show_previous, reward_change_unit
        See `MetaEpisodeVectorEnv`.
    render_mode
        That of the other family, if it can be drawn.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        env_name: str,
        env_kwargs: Mapping[str, Any] | None = None,
        num_episodes: int,
        show_progress: bool = False,
        show_previous: bool = False,
        reward_change_unit: float | None = None,
        render_mode: str | None = None,
    ) -> None:
        drawn = {} if render_mode is None else {"render_mode": render_mode}
        env = make_meta_env(env_name, num_envs, {**(env_kwargs or {}), **drawn})
        super().__init__(
            env,
            num_episodes,
            show_progress=show_progress,
            show_previous=show_previous,
            reward_change_unit=reward_change_unit,
        )
