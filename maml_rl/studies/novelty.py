"""Novelty of the tasks of an evaluation, as far as their task family tells."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np

from maml_rl.config import Config
from maml_rl.envs import MetaVectorEnv, make_meta_env
from maml_rl.studies.study_run import StudyRun
from maml_rl.utils.random import Purpose, generator

_MOST_COLLECTED = 1000
"""Different tasks up to which those of a family are collected one by one."""


def num_distinct_tasks(config: Config) -> int | None:
    """Number of different tasks of a configuration's family; ``None`` if no two draws are alike."""
    return _family(config).num_distinct_tasks


def are_new(run: StudyRun, test_set: str | None = None) -> bool:
    """True if none of the tasks of an evaluation can have been one of training.

    A family of finitely many tasks has the same ones in training and evaluation. Evaluated on a family of `test_on`
    with the same id (another split, another range), it is new if the two have no task in common.
    """
    trained, tested = run.config, run.configs[test_set]
    if None in (num_distinct_tasks(trained), num_distinct_tasks(tested)) or trained.env_name != tested.env_name:
        return True
    mine, theirs = _collected(trained), _collected(tested)
    return mine is not None and theirs is not None and not mine & theirs


def tasks_in_words(run: StudyRun, num_evaluated: int, test_set: str | None = None) -> str:
    """Number of different tasks in an evaluation of `num_evaluated`, with their novelty: "40 new", "the same 2"."""
    number = num_distinct_tasks(run.configs[test_set])
    count = num_evaluated if number is None else min(number, num_evaluated)
    return f"{count} new" if are_new(run, test_set) else f"the same {count}"


def _collected(config: Config) -> frozenset[str] | None:
    """All tasks of a family with finitely many; ``None`` if they are too many to be drawn one by one."""
    env = _family(config)
    number = env.num_distinct_tasks
    assert number is not None
    if number > _MOST_COLLECTED:
        return None
    rng, found = generator(0, Purpose.STATISTICS), set[str]()
    while len(found) < number:
        for task in env.sample_tasks(4 * number, rng):
            found.add(repr([(key, np.asarray(task[key]).tolist()) for key in sorted(task)]))
    return frozenset(found)


def _family(config: Config) -> MetaVectorEnv:
    return _made(config.env_name, json.dumps(config.env_kwargs, sort_keys=True))


@lru_cache(maxsize=64)
def _made(env_name: str, env_kwargs: str) -> MetaVectorEnv:
    return make_meta_env(env_name, 1, json.loads(env_kwargs))
