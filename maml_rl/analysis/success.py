"""Success of agents on goals, counted per goal, and as Meta-World's own evaluator counts it."""

from __future__ import annotations

import numpy as np

from maml_rl.analysis.intervals import Interval, mean_interval


def success_per_goal(success: np.ndarray) -> Interval:
    """Fraction of episodes that succeed, mean over goals with its 95 % interval over goals, within [0, 1].

    Parameters
    ----------
    success
        (N, B) of B episodes with each of N goals, 0 or 1.

    Examples
    --------
    >>> float(success_per_goal(np.array([[1.0, 1.0], [0.0, 1.0]])).mean)
    0.75
    """
    interval = mean_interval(np.asarray(success, dtype=np.float64).mean(axis=1))
    return Interval(interval.mean, np.clip(interval.low, 0.0, 1.0), np.clip(interval.high, 0.0, 1.0))


def success_as_upstream(success: np.ndarray, steps: np.ndarray, *, goals_together: int, num_episodes: int = 3) -> float:
    """Success as ``metaworld.evaluation.metalearning_evaluation`` (version 3.1.1) would count it in these episodes.

    That evaluator plays `goals_together` goals of a task side by side, ends an episode where it succeeds, and counts
    the first `num_episodes` episodes that end, whatever their goals are. Quick successes end first: one goal that is
    reached can stand for all. The figure is for comparison with tables that were made so, not a measure of success.
    Here episodes are those of our evaluation, which go on after success; what an agent with memory would have done in
    a next episode that began earlier is not known.

    Parameters
    ----------
    success
        (N, B) of B episodes, one after another, with each of N goals of one task, 0 or 1.
    steps
        (N, B): steps up to success, or to the end.
    goals_together
        Goals played side by side; what N leaves over is left out.
    num_episodes
        Episodes that are counted, >= 1 and at most B.

    Raises
    ------
    ValueError
        If there are fewer goals or episodes than that.

    Examples
    --------
    One of three goals is reached, in 100 of 500 steps, three times: upstream calls it full success.

    >>> success = np.array([[1, 1, 1], [0, 0, 0], [0, 0, 0]])
    >>> success_as_upstream(success, np.where(success, 100, 500), goals_together=3)
    1.0
    """
    success, ends = np.asarray(success, dtype=np.float64), np.cumsum(steps, axis=1)
    if not 1 <= goals_together <= len(success) or not 1 <= num_episodes <= success.shape[1]:
        raise ValueError(
            f"goals_together, num_episodes: got {goals_together}, {num_episodes} with {success.shape} goals and "
            "episodes, expected at most as many"
        )
    counted = []
    for first in range(0, len(success) - goals_together + 1, goals_together):
        part = slice(first, first + goals_together)
        order = np.argsort(ends[part].T.ravel(), kind="stable")[:num_episodes]  # of equal times the first environment
        counted.append(success[part].T.ravel()[order].mean())
    return float(np.mean(counted))
