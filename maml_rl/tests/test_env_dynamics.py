"""The dynamics and task distributions of bandits, tabular MDPs and navigation, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from maml_rl.envs import make_meta_env
from maml_rl.utils.random import Purpose, generator

HALVES = (slice(0, 100), slice(100, 200))


@pytest.mark.parametrize(
    ("env_name", "task", "message"),
    [
        ("Bandit-K5-v0", {"mean": np.zeros(4)}, r"task\['mean'\]: got shape \(4,\), expected \(5,\)"),
        ("2DNavigation-v0", {"goal": np.zeros(3)}, r"task\['goal'\]: got shape \(3,\), expected \(2,\)"),
        (
            "TabularMDP-v0",
            {"transitions": np.ones((10, 5, 10)), "rewards_mean": np.ones((10, 5))},
            r"task\['transitions'\]: got rows that are not probabilities",
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
    expected = np.array([task["mean"] for task in tasks])
    np.testing.assert_allclose(measured, expected, atol=4 * 0.5 / np.sqrt(num_pulls / 5))


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
    means = np.array([task["mean"] for task in make_meta_env(env_name).sample_tasks(4000, np.random.default_rng(0))])
    assert means.shape == (4000, 10)
    assert means.min() >= 0
    assert means.max() < 1
    np.testing.assert_allclose(np.histogram(means, 4, (0, 1))[0] / means.size, 0.25, atol=0.01)


def test_mdp_transitions_and_rewards_follow_their_tables():
    num_envs = 8_000
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


def test_mdps_with_fewer_states_lead_to_these_only():
    env = make_meta_env("TabularMDP-v0", 1, {"reachable_states": 3})
    transitions = np.stack([task["transitions"] for task in env.sample_tasks(4000, generator(1, Purpose.TASKS))])
    reachable = transitions.max(axis=(1, 2)) > 0  # (M, S)
    assert ((transitions > 0) == reachable[:, None, None]).all()
    np.testing.assert_allclose(transitions.sum(axis=-1), 1.0)
    assert reachable[:, 0].all()
    assert (reachable.sum(axis=1) == 3).all()
    np.testing.assert_allclose(reachable[:, 1:].mean(axis=0), 2 / 9, atol=0.03)
    assert transitions[transitions > 0].var() == pytest.approx(2 / (9 * 4), rel=0.02)  # of Dirichlet(1) over three


def test_one_hot_observations_name_the_same_states():
    index, one_hot = (make_meta_env("TabularMDP-v0", 6, {"one_hot": flag}) for flag in (False, True))
    tasks = index.sample_tasks(2, generator(1, Purpose.TASKS))
    for env in (index, one_hot):
        env.set_tasks(tasks)
        env.reset(seed=3)
    for actions in np.random.default_rng(2).integers(5, size=(10, 6)):
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
    np.testing.assert_allclose(observations, np.array([[0.0, 0.0], [0.1, 0.0]]), atol=1e-7)
    assert not env.finished.any()


def test_a_choice_is_asked_for_after_the_task_s_own_delay_and_pays_by_its_rule():
    env = make_meta_env("DelayedRecall-v0", 200, {"delay": 7, "num_cues": 3})
    tasks = [{"rule": [2, 0, 1], "delay": 4}, {"rule": [0, 1, 2], "delay": 7}]
    env.set_tasks(tasks)
    observations, _ = env.reset(seed=0)
    cues = observations[:, :3].argmax(1)
    assert set(cues.tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(observations[:, :3].sum(1), 1.0)
    right = np.concatenate([np.array(task["rule"])[cues[rows]] for task, rows in zip(tasks, HALVES, strict=True)])
    total = np.zeros(200)
    for step in range(8):
        due = np.repeat([step == 4, step == 7], 100)
        running = np.repeat([step <= 4, True], 100)
        np.testing.assert_array_equal(observations[running, 3], due[running])
        assert step == 0 or not observations[running, :3].any()
        observations, rewards, terminated, _, _ = env.step(np.where(np.arange(200) % 2, right, (right + 1) % 3))
        np.testing.assert_array_equal(terminated[running], due[running])
        total[running] += rewards[running]
    np.testing.assert_array_equal(total, np.arange(200) % 2)


def test_delays_are_log_uniform_between_their_limits():
    env = make_meta_env("DelayedRecall-v0", 1, {"delay": 63, "min_delay": 1})
    delays = np.array([task["delay"] for task in env.sample_tasks(20_000, np.random.default_rng(0))])
    octaves = np.bincount(np.log2(delays).astype(int), minlength=6) / len(delays)
    np.testing.assert_allclose(octaves, 1 / 6, atol=0.015)
    fixed = make_meta_env("DelayedRecall-v0", 1, {"delay": 5})
    assert {task["delay"] for task in fixed.sample_tasks(50, np.random.default_rng(0))} == {5}


@pytest.mark.parametrize("min_delay", [0, 8])
def test_delays_that_make_no_sense_are_refused(min_delay):
    with pytest.raises(ValueError, match=f"min_delay: got {min_delay}, expected 1 to 7"):
        make_meta_env("DelayedRecall-v0", 1, {"delay": 7, "min_delay": min_delay})
