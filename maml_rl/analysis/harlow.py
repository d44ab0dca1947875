"""Choices in Harlow's task: accuracy by trial, the mark of a learning set."""

from __future__ import annotations

import numpy as np

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.intervals import Interval, fraction_interval

_LEAST_OF_RIGHT = 0.5
"""The right choice has reward 1, the other one less than 0; between them are fixations."""


def harlow_choices(rewards: np.ndarray, mask: np.ndarray | None = None, *, num_trials: int | None = None) -> np.ndarray:
    """Outcomes of the choices of an episode, in order, read off its rewards.

    A choice is a reward above 0.5, which is right, or below 0, which is wrong.

    Parameters
    ----------
    rewards
        (..., T).
    mask
        (..., T), True in steps before the episode's end; all if not given.
    num_trials
        Trials K to tell of, >= 1, choices after them are left out; ``None``: as many as the longest episode has.

    Returns
    -------
    (..., K) int64: 1 right, 0 wrong, -1 where an episode ended before that trial's choice.

    Raises
    ------
    ValueError
        If shapes differ, a reward is not a finite number, or `num_trials` is below 1.

    Examples
    --------
    >>> harlow_choices(np.array([[0.2, -1.0, 0.2, 0.0, 1.0], [0.0, 0.2, 1.0, 0.2, 0.0]])).tolist()
    [[0, 1], [1, -1]]
    """
    rewards = np.asarray(rewards)
    if rewards.ndim == 0 or rewards.dtype.kind not in "biuf" or not np.isfinite(rewards).all():
        raise ValueError(f"rewards: got {rewards.dtype} of shape {rewards.shape}, expected finite numbers (..., T)")
    counted = np.ones(rewards.shape, dtype=bool) if mask is None else np.asarray(mask) != 0
    if counted.shape != rewards.shape:
        raise ValueError(f"mask: got shape {counted.shape}, expected {rewards.shape}, that of rewards")
    if num_trials is not None and num_trials < 1:
        raise ValueError(f"num_trials: got {num_trials}, expected at least 1")
    length = rewards.shape[-1]
    right = (rewards > _LEAST_OF_RIGHT).reshape(-1, length)
    made = ((rewards > _LEAST_OF_RIGHT) | (rewards < 0)).reshape(-1, length) & counted.reshape(-1, length)
    trials = made.cumsum(1) - 1  # (M, T)
    most = int(made.sum(1).max(initial=0)) if num_trials is None else num_trials
    episodes, steps = np.nonzero(made & (trials < most))
    choices = np.full((len(made), most), MISSED)
    choices[episodes, trials[episodes, steps]] = right[episodes, steps]
    return choices.reshape(*rewards.shape[:-1], most)


def accuracy_by_trial(choices: np.ndarray) -> Interval:
    """Fraction of right choices in each trial, with its 95 % interval over episodes (Wilson).

    Episodes have different objects, so they are independent units of one agent. Those that ended before a trial's
    choice are left out of that trial: see `fraction_made`.

    Parameters
    ----------
    choices
        (M, K) of M episodes, see `harlow_choices`.

    Returns
    -------
    Three arrays (K,); NaN where no episode has a choice.

    Raises
    ------
    ValueError
        If there is not one axis of episodes and one of trials, or a value is none of 1, 0 and -1.

    Examples
    --------
    >>> accuracy_by_trial(np.array([[0, 1], [1, 1]])).mean.tolist()
    [0.5, 1.0]
    """
    choices = _outcomes(choices)
    if choices.ndim != 2:
        raise ValueError(f"choices: got shape {choices.shape}, expected (episodes, trials)")
    counts = zip((choices == 1).sum(0).tolist(), (choices != MISSED).sum(0).tolist(), strict=True)
    intervals = [fraction_interval(right, made) if made else None for right, made in counts]
    mean, low, high = (
        np.array([np.nan if interval is None else float(getattr(interval, end)) for interval in intervals])
        for end in ("mean", "low", "high")
    )
    return Interval(mean, low, high)


def accuracy(choices: np.ndarray) -> float:
    """Fraction of right choices among all that were made in these trials (..., K); NaN if there are none."""
    choices = _outcomes(choices)
    made = int((choices != MISSED).sum())
    return int((choices == 1).sum()) / made if made else float("nan")


def fraction_made(choices: np.ndarray) -> float:
    """Fraction of trials in which a choice was made, of choices (..., K); NaN if there are no trials."""
    choices = _outcomes(choices)
    return float((choices != MISSED).mean()) if choices.size else float("nan")


def _outcomes(choices: np.ndarray) -> np.ndarray:
    choices = np.asarray(choices)
    if not np.isin(choices, (1, 0, MISSED)).all():
        raise ValueError(
            f"choices: got {np.unique(choices)[:5].tolist()}, expected 1, 0 or {MISSED}; see harlow_choices"
        )
    return choices
