"""The contract of a distribution of tasks, whatever steps their episodes: arrays or tensors."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np

from maml_rl.envs.task_table import Task, task_table
from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean


class TaskFamily(abc.ABC):
    """Tasks that share their spaces, in one or more splits.

    Attributes
    ----------
    splits
        Names of the sets of tasks that can be drawn from. Nearly all families have only ``"train"``, of which every
        draw is new; others hold tasks out, or number them.
    split
        The one drawn from when none is named.
    measures
        Names of what is measured beside returns, such as ``"success"``.
    """

    splits: tuple[str, ...] = ("train",)
    split: str = "train"
    measures: tuple[str, ...] = ()

    @abc.abstractmethod
    def default_task(self) -> Task:
        """The task a sub-environment has before `set_tasks` is called; needs no random draw."""

    def sample_tasks(self, num_tasks: int, rng: np.random.Generator, *, split: str | None = None) -> list[Task]:
        """Draw `num_tasks` tasks of a split, using only `rng`.

        Parameters
        ----------
        num_tasks
            Number of tasks M.
        rng
            Source of all random numbers.
        split
            One of `splits`; ``None``: the family's own `split`.

        Raises
        ------
        InputError
            If there is no such split.
        """
        chosen = self.split if split is None else split
        if chosen not in self.splits:
            raise InputError(
                f"split: got {chosen!r}, expected one of {', '.join(map(repr, self.splits))}"
                f"{did_you_mean(chosen, self.splits)}"
            )
        return self._sample_tasks(num_tasks, rng, chosen)

    @abc.abstractmethod
    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw tasks of `split`, one of `splits`; families with one split need not look at it."""

    @property
    def num_distinct_tasks(self) -> int | None:
        """Number of different tasks that `sample_tasks` draws from; ``None`` if no two draws are alike.

        Of a family with a number, every evaluation rolls out the tasks of training again.
        """
        return None

    def label(self, task: Task) -> str:
        """Words for the kind that `task` is of, where a family has several that evaluations tell apart; else empty."""
        return ""

    def task_features(self, tasks: Sequence[Task]) -> np.ndarray:
        """Each of `tasks` (M) as numbers (M, K) float64; equal tasks have equal rows.

        For oracles and asymmetric critics: an agent never observes them. By default the tasks' values one after
        another, as in `maml_rl.envs.task_table.task_table`.

        Raises
        ------
        ValueError
            If a task holds something else than numbers and the family has no features of its own.
        """
        table, fields = task_table(tasks)
        if table.dtype != np.float64:
            raise ValueError(
                f"task_features: got tasks ({', '.join(fields)}) that are not numbers; "
                f"override task_features in {type(self).__name__}"
            )
        return table
