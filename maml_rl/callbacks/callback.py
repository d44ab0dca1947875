"""The contract of a callback: it hears of every iteration of a run, and may end it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from maml_rl.agent import Agent
from maml_rl.config import Config


class StopTraining(Exception):  # noqa: N818  # it is no error
    """Raised within a callback, ends the run after this iteration, which is saved."""


class Row(dict[str, Any]):
    """Numbers of one iteration by name: the columns of ``metrics.csv``, and what callbacks add for those behind them.

    Attributes
    ----------
    headline
        Columns that a line of progress shows beside those that every learner has.
    """

    headline: tuple[str, ...] = ()


@dataclass
class TrainingRun:
    """A run as callbacks meet it before its first iteration, or the first after its resumption.

    Attributes
    ----------
    config
        Its configuration.
    folder
        Where it is recorded; ``None``: nowhere.
    iteration
        Iterations done.
    columns
        Names of the numbers in rows; a callback that adds some appends their names, for those behind it.
    last_row
        Row of the last iteration done; empty if there is none.
    make_agent
        Gives the agent as it is now.
    """

    config: Config
    folder: Path | None
    iteration: int
    columns: list[str]
    last_row: Row
    make_agent: Callable[[], Agent] = field(repr=False)

    @cached_property
    def agent(self) -> Agent:
        """The agent as it is now; of several that are trained together the first."""
        return self.make_agent()


class Callback:
    """Base class of callbacks: all methods do nothing.

    Callbacks are called in the order of their list, and end in the reverse order. When one is told of an iteration,
    the iteration is saved: whatever happens then, the run can be resumed after it. Callbacks change nothing of the
    curve: agents they receive are copies, and random numbers of a run come from its seed alone.
    """

    def on_start(self, run: TrainingRun) -> None:
        """Called before the first iteration of the run or of its resumption.

        Raises
        ------
        InputError
            If the callback cannot do its work; nothing is trained then.
        StopTraining
            If there is nothing to train.
        """

    def on_iteration(self, row: Row, agent: Agent) -> bool | None:
        """Called after each iteration; ``True`` ends the run after it, when the other callbacks have been told too.

        Parameters
        ----------
        row
            Its numbers by column of ``metrics.csv``, such as ``iteration``, ``return_before``, ``return_after``.
        agent
            The agent as it is now, before adaptation; of several that are trained together the first.

        Raises
        ------
        StopTraining
            Instead of returning ``True``, from wherever it is found out. Any other exception ends the run as well, and
            goes on to whoever has started it.
        """
        return None

    def on_end(self) -> None:
        """Called once when the run ends, for whatever reason, if `on_start` was."""


class RowCallback(Callback):
    """A callback that needs rows only: no agent is made for it, which takes some milliseconds."""

    def on_iteration(self, row: Row, agent: Agent) -> bool | None:
        """See `Callback.on_iteration`."""
        return self.on_row(row)

    def on_row(self, row: Row) -> bool | None:
        """See `Callback.on_iteration`, without an agent."""
        return None
