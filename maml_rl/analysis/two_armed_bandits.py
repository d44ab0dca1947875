"""Exact Bayes-optimal behaviour on two Bernoulli arms, independent or dependent (Wang et al. 2016, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maml_rl.analysis.bandit_baselines import BanditPolicy
from maml_rl.utils.checks import check_at_least

# Scores closer than this are equal: what is left of a difference of equal sums of 100 rewards.
TIE = 1e-10


@dataclass(frozen=True)
class BayesOptimum:
    """The best that any agent can do on average over the prior.

    Attributes
    ----------
    reward
        Expected total reward.
    regret
        Expected sum over pulls of the better arm's mean minus the chosen arm's mean.
    policy
        Reaches both, for instance in `maml_rl.analysis.bandit_baselines.roll_out_bandit`; raises a ValueError after
        more pulls than it was computed for.
    """

    reward: float
    regret: float
    policy: BanditPolicy


def independent_arms_optimum(num_pulls: int) -> BayesOptimum:
    """Bayes-optimal behaviour on two arms whose means are independent and uniform on [0, 1].

    Backward induction over everything that can have happened in t pulls, with p_i = (w_i + 1) / (w_i + l_i + 2)::

        Q_i = p_i (1 + V(w_i + 1)) + (1 - p_i) V(l_i + 1),   V = max(Q_1, Q_2)

    Parameters
    ----------
    num_pulls
        Number of pulls T, >= 1. The table of choices takes T^4 / 4 bytes, 25 MB for T = 100, and the time grows alike:
        about a second for T = 100.

    Raises
    ------
    ValueError
        If `num_pulls` is below 1.

    Examples
    --------
    >>> round(independent_arms_optimum(100).regret, 2)
    1.75
    """
    preferences: list[np.ndarray] = []  # of the last pull first, +1 where arm 0 is better, -1 where arm 1 is

    def choose(pulls: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        difference = first - second
        preferences.append((difference > TIE).astype(np.int8) - (difference < -TIE))
        return np.maximum(first, second)

    reward = _backward(num_pulls, choose)

    def policy(wins: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pulls = _pulls(wins, losses, num_pulls)
        preference = np.empty(len(wins))
        for done in np.unique(pulls):
            rows = pulls == done
            table = preferences[num_pulls - 1 - done]  # (t + 1, t + 1, t + 1)
            preference[rows] = table[(wins + losses)[rows, 0], wins[rows, 0], wins[rows, 1]]
        return np.stack([preference, -preference], axis=1)  # (M, 2)

    return BayesOptimum(reward, num_pulls * 2.0 / 3.0 - reward, policy)


def independent_arms_regret(policy: BanditPolicy, num_pulls: int, rng: np.random.Generator) -> float:
    """Expected regret of a policy on two arms whose means are independent and uniform on [0, 1].

    As `independent_arms_optimum`, but the policy chooses; equal scores divide the pull. Exact for a policy that
    draws nothing. For one that does, its scores are drawn once in every state, which is unbiased, because the value is
    linear in each state's choice.

    Parameters
    ----------
    policy
        Scores the arms; it is called once per number of pulls, with all records (S, 2) that there can be.
    num_pulls
        Number of pulls T, >= 1.
    rng
        Given to the policy.

    Raises
    ------
    ValueError
        If `num_pulls` is below 1.

    Examples
    --------
    >>> from maml_rl.analysis.bandit_baselines import greedy
    >>> round(independent_arms_regret(greedy, 10, np.random.default_rng(0)), 3)
    0.661
    """

    def choose(pulls: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        of_first, won_first, won_second = np.ogrid[: pulls + 1, : pulls + 1, : pulls + 1]
        possible = np.nonzero((won_first <= of_first) & (won_second <= pulls - of_first))
        wins = np.stack(possible[1:], axis=1)  # (S, 2)
        spent = np.stack([possible[0], pulls - possible[0]], axis=1)  # (S, 2)
        scores = policy(wins, spent - wins, rng)  # (S, 2)
        fraction = np.zeros(first.shape)
        fraction[possible] = (scores[:, 0] > scores[:, 1]) + 0.5 * (scores[:, 0] == scores[:, 1])
        return fraction * first + (1.0 - fraction) * second

    return num_pulls * 2.0 / 3.0 - _backward(num_pulls, choose)


def dependent_arms_optimum(num_pulls: int, *, better: float | None = None) -> BayesOptimum:
    """Bayes-optimal behaviour on two arms with means p and 1 - p.

    A win of arm 0 and a loss of arm 1 say the same about p, so that both arms always teach equally much: to look ahead
    gains nothing, and the optimum is to pull the arm with the higher posterior mean. Its value is the sum over pulls
    of E[max(m, 1 - m)], m the posterior mean of p, over the exact distribution of what has been seen. Exactly, the
    regrets of T = 100 are 1.221 (uniform), 0.625 (easy), 1.000 (medium) and 2.312 (hard).

    Parameters
    ----------
    num_pulls
        Number of pulls T, >= 1.
    better
        None: p is uniform on [0, 1]. Else p is `better` or ``1 - better`` with equal probability; in (0.5, 1).
        Wang et al. 2016 call 0.9 easy, 0.75 medium, 0.6 hard.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> [round(dependent_arms_optimum(100, better=better).regret, 2) for better in (None, 0.9, 0.75, 0.6)]
    [1.22, 0.62, 1.0, 2.31]
    """
    check_at_least(1, num_pulls=num_pulls)
    if better is not None and not 0.5 < better < 1.0:
        raise ValueError(f"better: got {better}, expected a number between 0.5 and 1")

    def mean(seen: np.ndarray, pulls: np.ndarray) -> np.ndarray:
        """Posterior mean of p after `seen` signs of a large p in that many pulls."""
        if better is None:
            return (seen + 1) / (pulls + 2)
        odds = (1.0 / better - 1.0) ** np.abs(2 * seen - pulls)  # of the less likely of two worlds
        likely = (better + (1.0 - better) * odds) / (1.0 + odds)
        return np.where(2 * seen >= pulls, likely, 1.0 - likely)

    reward, distribution = 0.0, np.ones(1)  # over the number of signs seen
    for pulls in range(num_pulls):
        means = mean(np.arange(pulls + 1), np.array(pulls))
        reward += float(distribution @ np.maximum(means, 1.0 - means))
        distribution = np.append(distribution * (1.0 - means), 0.0) + np.append(0.0, distribution * means)

    def policy(wins: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        means = mean(wins[:, 0] + losses[:, 1], _pulls(wins, losses, num_pulls))
        return np.stack([means, 1.0 - means], axis=1)  # (M, 2)

    return BayesOptimum(reward, num_pulls * (0.75 if better is None else better) - reward, policy)


def _backward(num_pulls: int, choose: Callable[[int, np.ndarray, np.ndarray], np.ndarray]) -> float:
    """Value before the first pull, where `choose` turns (t, Q_1, Q_2) into V.

    Arrays are indexed by [pulls of arm 0, wins of arm 0, wins of arm 1] with t pulls in all. Some entries stand
    for what cannot happen, more wins than pulls; none of the others ever reads them.
    """
    check_at_least(1, num_pulls=num_pulls)
    values = np.zeros((num_pulls + 1,) * 3)
    for pulls in range(num_pulls - 1, -1, -1):
        of_first, won_first, won_second = np.ogrid[: pulls + 1, : pulls + 1, : pulls + 1]
        first = np.minimum(1.0, (won_first + 1) / (of_first + 2))
        second = np.minimum(1.0, (won_second + 1) / (pulls - of_first + 2))
        values = choose(
            pulls,
            first * (1.0 + values[1:, 1:, :-1]) + (1.0 - first) * values[1:, :-1, :-1],
            second * (1.0 + values[:-1, :-1, 1:]) + (1.0 - second) * values[:-1, :-1, :-1],
        )
    return float(values[0, 0, 0])


def _pulls(wins: np.ndarray, losses: np.ndarray, num_pulls: int) -> np.ndarray:
    """Pulls so far (M,), fewer than the policy was computed for."""
    if wins.ndim != 2 or wins.shape[1] != 2:
        raise ValueError(f"wins: got shape {wins.shape}, expected (M, 2), two arms")
    pulls = (wins + losses).sum(axis=1)
    if pulls.max(initial=0) >= num_pulls:
        raise ValueError(f"wins + losses: got {pulls.max()} pulls, expected fewer than num_pulls = {num_pulls}")
    return pulls
