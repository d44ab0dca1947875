"""Every registered task family keeps the contract, however it is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

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
from maml_rl.tests.families import families
from maml_rl.utils.random import Purpose, generator


def _actions(env, seed, num_steps):
    env.single_action_space.seed(seed)
    return np.array([[env.single_action_space.sample() for _ in range(env.num_envs)] for _ in range(num_steps)])


def test_the_registry_holds_the_families_of_pytorch_maml_rl():
    bandits = {f"{kind}-K{k}-v0" for kind in ("Bandit", "GaussianBandit") for k in (5, 10, 50)}
    robots = {"HalfCheetahDir-v2", "HalfCheetahVel-v2", "AntDir-v2", "AntVel-v2", "AntPos-v1"}
    assert bandits | robots | {"TabularMDP-v0", "2DNavigation-v0"} <= set(registered_meta_envs())


@pytest.mark.parametrize("env_name", families())
def test_the_vector_environment_keeps_the_contract(env_name):
    check_meta_env(make_meta_env(env_name, num_envs=4))


@pytest.mark.filterwarnings("ignore:.*A Box observation space m..imum value is -?infinity:UserWarning")
@pytest.mark.parametrize("env_name", families())
def test_the_single_environment_passes_gymnasiums_checker(env_name):
    env = gym.make(env_name)
    check_env(env.unwrapped, skip_render_check=bool(env.metadata["render_modes"]))
    env.close()


@pytest.mark.parametrize("env_name", families())
def test_gymnasium_adds_exactly_one_time_limit(env_name):
    env: Any = gym.make(env_name)
    assert str(env).count("TimeLimit") == (gym.spec(env_name).max_episode_steps is not None)
    assert env.unwrapped.vector_env.max_episode_steps is None


def test_the_length_of_an_episode_can_be_raised_by_gymnasiums_own_keyword():
    env = gym.make("TabularMDP-v0", max_episode_steps=12)
    env.reset(seed=0)
    truncated = [env.step(0)[3] for _ in range(12)]
    assert truncated == [False] * 11 + [True]
    vector: Any = gym.make_vec("TabularMDP-v0", num_envs=2, max_episode_steps=12)
    assert vector.max_episode_steps == 12


@pytest.mark.parametrize("env_name", families())
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


@pytest.mark.parametrize("env_name", families())
def test_an_episode_is_a_function_of_its_task_and_stream_whatever_the_batch(env_name):
    tasks = make_meta_env(env_name).sample_tasks(3, generator(3, Purpose.TASKS))
    actions = _actions(make_meta_env(env_name, 3), 3, 12)
    batches = [[0, 1, 2], [0], [1], [2]]
    episodes = []
    for rows in batches:
        env = make_meta_env(env_name, len(rows))
        env.set_tasks([tasks[m] for m in rows])
        env.reset(options={"rngs": [generator(3, Purpose.ENVIRONMENT, task=m) for m in rows]})
        steps = [env.step(actions[t, rows])[:4] for t in range(len(actions))]
        episodes.append([np.stack(column) for column in zip(*steps, strict=True)])  # four of (T, N, ...)
    for together, *alone in zip(*episodes, strict=True):
        np.testing.assert_array_equal(together, np.concatenate(alone, axis=1))


@pytest.mark.parametrize("env_name", families())
def test_the_single_environment_plays_what_the_vector_environment_plays(env_name):
    single: Any = gym.make(env_name).unwrapped
    vector = make_meta_env(env_name)
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
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_an_unknown_name_is_answered_with_the_nearest_one():
    with pytest.raises(
        UnknownEnvironmentError,
        match=r"^unknown environment 'HalfCheetaDir-v2'; did you mean 'HalfCheetahDir-v2'\?$",
    ):
        make_meta_env("HalfCheetaDir-v2")


def test_a_name_may_say_which_module_registers_it():
    assert make_meta_env("maml_rl.envs:Bandit-K10-v0", 2).single_action_space == gym.spaces.Discrete(10)


def test_an_ordinary_environment_is_referred_to_the_adapter():
    with pytest.raises(UnknownEnvironmentError, match=r"'CartPole-v1' is no task family.*'AttributeSweep-v0'"):
        make_meta_env("CartPole-v1")


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "message"),
    [
        (
            "2DNavigation-v0",
            {"lw": 0},
            r"unknown keyword 'lw' .*; legal keywords: high, low.*; did you mean 'low'\?$",
        ),
        ("Bandit-K5-v0", {"family": "x"}, r"unknown keyword 'family' for BernoulliBanditVectorEnv"),
        ("Bandit-K5-v0", {"num_envs": 3}, r"unknown keyword 'num_envs'"),
        ("Bandit-K5-v0", {"k": 1}, r"k: got 1, expected at least 2 arms"),
        ("GaussianBandit-K5-v0", {"std": -1.0}, r"std: got -1.0, expected a number >= 0"),
        ("TabularMDP-v0", {"num_states": 0}, r"num_states: got 0, expected at least 1"),
        ("TabularMDP-v0", {"reachable_states": 11}, r"reachable_states: got 11, expected 1 to 10, the num_states"),
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
    for module in ("mujoco", "maml_rl.envs.mujoco.mujoco_engine", "maml_rl.envs.mujoco.half_cheetah"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "mujoco", None)
    with pytest.raises(ImportError, match=r"^HalfCheetahDirVectorEnv needs mujoco: pip install mujoco$"):
        make_meta_env("HalfCheetahDir-v2")


def _different(env, num_draws):
    tasks = env.sample_tasks(num_draws, generator(7, Purpose.TASKS))
    return {repr([(key, np.asarray(task[key]).tolist()) for key in sorted(task)]) for task in tasks}


@pytest.mark.parametrize("env_name", families())
def test_a_family_has_as_many_different_tasks_as_it_says(env_name):
    env = make_meta_env(env_name)
    number = env.num_distinct_tasks
    found = _different(env, 30 if number is None else 20 * number)
    assert len(found) == (30 if number is None else number)


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "number"),
    [
        ("DelayedRecall-v0", {"delay": 4, "min_delay": 2, "num_cues": 3}, 18),
        ("RestlessBandit-Reversal-v0", {}, 4),
        ("RestlessBandit-Reversal-v0", {"low_volatility": 0.1, "high_volatility": 0.1}, 2),
        ("RestlessBandit-RandomWalk-v0", {}, None),
        ("MetaEpisode-v0", {"env_name": "TwoStep-v0", "num_episodes": 2}, 2),
        ("AttributeSweep-v0", {"env_id": "CartPole-v1", "attributes": {"gravity": [5, 9], "length": [1, 2, 2]}}, 4),
        ("AttributeSweep-v0", {"env_id": "CartPole-v1", "attributes": {"gravity": [5, 9], "length": (1, 2)}}, None),
    ],
)
def test_keywords_decide_how_many_tasks_a_family_has(env_name, env_kwargs, number):
    env = make_meta_env(env_name, 1, env_kwargs)
    assert env.num_distinct_tasks == number
    assert len(_different(env, 20 * (number or 1))) == (20 if number is None else number)
