"""Two arms that tell of each other have the published probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from maml_rl.envs import make_meta_env
from maml_rl.tests.sampling import SIGNIFICANCE, consistent, started
from maml_rl.utils.random import Purpose, generator

TWO_ARMED = [f"TwoArmedBandit-{arms}-v0" for arms in ("Uniform", "Easy", "Medium", "Hard", "Independent")]


@pytest.mark.parametrize("env_name", TWO_ARMED)
def test_by_default_an_episode_has_the_published_length(env_name):
    env, _ = started(env_name, 3)
    for pull in range(1, 101):
        observations, _, terminated, _, _ = env.step(np.zeros(3, dtype=int))
        np.testing.assert_array_equal(terminated, pull == 100)
        np.testing.assert_allclose(observations, pull / 100, rtol=1e-6)


@pytest.mark.parametrize(
    ("env_name", "values"), [("Easy", [0.1, 0.9]), ("Medium", [0.25, 0.75]), ("Hard", [0.4, 0.6]), ("Uniform", None)]
)
def test_dependent_arms_sum_to_one_and_have_the_published_probabilities(env_name, values):
    env = make_meta_env(f"TwoArmedBandit-{env_name}-v0")
    means = np.array([task["mean"] for task in env.sample_tasks(2000, generator(0, Purpose.TASKS))])
    np.testing.assert_allclose(means.sum(axis=1), 1.0)
    if values is None:
        assert stats.kstest(means[:, 0], "uniform").pvalue > SIGNIFICANCE
    else:
        assert np.isin(means[:, 0], values).all()
        assert consistent((means[:, 0] == values[0]).sum(), 2000, 0.5)


def test_independent_arms_are_uncorrelated():
    tasks = make_meta_env("TwoArmedBandit-Independent-v0").sample_tasks(2000, generator(0, Purpose.TASKS))
    means = np.array([task["mean"] for task in tasks])
    assert abs(np.corrcoef(means.T)[0, 1]) < 4 / np.sqrt(2000)
    assert stats.kstest(means.ravel(), "uniform").pvalue > SIGNIFICANCE


@pytest.mark.parametrize("env_name", TWO_ARMED)
def test_both_arms_pay_with_their_probability_all_through_the_episode(env_name):
    env: Any = make_meta_env(env_name, 200)
    env.set_tasks([{"mean": np.array([0.2, 0.7])}])
    env.reset(seed=0)
    arms = np.arange(200) % 2
    rewards = np.stack([env.step(arms)[1] for _ in range(100)])  # (T, N)
    for arm, probability in ((0, 0.2), (1, 0.7)):
        for half in (rewards[:50], rewards[50:]):
            paid = half[:, arms == arm]
            assert consistent(paid.sum(), paid.size, probability)
    np.testing.assert_array_equal(env.arm_means, np.tile([0.2, 0.7], (200, 1)))


@pytest.mark.parametrize(
    ("env_name", "task", "message"),
    [
        ("TwoArmedBandit-Easy-v0", {"mean": np.array([0.5, 1.5])}, r"task\['mean'\]: got numbers outside \[0, 1\]"),
        ("TwoArmedBandit-Easy-v0", {"mean": np.zeros(3)}, r"task\['mean'\]: got shape \(3,\), expected \(2,\)"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(env_name, task, message):
    with pytest.raises(ValueError, match=message):
        make_meta_env(env_name, 2).set_tasks([task])


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "message"),
    [
        ("TwoArmedBandit-Easy-v0", {"arms": "simple"}, r"arms: got 'simple', expected one of uniform, easy, medium"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(env_name, env_kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_meta_env(env_name, 1, env_kwargs)
    assert "\n" not in str(caught.value)
