"""The informative arm tells which arm is the best, and nothing else pays for it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from maml_rl.envs import make_meta_env
from maml_rl.tests.sampling import SIGNIFICANCE, started


def test_by_default_an_episode_has_the_published_length():
    env, _ = started("InformativeArm-v0", 3)
    for pull in range(1, 6):
        observations, _, terminated, _, _ = env.step(np.zeros(3, dtype=int))
        np.testing.assert_array_equal(terminated, pull == 5)
        np.testing.assert_allclose(observations, pull / 5, rtol=1e-6)


def test_the_informative_arm_names_the_best_one():
    env, tasks = started("InformativeArm-v0", 500)
    told = env.step(np.full(500, 10))[1]
    target = np.rint(10 * told).astype(int) - 1
    np.testing.assert_array_equal(target, [task["target"] for task in tasks])
    total = told + sum(env.step(target)[1] for _ in range(4))
    np.testing.assert_allclose(total, told + 20.0)
    assert env.finished.all()
    assert stats.chisquare(np.bincount(target, minlength=10)).pvalue > SIGNIFICANCE


def test_arms_that_are_neither_target_nor_informative_pay_alike():
    env = make_meta_env("InformativeArm-v0", 5, {"num_candidates": 4, "target_reward": 3.0, "other_reward": 0.5})
    env.set_tasks([{"target": 2}])
    env.reset(seed=0)
    np.testing.assert_allclose(env.step(np.arange(5))[1], [0.5, 0.5, 3.0, 0.5, 0.75])


@pytest.mark.parametrize(
    ("env_name", "task", "message"),
    [
        ("InformativeArm-v0", {"target": 10}, r"task\['target'\]: got 10, expected 0 to 9"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(env_name, task, message):
    with pytest.raises(ValueError, match=message):
        make_meta_env(env_name, 2).set_tasks([task])


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "message"),
    [
        ("InformativeArm-v0", {"num_candidates": 1}, r"num_candidates: got 1, expected at least 2"),
        ("InformativeArm-v0", {"other_reward": 5.0}, r"target_reward: got 5.0, expected more than 5.0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(env_name, env_kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_meta_env(env_name, 1, env_kwargs)
    assert "\n" not in str(caught.value)
