"""Short recorded rollouts of a task family, by which the checker compares its behaviour with itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from maml_rl.envs.errors import MetaEnvError
from maml_rl.envs.meta_env import MetaVectorEnv, Task


@dataclass(frozen=True)
class Rollout:
    """A batch of episodes: observations (T + 1, N, O*), the others (T, N)."""

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray

    def rows(self, rows: slice) -> Rollout:
        """Return the episodes of these sub-environments."""
        return Rollout(*(array[:, rows] for array in self._arrays()))

    def same_as(self, other: Rollout) -> bool:
        """True if the two are equal number for number, over the steps both have."""
        pairs = zip(self._arrays(), other._arrays(), strict=True)
        return all(np.array_equal(a[: len(b)], b[: len(a)], equal_nan=True) for a, b in pairs)

    def _arrays(self) -> tuple[np.ndarray, ...]:
        return self.observations, self.rewards, self.terminated, self.truncated


class NoGlobalRandomness:
    """Context in which a family must not touch the global generators; `where` names the methods it runs."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __enter__(self) -> None:
        self.before = self._states()

    def __exit__(self, exception_type: Any, *_: Any) -> None:
        # A breach found inside is a consequence of the global draws, not the cause: replace it.
        if exception_type in (None, MetaEnvError) and not equal(self._states(), self.before):
            raise MetaEnvError(
                f"{self.where}: draws from the global generator of numpy or random; "
                "in sample_tasks use the `rng` argument, elsewhere self._uniform and self._normal"
            )

    @staticmethod
    def _states() -> tuple[Any, ...]:
        return np.random.get_state(), random.getstate()  # noqa: NPY002


def roll_out(
    env: MetaVectorEnv,
    tasks: Sequence[Task],
    *,
    seeds: tuple[int, int],
    steps: int,
    mask: np.ndarray | None = None,
) -> Rollout:
    """Roll out two tasks until one step after the last episode has ended, at most `steps` steps.

    A seed decides its task's random numbers and actions. With `mask` (N,), only those episodes.
    """
    env.set_tasks(tasks)
    options: dict[str, Any] = {"rngs": [rng_of(seed) for seed in seeds]}
    if mask is not None:
        options["reset_mask"] = mask
    actors = [rng_of(100 + seed) for seed in seeds]
    observations = [env.reset(options=options)[0]]
    results = []
    half = env.num_envs // 2
    for _ in range(steps):
        all_finished = env.finished.all()
        actions = np.concatenate([random_actions(env, actor)[:half] for actor in actors])
        following, rewards, terminated, truncated, _ = env.step(actions)
        observations.append(following)
        results.append((rewards, terminated, truncated))
        if all_finished:
            break
    columns = [np.stack(column) for column in zip(*results, strict=True)]
    return Rollout(np.stack(observations), *columns)


def random_actions(env: MetaVectorEnv, rng: np.random.Generator) -> np.ndarray:
    """Draw random actions (N, A*)."""
    env.single_action_space.seed(int(rng.integers(2**31)))
    return np.stack([env.single_action_space.sample() for _ in range(env.num_envs)])


def rng_of(seed: int) -> np.random.Generator:
    """Return the generator of this seed."""
    return np.random.default_rng(seed)


def must_raise(call: Callable[[], object], errors: tuple[type[Exception], ...], complaint: str) -> None:
    """Call, and complain with `MetaEnvError` unless one of the errors comes."""
    try:
        call()
    except errors:
        return
    except Exception as error:
        raise MetaEnvError(f"{complaint} (raised {type(error).__name__})") from error
    raise MetaEnvError(complaint)


def equal(left: Any, right: Any) -> bool:
    """True if two nested structures of dicts, sequences, arrays and scalars are equal."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(equal(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    return bool(left == right)
