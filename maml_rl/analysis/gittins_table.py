"""Gittins indices of a Bernoulli arm with a uniform prior, and the baseline agent that follows them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from maml_rl.analysis.bandit_baselines import BanditPolicy
from maml_rl.utils.checks import check_at_least

# How many levels beyond the last one asked for the recursion starts, at least; and the number of safe rewards it tries.
LEVELS_BEYOND = 100
NUM_SAFE_REWARDS = 301


@lru_cache(maxsize=8)
def gittins_indices(num_pulls: int, discount: float) -> np.ndarray:
    """Index of every record an arm can have before the last of `num_pulls` pulls.

    The index of a record is the safe reward λ at which pulling on is worth exactly as much as stopping
    (Gittins 1979; with a safe reward to retire to, Whittle 1980)::

        D(w, l; λ) = max(0, C(w, l; λ)),   p = (w + 1) / (w + l + 2)
        C(w, l; λ) = p - λ + γ (p D(w + 1, l; λ) + (1 - p) D(w, l + 1; λ))
        index(w, l) = the λ with C(w, l; λ) = 0

    One backward pass over the number of pulls serves all records and all λ of a grid, and C, which is convex
    in λ, is interpolated where it changes sign. The pass starts an effective horizon 1 / (1 - γ), but at least 100
    pulls, beyond the last one asked for, where learning is neglected: D = max(0, p - λ) / (1 - γ). The grid is finer
    towards 0 and 1, as indices are. Errors stay below 2e-4 where a record has few pulls, 2e-3 after hundreds. The
    result is kept, and read-only.

    Parameters
    ----------
    num_pulls
        Number of pulls n, >= 1. Time and memory grow with its square: 500 pulls take one to two seconds.
    discount
        γ, in (0, 1).

    Returns
    -------
    numpy.ndarray
        (n, n), entry [wins, losses] in (0, 1); NaN where wins + losses >= n.

    Raises
    ------
    ValueError
        If `num_pulls` or `discount` is out of range.

    Examples
    --------
    >>> gittins_indices(3, 0.9).round(3)
    array([[0.703, 0.5  , 0.38 ],
           [0.8  , 0.635,   nan],
           [0.845,   nan,   nan]])
    """
    check_at_least(1, num_pulls=num_pulls)
    if not 0.0 < discount < 1.0:
        raise ValueError(f"discount: got {discount}, expected a number between 0 and 1, neither included")
    safe = np.sin(np.linspace(0.0, np.pi / 2, NUM_SAFE_REWARDS)) ** 2  # (L,), from 0 to 1
    top = num_pulls + max(LEVELS_BEYOND, int(np.ceil(1.0 / (1.0 - discount))))
    means = np.arange(1, top + 2) / (top + 2)
    gains = np.maximum(0.0, means - safe[:, None]) / (1.0 - discount)  # (L, top + 1), by wins
    spare = np.empty_like(gains)
    indices = np.full((num_pulls, num_pulls), np.nan)
    for pulls in range(top - 1, -1, -1):
        wins = np.arange(pulls + 1)
        means = (wins + 1) / (pulls + 2)
        going_on = np.subtract(gains[:, 1:], gains[:, :-1], out=spare[:, : pulls + 1])  # in place: this is the hot loop
        going_on *= means
        going_on += gains[:, :-1]
        going_on *= discount
        going_on += means
        going_on -= safe[:, None]
        if pulls < num_pulls:
            indices[wins, pulls - wins] = _zeros(safe, going_on)
        gains = np.maximum(0.0, going_on, out=gains[:, : pulls + 1])
    indices.flags.writeable = False
    return indices


def gittins(num_pulls: int, *, discount: float | None = None) -> BanditPolicy:
    """The arm with the highest Gittins index: optimal for endless tasks with rewards discounted by γ per pull.

    Parameters
    ----------
    num_pulls
        Most pulls a task will see, >= 1.
    discount
        γ in (0, 1); ``1 - 1 / num_pulls`` if None, which is within 0.4 per cent of the finite-horizon index (one for
        every number of pulls that are left) at n = 10 and n = 100, with one small table.

    Raises
    ------
    ValueError
        If an argument is out of range; when rolled out, if an arm has been pulled `num_pulls` times already.
    """
    if discount is None:
        discount = 1.0 - 1.0 / max(num_pulls, 2)
    indices = gittins_indices(num_pulls, discount)

    def policy(wins: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        most = int((wins + losses).max(initial=0))
        if most >= num_pulls:
            raise ValueError(f"wins + losses: got {most} pulls of an arm, expected fewer than num_pulls = {num_pulls}")
        return indices[wins, losses]

    return policy


def _zeros(safe: np.ndarray, going_on: np.ndarray) -> np.ndarray:
    """Places where the columns of going_on (L, n), functions of safe (L,), fall through zero: (n,)."""
    columns = np.arange(going_on.shape[1])
    after = (going_on > 0).sum(axis=0)  # positive at 0 and negative at 1, so that both ends exist
    high, low = going_on[after - 1, columns], going_on[after, columns]
    return safe[after - 1] + (safe[after] - safe[after - 1]) * high / (high - low)
