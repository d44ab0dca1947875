"""Measures of an agent's choices, seen from outside: regret, autocorrelation."""

from __future__ import annotations

import numpy as np

from maml_rl.analysis.arms import MISSED, check_arms_or_missed, check_choices


def cumulative_regret(choices: np.ndarray, arm_means: np.ndarray) -> np.ndarray:
    """Expected reward lost so far by not pulling the best arm: ``R_t = sum_{s <= t} (max_a mu_{s,a} - mu_{s,c_s})``.

    Means, not rewards, are compared, so that luck is left out (Wang et al. 2016, section 3.1).

    Parameters
    ----------
    choices
        (..., T), the arms pulled: whole numbers from 0 to k - 1.
    arm_means
        (..., T, k), mean reward of each arm at each pull; (..., 1, k) where arms stay as they are.

    Returns
    -------
    (..., T), never falling.

    Raises
    ------
    ValueError
        If the shapes do not fit or a choice is not an arm.

    Examples
    --------
    >>> cumulative_regret(np.array([0, 1, 1]), np.array([[0.25, 0.75]])).tolist()
    [0.5, 0.5, 0.5]
    """
    arm_means = np.asarray(arm_means, dtype=np.float64)
    if arm_means.ndim < 2:
        raise ValueError(f"arm_means: got shape {arm_means.shape}, expected (..., T, k) or (..., 1, k)")
    choices = check_choices(choices, arm_means.shape[-1])
    try:
        arm_means = np.broadcast_to(arm_means, (*choices.shape, arm_means.shape[-1]))
    except ValueError:
        raise ValueError(
            f"arm_means: got shape {arm_means.shape}, expected (..., T, k) or (..., 1, k) with choices {choices.shape}"
        ) from None
    chosen = np.take_along_axis(arm_means, choices[..., None], axis=-1)[..., 0]
    return np.cumsum(arm_means.max(axis=-1) - chosen, axis=-1)


def choice_autocorrelation(choices: np.ndarray, max_lag: int) -> np.ndarray:
    """Agreement, beyond chance, of choices l trials apart, for l = 1 ... `max_lag`.

    ``sum_a mean_t (x_{t,a} - m_a) (x_{t+l,a} - m_a) / sum_a m_a (1 - m_a)`` with ``x_{t,a} = 1`` where arm a was
    chosen, else 0, and m_a its mean over the episode: for two arms the usual autocorrelation of a series of zeros and
    ones, for more arms its average weighted by their variances. Means go over trials and pairs of trials without a
    missed one.

    Parameters
    ----------
    choices
        (..., T), arms from 0 on; -1 in a trial without a choice.
    max_lag
        Largest lag, 1 to T - 1.

    Returns
    -------
    (..., max_lag), 1 for choices that repeat with this period; NaN for an episode with one arm only, and at a lag
    without a pair of choices.

    Raises
    ------
    ValueError
        If there are too few trials for `max_lag`, or a choice is neither an arm nor -1.

    Examples
    --------
    >>> choice_autocorrelation(np.array([0, 1, 0, 1, 0, 1]), 2).tolist()
    [-1.0, 1.0]
    """
    choices = check_arms_or_missed(choices)
    num_trials = choices.shape[-1] if choices.ndim else 0
    if not 1 <= max_lag < num_trials:
        raise ValueError(f"max_lag: got {max_lag}, expected 1 to {num_trials - 1} with {num_trials} trials")
    made = choices != MISSED  # (..., T)
    chosen = (choices[..., None] == np.unique(choices[made])).astype(np.float64)  # (..., T, k)
    with np.errstate(invalid="ignore"):  # 0 / 0: no choice, no pair of choices, one arm only
        means = chosen.sum(axis=-2, keepdims=True) / made.sum(axis=-1)[..., None, None]
        deviations = np.where(made[..., None], chosen - means, 0.0)
        variances = (means * (1.0 - means)).sum(axis=(-2, -1))
        products = [
            (deviations[..., :-lag, :] * deviations[..., lag:, :]).sum(axis=(-2, -1))
            / (made[..., :-lag] & made[..., lag:]).sum(axis=-1)
            for lag in range(1, max_lag + 1)
        ]
        return np.stack(products, axis=-1) / variances[..., None]
