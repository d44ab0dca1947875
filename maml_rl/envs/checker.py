"""A conformance check for task families: says in words what is wrong and how to cure it."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from maml_rl.envs.checker_rollout import (
    NoGlobalRandomness,
    Rollout,
    random_actions,
    rng_of,
    roll_out,
)
from maml_rl.envs.checker_tasks import check_sample_tasks, check_set_tasks, check_task_features
from maml_rl.envs.errors import MetaEnvError
from maml_rl.envs.meta_env import MetaVectorEnv

# A family without a limit must end its episodes by itself within this many steps.
_LONGEST_EPISODE = 10_000
# Steps compared by the checks that roll out several batches.
_SHORT = 30
# Attempts to find two tasks that differ.
_TASK_PAIRS = 20


def check_meta_env(env: MetaVectorEnv) -> None:
    """Check that a task family keeps the contract of `MetaVectorEnv`.

    Rolls out some batches of episodes with random actions. It does not check that the family can be
    learned, nor `render`.

    Parameters
    ----------
    env
        A batch with an even number of sub-environments, >= 2; its tasks and episodes are replaced.

    Raises
    ------
    MetaEnvError
        At the first breach, with its cure.

    Examples
    --------
    >>> from maml_rl.envs.control.navigation import NavigationVectorEnv
    >>> check_meta_env(NavigationVectorEnv(4))
    """
    _check_batch(env)
    with NoGlobalRandomness("sample_tasks"):
        check_sample_tasks(env)
    check_task_features(env)
    check_set_tasks(env)
    with NoGlobalRandomness("reset or step"):
        _check_results(env)
        _check_endings(env)
        _check_determinism(env)
        _check_independence(env)
        if env.shows_tasks_to_random_actions:
            _check_tasks_matter(env)


def _check_batch(env: MetaVectorEnv) -> None:
    if not isinstance(env, MetaVectorEnv):
        raise MetaEnvError(f"env: got {type(env).__name__}, expected a subclass of MetaVectorEnv")
    if env.num_envs % 2:
        raise MetaEnvError(f"env: got num_envs = {env.num_envs}, expected an even number; make it with 4")
    mode = env.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.DISABLED:
        raise MetaEnvError(
            f"metadata['autoreset_mode']: got {mode}, expected AutoresetMode.DISABLED; "
            "start from {**MetaVectorEnv.metadata, ...} when you override metadata"
        )


def _check_results(env: MetaVectorEnv) -> None:
    env.set_tasks(env.sample_tasks(2, rng_of(1)))
    observations, info = env.reset(seed=1)
    _check_observations(env, "reset", observations)
    _check_info("reset", info)
    snapshot = observations.copy()
    reports, env.reports_expected_rewards = env.reports_expected_rewards, True
    following, rewards, terminated, truncated, info = env.step(random_actions(env, rng_of(2)))
    env.reports_expected_rewards = reports
    if not np.array_equal(observations, snapshot, equal_nan=True):
        raise MetaEnvError("step: changed the observations reset had returned; return a copy of the buffer")
    _check_observations(env, "step", following)
    _check_info("step", info)
    for name in env.measures:
        _check_measure(env, name, info)
    if "expected_rewards" in info:
        _check_measure(env, "expected_rewards", info)
    for name, array, kind in (
        ("rewards", rewards, np.floating),
        ("terminated", terminated, np.bool_),
        ("truncated", truncated, np.bool_),
    ):
        if array.shape != (env.num_envs,) or not np.issubdtype(array.dtype, kind):
            raise MetaEnvError(
                f"step: {name} has shape {array.shape} and dtype {array.dtype}, "
                f"expected ({env.num_envs},) and {kind.__name__}"
            )
    if not np.isfinite(rewards).all():
        raise MetaEnvError("step: a reward is not finite; check the reward's formula")


def _check_observations(env: MetaVectorEnv, where: str, observations: np.ndarray) -> None:
    space = env.single_observation_space
    shape = (env.num_envs, *(space.shape or ()))
    if observations.shape != shape or observations.dtype != space.dtype:
        raise MetaEnvError(
            f"{where}: observations have shape {observations.shape} and dtype {observations.dtype}, "
            f"expected {shape} and {space.dtype}; make them agree with single_observation_space"
        )
    for row in observations:
        if row not in space or (np.issubdtype(row.dtype, np.floating) and not np.isfinite(row).all()):
            raise MetaEnvError(
                f"{where}: observation {row} lies outside {space}; widen single_observation_space or mend the formula"
            )


def _check_info(where: str, info: Any) -> None:
    if not isinstance(info, dict):
        raise MetaEnvError(f"{where}: info is a {type(info).__name__}, expected a dict")


def _check_measure(env: MetaVectorEnv, name: str, info: dict[str, Any]) -> None:
    values = info.get(name)
    if not (
        isinstance(values, np.ndarray)
        and values.shape == (env.num_envs,)
        and np.issubdtype(values.dtype, np.floating)
        and np.isfinite(values).all()
    ):
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
        raise MetaEnvError(
            f"step: info[{name!r}] is {found}, expected finite floats ({env.num_envs},); "
            "leave step alone and override _measure and _expected_rewards"
        )


def _check_endings(env: MetaVectorEnv) -> None:
    limit = env.max_episode_steps or _LONGEST_EPISODE
    tasks = env.sample_tasks(2, rng_of(3))
    rollout = roll_out(env, tasks, seeds=(3, 4), steps=limit + 1)
    finished = np.zeros(env.num_envs, dtype=bool)
    for step, (terminated, truncated) in enumerate(zip(rollout.terminated, rollout.truncated, strict=True), start=1):
        if (terminated & truncated).any():
            raise MetaEnvError("step: an episode was terminated and truncated at once; terminated takes precedence")
        if finished.any():
            _check_masked(rollout, step, finished, terminated | truncated)
        finished |= terminated | truncated
        if step == env.max_episode_steps and not finished.all():
            raise MetaEnvError(
                f"step: an episode goes on after max_episode_steps = {step} steps; "
                "report truncation, or leave step alone and override _step"
            )
    if not finished.all():
        raise MetaEnvError(f"max_episode_steps: got None, but an episode did not end within {limit} steps; set a limit")


def _check_masked(rollout: Rollout, step: int, finished: np.ndarray, ended: np.ndarray) -> None:
    if (ended & finished).any():
        raise MetaEnvError("step: a finished episode was reported as ended again; report each ending once")
    if rollout.rewards[step - 1, finished].any():
        raise MetaEnvError("step: a finished episode obtained a reward again; its reward is 0")
    before, after = rollout.observations[step - 1, finished], rollout.observations[step, finished]
    if not np.array_equal(before, after):
        raise MetaEnvError("step: the observation of a finished episode changed; repeat the last one")


def _check_determinism(env: MetaVectorEnv) -> None:
    tasks = env.sample_tasks(2, rng_of(5))
    first = roll_out(env, tasks, seeds=(5, 6), steps=_SHORT)
    roll_out(env, env.sample_tasks(2, rng_of(6)), seeds=(7, 8), steps=_SHORT)
    again = roll_out(env, tasks, seeds=(5, 6), steps=_SHORT)
    if not first.same_as(again):
        raise MetaEnvError(
            "reset, step: equal tasks, generators and actions gave different episodes; draw only by "
            "self._uniform and self._normal, and let _reset forget everything of earlier episodes"
        )


def _check_independence(env: MetaVectorEnv) -> None:
    task, *others = env.sample_tasks(3, rng_of(9))
    half = env.num_envs // 2
    first, second = slice(0, half), slice(half, None)
    reference = roll_out(env, [task, others[0]], seeds=(9, 10), steps=_SHORT).rows(first)
    alone = np.arange(env.num_envs) < half
    for what, episodes in (
        ("the other task", roll_out(env, [task, others[1]], seeds=(9, 11), steps=_SHORT).rows(first)),
        ("its place in the batch", roll_out(env, [others[0], task], seeds=(10, 9), steps=_SHORT).rows(second)),
        (
            "whether others are rolled out beside it",
            roll_out(env, [task, others[0]], seeds=(9, 10), steps=_SHORT, mask=alone).rows(first),
        ),
    ):
        if not reference.same_as(episodes):
            raise MetaEnvError(
                f"reset, step: a task's episodes depend on {what}; let row i of every array depend "
                "on row i alone, and draw for all rows at every step"
            )


def _check_tasks_matter(env: MetaVectorEnv) -> None:
    half = env.num_envs // 2
    rng = rng_of(12)
    for seed in range(_TASK_PAIRS):
        tasks = env.sample_tasks(2, rng)
        rollout = roll_out(env, tasks, seeds=(seed, seed), steps=_SHORT)
        if not rollout.rows(slice(0, half)).same_as(rollout.rows(slice(half, None))):
            return
    raise MetaEnvError(
        f"_apply_tasks: {_TASK_PAIRS} pairs of tasks gave equal rewards and observations for equal actions; "
        "let the task change the reward or the transitions, or there is nothing to adapt to"
    )
