"""The contextual two-step task moves, pays and switches with its probabilities, and pays again what it recalls."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maml_rl.envs import MetaEpisodeVectorEnv, make_meta_env
from maml_rl.tests.sampling import consistent
from maml_rl.utils.random import Purpose, generator

ENV = "ContextualTwoStep-v0"
OTHERS = {
    "common_probability": 0.7,
    "rich_probability": 0.6,
    "poor_probability": 0.3,
    "switch_probability": 0.2,
    "num_trials": 40,
    "bits": 6,
}


def roll_out(num_envs=150, env_kwargs=None, num_runs=1):
    """Random choices on whole tasks: a dict of arrays (N, T, ...) and the tasks."""
    env: Any = make_meta_env(ENV, num_envs, env_kwargs)
    env.reports_expected_rewards = True
    env.set_tasks(env.sample_tasks(num_envs, generator(0, Purpose.TASKS)))
    rng, trials = generator(0, Purpose.ACTIONS), []
    for trial in range(num_runs * env.num_trials):
        first, _ = env.reset(**({"seed": 0} if trial == 0 else {}))
        choices, rich, recalled = rng.integers(2, size=num_envs), env.rich_states, env.recalled_trials
        np.testing.assert_array_equal(env.trials, trial % env.num_trials)
        second, nothing, terminated, _, _ = env.step(choices)
        assert not nothing.any()
        assert not terminated.any()
        last, rewards, terminated, _, info = env.step(rng.integers(2, size=num_envs))
        assert terminated.all()
        np.testing.assert_array_equal(last, second)
        trials.append((first, choices, second, rewards, rich, recalled, info["expected_rewards"]))
    names = ("first", "choices", "second", "rewards", "rich", "recalled", "expected")
    found = {name: np.stack(part, axis=1) for name, part in zip(names, zip(*trials, strict=True), strict=True)}
    assert (found["second"][..., 1:3].sum(axis=-1) == 1).all()
    return found | {"reached": found["second"][..., 1:3].argmax(axis=-1)}, env.tasks


def reached_again(found):
    """Whether a trial reached the second state of the one it recalls, and the reward of that (N, T)."""
    recalled = np.maximum(found["recalled"], 0)
    state, reward = (np.take_along_axis(found[name], recalled, axis=1) for name in ("reached", "rewards"))
    return (found["recalled"] >= 0) & (found["reached"] == state), reward


@pytest.mark.parametrize(
    ("env_kwargs", "common", "rich", "poor", "switch"),
    [({}, 0.8, 0.9, 0.1, 0.025), (OTHERS, 0.7, 0.6, 0.3, 0.2)],
)
def test_transitions_rewards_and_switches_have_their_probabilities(env_kwargs, common, rich, poor, switch):
    found, tasks = roll_out(env_kwargs=env_kwargs)
    reached, recalled = found["reached"], found["recalled"]
    for choice in (0, 1):
        after = reached[found["choices"] == choice]
        assert consistent((after == choice).sum(), after.size, common)
    past = np.take_along_axis(reached, np.maximum(recalled, 0), axis=1)
    drawn = (recalled < 0) | (reached != past)
    for uncued in (True, False):
        for in_rich, probability in ((True, rich), (False, poor)):
            paid = found["rewards"][drawn & ((recalled < 0) == uncued) & ((reached == found["rich"]) == in_rich)]
            assert consistent(paid.sum(), paid.size, probability)
    switches = found["rich"][:, 1:] != found["rich"][:, :-1]
    assert consistent(switches.sum(), switches.size, switch)
    start = np.array([task["rich"] for task in tasks])
    np.testing.assert_array_equal(found["rich"][:, 0], start)
    assert consistent(start.sum(), start.size, 0.5)


def test_a_recalled_second_state_pays_again_for_certain():
    found, _ = roll_out(60)
    again, past = reached_again(found)
    assert 0.4 < again[:, 50:].mean() < 0.6
    np.testing.assert_array_equal(found["rewards"][again], past[again])
    np.testing.assert_array_equal(found["expected"][again], past[again])
    assert set(np.unique(found["expected"][~again])) == {0.1, 0.9}


def test_contexts_are_shown_once_in_each_half_and_zeros_stand_for_none():
    found, tasks = roll_out(20)
    first, second = found["first"], found["second"]
    np.testing.assert_array_equal(first[..., :3], np.broadcast_to([1.0, 0.0, 0.0], (20, 100, 3)))
    assert not first[:, :50, 3:].any()
    assert not second[:, 50:, 3:].any()
    codes, order = (np.stack([task[key] for task in tasks]) for key in ("codes", "order"))
    np.testing.assert_array_equal(second[:, :50, 3:], codes)
    np.testing.assert_array_equal(first[:, 50:, 3:], np.take_along_axis(codes, order[..., np.newaxis], axis=1))
    assert all(len(np.unique(task, axis=0)) == 50 for task in codes)
    np.testing.assert_array_equal(np.sort(order[:, :25]), np.tile(np.arange(25), (20, 1)))
    np.testing.assert_array_equal(np.sort(order[:, 25:]), np.tile(np.arange(25, 50), (20, 1)))
    assert len(np.unique(order, axis=0)) == 20


def test_after_the_last_trial_all_begins_anew():
    found, tasks = roll_out(60, {"num_trials": 6, "switch_probability": 1.0, "bits": 4}, num_runs=2)
    np.testing.assert_array_equal(found["recalled"][:, 6:], found["recalled"][:, :6])
    np.testing.assert_array_equal(found["first"][:, 6:], found["first"][:, :6])
    start = np.array([task["rich"] for task in tasks])
    np.testing.assert_array_equal(found["rich"], np.abs(start[:, np.newaxis] - np.tile([0, 1], 6)))
    run = {name: found[name][:, 6:] for name in ("reached", "rewards", "recalled")}
    again, past = reached_again(run)
    np.testing.assert_array_equal(run["rewards"][again], past[again])  # of this run, not of the one before


def _meta_episodes(num_envs, rows):
    """Steps of meta-episodes of these tasks (T, N, ...), each with its own generator."""
    kwargs = {"num_trials": 8, "bits": 4, "switch_probability": 0.3}
    env = MetaEpisodeVectorEnv(make_meta_env(ENV, len(rows), kwargs), 8)
    tasks = env.sample_tasks(num_envs, generator(2, Purpose.TASKS))
    actions = generator(2, Purpose.ACTIONS).integers(2, size=(16, num_envs))
    env.set_tasks([tasks[m] for m in rows])
    found = []
    for _ in range(2):
        rngs = [generator(2, Purpose.ENVIRONMENT, task=m) for m in rows]
        steps = [env.reset(options={"rngs": rngs})[0]]
        for now in actions:
            observations, rewards, *_ = env.step(now[rows])
            steps.append(np.concatenate([observations, rewards[:, np.newaxis]], axis=1))
        found.append(np.concatenate([steps[0], *[step[:, :-1] for step in steps[1:]]], axis=1))
        found.append(np.stack([step[:, -1] for step in steps[1:]], axis=1))
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[3])
    return np.concatenate(found[:2], axis=1)


def test_a_meta_episode_is_a_function_of_its_task_and_generator():
    together = _meta_episodes(3, [0, 1, 2])
    np.testing.assert_array_equal(together, np.concatenate([_meta_episodes(3, [m]) for m in range(3)]))


def test_a_masked_reset_leaves_the_rich_state_and_the_memory_of_others_alone():
    env: Any = make_meta_env(ENV, 4, {"num_trials": 4, "bits": 4, "switch_probability": 1.0, "common_probability": 1.0})
    env.set_tasks([{**env.default_task(), "rich": rich} for rich in (0, 1, 0, 1)])
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.zeros(4, dtype=int))
    np.testing.assert_array_equal(env.rich_states, [1, 0, 1, 0])
    mask = np.array([True, True, False, False])
    env.reset(options={"reset_mask": mask, "rngs": [np.random.default_rng(n) for n in range(4)]})
    np.testing.assert_array_equal(env.trials, [0, 0, 0, 0])
    np.testing.assert_array_equal(env.rich_states, [0, 1, 1, 0])  # the first two begin anew
    assert (env._past_second[:2] == -1).all()
    np.testing.assert_array_equal(env._past_second[2:, 0], 0)
    env.reset(options={"reset_mask": ~mask})
    np.testing.assert_array_equal(env.trials, [0, 0, 1, 1])
    np.testing.assert_array_equal(env.rich_states, [0, 1, 1, 0])


def test_an_abandoned_trial_recalls_nothing():
    env = make_meta_env(ENV, 2000, {"num_trials": 2, "bits": 2, "switch_probability": 0.0})
    env.reset(seed=0)
    env.step(np.zeros(2000, dtype=int))
    observations, _ = env.reset()
    assert observations[:, 3:].all()  # the cue is shown all the same
    states = env.step(np.zeros(2000, dtype=int))[0][:, 1:3].argmax(axis=1)
    rewards = env.step(np.zeros(2000, dtype=int))[1]
    for state, probability in ((0, 0.9), (1, 0.1)):
        assert consistent(rewards[states == state].sum(), (states == state).sum(), probability)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rich": 2}, r"task\['rich'\]: got 2, expected 0 or 1"),
        ({"codes": np.ones((2, 3))}, r"task\['codes'\]: got two contexts with the same code"),
        ({"order": [0, 2]}, r"task\['order'\]: got \[0, 2\], expected 2 whole numbers from 0 to 1"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(changes, message):
    env = make_meta_env(ENV, 2, {"num_trials": 4, "bits": 3})
    with pytest.raises(ValueError, match=message):
        env.set_tasks([env.default_task() | changes])


@pytest.mark.parametrize(
    ("env_kwargs", "message"),
    [
        ({"num_trials": 3}, r"num_trials: got 3, expected an even number of at least 2"),
        ({"bits": 4}, r"num_trials: got 50 contexts, expected at most 16 with bits = 4"),
        ({"switch_probability": 2.0}, r"switch_probability: got 2.0, expected a probability"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(env_kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_meta_env(ENV, 1, env_kwargs)
    assert "\n" not in str(caught.value)
