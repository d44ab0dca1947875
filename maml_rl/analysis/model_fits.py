"""Fits of cognitive models to choices by maximum likelihood, and comparison of two models by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

from maml_rl.analysis.choice_models import ChoiceData, Data, LikelihoodModel
from maml_rl.utils.checks import check_at_least

_CANDIDATES_PER_START = 6
_LARGEST_REWARD = 25.0


@dataclass(frozen=True)
class ModelFit:
    """Parameters that make an agent's choices most probable.

    Attributes
    ----------
    parameters
        (Q,), in the ranges of the model.
    log_likelihood
        Of all choices, in nats.
    num_choices
        Number of choices.
    at_bounds
        (Q,) bool, True where a parameter lies at the end of its range, where more would have been better or nothing
        matters.
    chance_log_likelihood
        Of the same choices made at random.
    """

    parameters: np.ndarray
    log_likelihood: float
    num_choices: int
    at_bounds: np.ndarray
    chance_log_likelihood: float

    @property
    def at_bound(self) -> bool:
        """True if a parameter lies at the end of its range."""
        return bool(self.at_bounds.any())

    @property
    def aic(self) -> float:
        """Akaike's information criterion (1974): ``2 Q - 2 log_likelihood``; less is better."""
        return 2.0 * len(self.parameters) - 2.0 * self.log_likelihood

    @property
    def bic(self) -> float:
        """Bayesian information criterion (Schwarz 1978): ``Q log(num_choices) - 2 log_likelihood``; less is better."""
        return len(self.parameters) * float(np.log(self.num_choices)) - 2.0 * self.log_likelihood

    @property
    def pseudo_r2(self) -> float:
        """``1 - log_likelihood / chance_log_likelihood`` (McFadden 1974): 0 at chance, 1 if choices were certain."""
        return 1.0 - self.log_likelihood / self.chance_log_likelihood


def fit_model(
    model: LikelihoodModel[Data],
    data: Data,
    rng: np.random.Generator,
    *,
    num_starts: int = 2,
    start: np.ndarray | None = None,
) -> ModelFit:
    """Fit a model's parameters to all episodes of an agent or a subject.

    The best of some random parameters start a quasi-Newton search each (L-BFGS-B), and the best end counts.

    Parameters
    ----------
    model
        From `maml_rl.analysis.people.catalogue`, or any other with the same contract.
    data
        Of one agent or subject.
    rng
        Draws the starting points.
    num_starts
        Searches, >= 1.
    start
        Parameters (Q,) of the only search, in place of random ones.

    Raises
    ------
    ValueError
        If there is nothing to fit, or rewards are larger than 25: bounds and starts are made for the order of 1.
    """
    check_at_least(1, num_starts=num_starts)
    _check_data(data)
    least, most = (np.array([getattr(part, end) for part in model.ranges]) for end in ("least", "most"))
    low, high = (np.array([part.start[end] for part in model.ranges]) for end in (0, 1))
    unit = high - low  # a search in units of the starting ranges: all parameters are then of the order of 1

    def loss(scaled: np.ndarray) -> float:
        return -float(model.trial_log_likelihoods(data, np.clip(scaled * unit, least, most)).sum())

    if start is None:
        candidates = rng.uniform(low, high, (num_starts * _CANDIDATES_PER_START, len(low))) / unit
        starts = candidates[np.argsort([loss(candidate) for candidate in candidates], kind="stable")[:num_starts]]
    else:
        starts = np.asarray(start, dtype=np.float64)[np.newaxis] / unit
    bounds = list(zip(least / unit, most / unit, strict=True))
    ends = [minimize(loss, start, method="L-BFGS-B", bounds=bounds) for start in starts]
    best = min(ends, key=lambda end: float(end.fun))
    if not np.isfinite([float(end.fun) for end in ends]).all():
        raise ValueError("data: the likelihood is not finite; scale rewards so that they are of the order of 1")
    found = np.clip(best.x * unit, least, most)
    at_bounds = (found <= least + 1e-6) | (found >= most - 1e-6)
    return ModelFit(found, -float(best.fun), data.num_choices, at_bounds, data.chance_log_likelihood)


def _check_data(data: ChoiceData) -> None:
    largest = float(np.abs(data.rewards).max(initial=0.0))
    if largest > _LARGEST_REWARD:
        raise ValueError(
            f"data: got rewards up to {largest:.3g}, expected the order of 1; divide them, such as with "
            "reward_scale of read_choices"
        )
    if data.num_choices == 0:
        raise ValueError("data: got no choice at all, expected at least one")


def log_bayes_factor(first: ModelFit, second: ModelFit) -> float:
    """Log Bayes factor, in nats, by BIC: half of what the second one's is higher; > 0 speaks for the first.

    Kass & Raftery 1995, section 4.1.3. Raises `ValueError` if they are fits to different data.
    """
    if first.num_choices != second.num_choices:
        raise ValueError(
            f"first, second: got fits to {first.num_choices} and {second.num_choices} choices, expected the same data"
        )
    return 0.5 * (second.bic - first.bic)


class HeldOut(NamedTuple):
    """Log likelihoods (E,), in nats, of episodes under parameters (F, Q) fitted to those of the other F - 1 folds."""

    log_likelihoods: np.ndarray
    parameters: np.ndarray


def held_out(
    model: LikelihoodModel[Data],
    data: Data,
    rng: np.random.Generator,
    *,
    num_folds: int = 5,
    num_starts: int = 1,
    start: np.ndarray | None = None,
) -> HeldOut:
    """Log likelihood of every episode under parameters fitted to episodes of other folds.

    Episode e belongs to fold ``e % num_folds``. Searches of each fold are those of `fit_model`: `num_starts`, or one
    from `start` (Q,).

    Raises
    ------
    ValueError
        If there are fewer episodes than folds, or fewer than two folds.
    """
    if not 2 <= num_folds <= len(data):
        raise ValueError(f"num_folds: got {num_folds} with {len(data)} episodes, expected 2 to {len(data)}")
    folds = np.arange(len(data)) % num_folds
    logs, parameters = np.empty(len(data)), np.empty((num_folds, len(model.ranges)))
    for fold in range(num_folds):
        fit = fit_model(model, data.episodes(_where(folds != fold)), rng, num_starts=num_starts, start=start)
        asked = data.episodes(_where(folds == fold))
        logs[folds == fold] = model.trial_log_likelihoods(asked, fit.parameters).sum(axis=1)
        parameters[fold] = fit.parameters
    return HeldOut(logs, parameters)


def cross_validated(
    model: LikelihoodModel[Data],
    data: Data,
    rng: np.random.Generator,
    *,
    num_folds: int = 5,
    start: np.ndarray | None = None,
) -> float:
    """Log likelihood, in nats, of all episodes together, see `held_out`; searches begin at `start` (Q,)."""
    return float(held_out(model, data, rng, num_folds=num_folds, start=start).log_likelihoods.sum())


def _where(mask: np.ndarray) -> Sequence[int]:
    return [int(index) for index in np.flatnonzero(mask)]
