"""Progress of a run: a line for each iteration, or a bar."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from maml_rl.callbacks.callback import Row, RowCallback, TrainingRun
from maml_rl.utils.log import LOGGER


class Progress(RowCallback):
    """A line for each iteration with the time that is left, as the iterations of this start went.

    Parameters
    ----------
    show
        Receives the lines; by default the logger ``maml_rl``.
    bar
        Whether there is a progress bar instead.
    """

    def __init__(self, show: Callable[[str], None] = LOGGER.info, *, bar: bool = False) -> None:
        self._show = show
        self._wants_bar = bar
        self._bar: Any = None

    def on_start(self, run: TrainingRun) -> None:
        """See `Callback.on_start`."""
        self._num_batches, self._first = run.config.run.num_batches, run.iteration
        self._env_steps = int(run.last_row.get("env_steps", 0))
        self._started = time.perf_counter()
        if self._wants_bar:
            self._bar = tqdm(total=self._num_batches, initial=run.iteration, unit="batch")

    def on_row(self, row: Row) -> None:
        """See `Callback.on_iteration`."""
        busy = row["sampling_seconds"] + row["learning_seconds"]
        rate = f"{(row['env_steps'] - self._env_steps) / max(busy, 1e-9):,.0f}"
        self._env_steps = row["env_steps"]
        before, after = f"{row['return_before']:.2f}", f"{row['return_after']:.2f}"
        if self._bar is not None:
            self._bar.set_postfix({"before": before, "after": after, "steps/s": rate})
            self._bar.update()
            return
        own = "".join(f"{name.removeprefix('return_')} {_shown(row[name])}  " for name in row.headline)
        done = row["iteration"] + 1
        left = (time.perf_counter() - self._started) / (done - self._first) * (self._num_batches - done)
        self._show(
            f"{done}/{self._num_batches}  before {before}  after {after}  {own}env_steps {row['env_steps']:,}  "
            f"{rate} steps/s  {row['seconds']:.0f} s  left {time_words(left)}"
        )

    def on_end(self) -> None:
        """See `Callback.on_end`."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def bar_is_wanted() -> bool:
    """True if standard error is a terminal."""
    return sys.stderr.isatty()


def time_words(seconds: float) -> str:
    """A duration, rounded.

    Examples
    --------
    >>> time_words(59.6), time_words(3725)
    ('1:00', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _shown(value: float) -> str:
    """Four decimals of a small number, two of a large one."""
    return f"{value:.4f}" if abs(value) < 1.0 else f"{value:.2f}"
