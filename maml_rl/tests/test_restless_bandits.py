"""Restless arms move as fast as the volatility of the block says."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from maml_rl.envs import make_meta_env
from maml_rl.tests.sampling import SIGNIFICANCE, consistent, started
from maml_rl.utils.random import Purpose, generator

RESTLESS = ["RestlessBandit-Reversal-v0", "RestlessBandit-RandomWalk-v0"]


@pytest.mark.parametrize("env_name", RESTLESS)
def test_an_episode_ends_after_its_last_pull_and_shows_the_time(env_name):
    for env_kwargs, length in (({}, 100), ({"num_pulls": 7}, 7)):
        env, _ = started(env_name, 3, env_kwargs)
        for pull in range(1, length + 1):
            observations, _, terminated, _, _ = env.step(np.zeros(3, dtype=int))
            np.testing.assert_array_equal(terminated, pull == length)
            np.testing.assert_allclose(observations, pull / length, rtol=1e-6)


def test_reversals_come_as_often_as_the_volatility_of_the_block_says():
    kwargs = {"low_volatility": 0.02, "high_volatility": 0.2, "num_blocks": 4, "good_probability": 0.7}
    env, tasks = started("RestlessBandit-Reversal-v0", 400, kwargs)
    means = [env.arm_means]
    rewards = []
    for _ in range(100):
        rewards.append(env.step(np.zeros(400, dtype=int))[1])
        means.append(env.arm_means)
    probabilities = np.stack(means)[..., 0]  # (T + 1, N)
    np.testing.assert_array_equal(np.stack(means).sum(axis=-1), 1.0)
    np.testing.assert_allclose(np.unique(probabilities.round(9)), [0.3, 0.7])
    np.testing.assert_array_equal(probabilities[0], [task["probability"] for task in tasks])
    reversed_ = probabilities[1:] != probabilities[:-1]
    volatility = np.repeat(np.array([task["volatility"] for task in tasks]), 25, axis=1).T  # (T, N)
    for value in (0.02, 0.2):
        chosen = reversed_[volatility == value]
        assert consistent(chosen.sum(), chosen.size, value)
    for value in (0.3, 0.7):
        paid = np.stack(rewards)[probabilities[:-1].round(9) == value]
        assert consistent(paid.sum(), paid.size, value)


def test_blocks_alternate_and_either_volatility_may_be_first():
    env = make_meta_env("RestlessBandit-Reversal-v0", 1, {"num_blocks": 3})
    volatilities = np.array([task["volatility"] for task in env.sample_tasks(500, generator(0, Purpose.TASKS))])
    first = volatilities[:, 0] == 0.03
    np.testing.assert_array_equal(volatilities[first], np.tile([0.03, 0.0, 0.03], (first.sum(), 1)))
    np.testing.assert_array_equal(volatilities[~first], np.tile([0.0, 0.03, 0.0], ((~first).sum(), 1)))
    assert consistent(first.sum(), 500, 0.5)


def test_a_random_walk_stays_uniform_and_moves_by_its_volatility():
    env, tasks = started("RestlessBandit-RandomWalk-v0", 2000)
    walk = []
    for _ in range(100):
        walk.append(env.arm_means[:, 0])
        env.step(np.zeros(2000, dtype=int))
    probabilities = np.stack(walk)  # (T, N)
    for at in (0, 50, 99):
        assert stats.kstest(probabilities[at], "uniform").pvalue > SIGNIFICANCE
    fast = np.array([task["volatility"][0] == 0.1 for task in tasks])
    inside = (probabilities[:-1] > 0.4) & (probabilities[:-1] < 0.6)  # four standard deviations from the ends
    moves = np.diff(probabilities, axis=0)
    for rows, volatility in ((fast, 0.1), (~fast, 0.02)):
        chosen = moves[:, rows][inside[:, rows]]
        assert chosen.std() == pytest.approx(volatility, rel=4 / np.sqrt(2 * chosen.size))


@pytest.mark.parametrize("env_name", RESTLESS)
def test_a_new_episode_of_a_restless_task_starts_where_the_task_says(env_name):
    env, _ = started(env_name, 20, {"low_volatility": 0.5, "high_volatility": 0.5})
    start = env.arm_means
    for _ in range(10):
        env.step(np.zeros(20, dtype=int))
    moved = env.arm_means
    assert (moved != start).any()
    mask = np.arange(20) < 10
    env.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(env.arm_means, np.where(mask[:, None], start, moved))


@pytest.mark.parametrize(
    ("env_name", "task", "message"),
    [
        (RESTLESS[0], {"probability": 1.1, "volatility": [0.0]}, r"task\['probability'\]: got .* probabilities"),
        (RESTLESS[0], {"probability": 0.5, "volatility": [0, 1]}, r"task\['volatility'\]: got shape \(2,\), .* \(1,\)"),
        (RESTLESS[1], {"probability": 0.5, "volatility": [-1.0]}, r"task\['volatility'\]: got \[-1.0\], expected num"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(env_name, task, message):
    with pytest.raises(ValueError, match=message):
        make_meta_env(env_name, 2).set_tasks([task])


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "message"),
    [
        (RESTLESS[0], {"low_volatility": 0.2}, r"low_volatility: got 0.2 with high_volatility = 0.03, expected 0 <="),
        (RESTLESS[0], {"good_probability": 0.4}, r"good_probability: got 0.4, expected a number in \[0.5, 1\]"),
        (RESTLESS[1], {"num_blocks": 101}, r"num_blocks: got 101, expected 1 to 100, the num_pulls"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(env_name, env_kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_meta_env(env_name, 1, env_kwargs)
    assert "\n" not in str(caught.value)
