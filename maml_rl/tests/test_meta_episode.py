"""Meta-episodes: episodes in a row, what is seen between them, and that nothing crosses from task to task."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maml_rl.algorithms import make_algorithm
from maml_rl.envs import check_meta_env, make_meta_env
from maml_rl.envs.meta_episode import MetaEpisodeVectorEnv, replayed_observations
from maml_rl.experiment import train
from maml_rl.tests.builders import UNEVEN, tiny_config

FAMILIES = [
    ("Bandit-K5-v0", {}),
    ("TabularMDP-v0", {"max_episode_steps": 3}),
    ("2DNavigation-v0", {"max_episode_steps": 4}),
    (UNEVEN, {"longest": 6}),
]
every_family = pytest.mark.parametrize(("name", "kwargs"), FAMILIES, ids=[name.split(":")[-1] for name, _ in FAMILIES])
EPISODES = 3


def play(name, kwargs, tasks, seeds, *, wrapped=True, num_episodes=EPISODES):
    """Meta-episodes with actions that are a function of the step; rows of step results and the environment."""
    env = make_meta_env(name, len(tasks), kwargs)
    if wrapped:
        env = MetaEpisodeVectorEnv(env, num_episodes, show_progress=True)
    env.set_tasks(tasks)
    observations, _ = env.reset(options={"rngs": [np.random.default_rng(seed) for seed in seeds]})
    rows: list[tuple[Any, ...]] = [(observations, None, None, None)]
    while not env.finished.all():
        actions = np.stack([scripted(env, len(rows))] * len(tasks))
        observations, rewards, terminated, truncated, _ = env.step(actions)
        assert not truncated.any() or not wrapped
        rows.append((observations, rewards, terminated, actions))
    return rows, env


def scripted(env, step):
    space = env.single_action_space
    return step % space.n if hasattr(space, "n") else np.full(space.shape, 0.05 * (-1) ** step, dtype=np.float32)


def drawn(name, kwargs, count=4):
    return make_meta_env(name, 1, kwargs).sample_tasks(count, np.random.default_rng(5))


@every_family
def test_a_meta_episode_is_its_episodes_in_a_row(name, kwargs):
    (task,) = drawn(name, kwargs, 1)
    rows, _ = play(name, kwargs, [task], [3])
    env = make_meta_env(name, 1, kwargs)
    env.set_tasks([task])
    width = int(np.prod(env.single_observation_space.shape or ()))
    observations, _ = env.reset(options={"rngs": [np.random.default_rng(3)]})
    np.testing.assert_array_equal(rows[0][0][:, :width], observations)
    ended = 0
    for step, (seen, rewards, terminated, actions) in enumerate(rows[1:], 1):
        expected, paid, ends, cut, _ = env.step(actions)
        done = bool((ends | cut)[0])
        ended += done
        if done and ended < EPISODES:
            expected, _ = env.reset()
        np.testing.assert_array_equal(seen[:, :width], expected.reshape(1, -1))
        np.testing.assert_array_equal(rewards, paid)
        assert seen[0, -3] == np.float32(paid[0])
        assert seen[0, -2] == done
        assert seen[0, -1] == np.float32(ended / EPISODES)
        action = seen[0, width:-3]
        if action.size == getattr(env.single_action_space, "n", None):
            assert action.argmax() == actions[0]
            assert action.sum() == 1.0
        else:
            np.testing.assert_array_equal(action, actions[0])
        assert bool(terminated[0]) == (step == len(rows) - 1)
    assert ended == EPISODES


@pytest.mark.parametrize(("name", "kwargs"), [("TabularMDP-v0", {"max_episode_steps": 3}), ("Bandit-K5-v0", {})])
def test_observations_are_replayed_from_what_happened(name, kwargs):
    rows, env = play(name, kwargs, drawn(name, kwargs, 1), [3])
    seen = np.concatenate([row[0] for row in rows])[:, :-1]  # but for the fraction that is over
    actions, rewards = (np.concatenate([row[place] for row in rows[1:]])[np.newaxis] for place in (3, 1))
    ended = seen[np.newaxis, 1:, env.done_index] > 0
    shown = seen[np.newaxis, :-1, : env.num_inputs]
    replayed = replayed_observations(shown, actions, rewards, env.single_action_space.n, ended)
    np.testing.assert_array_equal(replayed[0], seen[:-1])
    assert ended.sum() == EPISODES


@every_family
@pytest.mark.parametrize("show_progress", [True, False])
def test_the_previous_observation_is_that_in_which_the_previous_action_was_taken(name, kwargs, show_progress):
    tasks = drawn(name, kwargs)
    env = MetaEpisodeVectorEnv(
        make_meta_env(name, len(tasks), kwargs), EPISODES, show_progress=show_progress, show_previous=True
    )
    env.set_tasks(tasks)
    before, _ = env.reset(options={"rngs": [np.random.default_rng(seed) for seed in range(4)]})
    width = env.num_inputs
    assert not before[:, width:].any()
    for _ in range(2):  # nothing is left from one meta-episode to the next
        while not env.finished.all():
            active = ~env.finished
            actions = np.stack([scripted(env, 1)] * len(tasks))
            seen, *_ = env.step(actions)
            np.testing.assert_array_equal(seen[active, -width:], before[active, :width])
            before = seen
        before, _ = env.reset()
        assert not before[:, width:].any()
    plain = MetaEpisodeVectorEnv(make_meta_env(name, len(tasks), kwargs), EPISODES, show_progress=show_progress)
    assert env.done_index == plain.done_index
    assert env.single_observation_space.shape == (before.shape[1],)
    assert plain.single_observation_space.shape == (before.shape[1] - width,)


@every_family
@pytest.mark.parametrize("clip", [None, 0.2])
def test_the_change_of_reward_is_that_within_an_episode(name, kwargs, clip):
    tasks = drawn(name, kwargs)
    env = MetaEpisodeVectorEnv(
        make_meta_env(name, len(tasks), kwargs), EPISODES, reward_clip=clip, show_previous=True, reward_change_unit=0.05
    )
    env.set_tasks(tasks)
    env.reset(options={"rngs": [np.random.default_rng(seed) for seed in range(4)]})
    place, unequal = env.done_index + 1, 0
    for _ in range(2):  # nothing is left from one meta-episode to the next
        last = np.full(len(tasks), np.nan)
        while not env.finished.all():
            active = ~env.finished
            seen, rewards, *_, info = env.step(np.stack([scripted(env, env.episodes_over[0])] * len(tasks)))
            rewards = np.clip(rewards, -(clip or np.inf), clip or np.inf)
            expected = np.where(np.isnan(last), 0.0, np.clip((rewards - last) / 0.05, -3.0, 3.0))
            np.testing.assert_allclose(seen[active, place], expected[active], atol=1e-6)
            unequal += (expected[active] != 0.0).sum()
            last = np.where(info["episode_over"], np.nan, rewards)
        first, _ = env.reset()
        assert not first[:, place].any()
    assert unequal or name == "Bandit-K5-v0"  # whose episodes are single pulls
    plain = MetaEpisodeVectorEnv(make_meta_env(name, 1, kwargs), EPISODES, show_previous=True)
    assert first[:, :-1].shape == plain.reset()[0].repeat(len(tasks), axis=0).shape


@pytest.mark.parametrize("unit", [0.0, -1.0, np.nan, np.inf, 1e-320])
def test_the_unit_of_a_change_of_reward_is_positive(unit):
    with pytest.raises(ValueError, match=r"reward_change_unit: got .*, expected a number in \[1e-6, 1e6\], or none"):
        MetaEpisodeVectorEnv(make_meta_env("Bandit-K5-v0", 2), 2, reward_change_unit=unit)


@every_family
def test_before_the_first_action_there_is_nothing_to_see_of_it(name, kwargs):
    rows, env = play(name, kwargs, drawn(name, kwargs), range(4))
    width = int(np.prod(env.env.single_observation_space.shape or ()))
    assert not rows[0][0][:, width:].any()


@every_family
def test_a_task_s_meta_episode_does_not_depend_on_the_others(name, kwargs):
    tasks = drawn(name, kwargs)
    together, env = play(name, kwargs, tasks, range(4))
    np.testing.assert_array_equal(env.episodes_over, EPISODES)
    for index, task in enumerate(tasks):
        alone, _ = play(name, kwargs, [task], [index])
        for step, row in enumerate(alone):
            for part, expected in zip(together[step][:2], row[:2], strict=True):
                if expected is not None:
                    np.testing.assert_array_equal(part[index], expected[0])


def test_episodes_of_different_tasks_end_at_different_times_here():
    name, kwargs = FAMILIES[-1]
    rows, _ = play(name, kwargs, drawn(name, kwargs), range(4))
    ends = {tuple(np.flatnonzero([row[0][m, -2] for row in rows])) for m in range(4)}
    assert len(ends) > 1


def test_a_finished_meta_episode_pays_nothing_more():
    _, env = play("Bandit-K5-v0", {}, drawn("Bandit-K5-v0", {}), range(4))
    _, rewards, terminated, _, _ = env.step(np.zeros(4, dtype=np.int64))
    assert not rewards.any()
    assert not terminated.any()
    np.testing.assert_array_equal(env.episodes_over, EPISODES)


def test_a_meta_episode_has_at_least_one_episode():
    with pytest.raises(ValueError, match="num_episodes: got 0, expected at least 1"):
        MetaEpisodeVectorEnv(make_meta_env("Bandit-K5-v0", 2), 0)


def test_meta_episodes_of_a_family_are_a_family():
    env = make_meta_env("MetaEpisode-v0", 2, {"env_name": "Bandit-K5-v0", "num_episodes": 3})
    assert isinstance(env, MetaEpisodeVectorEnv)
    check_meta_env(env)
    assert env.single_observation_space.shape == (1 + 5 + 2,)
    with pytest.raises(ValueError, match=r"MetaEpisodeFamily needs env_name, num_episodes"):
        make_meta_env("MetaEpisode-v0")
    with pytest.raises(ValueError, match=r"num_episodes: got 0, expected at least 1"):
        make_meta_env("MetaEpisode-v0", 1, {"env_name": "Bandit-K5-v0", "num_episodes": 0})
    with pytest.raises(ValueError, match=r"unknown environment 'Bandit-K6-v0'; did you mean"):
        make_meta_env("MetaEpisode-v0", 1, {"env_name": "Bandit-K6-v0", "num_episodes": 2})


def test_maml_adapts_a_memory_in_meta_episodes():
    config = tiny_config(
        "MetaEpisode-v0",
        env_kwargs={"env_name": "Bandit-K5-v0", "num_episodes": 6},
        policy="lstm",
        memory_scope="task",
        num_batches=1,
    )
    algorithm = make_algorithm(config)
    assert np.abs(train(algorithm, num_workers=1) - algorithm.initial_parameters()).max() > 0


def test_rewards_are_cut_where_they_are_seen_but_not_where_they_are_paid():
    name, kwargs = "2DNavigation-v0", {"max_episode_steps": 4}
    tasks, rows = drawn(name, kwargs), {}
    for clip in (None, 0.2):
        env = MetaEpisodeVectorEnv(make_meta_env(name, 4, kwargs), 2, reward_clip=clip)
        env.set_tasks(tasks)
        env.reset(options={"rngs": [np.random.default_rng(seed) for seed in range(4)]})
        rows[clip] = [env.step(np.full((4, 2), 0.05))[:2] for _ in range(8)]
    for (whole, paid), (seen, as_much) in zip(rows[None], rows[0.2], strict=True):
        np.testing.assert_array_equal(as_much, paid)
        whole[:, -2] = np.clip(whole[:, -2], -0.2, 0.2)
        np.testing.assert_array_equal(seen, whole)
    assert any((paid < -0.2).any() for _, paid in rows[None])
