"""Beside returns: splits of tasks, measures, features of tasks and expected rewards, the same for every family."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maml_rl.envs import MetaEnvError, MetaEpisodeVectorEnv, SingleMetaEnv, check_meta_env, make_meta_env
from maml_rl.envs.control.navigation import NavigationVectorEnv
from maml_rl.tests.families import families
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator


class MeasuredNavigation(NavigationVectorEnv):
    """Measures the fraction of the right half-plane an episode reached: 1 right of the origin."""

    measures = ("right", "far")

    def _measure(self):
        return {"right": self._positions[:, 0] > 0, "far": np.abs(self._positions).max(axis=1)}


class SplitNavigation(NavigationVectorEnv):
    splits = ("train", "far")

    def _sample_tasks(self, num_tasks, rng, split):
        tasks = super()._sample_tasks(num_tasks, rng, split)
        return [{"goal": 4.0 * task["goal"]} for task in tasks] if split == "far" else tasks


@pytest.mark.parametrize("env_name", families())
def test_an_unknown_split_is_refused_with_the_known_ones(env_name):
    env = make_meta_env(env_name)
    with pytest.raises(InputError, match=r"^split: got 'trian', expected one of 'train'.*; did you mean 'train'\?$"):
        env.sample_tasks(1, generator(0, Purpose.TASKS), split="trian")
    single = SingleMetaEnv(env)
    with pytest.raises(InputError, match=r"^split: got 'trian', expected one of 'train'"):
        single.sample_tasks(1, split="trian")


@pytest.mark.parametrize("env_name", families())
def test_tasks_come_from_the_familys_own_split_unless_another_is_named(env_name):
    env = make_meta_env(env_name)
    unnamed = env.sample_tasks(5, generator(1, Purpose.TASKS))
    named = env.sample_tasks(5, generator(1, Purpose.TASKS), split="train")
    np.testing.assert_array_equal(env.task_features(unnamed), env.task_features(named))


def test_meta_episodes_have_the_splits_of_their_episodes():
    env = MetaEpisodeVectorEnv(SplitNavigation(2), 2)
    assert env.splits == ("train", "far")
    near, far = (env.sample_tasks(8, generator(0, Purpose.TASKS), split=split) for split in env.splits)
    np.testing.assert_array_equal(4.0 * env.task_features(near), env.task_features(far))


def _modes(env, num_tasks, **kwargs):
    return {task["mode"] for task in env.sample_tasks(num_tasks, generator(0, Purpose.TASKS), **kwargs)}


def test_a_game_draws_its_held_out_modes_from_their_split_alone():
    env = make_meta_env("SpaceInvadersModes-v0")
    drawn = {split: _modes(env, 32, split=split) for split in env.splits}
    assert env.splits == ("train", "held-out", "all")
    assert drawn["held-out"] == {3, 7, 11, 15}
    assert drawn["train"] == set(range(16)) - {3, 7, 11, 15}
    assert drawn["all"] == set(range(16))


def test_a_games_keyword_chooses_the_split_that_is_drawn_from():
    env = make_meta_env("SpaceInvadersModes-v0", 1, {"split": "held-out"})
    assert env.split == "held-out"
    assert _modes(env, 8) == {3, 7, 11, 15}
    assert _modes(env, 24, split="train") == set(range(16)) - {3, 7, 11, 15}


def test_a_game_without_held_out_modes_has_no_such_split():
    assert make_meta_env("AtariModes-v0", 1, {"game": "space_invaders"}).splits == ("train", "all")


def test_every_step_reports_the_measures_and_a_finished_episode_keeps_its_last():
    env = MeasuredNavigation(2, max_episode_steps=3)
    env.set_tasks([{"goal": np.array([1.0, 0.0])}, {"goal": np.array([0.1, 0.0])}])  # the second ends after a step
    env.reset(seed=0)
    infos = [env.step(np.array([[move, 0.0], [0.1, 0.0]], np.float32))[4] for move in (-0.1, -0.1, 0.05)]
    np.testing.assert_allclose([info["far"] for info in infos], [[0.1, 0.1], [0.2, 0.1], [0.15, 0.1]], atol=1e-6)
    np.testing.assert_array_equal([info["right"] for info in infos], [[0, 1], [0, 1], [0, 1]])
    assert {values.dtype for info in infos for values in info.values()} == {np.dtype(np.float64)}
    env.reset(options={"reset_mask": np.array([True, False])})
    np.testing.assert_array_equal(env.step(np.array([[0.1, 0.0]] * 2, np.float32))[4]["right"], [1, 1])


def test_measures_reach_meta_episodes_and_single_environments():
    meta = MetaEpisodeVectorEnv(MeasuredNavigation(2, max_episode_steps=2), 2)
    check_meta_env(meta)
    assert meta.measures == ("right", "far")
    single = SingleMetaEnv(MeasuredNavigation(1))
    single.reset(seed=0)
    info = single.step(np.array([0.1, 0.0], np.float32))[4]
    assert info["right"] == 1.0
    assert info["far"] == pytest.approx(0.1)


class ForgetsAMeasure(MeasuredNavigation):
    def step(self, actions):
        *results, info = super().step(actions)
        return *results, {"right": info["right"]}


class MeasuresWholeArrays(MeasuredNavigation):
    def step(self, actions):
        *results, info = super().step(actions)
        return *results, {**info, "far": self._positions}


class UnknownOwnSplit(NavigationVectorEnv):
    split = "test"


class AnySplit(NavigationVectorEnv):
    def sample_tasks(self, num_tasks, rng, *, split=None):
        return self._sample_tasks(num_tasks, rng, "train")


class FeaturesOfAllTasks(NavigationVectorEnv):
    def task_features(self, tasks):
        return super().task_features(tasks) - super().task_features(tasks)[0]


class FlatFeatures(NavigationVectorEnv):
    def task_features(self, tasks):
        return super().task_features(tasks).ravel()


@pytest.mark.parametrize(
    ("family", "message"),
    [
        (ForgetsAMeasure, r"step: info\['far'\] is NoneType, expected finite floats \(4,\); .* override _measure"),
        (MeasuresWholeArrays, r"step: info\['far'\] is float64 \(4, 2\), expected finite floats \(4,\)"),
        (UnknownOwnSplit, r"split: got 'test', expected one of splits = \('train',\)"),
        (AnySplit, r"sample_tasks: accepted an unknown split; .* override _sample_tasks"),
        (FeaturesOfAllTasks, r"task_features: a task's row depends on the other tasks"),
        (FlatFeatures, r"task_features: got shape \(6,\) and dtype float64 for 3 tasks, expected .* \(3, K\)"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)  # fmt: skip
def test_the_check_names_the_breach(family, message):
    with pytest.raises((MetaEnvError, InputError), match=message):
        check_meta_env(family(4))


def test_the_check_accepts_measures_and_splits():
    check_meta_env(MeasuredNavigation(4))
    check_meta_env(SplitNavigation(4))


@pytest.mark.parametrize("env_name", families())
def test_the_features_of_a_task_are_numbers_of_that_task(env_name):
    env = make_meta_env(env_name)
    tasks = env.sample_tasks(3, generator(2, Purpose.TASKS))
    features = env.task_features(tasks)
    assert features.dtype == np.float64
    assert features.shape == (3, env.task_features([env.default_task()]).shape[1])
    for task, row in zip(tasks, features, strict=True):
        numbers = np.concatenate([np.ravel(np.asarray(value, dtype=np.float64)) for value in task.values()])
        np.testing.assert_array_equal(row, numbers)


def test_tasks_of_text_have_no_features_unless_the_family_says_so():
    swept = {"kinematics_integrator": ["euler", "implicit"]}
    env = make_meta_env("AttributeSweep-v0", 1, {"env_id": "CartPole-v1", "attributes": swept})
    with pytest.raises(ValueError, match=r"^task_features: got tasks \(kinematics_integrator\) that are not numbers"):
        env.task_features([env.default_task()])


KNOWN: dict[str, dict[str, Any]] = {
    "Bandit-K5-v0": {"num_pulls": 8},
    "GaussianBandit-K5-v0": {"num_pulls": 8, "max_std": 2.0},
    "InformativeArm-v0": {},
    "TwoArmedBandit-Uniform-v0": {"num_pulls": 8},
    "RestlessBandit-Reversal-v0": {"num_pulls": 8, "high_volatility": 0.3},
    "RestlessBandit-RandomWalk-v0": {"num_pulls": 8},
    "DriftingBandit-v0": {"num_trials": 4},
    "TwoStep-v0": {"num_trials": 4, "switch_probability": 0.3},
    "ContextualBandit-v0": {"k": 3},
    "ContextualTwoStep-v0": {"num_trials": 4},
    "TabularMDP-v0": {"max_episode_steps": 8},
}


@pytest.mark.parametrize("env_name", KNOWN)
def test_expected_rewards_are_the_means_of_the_rewards_given_state_and_action(env_name):
    num_envs = 4000
    env: Any = make_meta_env(env_name, num_envs, KNOWN[env_name])
    env.reports_expected_rewards = True
    env.set_tasks(env.sample_tasks(2, generator(4, Purpose.TASKS)))
    env.reset(options={"rngs": [generator(4, Purpose.ENVIRONMENT, task=m) for m in range(2)]})
    rng, num_actions = np.random.default_rng(0), int(env.single_action_space.n)
    rewards: list[np.ndarray] = []
    expected: list[np.ndarray] = []
    chosen: list[np.ndarray] = []
    while not env.finished.all():
        actions = rng.integers(num_actions, size=num_envs)
        _, reward, _, _, info = env.step(actions)
        for column, values in ((rewards, reward), (expected, info["expected_rewards"]), (chosen, actions)):
            column.append(values)
    residuals = np.stack(rewards) - np.stack(expected)  # (T, N)
    for action in range(num_actions):
        noise = residuals[np.stack(chosen) == action]
        assert abs(noise.mean()) <= 4 * noise.std() / np.sqrt(noise.size) + 1e-12
    spread = np.abs(np.round(np.stack(expected), 12))
    assert len(np.unique(spread)) > 1  # not one number for all


def test_expected_rewards_come_when_asked_for_and_change_no_draw():
    episodes = []
    for reports in (False, True):
        env = MetaEpisodeVectorEnv(make_meta_env("TwoArmedBandit-Uniform-v0", 6, {"num_pulls": 5}), 2)
        env.reports_expected_rewards = reports
        env.set_tasks(env.sample_tasks(3, generator(5, Purpose.TASKS)))
        env.reset(seed=3)
        steps = [env.step(np.full(6, t % 2)) for t in range(12)]
        assert {"expected_rewards" in info for *_, info in steps} == {reports}
        episodes.append(np.stack([step[1] for step in steps]))
        if reports:
            means = np.stack([env.tasks[n]["mean"] for n in range(6)])
            np.testing.assert_array_equal([step[4]["expected_rewards"] for step in steps[:10]], means.T[[0, 1] * 5])
            np.testing.assert_array_equal([step[4]["expected_rewards"] for step in steps[10:]], 0)
    np.testing.assert_array_equal(episodes[0], episodes[1])
