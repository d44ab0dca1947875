"""Lagged logistic regression of choices in the two-step task: what earlier trials do to a choice, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.logistic_regression import fit_logistic
from maml_rl.analysis.two_step_choices import TwoStepChoices
from maml_rl.utils.checks import check_at_least

LAGGED_TERMS = ("same", "outcome", "transition", "transition x outcome")
"""Terms of each lag."""


@dataclass(frozen=True)
class LaggedRegression:
    """Effects of earlier trials on the choice of stage one.

    Attributes
    ----------
    coefficients, errors
        (4, L) each, of `LAGGED_TERMS` at lags 1 to L: log odds of making the earlier choice again, and standard errors.
    num_choices
        Choices that were explained.
    """

    coefficients: np.ndarray
    errors: np.ndarray
    num_choices: int


def regress_on_past(data: TwoStepChoices, *, num_lags: int = 5, penalty: float = 1.0) -> LaggedRegression:
    """Regress the choice of stage one on the trials before it (Akam, Costa & Dayan 2015, section on their figure 6).

    With ``c`` of 1 or -1 for the earlier choice, at every lag: ``c`` (same), ``c`` if that trial was rewarded and
    ``-c`` if not (outcome), ``c`` after a common and ``-c`` after a rare transition (transition), and their product. A
    constant preference is among the regressors. Model-free learners have effects of the outcome, model-based ones of
    transition x outcome, at several lags; a single lag mixes the two up where good states last for long. A missed
    earlier trial has no effect.

    Parameters
    ----------
    data
        Of one agent or subject.
    num_lags
        L, >= 1. Choices with fewer trials before them are left out.
    penalty
        > 0, see `maml_rl.analysis.logistic_regression.fit_logistic`.

    Raises
    ------
    ValueError
        If no choice has that many trials before it.
    """
    check_at_least(1, num_lags=num_lags)
    made = data.choices != MISSED
    counted = made[:, num_lags:]  # (E, T - L)
    if counted.size == 0 or not counted.any():
        raise ValueError(
            f"num_lags: got {num_lags}, expected fewer than the {data.choices.shape[1]} trials of episodes"
        )
    chosen = np.where(made, 2.0 * data.choices - 1.0, 0.0)
    outcome, transition = np.where(data.rewarded, 1.0, -1.0), np.where(data.common, 1.0, -1.0)
    effects = np.stack([chosen, chosen * outcome, chosen * transition, chosen * outcome * transition])  # (4, E, T)
    num_trials = data.choices.shape[1]
    past = [effects[:, :, num_lags - lag : num_trials - lag][:, counted] for lag in range(1, num_lags + 1)]
    features = np.stack(past, axis=1).reshape(len(LAGGED_TERMS) * num_lags, -1)  # (4, L, n) -> (4 L, n)
    constant = np.ones((1, features.shape[1]))
    fit = fit_logistic(np.concatenate([features, constant]).T, data.choices[:, num_lags:][counted], penalty=penalty)
    shape = (len(LAGGED_TERMS), num_lags)
    coefficients, errors = (part[:-1].reshape(shape) for part in (fit.coefficients, fit.errors))
    return LaggedRegression(coefficients, errors, int(counted.sum()))
