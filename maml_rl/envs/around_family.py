"""Base class of environments around another family's, whose tasks, pictures and expected rewards are theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maml_rl.envs.meta_env import MetaVectorEnv, Task


class AroundFamily(MetaVectorEnv):
    """Base class of environments that step another one, `env`, which belongs to them and is set before anything else.

    Attributes
    ----------
    env
        The other family's environment, with as many sub-environments.
    """

    env: MetaVectorEnv

    def _take_over(self, env: MetaVectorEnv) -> None:
        """Take the environment, and its splits, measures and ways to be drawn."""
        self.env = env
        self.splits, self.split, self.measures = env.splits, env.split, env.measures
        self.metadata, self.render_mode = env.metadata, env.render_mode

    def default_task(self) -> Task:
        """The other family's default task."""
        return self.env.default_task()

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw tasks of the other family."""
        return self.env.sample_tasks(num_tasks, rng, split=split)

    def task_features(self, tasks: Sequence[Task]) -> np.ndarray:
        """Those (M, K) of the other family."""
        return self.env.task_features(tasks)

    def label(self, task: Task) -> str:
        """That of the other family."""
        return self.env.label(task)

    @property
    def num_distinct_tasks(self) -> int | None:
        """That of the other family."""
        return self.env.num_distinct_tasks

    @property
    def knows_expected_rewards(self) -> bool:
        """That of the other family."""
        return self.env.knows_expected_rewards

    def render(self) -> Any:
        """Pictures of the other family's environment."""
        return self.env.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Close the other family's environment."""
        self.env.close(**kwargs)
