"""Meta-World: upstream's numbers bit for bit, and none of upstream's traps."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

metaworld = pytest.importorskip("metaworld")

from maml_rl.envs import check_meta_env, make_meta_env  # noqa: E402
from maml_rl.envs.families import META_WORLD_TASKS  # noqa: E402
from maml_rl.envs.manipulation.benchmark_goals import SPLITS, TASK_NAMES, goals_of  # noqa: E402
from maml_rl.utils.random import Purpose, generator  # noqa: E402

QUICK = ("pick-place", "push")
UPSTREAM = metaworld.env_dict.ALL_V3_ENVIRONMENTS


def upstream(name, goal):
    """An environment of the package itself, with this goal."""
    env = UPSTREAM[name]()
    told = {"env_cls": UPSTREAM[name], "rand_vec": goal, "partially_observable": True}
    env.set_task(metaworld._encode_task(name, told))
    return env


def play(env, theirs, rng, num_steps):
    """Steps of the family's arms and of upstream's environments, which must have the same numbers."""
    observations, _ = env.reset(seed=0)
    for row, other in zip(observations, theirs, strict=True):
        np.testing.assert_array_equal(row, other.reset()[0].astype(np.float32))
    reached = np.zeros(len(theirs), dtype=bool)
    for _ in range(num_steps):
        actions = rng.uniform(-1.0, 1.0, (len(theirs), 4)).astype(np.float32)
        observations, rewards, terminated, _, info = env.step(actions)
        for index, other in enumerate(theirs):
            seen, reward, _, _, measured = other.step(actions[index])
            np.testing.assert_array_equal(observations[index], seen.astype(np.float32))
            assert rewards[index] == reward
            reached[index] |= bool(measured["success"])
        np.testing.assert_array_equal(info["success"], reached)
        assert not terminated.any()


def compare(task, num_arms, num_steps, num_episodes):
    env = make_meta_env(f"ML1-{task}-v0", num_arms)
    tasks = env.sample_tasks(num_arms, generator(3, Purpose.TASKS))
    env.set_tasks(tasks)
    size = UPSTREAM[f"{task}-v3"]()._random_reset_space.low.size
    theirs = [upstream(f"{task}-v3", own["goal"][0, :size]) for own in tasks]
    rng = np.random.default_rng(0)
    for _ in range(num_episodes):
        play(env, theirs, rng, num_steps)
    for other in theirs:
        other.close()


@pytest.mark.parametrize("task", QUICK)
def test_arms_in_one_simulation_are_upstreams_bit_for_bit(task):
    compare(task, num_arms=2, num_steps=30, num_episodes=2)


@pytest.mark.slow
@pytest.mark.parametrize("task", META_WORLD_TASKS)
def test_every_task_is_upstreams_bit_for_bit_over_a_thousand_steps(task):
    compare(task, num_arms=2, num_steps=250, num_episodes=2)


def test_the_families_are_upstreams_tasks():
    assert [f"{task}-v3" for task in META_WORLD_TASKS] == list(TASK_NAMES) == list(UPSTREAM)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["ML10", "ML45"])
def test_splits_have_the_tasks_of_the_benchmark(benchmark):
    env = make_meta_env(f"{benchmark}-v0")
    whole = getattr(metaworld.env_dict, f"{benchmark}_V3")
    for split in SPLITS:
        tasks = env.sample_tasks(len(whole[split]), generator(1, Purpose.TASKS), split=split)
        assert {TASK_NAMES[task["number"][0]] for task in tasks} == set(whole[split])


@pytest.mark.parametrize("task", QUICK)
def test_goals_of_the_splits_are_different_and_within_upstreams_range(task):
    train, test = (goals_of(f"{task}-v3", split, 0) for split in SPLITS)
    assert not (train[:, None] == test[None]).all(-1).any()
    space = UPSTREAM[f"{task}-v3"]()._random_reset_space
    for goals in (train, test):
        assert (space.low <= goals).all()
        assert (goals <= space.high).all()
    np.testing.assert_array_equal(train, goals_of.__wrapped__(f"{task}-v3", "train", 0))
    assert not np.array_equal(train, goals_of(f"{task}-v3", "train", 1))


@pytest.mark.slow
def test_upstreams_train_entry_point_serves_goals_of_the_test_and_ours_does_not():
    served: Any = gym.make_vec(
        "Meta-World/ML1-train", env_name="reach-v3", seed=1, meta_batch_size=1, total_tasks_per_cls=1
    )
    (task,) = served.get_attr("tasks")[0]
    served.close()
    own = metaworld.ML1("reach-v3", seed=1)
    among = [task.data in [other.data for other in tasks] for tasks in (own.train_tasks, own.test_tasks)]
    assert among == [False, True]

    env = make_meta_env("ML1-reach-v0")
    for split in SPLITS:
        drawn = {tuple(task["goal"][0]) for task in env.sample_tasks(60, generator(0, Purpose.TASKS), split=split)}
        assert drawn == set(map(tuple, goals_of("reach-v3", split, 0)))


def test_no_global_generator_decides_anything():
    before = np.random.get_state(legacy=False)  # noqa: NPY002
    goals_of.__wrapped__("reach-v3", "test", 5)
    env = make_meta_env("ML1-reach-v0", 2)
    env.set_tasks(env.sample_tasks(2, generator(0, Purpose.TASKS)))
    env.reset(seed=1)
    env.step(np.zeros((2, 4)))
    after = np.random.get_state(legacy=False)  # noqa: NPY002
    np.testing.assert_equal(before, after)


def test_every_goal_comes_before_any_comes_again():
    env = make_meta_env("ML1-reach-v0")
    goals = [tuple(task["goal"][0]) for task in env.sample_tasks(100, generator(0, Purpose.TASKS))]
    assert set(goals[:50]) == set(goals[50:]) == set(map(tuple, goals_of("reach-v3", "train", 0)))


def test_goals_that_come_back_are_told_by_their_context():
    env = make_meta_env("ML1-reach-v0", 2, {"context_bits": 6, "revisit": 3, "exposures": 2})
    check_meta_env(env)
    tasks = env.sample_tasks(2, generator(0, Purpose.TASKS))
    assert len({tuple(goal) for goal in tasks[0]["goal"]}) == 3
    env.set_tasks(tasks)
    seen = []
    for episode in range(6):
        observations, _ = env.reset(seed=0) if episode == 0 else env.reset()
        seen.append(observations)
        np.testing.assert_array_equal(observations[0, 39:], tasks[0]["codes"][tasks[0]["order"][episode]])
    for one in range(6):
        for other in range(one):
            same = tasks[0]["order"][one] == tasks[0]["order"][other]
            assert np.array_equal(seen[one][0], seen[other][0]) == same


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"task": "reech"}, r"^task: got 'reech', expected one of Meta-World's: .*; did you mean 'reach'\?$"),
        ({"task": "reach", "split": "held-out"}, "^split: got 'held-out', expected one of 'train', 'test'$"),
        ({"task": "reach", "revisit": 51}, "^revisit: got 51, expected at most 50$"),
        ({"task": "reach", "benchmark": "ML10"}, "^task: got 'reach' with benchmark ML10, expected none"),
        ({"task": "reach", "context_bits": 1, "revisit": 3}, "^revisit: got 3 contexts, expected at most 2"),
    ],
)
def test_what_is_unknown_is_refused_in_one_line(kwargs, words):
    from maml_rl.envs.manipulation.meta_world import MetaWorldVectorEnv

    with pytest.raises(ValueError, match=words):
        MetaWorldVectorEnv(1, **kwargs)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Constant.s. may be too high:UserWarning")
@pytest.mark.parametrize("task", ["plate-slide-back", "plate-slide-back-side", "plate-slide-side"])
def test_goals_that_random_actions_do_not_tell_apart_are_told_by_a_plate_that_moves(task):
    env = make_meta_env(f"ML1-{task}-v0", 2)
    assert not env.shows_tasks_to_random_actions
    env.set_tasks(env.sample_tasks(2, generator(3, Purpose.TASKS)))
    pushes = getattr(importlib.import_module("metaworld.policies"), f"Sawyer{task.title().replace('-', '')}V3Policy")()
    observations, _ = env.reset(seed=0)
    told = False
    for _ in range(100):
        actions = np.stack([pushes.get_action(observations[0])] * 2).clip(-1.0, 1.0).astype(np.float32)
        observations, rewards, *_ = env.step(actions)
        told |= rewards[0] != rewards[1]
    assert told
