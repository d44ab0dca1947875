"""Started batches of tasks, and whether what they do fits a probability."""

from __future__ import annotations

from typing import Any

from scipy import stats

from maml_rl.envs import make_meta_env
from maml_rl.envs.meta_env import Task
from maml_rl.utils.random import Purpose, generator

# A correct family fails one check with this probability; the seeds are fixed, so that it does so always or never.
SIGNIFICANCE = 1e-4


def consistent(successes: int, count: int, probability: float) -> bool:
    """True if a binomial test does not contradict this probability."""
    return bool(stats.binomtest(int(successes), int(count), probability).pvalue > SIGNIFICANCE)


def started(env_name: str, num_tasks: int, env_kwargs: dict[str, Any] | None = None) -> tuple[Any, list[Task]]:
    """Return a batch whose sub-environments each have a task of their own, at the start of an episode."""
    env = make_meta_env(env_name, num_tasks, env_kwargs)
    tasks = env.sample_tasks(num_tasks, generator(0, Purpose.TASKS))
    env.set_tasks(tasks)
    env.reset(seed=0)
    return env, tasks
