"""Scores of the seeds of a run: the numbers that the statistics of a study start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from maml_rl.analysis.intervals import Interval, interquartile_mean_interval
from maml_rl.analysis.regression import Line, fit_line
from maml_rl.studies.study_run import StudyRun
from maml_rl.utils.random import Purpose, generator

NUM_LAST = 10
"""Iterations at the end of a training whose mean is the final return."""


@dataclass(frozen=True)
class Seeds:
    """The finished seeds of one run.

    Attributes
    ----------
    runs
        The S seeds.
    returns
        (S, I), mean score over the batch of each of the I iterations the study asks for.
    """

    runs: tuple[StudyRun, ...]
    returns: np.ndarray

    @property
    def area(self) -> np.ndarray:
        """Mean over the whole training, (S,)."""
        return np.asarray(self.returns.mean(axis=1))

    @property
    def final(self) -> np.ndarray:
        """Mean over the last iterations, (S,)."""
        return np.asarray(self.returns[:, -NUM_LAST:].mean(axis=1))

    def adapted(self, num_steps: int) -> Interval | None:
        """Return on tasks drawn anew after 0 ... K steps of adaptation with its interval over seeds, (K + 1,) each.

        ``None`` if no seed was evaluated with this many steps.
        """
        found = [scores.mean(axis=1) for run in self.runs if (scores := new_task_scores(run)) is not None]
        fitting = [values for values in found if len(values) == num_steps + 1]
        if not fitting:
            return None
        intervals = [score_interval(values) for values in np.transpose(fitting)]
        return Interval(*(np.array([getattr(x, end) for x in intervals]) for end in ("mean", "low", "high")))

    def lines(self) -> list[Line]:
        """Line through the returns of each seed against the iteration; of NaN where there is one iteration."""
        count = self.returns.shape[1]
        if count < 2:
            return [Line(np.nan, np.nan, np.nan, np.nan)] * len(self.returns)
        return [fit_line(np.arange(count), returns) for returns in self.returns]


def finished_seeds(done: Sequence[StudyRun]) -> tuple[dict[str, Seeds], list[str]]:
    """Return the finished seeds by the name of their run, and for each other seed why it does not count.

    A run that is under way must not be compared with one that has ended. Iterations beyond those the study asks for
    are left out.
    """
    finished: dict[str, list[StudyRun]] = {}
    left_out = []
    for run in done:
        if run.iterations_done < run.config.num_batches:
            left_out.append(f"{run.title} ({run.iterations_done}/{run.config.num_batches} iterations)")
        elif not np.isfinite(_returns(run)).all():
            left_out.append(f"{run.title} (some returns are not finite)")
        else:
            finished.setdefault(run.name, []).append(run)
    found = {name: Seeds(tuple(seeds), np.stack([_returns(run) for run in seeds])) for name, seeds in finished.items()}
    return found, left_out


def _returns(run: StudyRun) -> np.ndarray:
    return run.metrics()[run.plan.score][: run.config.num_batches]


def new_task_scores(run: StudyRun, test_set: str | None = None) -> np.ndarray | None:
    """Scores (S, N) on N tasks: after each number of steps (S,), or (1, N) of all together where these count.

    ``None`` before the evaluation. Without a `test_set` those of the family it was trained on.
    """
    returns = run.test_returns(test_set)
    if returns is None:
        return None
    scores = returns.mean(axis=-1, dtype=np.float64)  # (S, N, B) -> (S, N)
    return scores.sum(axis=0, keepdims=True) if run.plan.score == "return_total" else scores


def score_interval(scores: np.ndarray) -> Interval:
    """Interquartile mean of `scores` (S,) and its bootstrap interval, the same whenever it is asked for."""
    return interquartile_mean_interval([scores], generator(0, Purpose.STATISTICS))
