"""Early ends of a run."""

from __future__ import annotations

from collections.abc import Sequence

from maml_rl.callbacks.callback import Row, RowCallback, StopTraining, TrainingRun
from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean


class StopWhen(RowCallback):
    """Stop when a metric passes a threshold.

    A run that was stopped so is stopped at once when it is resumed.

    Parameters
    ----------
    metric
        Column of ``metrics.csv``, or a number that an earlier callback adds, such as ``evaluated_return_after``.
    at_least, at_most
        The threshold, one of them.

    Examples
    --------
    >>> stop = StopWhen("return_after", at_least=0.8)
    >>> stop.on_row(Row(return_after=0.5)), stop.on_row(Row(return_after=0.9))
    (False, True)
    """

    def __init__(self, metric: str, *, at_least: float | None = None, at_most: float | None = None) -> None:
        if (at_least is None) == (at_most is None):
            raise InputError(f"StopWhen: got at_least={at_least} and at_most={at_most}, expected one of them")
        self.metric = metric
        self._at_least, self._at_most = at_least, at_most

    def on_start(self, run: TrainingRun) -> None:
        """See `Callback.on_start`."""
        check_metric("StopWhen", self.metric, run.columns)
        if self.on_row(run.last_row):
            raise StopTraining

    def on_row(self, row: Row) -> bool:
        """See `Callback.on_iteration`."""
        value = row.get(self.metric)  # what comes every few iterations is not in every row
        if value is None:
            return False
        return bool(value >= self._at_least if self._at_least is not None else value <= self._at_most)


def check_metric(name: str, metric: str, columns: Sequence[str]) -> None:
    """Refuse a metric that no row has.

    Raises
    ------
    InputError
        In one line, for the callback of this name.
    """
    if metric not in columns:
        raise InputError(
            f"{name}: got metric {metric!r}, expected one of {', '.join(columns)}, or one of a callback before this one"
            f"{did_you_mean(metric, columns)}"
        )
