"""Walkers, hoppers and humanoids against Gymnasium's own environments, step by step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest

from maml_rl.envs import make_meta_env
from maml_rl.envs.mujoco.ant import AntVectorEnv
from maml_rl.envs.mujoco.mujoco_engine import MujocoVectorEnv
from maml_rl.envs.mujoco.planar_robots import PlanarVectorEnv
from maml_rl.envs.mujoco.random_parameters import RandomParameterTasks
from maml_rl.utils.random import Purpose, generator

RANDOM = ["WalkerRandParams-v0", "HopperRandParams-v0"]
ARRAYS = {"mass": "body_mass", "inertia": "body_inertia", "damping": "dof_damping", "friction": "geom_friction"}
FRAMES = {"Walker2DDir-v0": 8, "Walker2DVel-v0": 8, "WalkerRandParams-v0": 5}
GYMNASIUM = {"Ho": "Hopper-v5", "Hu": "Humanoid-v5", "An": "Ant-v5", "Wa": "Walker2d-v5"}


def _make(name: str, num_envs: int = 1, **kwargs: Any) -> MujocoVectorEnv:
    env = make_meta_env(name, num_envs, {"max_episode_steps": 100, **kwargs})
    assert isinstance(env, MujocoVectorEnv)
    return env


def _reference(name: str, env: MujocoVectorEnv, row: int, **kwargs: Any) -> Any:
    """Gymnasium's robot with the body and in the state of sub-environment `row`."""
    options: dict[str, Any] = {"frame_skip": FRAMES[name]} if name in FRAMES else {}
    reference: Any = gym.make(GYMNASIUM[name[:2]], **options, **kwargs).unwrapped
    reference.reset(seed=0)
    if name in RANDOM:
        for entry, array in ARRAYS.items():
            getattr(reference.model, array)[...] *= env.tasks[row][entry]
    reference.data.qacc_warmstart[:] = 0.0
    reference.set_state(env._qpos[row].copy(), env._qvel[row].copy())
    mujoco.mj_rnePostConstraint(reference.model, reference.data)
    return reference


def _task_reward(name: str, task: dict[str, Any], info: dict[str, Any]) -> float:
    """The part of the reward that the task pays, from Gymnasium's velocities."""
    velocity = info["x_velocity"]
    if "direction" in task:
        return float(task["direction"] * velocity)
    if "angle" in task:
        along = np.cos(task["angle"]) * velocity + np.sin(task["angle"]) * info["y_velocity"]
        return float(1.25 * along)
    if "velocity" in task:
        return float((1.0 if name.startswith("Ant") else 0.0) - abs(velocity - task["velocity"]))
    return float(velocity)


def _compare(name: str, env: MujocoVectorEnv, references: list[Any], num_steps: int) -> int:
    """Step both with the same controls; return the number of comparisons."""
    rng, compared = np.random.default_rng(0), 0
    for _ in range(num_steps):
        actions = rng.uniform(-1.0, 1.0, env.action_space.shape or ()).astype(np.float32)
        active = ~env.finished
        observations, rewards, terminated, _, _ = env.step(actions)
        control = env.control_from_action(actions)
        for row in np.flatnonzero(active):
            observed, _, ended, _, info = references[row].step(control[row])
            np.testing.assert_array_equal(env._qpos[row], references[row].data.qpos)
            np.testing.assert_array_equal(env._qvel[row], references[row].data.qvel)
            if not name.startswith("Ant"):
                np.testing.assert_array_equal(observations[row], observed.astype(np.float32))
            pieces = info["reward_ctrl"] + info.get("reward_contact", 0.0) + info["reward_survive"]
            expected = _task_reward(name, env.tasks[row], info) + pieces
            np.testing.assert_allclose(rewards[row], expected, rtol=1e-12, atol=1e-12)
            assert terminated[row] == ended
            compared += 1
    return compared


@pytest.mark.parametrize("name", ["Walker2DDir-v0", "Walker2DVel-v0", *RANDOM, "HumanoidDir-v0"])
@pytest.mark.parametrize("terminate", [True, False])
def test_states_observations_rewards_and_ends_are_gymnasiums(name, terminate):
    env = _make(name, 3, terminate_when_unhealthy=terminate)
    env.set_tasks(env.sample_tasks(3, generator(2, Purpose.TASKS)))
    env.reset(seed=3)
    own = {"healthy_reward": env.upright_bonus} if isinstance(env, PlanarVectorEnv) else {}
    references = [_reference(name, env, row, terminate_when_unhealthy=terminate, **own) for row in range(3)]
    compared = _compare(name, env, references, 40)
    assert compared == 120 or terminate
    assert env.finished.any() == terminate


@pytest.mark.parametrize("name", ["AntDir-v2", "AntVel-v2"])
def test_the_ants_can_have_gymnasiums_costs(name):
    env = _make(name, 2, rewards="gymnasium")
    env.set_tasks(env.sample_tasks(2, generator(0, Purpose.TASKS)))
    env.reset(seed=1)
    assert isinstance(env, AntVectorEnv)
    assert _compare(name, env, [_reference(name, env, row) for row in range(2)], 10) > 10


@pytest.mark.parametrize("name", RANDOM)
def test_factors_of_a_body_are_independent_and_log_uniform(name):
    env = _make(name, log_scale_limit=2.0)
    tasks = env.sample_tasks(300, generator(0, Purpose.TASKS))
    for entry, base in (("mass", 1.5), ("inertia", 1.5), ("damping", 1.3), ("friction", 1.5)):
        exponents = np.stack([np.log(task[entry]).ravel() for task in tasks]) / np.log(base)  # (300, K)
        assert exponents.shape[1] == getattr(env.model, ARRAYS[entry]).size
        assert np.abs(exponents).max() <= 2.0
        np.testing.assert_allclose(exponents.mean(axis=0), 0.0, atol=5 * 2 / np.sqrt(3 * 300))
        np.testing.assert_allclose(exponents.std(axis=0), 2 / np.sqrt(3), rtol=0.15)
        correlations = np.corrcoef(exponents.T) - np.eye(exponents.shape[1])
        assert np.abs(correlations).max() < 5 / np.sqrt(300)


@pytest.mark.parametrize("name", RANDOM)
def test_the_default_body_is_the_model_and_a_limit_of_zero_draws_no_other(name):
    env = _make(name, 2, log_scale_limit=0.0)
    (task,) = env.sample_tasks(1, generator(0, Purpose.TASKS))
    assert isinstance(env, RandomParameterTasks)
    for entry, factors in env.default_task().items():
        np.testing.assert_array_equal(factors, 1.0)
        np.testing.assert_array_equal(task[entry], 1.0)


def test_a_body_of_other_shape_is_refused_in_words():
    env = _make("HopperRandParams-v0")
    task = {**env.default_task(), "mass": np.ones(3)}
    with pytest.raises(ValueError, match=r"task\['mass'\]: got shape \(3,\), expected \(5,\)"):
        env.set_tasks([task])
    task = {**env.default_task(), "mass": np.array([1.0, 2.0, np.inf, 1.0, 1.0])}
    with pytest.raises(ValueError, match=r"task\['mass'\]: got a factor of inf, expected finite factors >= 0"):
        env.set_tasks([task])


@pytest.mark.parametrize("name", RANDOM)
def test_a_body_does_not_depend_on_the_last_bits_of_a_power(name):
    for task in _make(name).sample_tasks(20, generator(0, Purpose.TASKS)):
        for factors in task.values():
            np.testing.assert_array_equal(factors, np.round(np.nextafter(factors, np.inf), 12))


@pytest.mark.parametrize("name", RANDOM)
@pytest.mark.parametrize("limit", [-1.0, 60.0])
def test_an_impossible_limit_is_refused_in_words(name, limit):
    with pytest.raises(ValueError, match=rf"log_scale_limit: got {limit}, expected a number in \[0, 10\], 3 in the "):
        _make(name, log_scale_limit=limit)


def test_directions_of_a_humanoid_cover_the_circle():
    tasks = _make("HumanoidDir-v0").sample_tasks(400, generator(0, Purpose.TASKS))
    counts, _ = np.histogram([task["angle"] for task in tasks], bins=4, range=(0.0, 2 * np.pi))
    assert counts.sum() == 400
    assert counts.min() > 70
