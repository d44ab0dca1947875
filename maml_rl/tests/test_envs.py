"""Every registered task family keeps the contract; the small ones are checked against closed forms."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from maml_rl.envs import (
    MetaVectorEnv,
    SingleMetaEnv,
    UnknownEnvironmentError,
    check_meta_env,
    make_meta_env,
    registered_meta_envs,
)
from maml_rl.utils.random import Purpose, generator

ENV_NAMES = registered_meta_envs()


def _actions(env, seed, num_steps):
    env.single_action_space.seed(seed)
    return np.array(
        [[env.single_action_space.sample() for _ in range(env.num_envs)] for _ in range(num_steps)]
    )


def test_the_registry_holds_the_families_of_pytorch_maml_rl():
    bandits = {f"{kind}-K{k}-v0" for kind in ("Bandit", "GaussianBandit") for k in (5, 10, 50)}
    robots = {"HalfCheetahDir-v2", "HalfCheetahVel-v2", "AntDir-v2", "AntVel-v2", "AntPos-v1"}
    assert bandits | robots | {"TabularMDP-v0", "2DNavigation-v0"} <= set(ENV_NAMES)


@pytest.mark.parametrize("env_name", ENV_NAMES)
def test_the_vector_environment_keeps_the_contract(env_name):
    check_meta_env(make_meta_env(env_name, num_envs=4))


@pytest.mark.filterwarnings("ignore:.*A Box observation space m..imum value is -?infinity:UserWarning")
@pytest.mark.parametrize("env_name", ENV_NAMES)
def test_the_single_environment_passes_gymnasiums_checker(env_name):
    env = gym.make(env_name)
    check_env(env.unwrapped, skip_render_check=bool(env.metadata["render_modes"]))
    env.close()


@pytest.mark.parametrize("env_name", ENV_NAMES)
def test_gymnasium_adds_exactly_one_time_limit(env_name):
    env = gym.make(env_name)
    assert str(env).count("TimeLimit") == (gym.spec(env_name).max_episode_steps is not None)
    assert env.unwrapped.vector_env.max_episode_steps is None


def test_the_length_of_an_episode_can_be_raised_by_gymnasiums_own_keyword():
    env = gym.make("TabularMDP-v0", max_episode_steps=12)
    env.reset(seed=0)
    truncated = [env.step(0)[3] for _ in range(12)]
    assert truncated == [False] * 11 + [True]
    assert gym.make_vec("TabularMDP-v0", num_envs=2, max_episode_steps=12).max_episode_steps == 12


@pytest.mark.parametrize("env_name", ENV_NAMES)
def test_make_vec_and_make_meta_env_give_the_same_episodes(env_name):
    rollouts = []
    for env in (gym.make_vec(env_name, num_envs=3), make_meta_env(env_name, 3)):
        assert isinstance(env, MetaVectorEnv)
        assert env.max_episode_steps == gym.spec(env_name).max_episode_steps
        env.set_tasks(env.sample_tasks(3, generator(1, Purpose.TASKS)))
        steps = [env.reset(seed=4)[0]]
        for actions in _actions(env, 0, 3):
            steps.extend(env.step(actions)[:4])
        rollouts.append(steps)
    for first, second in zip(*rollouts, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("env_name", ENV_NAMES)
def test_the_single_environment_plays_what_the_vector_environment_plays(env_name):
    single, vector = gym.make(env_name).unwrapped, make_meta_env(env_name)
    task = single.sample_tasks(1, generator(2, Purpose.TASKS))[0]
    single.reset_task(task)
    vector.set_tasks([task])
    observation, _ = single.reset(seed=5)
    expected, _ = vector.reset(options={"rngs": [np.random.default_rng(np.random.SeedSequence(5))]})
    np.testing.assert_array_equal(observation, expected[0])
    action = _actions(vector, 0, 1)[0]
    for result, row in zip(single.step(action[0])[:4], vector.step(action)[:4], strict=True):
        np.testing.assert_array_equal(result, row[0])


def test_a_single_environment_takes_its_task_at_reset():
    env = gym.make("2DNavigation-v0")
    env.reset(seed=0, options={"task": {"goal": np.array([0.3, -0.4])}})
    assert env.step(np.zeros(2, dtype=np.float32))[1] == pytest.approx(-0.5)


def test_a_single_environment_refuses_to_step_past_the_end_of_an_episode():
    env = SingleMetaEnv(make_meta_env("Bandit-K5-v0"))
    env.reset(seed=0)
    assert env.step(1)[2:4] == (True, False)
    with pytest.raises(ResetNeeded, match=r"the episode has ended.*call reset\(\)"):
        env.step(1)


def test_a_single_environment_holds_one_sub_environment():
    with pytest.raises(ValueError, match=r"vector_env: got num_envs = 2, expected 1"):
        SingleMetaEnv(make_meta_env("Bandit-K5-v0", num_envs=2))


def test_importing_the_environments_does_not_import_mujoco():
    code = "import sys, maml_rl.envs; sys.exit('mujoco' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(
        UnknownEnvironmentError,
        match=r"^unknown environment 'HalfCheetaDir-v2'; did you mean 'HalfCheetahDir-v2'\?$",
    ):
        make_meta_env("HalfCheetaDir-v2")


def test_an_ordinary_environment_is_referred_to_the_adapter():
    with pytest.raises(
        UnknownEnvironmentError, match=r"'CartPole-v1' is no task family.*'AttributeSweep-v0'"
    ):
        make_meta_env("CartPole-v1")


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "message"),
    [
        (
            "2DNavigation-v0",
            {"lw": 0},
            r"unknown keyword 'lw' .*did you mean 'low'\?; legal keywords: high, low",
        ),
        ("Bandit-K5-v0", {"family": "x"}, r"unknown keyword 'family' for BernoulliBanditVectorEnv"),
        ("Bandit-K5-v0", {"num_envs": 3}, r"unknown keyword 'num_envs'"),
        ("Bandit-K5-v0", {"k": 1}, r"k: got 1, expected at least 2 arms"),
        ("GaussianBandit-K5-v0", {"std": -1.0}, r"std: got -1.0, expected a number >= 0"),
        ("TabularMDP-v0", {"num_states": 0}, r"num_states: got 0, expected at least 1"),
        ("TabularMDP-v0", {"max_episode_steps": 0}, r"max_episode_steps: got 0, expected at least 1"),
        ("2DNavigation-v0", {"low": 1.0, "high": 0.0}, r"low: got 1.0 with high = 0.0, expected low <= high"),
        ("AttributeSweep-v0", {}, r"AttributeSweepVectorEnv needs env_id"),
    ],
)
def test_wrong_keywords_are_named_in_one_line(env_name, env_kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_meta_env(env_name, 1, env_kwargs)
    assert "\n" not in str(caught.value)


def test_a_missing_package_is_named_with_its_cure(monkeypatch):
    for module in ("mujoco", "maml_rl.envs.mujoco_engine", "maml_rl.envs.half_cheetah"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ImportError, match=r"^HalfCheetahDirVectorEnv needs mujoco: pip install mujoco$"):
        make_meta_env("HalfCheetahDir-v2")


@pytest.mark.parametrize(
    ("env_name", "task", "message"),
    [
        ("Bandit-K5-v0", {"mean": np.zeros(4)}, r"task\['mean'\]: got shape \(4,\), expected \(5,\)"),
        ("2DNavigation-v0", {"goal": np.zeros(3)}, r"task\['goal'\]: got shape \(3,\), expected \(2,\)"),
        (
            "TabularMDP-v0",
            {"transitions": np.ones((10, 5, 10)), "rewards_mean": np.ones((10, 5))},
            r"task\['transitions'\]: got rows that are no probabilities",
        ),
        (
            "TabularMDP-v0",
            {"transitions": np.ones((10, 5, 9)), "rewards_mean": np.ones((10, 5))},
            r"task\['transitions'\]: got shape \(10, 5, 9\), expected \(10, 5, 10\)",
        ),
        (
            "TabularMDP-v0",
            {"transitions": np.full((10, 5, 10), 0.1), "rewards_mean": np.ones((5, 10))},
            r"task\['rewards_mean'\]: got shape \(5, 10\), expected \(10, 5\)",
        ),
    ],
)
def test_a_task_of_the_wrong_shape_is_refused(env_name, task, message):
    with pytest.raises(ValueError, match=message):
        make_meta_env(env_name, 2).set_tasks([task])


def test_bernoulli_arms_pay_with_their_probability():
    num_pulls = 20_000
    env = make_meta_env("Bandit-K5-v0", num_envs=2 * num_pulls)
    tasks = env.sample_tasks(2, generator(0, Purpose.TASKS))
    env.set_tasks(tasks)
    env.reset(options={"rngs": [generator(0, Purpose.ENVIRONMENT, task=m) for m in range(2)]})
    arms = np.tile(np.arange(5), 2 * num_pulls // 5)
    observations, rewards, terminated, truncated, _ = env.step(arms)
    assert set(np.unique(rewards)) == {0.0, 1.0}
    assert terminated.all()
    assert not truncated.any()
    assert (observations == 1.0).all()
    measured = rewards.reshape(2, -1, 5).mean(axis=1)
    np.testing.assert_allclose(
        measured, [task["mean"] for task in tasks], atol=4 * 0.5 / np.sqrt(num_pulls / 5)
    )


@pytest.mark.parametrize("std", [0.0, 0.5, 1.0])
def test_gaussian_arms_pay_their_mean_and_spread(std):
    num_pulls = 20_000
    env = make_meta_env("GaussianBandit-K5-v0", num_pulls, {"std": std})
    mean = np.linspace(0, 1, 5)
    env.set_tasks([{"mean": mean}])
    env.reset(seed=0)
    observations, rewards, _, _, _ = env.step(np.tile(np.arange(5), num_pulls // 5))
    assert (observations == 0.0).all()
    residuals = rewards.reshape(-1, 5) - mean
    tolerance = 4 * std / np.sqrt(num_pulls / 5) + 1e-12
    np.testing.assert_allclose(residuals.mean(axis=0), 0, atol=tolerance)
    np.testing.assert_allclose(residuals.std(axis=0), std, atol=tolerance)


@pytest.mark.parametrize("env_name", ["Bandit-K10-v0", "GaussianBandit-K10-v0"])
def test_the_means_of_the_arms_are_uniform(env_name):
    means = np.array(
        [task["mean"] for task in make_meta_env(env_name).sample_tasks(4000, np.random.default_rng(0))]
    )
    assert means.shape == (4000, 10)
    assert means.min() >= 0
    assert means.max() < 1
    np.testing.assert_allclose(np.histogram(means, 4, (0, 1))[0] / means.size, 0.25, atol=0.01)


def test_mdp_transitions_and_rewards_follow_their_tables():
    num_envs = 40_000
    env = make_meta_env("TabularMDP-v0", num_envs)
    task = env.sample_tasks(1, generator(0, Purpose.TASKS))[0]
    env.set_tasks([task])
    start, _ = env.reset(seed=0)
    assert (start == 0).all()
    first, rewards, _, _, _ = env.step(np.full(num_envs, 3))
    second, _, _, _, _ = env.step(np.full(num_envs, 1))
    frequencies = np.bincount(first[:, 0].astype(int), minlength=10) / num_envs
    np.testing.assert_allclose(frequencies, task["transitions"][0, 3], atol=2 / np.sqrt(num_envs))
    frequencies = np.bincount(second[:, 0].astype(int), minlength=10) / num_envs
    expected = task["transitions"][0, 3] @ task["transitions"][:, 1]
    np.testing.assert_allclose(frequencies, expected, atol=2 / np.sqrt(num_envs))
    assert rewards.mean() == pytest.approx(task["rewards_mean"][0, 3], abs=4 / np.sqrt(num_envs))
    assert rewards.std() == pytest.approx(1.0, abs=4 / np.sqrt(num_envs))


def test_mdp_tasks_have_the_published_distribution():
    tasks = make_meta_env("TabularMDP-v0").sample_tasks(200, np.random.default_rng(0))
    transitions = np.array([task["transitions"] for task in tasks])
    means = np.array([task["rewards_mean"] for task in tasks])
    np.testing.assert_allclose(transitions.sum(axis=-1), 1)
    # A coordinate of Dirichlet(1) on 10 states has mean 1/10 and variance 9 / (100 * 11).
    assert transitions.var() == pytest.approx(9 / 1100, rel=0.02)
    assert means.mean() == pytest.approx(1, abs=4 / np.sqrt(means.size))
    assert means.std() == pytest.approx(1, abs=4 / np.sqrt(means.size))


def test_one_hot_observations_name_the_same_states():
    index, one_hot = (make_meta_env("TabularMDP-v0", 6, {"one_hot": flag}) for flag in (False, True))
    tasks = index.sample_tasks(2, generator(1, Purpose.TASKS))
    for env in (index, one_hot):
        env.set_tasks(tasks)
        env.reset(seed=3)
    for actions in _actions(index, 0, 10):
        states, codes = index.step(actions)[0], one_hot.step(actions)[0]
        assert codes.shape == (6, 10)
        assert states.shape == (6, 1)
        np.testing.assert_array_equal(codes.argmax(axis=-1), states[:, 0])
        np.testing.assert_array_equal(codes.sum(axis=-1), 1)


def test_navigation_pays_the_distance_after_the_clipped_move():
    env = make_meta_env("2DNavigation-v0", 3)
    goals = np.array([[0.3, 0.4], [-0.5, 0.1], [0.2, -0.2]])
    env.set_tasks([{"goal": goal} for goal in goals])
    start, _ = env.reset(seed=0)
    np.testing.assert_array_equal(start, 0)
    position = np.zeros((3, 2))
    for move in ([0.05, -0.02], [1.0, 0.03], [-7.0, 7.0]):
        observations, rewards, terminated, _, _ = env.step(np.tile(move, (3, 1)))
        position += np.clip(move, -0.1, 0.1)
        np.testing.assert_allclose(observations, position, atol=1e-6)
        np.testing.assert_allclose(rewards, -np.hypot(*(position - goals).T), rtol=1e-12)
        assert not terminated.any()


def test_navigation_terminates_only_when_both_coordinates_are_near():
    env = make_meta_env("2DNavigation-v0", 4)
    near = [[0.05, 0.05], [0.0595, 0.0405], [0.061, 0.05], [0.05, 0.039]]
    env.set_tasks([{"goal": np.array(goal)} for goal in near])
    env.reset(seed=0)
    terminated = env.step(np.full((4, 2), 0.05))[2]
    assert terminated.tolist() == [True, True, False, False]


def test_navigation_goals_fill_the_given_square():
    env = make_meta_env("2DNavigation-v0", 1, {"low": 1.0, "high": 3.0})
    goals = np.array([task["goal"] for task in env.sample_tasks(2000, np.random.default_rng(0))])
    assert goals.min() >= 1
    assert goals.max() < 3
    np.testing.assert_allclose(goals.mean(axis=0), 2, atol=0.06)


def test_a_finished_episode_waits_until_its_own_reset():
    env = make_meta_env("2DNavigation-v0", 2)
    env.set_tasks([{"goal": np.array([0.05, 0.0])}, {"goal": np.array([0.5, 0.0])}])
    env.reset(seed=0)
    move = np.array([[0.05, 0.0], [0.05, 0.0]])
    assert env.step(move)[2].tolist() == [True, False]
    observations, rewards, terminated, truncated, _ = env.step(move)
    np.testing.assert_allclose(observations, [[0.05, 0], [0.1, 0]], atol=1e-7)
    np.testing.assert_allclose(rewards, [0, -0.4])
    assert not terminated.any()
    assert not truncated.any()
    observations, _ = env.reset(options={"reset_mask": np.array([True, False])})
    np.testing.assert_allclose(observations, [[0, 0], [0.1, 0]], atol=1e-7)
    assert env.finished.tolist() == [False, False]
