"""Hidden parts of tasks: orders of observations and actions, and switches in mid-life."""

from __future__ import annotations

import inspect
from itertools import permutations, product
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from maml_rl.envs import MetaEpisodeVectorEnv, check_meta_env, make_meta_env, make_tensor_env
from maml_rl.envs.family_modules import load_family
from maml_rl.envs.hidden_tasks import HiddenTaskEnv
from maml_rl.envs.signed_orders import draw_order, identity, is_held_out
from maml_rl.envs.task_table import task_table
from maml_rl.utils.random import Purpose, generator

FAMILIES = [
    name
    for name, spec in gym.registry.items()
    if str(spec.kwargs.get("family")).startswith("maml_rl.envs.control")
    and issubclass(load_family(spec.kwargs["family"], None), HiddenTaskEnv)
]
EVERYTHING: dict[str, Any] = {"permutations": "train", "switch_probability": 0.5, "switch_range": [3, 12]}
every_family = pytest.mark.parametrize("name", FAMILIES)
LIVES = 3


def streams(num_lives=LIVES, seed=0):
    return [generator(seed, Purpose.ENVIRONMENT, task=life) for life in range(num_lives)]


def tensors(name, num_lives=LIVES, num_individuals=2, **kwargs) -> Any:
    return make_tensor_env(name, (num_individuals, num_lives), kwargs, dtype=torch.float64)


def random_actions(env, num_steps, seed=1):
    """(T, P, L, A*)."""
    rng, shape = np.random.default_rng(seed), (num_steps, env.num_individuals, env.num_lives)
    if isinstance(env.single_action_space, gym.spaces.Discrete):
        return torch.from_numpy(rng.integers(env.single_action_space.n, size=shape))
    return torch.from_numpy(rng.uniform(-1, 1, (*shape, *env.single_action_space.shape)))


def roll_out(env, tasks, actions):
    """Observations (T + 1, P, L, O) and rewards (T, P, L); episodes that end begin anew."""
    env.set_tasks(tasks)
    observations, rewards = [env.reset(options={"rngs": streams(env.num_lives)})[0]], []
    for action in actions:
        observed, reward, *_ = env.step(action)
        if bool(env.finished.any()):
            observed, _ = env.reset(options={"reset_mask": env.finished})
        observations.append(observed)
        rewards.append(reward)
    return torch.stack(observations), torch.stack(rewards)


def test_there_are_four_such_families():
    assert set(FAMILIES) >= {"CartPoleControl-v0", "PendulumSwingUp-v0", "DoublePendulum-v0", "FoodWorld-v0"}


@pytest.mark.parametrize("size", [3, 4])
def test_about_a_quarter_of_all_orders_is_held_out(size):
    signs = list(product((1, -1), repeat=size))
    every = [
        [s * i for s, i in zip(row, order, strict=True)] for order in permutations(identity(size)) for row in signs
    ]
    held_out = [order for order in every if is_held_out(order)]
    assert len(held_out) / len(every) == pytest.approx(0.25, abs=0.03)
    assert identity(size) not in held_out
    rng = np.random.default_rng(0)
    drawn = {part: {tuple(draw_order(size, rng, part)) for _ in range(4000)} for part in ("train", "held-out", "all")}
    assert drawn["held-out"] == set(map(tuple, held_out))
    assert drawn["train"] | drawn["held-out"] == drawn["all"] == set(map(tuple, every))
    assert not drawn["train"] & drawn["held-out"]


def test_these_orders_are_held_out_for_ever():
    orders = [[2, 1, 3], [-1, -2, 3], [1, 2, -3], [2, 3, 1], [3, 2, 1, 4], [4, 3, 2, 1]]
    assert [is_held_out(order) for order in orders] == [True, True, False, True, True, True]


@every_family
def test_splits_draw_orders_that_others_never_see(name):
    envs = {split: tensors(name, permutations=split) for split in ("train", "held-out", "all")}
    orders = {}
    for split, env in envs.items():
        assert env.splits == ("train", "held-out", "all")
        assert env.split == split
        tasks = env.sample_tasks(60, generator(0, Purpose.TASKS))
        np.testing.assert_array_equal(
            env.task_features(tasks),
            envs["train"].task_features(envs["train"].sample_tasks(60, generator(0, Purpose.TASKS), split=split)),
        )
        orders[split] = {is_held_out(task["observation_order"]) for task in tasks}
    assert orders == {"train": {False}, "held-out": {True}, "all": {False, True}}
    assert tensors(name).splits == ("train",)


@every_family
def test_hidden_parts_move_no_other_field(name):
    plain = tensors(name).sample_tasks(20, generator(0, Purpose.TASKS))
    whole = tensors(name, **EVERYTHING).sample_tasks(20, generator(0, Purpose.TASKS))
    for task, more in zip(plain, whole, strict=True):
        assert {key: more[key] for key in task} == task
        assert set(more) - set(task) == {"observation_order", "action_order", "switch_step", "after"}


@every_family
def test_an_order_permutes_what_is_seen_and_done_and_nothing_else(name):
    env = tensors(name, 1)
    size = env.single_observation_space.shape[0]
    order = [-size, *range(1, size)]
    task = env.default_task()
    discrete = isinstance(env.single_action_space, gym.spaces.Discrete)
    action_order = [2, 1] if discrete else [-i for i in reversed(identity(env.single_action_space.shape[0]))]
    actions = random_actions(env, 25)
    done = 1 - actions if discrete else -actions.flip(-1)
    seen, rewards = roll_out(env, [task], done)
    permuted, same = roll_out(env, [{**task, "observation_order": order, "action_order": action_order}], actions)
    assert torch.equal(same, rewards)
    assert torch.equal(permuted[..., 0], -seen[..., -1])
    assert torch.equal(permuted[..., 1:], seen[..., :-1])


@every_family
def test_each_life_has_its_own_order(name):
    env = tensors(name, LIVES, permutations="all")
    tasks = env.sample_tasks(LIVES, generator(3, Purpose.TASKS))
    actions = random_actions(env, 10)
    seen, rewards = roll_out(env, tasks, actions)
    for life, task in enumerate(tasks):
        env.set_tasks([task])
        alone, paid = roll_out(env, [task], actions[:, :, life : life + 1].expand_as(actions))
        assert torch.equal(alone[0, :, life], seen[0, :, life])
        torch.testing.assert_close(paid[:, :, life], rewards[:, :, life], rtol=0, atol=1e-12)


@every_family
def test_a_switch_comes_after_its_step_of_the_life_whatever_the_episode(name):
    env = tensors(name, 1, 2, max_episode_steps=8)
    before = env.default_task()
    after = {env.switched_sign: -1}
    actions = random_actions(env, 30)
    reference, paid = roll_out(env, [before], actions)
    switched, rewards = roll_out(env, [{**before, "switch_step": 13, "after": after}], actions)
    assert torch.equal(switched[:14], reference[:14])  # what is observed before step 13 (from 0) has been made
    assert torch.equal(rewards[:13], paid[:13])
    assert not torch.equal(switched[14:], reference[14:]) or not torch.equal(rewards[13:], paid[13:])
    whole, all_paid = roll_out(env, [{**before, **after}], actions)
    changed, rewarded = roll_out(env, [{**before, "switch_step": 0, "after": after}], actions)
    assert torch.equal(changed, whole)
    assert torch.equal(rewarded, all_paid)


@every_family
def test_a_switch_that_changes_nothing_is_not_seen(name):
    env = tensors(name)
    task = env.default_task()
    actions = random_actions(env, 20)
    plain = roll_out(env, [task], actions)
    for more in ({"switch_step": 5, "after": {}}, {"switch_step": None}, {"switch_step": 5}):
        for one, other in zip(plain, roll_out(env, [{**task, **more}], actions), strict=True):
            assert torch.equal(one, other)


@every_family
def test_the_fraction_of_tasks_that_switch_and_when(name):
    env = tensors(name, switch_probability=0.25, switch_range=[10, 12])
    tasks = env.sample_tasks(2000, generator(0, Purpose.TASKS))
    steps = [task["switch_step"] for task in tasks if task["switch_step"] is not None]
    assert len(steps) / 2000 == pytest.approx(0.25, abs=0.04)
    assert set(steps) == {10, 11, 12}
    for task in tasks:
        turned = task["after"][env.switched_sign] == -task[env.switched_sign]
        assert turned == (task["switch_step"] is not None)


@every_family
def test_families_with_hidden_parts_keep_the_contract(name):
    env = make_meta_env(name, 4, {**EVERYTHING, "max_episode_steps": 40})
    check_meta_env(env)
    check_meta_env(MetaEpisodeVectorEnv(make_meta_env(name, 4, {**EVERYTHING, "max_episode_steps": 10}), 2))
    tasks = env.sample_tasks(6, generator(0, Purpose.TASKS))
    features = env.task_features(tasks)
    assert np.isfinite(features).all()
    assert features.shape[1] == env.task_features([env.default_task()]).shape[1]
    table, fields = task_table(tasks)
    assert table.dtype == np.float64
    assert f"after.{env.env.switched_sign}" in fields  # type: ignore[attr-defined]


@every_family
def test_every_keyword_of_hidden_parts_is_the_familys(name):
    legal = inspect.signature(load_family(gym.registry[name].kwargs["family"], None)).parameters
    assert legal.keys() >= {"permutations", "switch_probability", "switch_range", "render_mode", "flip_probability"}


@pytest.mark.parametrize(
    ("env_kwargs", "message"),
    [
        ({"permutations": "some"}, r"env-kwargs.permutations: got 'some', expected "),
        ({"switch_probability": 1.5}, r"switch_probability: got 1.5, expected a probability$"),
        ({"switch_range": [5, 2]}, r"switch_range: got \(5.*, 2.*\), expected whole numbers with 0 <= low <= high$"),
        ({"render_mode": "human"}, r"render_mode: got 'human', expected 'rgb_array' or None$"),
    ],
)
def test_wrong_keywords_are_named_in_one_line(env_kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_meta_env("CartPoleControl-v0", 1, env_kwargs)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (
            {"observation_order": [1, 2, 3]},
            r"\['observation_order'\]: got \[1, 2, 3\], expected a signed perm.* 1 to 4$",
        ),
        ({"action_order": [1, -2]}, r"\['action_order'\]: got a negative index, expected none for discrete actions$"),
        ({"after": {"goal": 1}}, r"task\['after'\]: got \['goal'\], expected some of length, "),
        ({"after": {"sign": 3}}, r"task: got .*, expected numbers > 0 and a sign of 1 or -1$"),
    ],
)
def test_impossible_hidden_parts_are_named_in_one_line(part, message):
    env = tensors("CartPoleControl-v0", 1)
    with pytest.raises(ValueError, match=message):
        env.set_tasks([{**env.default_task(), **part}])


@pytest.mark.gpu
@every_family
def test_a_device_gives_the_same_lives(name):
    kwargs = {**EVERYTHING, "max_episode_steps": 15}
    host, device = (
        make_tensor_env(name, (2, LIVES), kwargs, dtype=torch.float64, device=where) for where in ("cpu", "cuda")
    )
    tasks, actions = host.sample_tasks(LIVES, generator(0, Purpose.TASKS)), random_actions(host, 40)
    for one, other in zip(roll_out(host, tasks, actions), roll_out(device, tasks, actions.cuda()), strict=True):
        assert other.device.type == "cuda"
        torch.testing.assert_close(other.cpu(), one, rtol=0, atol=1e-8)
