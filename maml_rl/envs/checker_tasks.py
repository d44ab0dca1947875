"""The part of the conformance check that looks at tasks: how they are drawn, described and set."""

from __future__ import annotations

import pickle

import numpy as np

from maml_rl.envs.checker_rollout import equal, must_raise, rng_of
from maml_rl.envs.errors import MetaEnvError
from maml_rl.envs.meta_env import MetaVectorEnv


def check_sample_tasks(env: MetaVectorEnv) -> None:
    """Tasks are dicts that travel, drawn from the generator alone, in every split."""
    if env.split not in env.splits:
        raise MetaEnvError(f"split: got {env.split!r}, expected one of splits = {env.splits}; name it there")
    tasks = env.sample_tasks(4, rng_of(0))
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise MetaEnvError("sample_tasks: got something else than a list of dicts; return one dict per task")
    if len(tasks) != 4:
        raise MetaEnvError(f"sample_tasks: got {len(tasks)} tasks, expected num_tasks = 4; return one dict per task")
    for split in env.splits:
        if not equal(env.sample_tasks(4, rng_of(0), split=split), env.sample_tasks(4, rng_of(0), split=split)):
            raise MetaEnvError(
                "sample_tasks: two generators in the same state gave different tasks; draw only from the `rng` argument"
            )
    must_raise(
        lambda: env.sample_tasks(1, rng_of(0), split="no such split"),
        (ValueError,),
        "sample_tasks: accepted an unknown split; leave sample_tasks alone and override _sample_tasks",
    )
    if not equal(pickle.loads(pickle.dumps(tasks)), tasks):
        raise MetaEnvError("sample_tasks: a task changes when pickled; use numbers, strings and arrays")


def check_task_features(env: MetaVectorEnv) -> None:
    """A task's features are numbers of the task alone."""
    tasks = env.sample_tasks(3, rng_of(13))
    try:
        features = env.task_features(tasks)
    except ValueError:  # tasks of text have none
        return
    if features.ndim != 2 or len(features) != 3 or features.dtype != np.float64 or not np.isfinite(features).all():
        raise MetaEnvError(
            f"task_features: got shape {features.shape} and dtype {features.dtype} for 3 tasks, "
            "expected finite float64 of shape (3, K)"
        )
    if not equal(env.task_features(tasks[::-1]), features[::-1]):
        raise MetaEnvError("task_features: a task's row depends on the other tasks; let row m depend on task m alone")


def check_set_tasks(env: MetaVectorEnv) -> None:
    """Tasks that do not fit are refused."""
    env.set_tasks([env.default_task()])
    task = env.default_task()
    for number in (0, env.num_envs + 1):
        must_raise(
            lambda number=number: env.set_tasks([task] * number),  # type: ignore[misc]
            (ValueError,),
            f"set_tasks: accepted {number} tasks for num_envs = {env.num_envs}; raise ValueError, "
            "or leave set_tasks alone and override _apply_tasks",
        )
    must_raise(
        lambda: env.set_tasks([{"no such parameter": 0}]),
        (KeyError, ValueError),
        "_apply_tasks: accepted a task without the family's keys; raise KeyError or ValueError",
    )
