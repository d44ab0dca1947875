"""Baseline agents that know how a bandit's arms drift: the beliefs of a Kalman filter, and rules that choose by them.

The filter is exact for Gaussian payoffs of means that drift linearly (Kalman 1960; Daw et al. 2006, supplement), but
for the first trial's uniform means, which it takes for normal with the same mean and variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

KalmanRule = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""``(means, standard_deviations, rng) -> scores``: of beliefs (M, K) about the arms; the arm with the highest score is
chosen."""


@dataclass(frozen=True)
class DriftingArms:
    """Parameters of the arms' drift and payoffs, in points.

    See `maml_rl.envs.bandits.drifting_bandit.DriftingBanditVectorEnv`.

    Attributes
    ----------
    decay
        Fraction of its distance from the centre that a mean keeps, in [0, 1].
    centre
        Where arms return to; first means are uniform on [0, 2 * centre].
    drift_deviation, payoff_deviation
        Standard deviations of a mean's step and of a payoff, >= 0 and > 0.
    """

    decay: float = 0.9836
    centre: float = 50.0
    drift_deviation: float = 2.8
    payoff_deviation: float = 4.0


@dataclass(frozen=True)
class DriftingBanditRollout:
    """Choices and payoffs of M tasks in T trials.

    Attributes
    ----------
    choices
        (M, T), indices of arms.
    payoffs
        (M, T), in points.
    """

    choices: np.ndarray
    payoffs: np.ndarray


def roll_out_drifting_bandit(
    rule: KalmanRule, means: np.ndarray, rng: np.random.Generator, *, arms: DriftingArms | None = None
) -> DriftingBanditRollout:
    """Roll out every task with the beliefs of a Kalman filter, all tasks side by side.

    Parameters
    ----------
    rule
        Scores the arms, given what is believed of them.
    means
        (M, T, K), the arms' means in every trial, in points.
    rng
        Draws payoffs and whatever the rule draws.
    arms
        What the filter knows; by default the parameters of Daw et al. 2006.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range.

    Examples
    --------
    >>> means = np.tile([10.0, 90.0], (1, 30, 1))
    >>> found = roll_out_drifting_bandit(kalman_greedy, means, np.random.default_rng(0))
    >>> found.choices[0, -5:].tolist()
    [1, 1, 1, 1, 1]
    """
    arms, means = arms or DriftingArms(), np.asarray(means, dtype=np.float64)
    if means.ndim != 3 or not np.isfinite(means).all():
        raise ValueError(f"means: got shape {means.shape}, expected finite numbers (M, T, K)")
    check_arms(arms)
    num_tasks, num_trials, num_arms = means.shape
    rows = np.arange(num_tasks)
    believed = np.full((num_tasks, num_arms), float(arms.centre))
    variance = np.full((num_tasks, num_arms), (2.0 * arms.centre) ** 2 / 12.0)
    choices = np.empty((num_tasks, num_trials), dtype=np.int64)
    payoffs = np.empty((num_tasks, num_trials))
    for trial in range(num_trials):
        chosen = rule(believed, np.sqrt(variance), rng).argmax(axis=1)
        payoff = means[rows, trial, chosen] + arms.payoff_deviation * rng.standard_normal(num_tasks)
        gain = variance[rows, chosen] / (variance[rows, chosen] + arms.payoff_deviation**2)
        believed[rows, chosen] += gain * (payoff - believed[rows, chosen])
        variance[rows, chosen] *= 1.0 - gain
        believed = arms.centre + arms.decay * (believed - arms.centre)
        variance = arms.decay**2 * variance + arms.drift_deviation**2
        choices[:, trial], payoffs[:, trial] = chosen, payoff
    return DriftingBanditRollout(choices, payoffs)


def check_arms(arms: DriftingArms) -> None:
    """Raise `ValueError` if a parameter of the arms is out of its range."""
    if not (0 <= arms.decay <= 1 and arms.drift_deviation >= 0 and arms.payoff_deviation > 0):
        raise ValueError(f"arms: got {arms}, expected decay in [0, 1], drift_deviation >= 0 and payoff_deviation > 0")


def kalman_greedy(means: np.ndarray, standard_deviations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The arm believed to be best, any of them at first, by `means` and `standard_deviations` (M, K) of beliefs."""
    return means + 1e-9 * rng.random(means.shape)


def kalman_thompson(means: np.ndarray, standard_deviations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The best arm of one draw from beliefs, `means` and `standard_deviations` (M, K) (Thompson 1933)."""
    return means + standard_deviations * rng.standard_normal(means.shape)


def kalman_ucb(bonus: float = 1.0) -> KalmanRule:
    """The arm with the highest belief plus `bonus` of its standard deviations, >= 0."""
    if not (bonus >= 0 and math.isfinite(bonus)):
        raise ValueError(f"bonus: got {bonus}, expected a finite number >= 0")

    def rule(means: np.ndarray, standard_deviations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        return means + bonus * standard_deviations + 1e-9 * rng.random(means.shape)

    return rule


def draw_drifting_means(
    num_tasks: int, num_trials: int, num_arms: int, rng: np.random.Generator, *, arms: DriftingArms | None = None
) -> np.ndarray:
    """Means (M, T, K) of the arms of new tasks, in points: what `DriftingBandit-v0` draws with the same generator."""
    arms = arms or DriftingArms()
    check_arms(arms)
    means = np.empty((num_tasks, num_trials, num_arms))
    means[:, 0] = rng.uniform(0.0, 2.0 * arms.centre, (num_tasks, num_arms))
    steps = arms.drift_deviation * rng.standard_normal((num_tasks, num_trials - 1, num_arms))
    for trial in range(1, num_trials):
        means[:, trial] = arms.centre + arms.decay * (means[:, trial - 1] - arms.centre) + steps[:, trial - 1]
    return means
