"""Harlow's task: rewards follow the object, agents obtain what they must, held-out objects stay out of training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from maml_rl.envs import make_meta_env
from maml_rl.envs.behaviour.procedural_images import object_image, object_images
from maml_rl.tests.sampling import consistent, started
from maml_rl.utils.random import Purpose, generator

STRIP, FIXATION = "HarlowStrip-v0", "HarlowFixation-v0"
both = pytest.mark.parametrize("env_name", [STRIP, FIXATION])


def made(env_name: str, num_envs: int = 1, env_kwargs: dict[str, Any] | None = None) -> Any:
    """A batch, of which mypy does not know that it is one of Harlow's."""
    return make_meta_env(env_name, num_envs, env_kwargs)


def roll_out(env: Any, choose: Any, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and sides of the choices, (T, N) each, 0: no choice; `choose` tells objects (N,) from choice and reward.

    It is called with None before the first choice.
    """
    env.reset(seed=seed)
    rows, wanted = np.arange(env.num_envs), choose(None, None)
    rewards, sides = [], []
    while not env.finished.all():
        target = np.where(env.fixating, 0, 9 * env.object_sides[rows, wanted])
        actions = (target > env.gaze).astype(np.int64)
        choosing, side = ~env.fixating, 2 * actions - 1
        reward = env.step(actions)[1]
        chosen = choosing & (reward != 0)
        rewards.append(reward)
        sides.append(np.where(chosen, side, 0))
        wanted = np.where(chosen, choose(wanted, reward), wanted)
    return np.array(rewards), np.array(sides)


def with_win_stay(env):
    """Take the first object, and the other one after a loss."""

    def choose(wanted, reward):
        return np.zeros(env.num_envs, dtype=np.int64) if wanted is None else np.where(reward < 0, 1 - wanted, wanted)

    return roll_out(env, choose)


@both
def test_an_agent_that_knows_the_task_obtains_the_maximum(env_name):
    env, tasks = started(env_name, 60)
    rewarded = np.array([task["rewarded"] for task in tasks])
    rewards, _ = roll_out(env, lambda wanted, reward: rewarded)
    np.testing.assert_allclose(rewards.sum(0), 6 * 1.2)
    measured = env.step(np.zeros(60, dtype=np.int64))[4]
    for name in env.measures:
        np.testing.assert_array_equal(measured[name], 1.0)


@both
@pytest.mark.parametrize("wrong_reward", [-1.0, -0.25])
def test_an_agent_that_learns_from_one_trial_loses_only_that(env_name, wrong_reward):
    env, tasks = started(env_name, 60, {"wrong_reward": wrong_reward, "num_trials": 4})
    right_at_first = np.array([task["rewarded"] == 0 for task in tasks])
    rewards, _ = with_win_stay(env)
    np.testing.assert_allclose(rewards.sum(0), 4 * 1.2 - np.where(right_at_first, 0.0, 1.0 - wrong_reward))
    measured = env.step(np.zeros(60, dtype=np.int64))[4]
    np.testing.assert_allclose(measured["accuracy"], np.where(right_at_first, 1.0, 0.75))
    np.testing.assert_array_equal(measured["later_accuracy"], 1.0)
    assert consistent(right_at_first.sum(), 60, 0.5)


@both
def test_rewards_follow_the_object_and_sides_are_tossed_anew(env_name):
    env, tasks = started(env_name, 300)
    rewarded = np.array([task["rewarded"] for task in tasks])
    _, sides = roll_out(env, lambda wanted, reward: rewarded)
    by_trial = np.array([column[column != 0] for column in sides.T])  # (N, 6), of the rewarded object
    assert by_trial.shape == (300, 6)
    assert all(consistent((by_trial[:, trial] > 0).sum(), 300, 0.5) for trial in range(6))
    assert consistent((by_trial[:, 1:] == by_trial[:, :-1]).sum(), 1500, 0.5)
    env, _ = started(env_name, 300)  # and whoever always looks to the left is right half of the time
    outcomes: list[float] = []
    while not env.finished.all():
        reward = env.step(np.where(env.fixating & (env.gaze < 0), 1, 0))[1]
        outcomes.extend(reward[np.abs(reward) == 1.0].tolist())
    assert consistent(outcomes.count(1.0), len(outcomes), 0.5)
    assert len(outcomes) == 1800


@both
def test_a_trial_begins_beside_its_mark_at_each_place_alike(env_name):
    env, _ = started(env_name, 600)
    gaze, limit = env.gaze, env.gaze_limit
    assert env.fixating.all()
    places = [place for place in range(-limit, limit + 1) if place]
    assert all(consistent((gaze == place).sum(), 600, 1 / len(places)) for place in places)


@both
def test_held_out_objects_are_in_no_task_of_training(env_name):
    env = made(env_name)
    drawn = {
        split: {
            number
            for task in env.sample_tasks(2000, generator(0, Purpose.TASKS), split=split)
            for number in task["objects"]
        }
        for split in env.splits
    }
    assert env.splits == ("train", "held-out")
    assert not drawn["train"] & drawn["held-out"]
    for split, numbers in drawn.items():
        assert numbers <= set(env.objects_of(split).tolist())
        assert len(numbers) > 0.8 * len(env.objects_of(split))
    every = np.concatenate([env.objects_of(split) for split in env.splits])
    np.testing.assert_array_equal(np.sort(every), np.arange(1, env.num_objects + 1))
    own = made(env_name, 1, {"split": "held-out"})
    assert own.sample_tasks(9, generator(3, Purpose.TASKS)) == env.sample_tasks(
        9, generator(3, Purpose.TASKS), split="held-out"
    )


@both
def test_a_masked_reset_leaves_other_episodes_alone(env_name):
    tasks = made(env_name).sample_tasks(4, generator(0, Purpose.TASKS))
    actions = generator(0, Purpose.ACTIONS).integers(2, size=(30, 4))
    episodes = []
    for mask in (None, np.array([False, True, False, True])):
        env = made(env_name, 4)
        env.set_tasks(tasks)
        env.reset(seed=1)
        steps = []
        for index, action in enumerate(actions):
            if index == 9 and mask is not None:
                env.reset(options={"reset_mask": mask})
            steps.append(env.step(action))
        episodes.append([np.stack(column)[:, [0, 2]] for column in list(zip(*steps, strict=True))[:4]])
        episodes[-1].extend(np.stack([step[4][name] for step in steps])[:, [0, 2]] for name in env.measures)
    for alone, beside in zip(*episodes, strict=True):
        np.testing.assert_array_equal(alone, beside)


def test_the_strip_shows_mark_and_codes_where_they_are():
    env = made(STRIP, 2, {"can_stay": True})
    env.set_tasks([{"objects": [5, 1000], "rewarded": 0}])
    observations = env.reset(seed=0)[0].reshape(2, 9, 11)
    for row in (0, 1):
        np.testing.assert_array_equal(np.argwhere(observations[row]), [[4 - env.gaze[row], 0]])
    while env.fixating.any():
        actions = np.where(env.fixating, np.where(env.gaze > 0, 0, 1), 2)
        observations = env.step(actions)[0].reshape(2, 9, 11)
    for row in (0, 1):
        codes = [1, 7] if env.object_sides[row, 0] < 0 else [7, 1]
        binary = [[int(bit) for bit in reversed(f"{number:010b}")] for number in (5, 1000)]
        np.testing.assert_array_equal(observations[row, codes, 1:], binary)
        assert observations[row].sum() == np.sum(binary)
    moved = env.step(np.array([1, 1]))[0].reshape(2, 9, 11)
    np.testing.assert_array_equal(moved[:, :8], observations[:, 1:])
    assert not moved[:, 8].any()
    stayed = env.step(np.array([2, 2]))[0].reshape(2, 9, 11)
    np.testing.assert_array_equal(stayed, moved)


def test_numbers_may_stand_for_objects():
    env = made(STRIP, 1, {"codes": "number", "num_objects": 20})
    env.set_tasks([{"objects": [5, 20], "rewarded": 0}])
    env.reset(seed=0)
    while env.fixating[0]:
        observations = env.step(np.array([0 if env.gaze[0] > 0 else 1]))[0]
    seen = observations.reshape(9, 2)[:, 1]
    assert sorted(seen[seen > 0].tolist()) == [0.25, 1.0]


@pytest.mark.parametrize("size", [12, 24, 36])
def test_the_retina_shows_mark_and_textures_where_they_are(size):
    env = made(FIXATION, 3, {"size": size})
    tasks = env.sample_tasks(3, generator(0, Purpose.TASKS))
    env.set_tasks(tasks)
    env.reset(seed=0)
    third, saccade = size // 3, size // 6
    stay = np.full(3, 2)
    while env.fixating.any():
        marks = env.step(stay)[0]
        for row in np.flatnonzero(env.fixating):
            columns = np.flatnonzero(marks[row].any((0, 1)))
            middle = size // 2 - saccade * env.gaze[row]
            assert columns.min() == max(0, middle - saccade)
            assert columns.max() == min(size, middle + saccade) - 1
        env.step(np.where(env.fixating, np.where(env.gaze > 0, 0, 1), 2))
    seen = env.step(stay)[0]
    for place, task in enumerate(tasks):
        order = np.argsort(env.object_sides[place])
        left, right = (object_image(task["objects"][index], third) for index in order)
        rows = slice(third, 2 * third)
        np.testing.assert_array_equal(seen[place, :, rows, :third], left)
        np.testing.assert_array_equal(seen[place, :, rows, 2 * third :], right)
        assert not seen[place, :, :third].any()
        assert not seen[place, :, :, third : 2 * third].any()
    moved = env.step(np.ones(3, dtype=np.int64))[0]
    np.testing.assert_array_equal(moved[..., : size - saccade], seen[..., saccade:])


@pytest.mark.parametrize(("stage", "total", "chosen"), [("fixation", 6 * 0.2, 0.0), ("choice", 1.2, 1.0)])
def test_stages_ask_for_a_part_of_the_task(stage, total, chosen):
    env, tasks = started(FIXATION, 10, {"stage": stage})
    rewarded = np.array([task["rewarded"] for task in tasks])
    rewards, _ = roll_out(env, lambda wanted, reward: rewarded)
    np.testing.assert_allclose(rewards.sum(0), total)
    measured = env.step(np.zeros(10, dtype=np.int64))[4]
    np.testing.assert_array_equal(measured["fixated"], 1.0)
    np.testing.assert_array_equal(measured["chosen"], chosen)


def test_whoever_does_nothing_runs_out_of_time():
    env, _ = started(FIXATION, 2)
    for _ in range(250):
        *_, terminated, truncated, _ = env.step(np.full(2, 2))
    assert truncated.all()
    assert not terminated.any()


def test_textures_are_functions_of_their_numbers_and_far_apart():
    images = object_images(range(1, 2001), 8)
    assert images.shape == (2000, 3, 8, 8)
    assert images.dtype == np.uint8
    object_image.cache_clear()
    np.testing.assert_array_equal(object_images([1999, 3], 8), images[[1998, 2]])
    assert not object_image(3, 8).flags.writeable
    flat = images.reshape(2000, -1).astype(np.float64)
    squares = np.square(flat).sum(1)
    distances = np.maximum(squares[:, None] + squares - 2 * flat @ flat.T, 0.0) / flat.shape[1]
    np.fill_diagonal(distances, np.inf)
    assert np.sqrt(distances.min()) > 40  # root mean square difference of two pixels, of 255
    for number in range(9):  # one texture, whatever its size
        shrunk = object_image(number, 24).astype(float).reshape(3, 8, 3, 8, 3).mean((2, 4))
        assert np.corrcoef(shrunk.ravel(), object_image(number, 8).ravel())[0, 1] > 0.98


def test_a_film_shows_the_scene_with_the_gaze_in_it():
    env = made(FIXATION, 2, {"render_mode": "rgb_array"})
    env.set_tasks(env.sample_tasks(2, generator(0, Purpose.TASKS)))
    env.reset(seed=0)
    before = env.render()
    assert [(picture.shape, picture.dtype) for picture in before] == [((180, 240, 3), np.dtype(np.uint8))] * 2
    env.step(np.where(env.gaze == env.gaze_limit, 0, 1))
    assert all((one != other).any() for one, other in zip(before, env.render(), strict=True))
    with pytest.raises(ValueError, match=r"render: got render_mode None, expected 'rgb_array'; pass it to make"):
        made(FIXATION).render()


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"objects": [3, 3], "rewarded": 0}, r"task\['objects'\]: got \[3, 3\], expected two different numbers"),
        ({"objects": [0, 3], "rewarded": 0}, r"task\['objects'\]: got \[0, 3\], .* from 1 to "),
        ({"objects": [1, 3], "rewarded": 2}, r"task\['rewarded'\]: got 2, expected 0 or 1"),
    ],
)
@both
def test_a_task_that_makes_no_sense_is_refused(env_name, task, message):
    with pytest.raises(ValueError, match=message):
        made(env_name, 2).set_tasks([task])


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "message"),
    [
        (STRIP, {"num_trials": 0}, r"num_trials: got 0, expected at least 1"),
        (STRIP, {"codes": "words"}, r"codes: got 'words', expected one of 'bits', 'number'"),
        (STRIP, {"num_objects": 9}, r"num_objects: got 9, expected at least 10"),
        (STRIP, {"num_objects": 10**6}, r"num_objects: got 1000000, expected at most 100000"),
        (STRIP, {"wrong_reward": 0.5}, r"wrong_reward: got 0.5, expected a number from -1 to 0"),
        (STRIP, {"split": "test"}, r"split: got 'test', expected one of 'train', 'held-out'"),
        (FIXATION, {"stage": "all"}, r"stage: got 'all', expected one of 'fixation', 'choice', 'full'"),
        (FIXATION, {"size": 25}, r"size: got 25, expected a multiple of 6 from 12 to 96"),
        (FIXATION, {"num_objects": 2}, r"num_objects: got 2, expected at least 4"),
        (FIXATION, {"num_objects": 10**7}, r"num_objects: got 10000000, expected at most 1000000"),
        (FIXATION, {"render_mode": "human"}, r"render_mode: got 'human', expected 'rgb_array' or None"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(env_name, env_kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        made(env_name, 1, env_kwargs)
    assert "\n" not in str(caught.value)


def test_a_family_of_few_objects_has_few_tasks():
    assert made(FIXATION, 1, {"num_objects": 6}).num_distinct_tasks == 12
    assert made(STRIP, 1, {"num_objects": 10, "split": "held-out"}).num_distinct_tasks == 4
    assert made(STRIP).num_distinct_tasks is None
