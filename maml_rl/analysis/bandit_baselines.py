"""Baseline agents of Bernoulli bandits that meta-learners are compared to (Duan et al. 2016, section 3.1).

A policy is a function ``(wins, losses, rng) -> scores``, three arrays (M, K) and a generator: the arm with the highest
score is pulled. All of them believe in independent arms whose means are uniform on [0, 1], that is Beta(1, 1). The
exact optimum of two arms stands in `maml_rl.analysis.two_armed_bandits`.

Duan's table 1 of total rewards, means over 1000 tasks, has standard errors of about 0.07 at n = 10, 0.2 to 0.5 at
n = 100 and 0.7 to 2.5 at n = 500. With ``ties="first"`` it is reproduced within three of them. Its parameters were
searched for each column apart and are not printed; one value for all columns stands for them here:

- `greedy` needs ``ties="first"``: breaking ties at random explores by accident and gains 1 to 2 at n = 100.
- ``epsilon_greedy(0.02)`` and ``ucb1(0.2)``, the latter on counts that include the prior's.
- "OTS" is `most_likely_thompson` with 20 samples. `optimistic_thompson`, the rule of the source it cites, reaches only
  6.0, 5.6 and 5.1 at n = 10 where 6.5, 6.2 and 5.5 are printed.
- `gittins_table.gittins` obtains up to 1.2 per cent more than is printed (83.8 for 82.8 at n = 100, k = 10; 442 for
  437.8 at n = 500, k = 10): the table's indices were approximations, and `ucb1` and `thompson` are a little below the
  mean there, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import xlog1py, xlogy

from maml_rl.utils.checks import check_at_least, check_probabilities

BanditPolicy = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class BanditRollout:
    """Rewards and choices of M tasks in n pulls.

    Attributes
    ----------
    rewards
        (M, n), 0.0 or 1.0.
    choices
        (M, n), indices of arms.
    """

    rewards: np.ndarray
    choices: np.ndarray


def roll_out_bandit(
    policy: BanditPolicy,
    means: np.ndarray,
    num_pulls: int,
    rng: np.random.Generator,
    *,
    ties: Literal["random", "first"] = "random",
) -> BanditRollout:
    """Roll out every task for `num_pulls` pulls, all tasks side by side.

    Parameters
    ----------
    policy
        Scores the arms, given their rewards so far.
    means
        (M, K), an arm's probability of reward 1, in [0, 1].
    num_pulls
        Number of pulls n, >= 1.
    rng
        Draws rewards, ties and whatever the policy draws.
    ties
        Which of the arms with the highest score is pulled: any of them, or that with the lowest index.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range.

    Examples
    --------
    >>> found = roll_out_bandit(greedy, np.array([[0.0, 1.0]]), 5, np.random.default_rng(0), ties="first")
    >>> found.choices.tolist(), found.rewards.tolist()
    ([[0, 1, 1, 1, 1]], [[0.0, 1.0, 1.0, 1.0, 1.0]])
    """
    means = _check_means(means)
    check_at_least(1, num_pulls=num_pulls)
    if ties not in ("random", "first"):
        raise ValueError(f"ties: got {ties!r}, expected 'random' or 'first'")
    wins = np.zeros(means.shape, dtype=np.int64)
    losses = np.zeros(means.shape, dtype=np.int64)
    choices = np.empty((len(means), num_pulls), dtype=np.int64)
    rewards = np.empty((len(means), num_pulls))
    rows = np.arange(len(means))
    for pull in range(num_pulls):
        scores = policy(wins, losses, rng)  # (M, K)
        if ties == "random":
            scores = (scores == scores.max(axis=1, keepdims=True)) * (1.0 - rng.random(means.shape))
        chosen = scores.argmax(axis=1)
        won = rng.random(len(means)) < means[rows, chosen]
        wins[rows, chosen] += won
        losses[rows, chosen] += ~won
        choices[:, pull], rewards[:, pull] = chosen, won
    return BanditRollout(rewards, choices)


def bandit_regret(means: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """Regret (M,): the sum over pulls of the best arm's mean minus the chosen arm's mean.

    Parameters
    ----------
    means
        (M, K), in [0, 1].
    choices
        (M, n), indices of arms.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range.

    Examples
    --------
    >>> bandit_regret(np.array([[0.25, 0.75]]), np.array([[0, 1, 0]])).tolist()
    [1.0]
    """
    means, choices = _check_means(means), np.asarray(choices)
    if choices.ndim != 2 or len(choices) != len(means):
        raise ValueError(f"choices: got shape {choices.shape}, expected ({len(means)}, n)")
    chosen = np.take_along_axis(means, choices, axis=1)  # (M, n)
    return (means.max(axis=1, keepdims=True) - chosen).sum(axis=1)


def random_arm(wins: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Any arm, whatever its `wins` and `losses` (M, K): scores (M, K) are drawn from [0, 1)."""
    return rng.random(wins.shape)


def greedy(wins: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The arm with the highest posterior mean, of `wins` and `losses` (M, K): ``(w + 1) / (w + l + 2)``, (M, K)."""
    return (wins + 1) / (wins + losses + 2)


def epsilon_greedy(epsilon: float = 0.02) -> BanditPolicy:
    """Any arm with probability `epsilon` in [0, 1], else that with the highest posterior mean."""
    check_probabilities(epsilon=epsilon)

    def policy(wins: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        exploring = rng.random((len(wins), 1)) < epsilon
        return np.where(exploring, rng.random(wins.shape), greedy(wins, losses, rng))

    return policy


def ucb1(constant: float = 0.2, *, prior_count: float = 1.0) -> BanditPolicy:
    """Upper confidence bounds: ``mean + c sqrt(2 log t / count)`` at the t-th pull (Auer et al. 2002, figure 1).

    Parameters
    ----------
    constant
        c, >= 0. Auer's is 1, far too much for so few pulls; 0.2 reproduces Duan et al. 2016. With
        ``mean + χ sqrt(log t / count)`` in mind, c = χ / sqrt(2).
    prior_count
        Wins and losses, that many of each, that every arm starts with: 1 is the uniform prior, as in Duan et al. 2016;
        0 is Auer's rule, which first pulls every arm once.

    Raises
    ------
    ValueError
        If an argument is negative.
    """
    if not (constant >= 0.0 and prior_count >= 0.0):
        raise ValueError(f"constant, prior_count: got {constant}, {prior_count}, expected numbers >= 0")

    def policy(wins: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pulls = wins + losses
        log_time = np.log1p(pulls.sum(axis=1, keepdims=True))  # (M, 1)
        counts = pulls + 2.0 * prior_count
        known = np.where(counts > 0, counts, 1.0)
        scores = (wins + prior_count) / known + constant * np.sqrt(2.0 * log_time / known)
        return np.where(counts > 0, scores, np.inf)

    return policy


def thompson(wins: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One draw (M, K) of every arm's mean from its posterior Beta(wins + 1, losses + 1), of (M, K) (Thompson 1933)."""
    return rng.beta(wins + 1, losses + 1)


def optimistic_thompson(wins: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As `thompson` of wins and losses (M, K), but no draw is below the posterior mean (May et al. 2012)."""
    return np.maximum(thompson(wins, losses, rng), greedy(wins, losses, rng))


def most_likely_thompson(num_samples: int = 20) -> BanditPolicy:
    """Of several draws of all arms' means from the posterior, the one with the highest posterior density.

    It lies between `thompson` (one sample) and the mode of the posterior, and is what reproduces the column "OTS" of
    Duan et al. 2016.

    Parameters
    ----------
    num_samples
        Number of draws per pull, >= 1; time is proportional to it.

    Raises
    ------
    ValueError
        If `num_samples` is below 1.
    """
    check_at_least(1, num_samples=num_samples)

    def policy(wins: np.ndarray, losses: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        best = thompson(wins, losses, rng)
        highest = _log_density(best, wins, losses)
        for _ in range(num_samples - 1):
            drawn = thompson(wins, losses, rng)
            density = _log_density(drawn, wins, losses)
            better = density > highest  # (M,)
            best[better], highest[better] = drawn[better], density[better]
        return best

    return policy


def _log_density(means: np.ndarray, wins: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Posterior log density (M,) of means (M, K), but for a constant."""
    return (xlogy(wins, means) + xlog1py(losses, -means)).sum(axis=1)


def _check_means(means: np.ndarray) -> np.ndarray:
    means = np.asarray(means, dtype=np.float64)
    if means.ndim != 2 or means.shape[1] == 0:
        raise ValueError(f"means: got shape {means.shape}, expected (M, K) with at least one arm")
    if not ((means >= 0.0) & (means <= 1.0)).all():
        raise ValueError("means: got values outside [0, 1], expected probabilities")
    return means
