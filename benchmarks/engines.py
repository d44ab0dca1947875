"""Control steps per second of the same robot in the bare engine and in other vector environments.

Every function runs random actions on all cores for about `seconds` and returns steps per second.
"""

from __future__ import annotations

import multiprocessing
import time
from typing import Any

import gymnasium as gym
import numpy as np


def bare_engine(model_path: str, num_processes: int, seconds: float, scale: float) -> float:
    """One Python loop of `mj_step` per core, no observation, no reward, no policy.

    A step costs the engine more or less time, by what the robot does: with full random controls a cheetah
    tumbles through the air, with small ones it stays on the ground and has contacts to solve. So that the
    same work is compared, controls are those of an untrained policy, N(0, 1) / `scale`, and episodes
    start from the same noisy states; ``scale=0`` draws controls uniformly from the whole range.
    """
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(num_processes)
    with context.Pool(num_processes, initializer=_set_barrier, initargs=(start,)) as pool:
        rates = pool.starmap(_bare_loop, [(model_path, seconds, scale)] * num_processes, chunksize=1)
    return float(sum(rates))


_barrier: Any = None


def _set_barrier(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _bare_loop(model_path: str, seconds: float, scale: float) -> float:
    import mujoco

    model = mujoco.MjModel.from_xml_path(model_path)
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((50, 100, model.nu)) / scale if scale else rng.uniform(-1, 1, (50, 100, model.nu))
    episodes = np.clip(draws, -1.0, 1.0)
    step, ctrl, frame_skip = mujoco.mj_step, data.ctrl, 5
    _barrier.wait()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        mujoco.mj_resetData(model, data)
        data.qpos[:] += rng.uniform(-0.1, 0.1, model.nq)
        data.qvel[:] = 0.1 * rng.standard_normal(model.nv)
        for control in episodes[count // 100 % 50]:
            ctrl[:] = control
            step(model, data, frame_skip)
        count += 100
    return count / (time.perf_counter() - start)


def gymnasium_vector(env_id: str, mode: str, num_envs: int, seconds: float) -> float:
    """Gymnasium's own `SyncVectorEnv` (mode "sync") or `AsyncVectorEnv` ("async")."""
    env = gym.make_vec(env_id, num_envs=num_envs, vectorization_mode=mode)
    return _drive(env.reset, env.step, env.action_space.shape, seconds, num_envs, env.close)


def envpool_vector(env_id: str, num_envs: int, num_threads: int, seconds: float) -> float:
    """EnvPool, synchronous, one thread per core."""
    import envpool

    env = envpool.make(env_id, env_type="gymnasium", num_envs=num_envs, num_threads=num_threads)
    shape = (num_envs, *env.action_space.shape)
    return _drive(env.reset, env.step, shape, seconds, num_envs, lambda: None)


def _drive(reset: Any, step: Any, shape: Any, seconds: float, num_envs: int, close: Any) -> float:
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.0, 1.0, (16, *shape))
    reset()
    step(actions[0])
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step(actions[count % 16])
        count += 1
    rate = count * num_envs / (time.perf_counter() - start)
    close()
    return rate
