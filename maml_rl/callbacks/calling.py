"""Callbacks of a run, called one after another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any

from maml_rl.agent import Agent
from maml_rl.callbacks.callback import Callback, Row, RowCallback, StopTraining, TrainingRun


class Calling:
    """Context manager around the callbacks of a run; all that have started end, in reverse order.

    Parameters
    ----------
    callbacks
        In the order in which they are called.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = tuple(callbacks)
        self._ending = ExitStack()

    def __enter__(self) -> Calling:
        self._ending.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._ending.__exit__(*exception)

    def start(self, run: TrainingRun) -> bool:
        """Tell them that the run starts; return whether one of them stops it at once."""
        stops = False
        for callback in self._callbacks:
            try:
                callback.on_start(run)
            except StopTraining:
                stops = True
            self._ending.callback(callback.on_end)
        return stops

    def tell(self, row: Row, make_agent: Callable[[], Agent]) -> bool:
        """Tell them of an iteration; return whether one of them stops the run."""
        stops = False
        agent = cache(make_agent)
        for callback in self._callbacks:
            try:
                if isinstance(callback, RowCallback):
                    stops |= bool(callback.on_row(row))
                else:
                    stops |= bool(callback.on_iteration(row, agent()))
            except StopTraining:
                stops = True
        return stops
