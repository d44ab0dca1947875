"""The contract of a learner: it owns the parameters and the outer step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from maml_rl.envs.meta_env import Task

_NUMBERS = ("sampling_seconds", "learning_seconds", "return_before", "return_after", "return_total")
_FLAGS = ("step_accepted", "finite")


@dataclass(frozen=True)
class Report:
    """One outer iteration in numbers; the columns of ``metrics.csv`` with these names.

    Attributes
    ----------
    env_steps
        Environment steps of this iteration.
    sampling_seconds, learning_seconds
        Wall-clock time of the two halves.
    return_before, return_after
        Mean undiscounted return of an episode before and after adaptation.
    return_total
        Sum over the stages of adaptation of the mean return of an episode.
    step_accepted
        Whether the parameters moved.
    finite
        False when an environment, a loss, a gradient or a step gave NaN or infinity; the iteration was undone.
    details
        Further columns, the learner's own.
    headline
        Columns that the line of an iteration shows beside those that every learner has.
    """

    env_steps: int
    sampling_seconds: float
    learning_seconds: float
    return_before: float
    return_after: float
    return_total: float
    step_accepted: bool
    finite: bool
    details: Mapping[str, float] = field(default_factory=dict)
    headline: tuple[str, ...] = ()

    @staticmethod
    def names(details: Sequence[str]) -> list[str]:
        """Names of the columns of a report with these details, in order."""
        return [*_NUMBERS, *details, *_FLAGS]

    def columns(self) -> dict[str, Any]:
        """All but steps and `headline`, flat, in the order of ``metrics.csv``; truth as 0 and 1."""
        flags = {name: int(getattr(self, name)) for name in _FLAGS}
        return {**{name: getattr(self, name) for name in _NUMBERS}, **self.details, **flags}


@dataclass(frozen=True)
class StateTensor:
    """One tensor of a learner's state: its shape, its type, and the least number it may hold."""

    shape: tuple[int, ...]
    least: float = -np.inf


class Learner(Protocol):
    """Everything a training run knows of a learner."""

    @property
    def details(self) -> tuple[str, ...]:
        """Names of its reports' details, in order."""

    @property
    def parameters(self) -> np.ndarray:
        """Meta-parameters (P, D) float64 of the population, P = 1 for a single agent."""

    def step(self, tasks: Sequence[Task], iteration: int) -> Report:
        """Roll out the meta-batch and take one outer step."""

    def state_dict(self) -> dict[str, Tensor]:
        """State beside the parameters, float64 tensors by name; always all that `state_layout` names."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state` that `state_dict` gave, such as moments (P, D); empty: from the beginning."""

    def state_layout(self) -> dict[str, StateTensor]:
        """Names and shapes of what `state_dict` gives."""


class Workers(Protocol):
    """All a learner knows of its workers; every backend of `maml_rl.samplers` is one."""

    num_shards: int
    num_workers: int

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Call `method` of the worker of shard i with ``arguments[i]``."""

    def broadcast(self, method: str, *arguments: Any) -> list[Any]:
        """Call `method` of every shard's worker with the same arguments."""
