"""The robots against Gymnasium's own physics and against the formulas of their rewards."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from maml_rl.envs import make_meta_env
from maml_rl.envs.mujoco.ant import AntVectorEnv
from maml_rl.envs.mujoco.mujoco_engine import MujocoVectorEnv

CHEETAHS = ["HalfCheetahDir-v2", "HalfCheetahVel-v2"]
ANTS = ["AntDir-v2", "AntVel-v2", "AntPos-v1"]
NUM_STEPS = 60


def _make(name: str, num_envs: int = 3, **kwargs) -> MujocoVectorEnv:
    env = make_meta_env(name, num_envs, {"max_episode_steps": 100, **kwargs})
    assert isinstance(env, MujocoVectorEnv)
    return env


def _reference(name: str, env: MujocoVectorEnv, row: int) -> Any:
    """Gymnasium's robot in the state of sub-environment `row`."""
    reference: Any = gym.make("Ant-v5" if name.startswith("Ant") else "HalfCheetah-v5").unwrapped
    reference.reset(seed=0)
    reference.data.qacc_warmstart[:] = 0.0
    reference.set_state(env._qpos[row].copy(), env._qvel[row].copy())
    mujoco.mj_rnePostConstraint(reference.model, reference.data)
    return reference


@pytest.mark.parametrize("name", CHEETAHS + ANTS)
def test_every_copy_moves_bit_for_bit_as_gymnasiums_robot(name):
    env = _make(name)
    env.reset(seed=3)
    references = [_reference(name, env, row) for row in range(3)]
    rng = np.random.default_rng(0)
    for _ in range(NUM_STEPS):
        actions = rng.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32)
        env.step(actions)
        for row, reference in enumerate(references):
            if env.finished[row]:
                continue
            reference.do_simulation(env.control_from_action(actions)[row], reference.frame_skip)
            np.testing.assert_array_equal(env._qpos[row], reference.data.qpos)
            np.testing.assert_array_equal(env._qvel[row], reference.data.qvel)


@pytest.mark.parametrize("name", CHEETAHS + ANTS)
def test_observation_is_pytorch_maml_rls(name):
    env = _make(name, num_envs=1)
    observation, _ = env.reset(seed=1)
    reference = _reference(name, env, 0)
    rng = np.random.default_rng(1)
    for _ in range(20):
        data = reference.data
        torso = reference.model.body("torso").id
        if name in ANTS:
            parts = [data.qpos, data.qvel, np.clip(data.cfrc_ext, -1, 1).ravel(), data.xmat[torso], data.xpos[torso]]
        else:
            parts = [data.qpos[1:], data.qvel, data.xpos[torso]]
        np.testing.assert_allclose(observation[0], np.concatenate(parts), rtol=1e-6, atol=1e-6)
        action = rng.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32)
        observation, _, terminated, _, _ = env.step(action)
        reference.do_simulation(env.control_from_action(action)[0], reference.frame_skip)
        if terminated[0]:
            return


@pytest.mark.parametrize(
    ("name", "task", "task_reward"),
    [
        ("HalfCheetahDir-v2", {"direction": -1}, lambda v, xy: -v),
        ("HalfCheetahVel-v2", {"velocity": 1.5}, lambda v, xy: -abs(v - 1.5)),
        ("AntDir-v2", {"direction": -1}, lambda v, xy: -v),
        ("AntVel-v2", {"velocity": 1.5}, lambda v, xy: 1.0 - abs(v - 1.5)),
        ("AntPos-v1", {"position": np.array([1.0, -2.0])}, lambda v, xy: 4.0 - abs(xy[0] - 1) - abs(xy[1] + 2)),
    ],
)
def test_reward_is_the_published_formula(name, task, task_reward):
    env = _make(name, num_envs=1)
    env.set_tasks([task])
    env.reset(seed=2)
    reference = _reference(name, env, 0)
    rng = np.random.default_rng(2)
    for _ in range(20):
        torso = reference.data.body("torso").xpos
        before = torso[0] if name in ANTS else reference.data.qpos[0]
        action = rng.uniform(-1.0, 1.0, env.action_space.shape).astype(np.float32)
        _, reward, terminated, _, _ = env.step(action)
        control = env.control_from_action(action)[0]
        reference.do_simulation(control, reference.frame_skip)
        after = torso[0] if name in ANTS else reference.data.qpos[0]
        expected = task_reward((after - before) / reference.dt, torso[:2])
        if name in ANTS:
            contact = np.square(np.clip(reference.data.cfrc_ext, -1, 1)).sum()
            expected += 0.05 - 0.5e-2 * np.square(control).sum() - 0.5e-3 * contact
        else:
            expected -= 0.05 * np.square(control).sum()
        assert reward[0] == pytest.approx(expected, rel=1e-9, abs=1e-9)
        if terminated[0]:
            return


@pytest.mark.parametrize("name", ANTS)
def test_ant_episode_terminates_exactly_when_the_torso_leaves_the_healthy_range(name):
    env = _make(name, num_envs=20)
    assert isinstance(env, AntVectorEnv)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    seen = 0
    for _ in range(NUM_STEPS):
        active = ~env.finished
        _, _, terminated, _, _ = env.step(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32))
        height = env._qpos[:, 2]
        np.testing.assert_array_equal(terminated, active & ((height < 0.2) | (height > 1.0)))
        seen += int(terminated.sum())
    assert seen > 0


def test_state_that_is_not_finite_ends_the_ants_episode():
    env = _make("AntDir-v2", num_envs=2)
    env.reset(seed=0)
    env._qvel[1, 0] = np.nan
    _, terminated = env._outcome(np.zeros((2, 8)))
    assert terminated.tolist() == [False, True]


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_normalization_scale_maps_its_ends_to_full_control_and_clips_beyond(scale):
    env = _make("HalfCheetahDir-v2", normalization_scale=scale)
    space = env.single_action_space
    assert isinstance(space, gym.spaces.Box)
    np.testing.assert_allclose(space.high, scale)
    ends = np.array([[scale] * 6, [-scale] * 6, [7 * scale] * 6])
    np.testing.assert_allclose(env.control_from_action(ends), np.array([[1.0] * 6, [-1.0] * 6, [1.0] * 6]))
    np.testing.assert_allclose(env.control_from_action(0.5 * ends[:1]), 0.5)


@pytest.mark.parametrize("name", ["HalfCheetahDir-v2", "HalfCheetahVel-v2"])
def test_a_cheetah_without_velocities_shows_where_it_is_and_moves_as_before(name):
    hidden, shown = _make(name, num_envs=2, observe_velocities=False), _make(name, num_envs=2)
    assert hidden.single_observation_space.shape == (11,)
    hidden.reset(seed=3)
    shown.reset(seed=3)
    for actions in np.random.default_rng(0).uniform(-1, 1, (5, 2, 6)).astype(np.float32):
        (few, *others), (all_of_it, *same) = hidden.step(actions), shown.step(actions)
        for one, other in zip(others[:3], same[:3], strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(few[:, :8], all_of_it[:, :8])
        np.testing.assert_allclose(few[:, 8], hidden._qpos[:, 0], rtol=1e-6)
    before = hidden._observe()
    hidden._qvel[:] += 1.0
    np.testing.assert_array_equal(hidden._observe(), before)


@pytest.mark.parametrize("name", ["HalfCheetahDir-v2", "AntDir-v2"])
def test_opposite_directions_pay_opposite_task_rewards(name):
    env = _make(name, num_envs=2)
    env.set_tasks([{"direction": 1}, {"direction": -1}])
    env.reset(seed=5)
    env._robots.states[1] = env._robots.states[0]
    if isinstance(env, AntVectorEnv):
        env._position[1] = env._position[0]
    actions = np.tile(np.linspace(-1, 1, env.model.nu, dtype=np.float32), (2, 1))
    _, reward, _, _, _ = env.step(actions)
    control = env.control_from_action(actions)[:1]
    if isinstance(env, AntVectorEnv):
        costs = 0.05 - 0.005 * np.square(control).sum()
        costs -= 0.0005 * np.square(np.clip(env._contact_forces[0], -1, 1)).sum()
    else:
        costs = -0.05 * np.square(control).sum()
    assert reward.sum() == pytest.approx(2 * costs)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        (
            {"normalization_scale": 0.0},
            r"normalization_scale: got 0.0, expected a number in \[1e-06, 1e\+06\], such as 1 or 10",
        ),
        ({"normalization_scale": 1e300}, "normalization_scale: got 1e\\+300, expected a number in "),
        ({"normalization_scale": 1e8}, "normalization_scale: got 100000000.0, expected a number in "),
        ({"max_episode_steps": 0}, "max_episode_steps: got 0, expected at least 1"),
        ({"low": 2.0, "high": 1.0}, r"low: got 2.0 with high = 1.0, expected low <= high"),
    ],
)
def test_impossible_arguments_are_refused_in_words(kwargs, words):
    with pytest.raises(ValueError, match=words):
        make_meta_env("HalfCheetahVel-v2", 1, kwargs)
