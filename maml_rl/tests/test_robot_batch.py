"""Robots that take turns in one simulation, beside a simulation each that Python steps."""

import mujoco
import numpy as np
import pytest

from maml_rl.envs.mujoco.mujoco_engine import gymnasium_model_path
from maml_rl.envs.mujoco.robot_batch import RobotBatch


@pytest.mark.parametrize("name", ["ant", "humanoid", "walker2d_v5"])
def test_robots_that_take_turns_move_and_are_watched_as_in_simulations_of_their_own(name):
    model = mujoco.MjModel.from_xml_path(gymnasium_model_path(f"{name}.xml"))
    robots, alone = RobotBatch(3, model), [mujoco.MjData(model) for _ in range(3)]
    forces, places = robots.watch(robots.data.cfrc_ext, robots.data.xipos[1:], contact_forces=True)
    rng = np.random.default_rng(0)
    robots.qpos[:] = robots.data.qpos + rng.uniform(-0.05, 0.05, robots.qpos.shape)
    for data, qpos in zip(alone, robots.qpos, strict=True):
        data.qpos[:] = qpos
        mujoco.mj_forward(model, data)
    robots.settle(np.arange(3))
    strongest = 0.0
    for step in range(60):
        robots.ctrl[:] = rng.uniform(-1.0, 1.0, robots.ctrl.shape)
        moved = np.flatnonzero([True, step % 2 == 0, step < 30])
        robots.advance(moved, 5)
        for index in moved.tolist():
            alone[index].ctrl[:] = robots.ctrl[index]
            mujoco.mj_step(model, alone[index], 5)
            mujoco.mj_rnePostConstraint(model, alone[index])
        strongest = max(strongest, np.abs(forces).max())
    for index, data in enumerate(alone):
        np.testing.assert_array_equal(robots.qpos[index], data.qpos)
        np.testing.assert_array_equal(robots.qvel[index], data.qvel)
        np.testing.assert_array_equal(robots.warmstart[index], data.qacc_warmstart)
        np.testing.assert_array_equal(forces[index], data.cfrc_ext.ravel())
        np.testing.assert_array_equal(places[index], data.xipos[1:].ravel())
    assert strongest > 1.0


def test_a_robot_whose_state_is_not_finite_is_put_back_as_the_engine_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the engine writes its warning
    model = mujoco.MjModel.from_xml_path(gymnasium_model_path("half_cheetah.xml"))
    robots, alone = RobotBatch(2, model), mujoco.MjData(model)
    robots.qpos[:] = alone.qpos
    robots.qvel[1] = alone.qvel[:] = np.nan
    robots.advance(np.arange(2), 5)
    mujoco.mj_step(model, alone, 5)
    np.testing.assert_array_equal(robots.qpos[1], alone.qpos)
    np.testing.assert_array_equal(robots.qpos[1], robots.qpos[0])
