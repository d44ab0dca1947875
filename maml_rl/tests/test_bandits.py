"""A bandit's episode has as many pulls, and its tasks the spread, that the arguments say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from maml_rl.envs import make_meta_env
from maml_rl.tests.sampling import SIGNIFICANCE, started


@pytest.mark.parametrize("env_name", ["Bandit-K5-v0", "GaussianBandit-K5-v0"])
def test_an_episode_has_as_many_steps_as_pulls(env_name):
    for num_pulls in (1, 7):
        env = make_meta_env(env_name, 3, {"num_pulls": num_pulls})
        first, _ = env.reset(seed=0)
        for pull in range(1, num_pulls + 1):
            observations, _, terminated, truncated, _ = env.step(np.zeros(3, dtype=int))
            np.testing.assert_array_equal(terminated, pull == num_pulls)
            np.testing.assert_array_equal(observations, first)
            assert not truncated.any()


@pytest.mark.parametrize("env_name", ["Bandit-K5-v0", "GaussianBandit-K5-v0"])
def test_the_observation_may_tell_the_time(env_name):
    env = make_meta_env(env_name, 3, {"num_pulls": 4, "show_time": True})
    times = [env.reset(seed=0)[0], *(env.step(np.zeros(3, dtype=int))[0] for _ in range(4))]
    np.testing.assert_array_equal(np.stack(times)[..., 0], np.tile([0.0, 0.25, 0.5, 0.75, 1.0], (3, 1)).T)


def test_gaussian_tasks_may_differ_in_their_standard_deviation():
    env, tasks = started("GaussianBandit-K5-v0", 300, {"low": -2.0, "high": 4.0, "std": 0.5, "max_std": 2.0})
    means, stds = np.array([task["mean"] for task in tasks]), np.array([task["std"] for task in tasks])
    assert stats.kstest(means.ravel(), "uniform", (-2, 6)).pvalue > SIGNIFICANCE
    assert stats.kstest(stds, "uniform", (0.5, 1.5)).pvalue > SIGNIFICANCE
    env = make_meta_env("GaussianBandit-K5-v0", 300, {"num_pulls": 50})
    env.set_tasks(tasks)
    env.reset(seed=0)
    rewards = np.stack([env.step(np.full(300, 2))[1] for _ in range(50)])
    assert env.finished.all()
    assert stats.kstest(((rewards - means[:, 2]) / stds).ravel(), "norm").pvalue > SIGNIFICANCE


def test_a_gaussian_task_without_a_standard_deviation_has_that_of_the_arguments():
    draws = []
    for task in ({"mean": np.zeros(5)}, {"mean": np.zeros(5), "std": 0.25}):
        env = make_meta_env("GaussianBandit-K5-v0", 4, {"std": 0.25})
        env.set_tasks([task])
        env.reset(seed=0)
        draws.append(env.step(np.zeros(4, dtype=int))[1])
    np.testing.assert_array_equal(draws[0], draws[1])


@pytest.mark.parametrize(
    ("env_name", "task", "message"),
    [
        ("GaussianBandit-K5-v0", {"mean": np.zeros(5), "std": -1.0}, r"task\['std'\]: got \[-1.0, -1.0\], expected"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(env_name, task, message):
    with pytest.raises(ValueError, match=message):
        make_meta_env(env_name, 2).set_tasks([task])


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "message"),
    [
        ("Bandit-K5-v0", {"num_pulls": 0}, r"num_pulls: got 0, expected at least 1"),
        ("GaussianBandit-K5-v0", {"low": 1.0, "high": 0.5}, r"low: got 1.0 with high = 0.5, expected low <= high"),
        ("GaussianBandit-K5-v0", {"max_std": 0.5}, r"max_std: got 0.5, expected at least 1.0, the std"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(env_name, env_kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_meta_env(env_name, 1, env_kwargs)
    assert "\n" not in str(caught.value)
