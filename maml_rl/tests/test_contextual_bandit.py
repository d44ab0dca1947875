"""The contextual bandit brings every context back as often as it says, and each keeps its best arm."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from maml_rl.envs import MetaEpisodeVectorEnv, make_meta_env
from maml_rl.tests.sampling import SIGNIFICANCE, consistent, started
from maml_rl.utils.random import Purpose, generator

ENV = "ContextualBandit-v0"
SMALL = {"k": 3, "num_pulls": 4, "num_contexts": 3, "exposures": 2, "bits": 4}


def tasks_of(num_tasks, env_kwargs=None):
    """Codes (M, C, bits), best arms (M, C) and orders (M, E) of new tasks."""
    tasks = make_meta_env(ENV, 1, env_kwargs).sample_tasks(num_tasks, generator(0, Purpose.TASKS))
    return tuple(np.stack([task[key] for task in tasks]) for key in ("codes", "best", "order"))


def roll_out(env, rng):
    """Observations (N, E, P, bits), arms and rewards (N, E, P) of random pulls on whole tasks, from episode 0 on."""
    episodes = []
    for episode in range(env.episodes_per_task):
        observation, _ = env.reset(**({"seed": 0} if episode == 0 else {}))
        steps = []
        while not env.finished.all():
            arms = rng.integers(env.k, size=env.num_envs)
            following, rewards, terminated, _, _ = env.step(arms)
            steps.append((observation, arms, rewards))
            observation = following
            assert terminated.all() == (len(steps) == env.num_pulls)
        episodes.append([np.stack(part, axis=1) for part in zip(*steps, strict=True)])
    return tuple(np.stack(part, axis=1) for part in zip(*episodes, strict=True))


def test_contexts_differ_and_each_comes_as_often_as_the_others():
    codes, _, order = tasks_of(50)
    assert set(np.unique(codes)) == {-1, 1}
    assert all(len(np.unique(task, axis=0)) == 10 for task in codes)
    counts = (order[..., np.newaxis] == np.arange(10)).sum(axis=1)
    np.testing.assert_array_equal(counts, 10)


def test_codes_best_arms_and_order_are_uniform():
    codes, best, order = tasks_of(400, {"num_contexts": 4, "exposures": 3, "bits": 3, "k": 5})
    numbers = ((codes + 1) // 2) @ [1, 2, 4]
    for values, number in ((numbers, 8), (best, 5)):
        assert stats.chisquare(np.bincount(values.ravel(), minlength=number)).pvalue > SIGNIFICANCE
    pairs = np.bincount(5 * best[:, 0] + best[:, 1], minlength=25)  # best arms of two contexts do not know each other
    assert stats.chisquare(pairs).pvalue > SIGNIFICANCE
    for place in (0, 5, 11):
        assert stats.chisquare(np.bincount(order[:, place], minlength=4)).pvalue > SIGNIFICANCE
    again = (order[:, 1:] == order[:, :-1]).sum()
    assert consistent(again, order[:, 1:].size, 2 / 11)


def test_an_episode_shows_its_context_throughout_and_pays_by_its_best_arm():
    env, tasks = started(ENV, 150, SMALL)
    observations, arms, rewards = roll_out(env, generator(0, Purpose.ACTIONS))
    codes, best, order = (np.stack([task[key] for task in tasks]) for key in ("codes", "best", "order"))
    shown = np.take_along_axis(codes, order[..., np.newaxis], axis=1)  # (M, E, bits)
    np.testing.assert_array_equal(observations, np.repeat(shown[:, :, np.newaxis], 4, axis=2))
    chosen_best = arms == np.take_along_axis(best, order, axis=1)[..., np.newaxis]
    for found, probability in ((rewards[chosen_best], 0.9), (rewards[~chosen_best], 0.1)):
        assert consistent(found.sum(), found.size, probability)


def test_after_the_last_episode_of_a_task_the_order_begins_again():
    env, tasks = started(ENV, 4, SMALL)
    found = [env.contexts]
    for _ in range(7):
        env.reset()
        found.append(env.contexts)
    order = np.stack([task["order"] for task in tasks])
    np.testing.assert_array_equal(np.stack(found, axis=1), np.concatenate([order, order[:, :2]], axis=1))


@pytest.mark.parametrize("begin_anew", [lambda env: env.reset(seed=3), lambda env: env.set_tasks(env.tasks)])
def test_new_generators_or_tasks_begin_with_the_first_episode(begin_anew):
    env, tasks = started(ENV, 3, SMALL)
    env.reset()
    begin_anew(env)
    if env.finished.all():
        env.reset()
    np.testing.assert_array_equal(env.contexts, [task["order"][0] for task in tasks])


def test_a_masked_reset_moves_the_other_rows_on_by_nothing():
    env, tasks = started(ENV, 4, SMALL)
    env.step(np.zeros(4, dtype=int))
    before = env._observations.copy()
    observations, _ = env.reset(options={"reset_mask": np.array([True, False, True, False])})
    places = [1, 0, 1, 0]
    np.testing.assert_array_equal(env.contexts, [task["order"][e] for task, e in zip(tasks, places, strict=True)])
    np.testing.assert_array_equal(observations[[1, 3]], before[[1, 3]])
    best = [task["best"][task["order"][e]] for task, e in zip(tasks, places, strict=True)]
    np.testing.assert_array_equal(env.best_arms, best)


def test_a_meta_episode_goes_through_the_order_of_its_task():
    env = MetaEpisodeVectorEnv(make_meta_env(ENV, 5, SMALL), 6)
    env.set_tasks(env.sample_tasks(5, generator(1, Purpose.TASKS)))
    rollouts = []
    for _ in range(2):
        observation, _ = env.reset(options={"rngs": [generator(1, Purpose.ENVIRONMENT, task=m) for m in range(5)]})
        steps = []
        while not env.finished.all():
            steps.append(observation)
            observation = env.step(np.zeros(5, dtype=int))[0]
        rollouts.append(np.stack(steps, axis=1))  # (N, T, O)
    np.testing.assert_array_equal(rollouts[0], rollouts[1])  # the second meta-episode begins anew
    codes, order = (np.stack([task[key] for task in env.tasks]) for key in ("codes", "order"))
    shown = np.take_along_axis(codes, order[..., np.newaxis], axis=1)
    np.testing.assert_array_equal(rollouts[0][..., :4], np.repeat(shown, 4, axis=1))


def _task(**changes):
    return make_meta_env(ENV, 1, SMALL).default_task() | changes


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (_task(codes=np.zeros((3, 4))), r"task\['codes'\]: got shape \(3, 4\), expected numbers -1 and 1"),
        (_task(codes=np.ones((2, 4))), r"task\['codes'\]: got shape \(2, 4\), .* of shape \(3, 4\)"),
        (_task(codes=np.ones((3, 4))), r"task\['codes'\]: got two contexts with the same code"),
        (_task(best=[0, 1, 3]), r"task\['best'\]: got \[0, 1, 3\], expected 3 whole numbers from 0 to 2"),
        (_task(order=[0, 1, 2]), r"task\['order'\]: got \(3,\), expected 6 whole numbers from 0 to 2"),
        (_task(order=[0.0, 1, 2, 0, 1, 2]), r"task\['order'\]: got \[0.0, 1.0, .* expected 6 whole numbers"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(task, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_meta_env(ENV, 2, SMALL).set_tasks([task])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("env_kwargs", "message"),
    [
        ({"k": 1}, r"k: got 1, expected at least 2"),
        ({"exposures": 0}, r"exposures: got 0, expected at least 1"),
        ({"bits": 3}, r"num_contexts: got 10 contexts, expected at most 8 with bits = 3"),
        ({"bits": 63}, r"bits: got 63, expected at most 62"),
        ({"best_probability": 0.1}, r"best_probability, other_probability: got 0.1, 0.1, expected 0 <= other < best"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(env_kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_meta_env(ENV, 1, env_kwargs)
    assert "\n" not in str(caught.value)
