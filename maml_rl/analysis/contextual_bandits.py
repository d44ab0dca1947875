"""Contextual bandits that come back: exposures of a context, and a Bayes agent that forgets none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maml_rl.analysis.arms import check_choices
from maml_rl.utils.checks import check_at_least

_LEAST_PROBABILITY = 1e-12


@dataclass(frozen=True)
class ContextualRollout:
    """Pulls of M tasks in E episodes of P pulls.

    Attributes
    ----------
    choices, rewards
        (M, E, P): indices of arms; 0.0 or 1.0.
    """

    choices: np.ndarray
    rewards: np.ndarray


def exposure_numbers(contexts: np.ndarray) -> np.ndarray:
    """Number (..., E) of episodes so far with the context of each episode, itself among them: 1 at first sight.

    Parameters
    ----------
    contexts
        (..., E) int, context of each episode.

    Examples
    --------
    >>> exposure_numbers(np.array([4, 2, 4, 4, 2])).tolist()
    [1, 1, 2, 3, 2]
    """
    contexts = np.asarray(contexts)
    if contexts.ndim == 0:
        raise ValueError("contexts: got a number, expected (..., E), a context of each episode")
    same = contexts[..., :, np.newaxis] == contexts[..., np.newaxis, :]  # (..., E, E)
    return np.tril(same).sum(axis=-1)


def mean_by_exposure(values: np.ndarray, exposures: np.ndarray) -> np.ndarray:
    """Mean (X,) of the values of all episodes with exposure number 1, 2 ... X, the greatest; NaN without such episodes.

    Parameters
    ----------
    values
        (..., E), such as whether the first pull of an episode was the best arm's.
    exposures
        (..., E), see `exposure_numbers`.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    values, exposures = np.asarray(values, dtype=np.float64), np.asarray(exposures)
    if values.shape != exposures.shape:
        raise ValueError(f"values: got shape {values.shape}, expected {exposures.shape}, that of exposures")
    totals = np.bincount(exposures.ravel(), weights=values.ravel())[1:]
    with np.errstate(invalid="ignore"):  # 0 / 0: no such episode
        return np.asarray(totals / np.bincount(exposures.ravel())[1:])


def first_pull_accuracy(choices: np.ndarray, best: np.ndarray) -> np.ndarray:
    """Indicator (..., E) of first pulls of the best arm, before anything is learned in an episode.

    Parameters
    ----------
    choices
        (..., E, P), indices of arms.
    best
        (..., E), the best arm of each episode.
    """
    choices, best = np.asarray(choices), np.asarray(best)
    if choices.ndim < 2 or choices.shape[:-1] != best.shape:
        raise ValueError(f"choices: got shape {choices.shape}, expected (..., E, P) with best {best.shape}")
    return choices[..., 0] == best


def single_arm_accuracy(best: np.ndarray, counted: np.ndarray) -> float:
    """Fraction of episodes in which the commonest best arm of their task is the best one.

    It is the most that a first pull that does not look at the context can be right; since best arms of contexts may
    coincide, it is more than chance. NaN if no episode counts.

    Parameters
    ----------
    best
        (M, E), the best arm of each episode of M tasks.
    counted
        (M, E) bool, the episodes that count.

    Examples
    --------
    >>> single_arm_accuracy(np.array([[4, 4, 2, 4]]), np.array([[True, True, True, False]])) == 2 / 3
    True
    """
    best, counted = np.asarray(best), np.asarray(counted, dtype=bool)
    if best.ndim != 2 or best.shape != counted.shape:
        raise ValueError(f"best, counted: got shapes {best.shape}, {counted.shape}, expected (M, E) both")
    times = ((best[..., np.newaxis] == np.arange(best.max() + 1)) & counted[..., np.newaxis]).sum(axis=1)  # (M, k)
    return float(times.max(axis=1).sum() / counted.sum()) if counted.any() else float("nan")


def reward_by_pull(rewards: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Mean reward (P,) of each pull of an episode, over the episodes that count; NaN if none does.

    Parameters
    ----------
    rewards
        (..., E, P).
    counted
        (..., E) bool, such as ``exposures > 1``.
    """
    rewards, counted = np.asarray(rewards, dtype=np.float64), np.asarray(counted, dtype=bool)
    if rewards.ndim < 2 or rewards.shape[:-1] != counted.shape:
        raise ValueError(f"rewards: got shape {rewards.shape}, expected (..., E, P) with counted {counted.shape}")
    chosen = rewards[counted]  # (n, P)
    return chosen.mean(axis=0) if len(chosen) else np.full(rewards.shape[-1], np.nan)


def roll_out_bayes_agent(
    contexts: np.ndarray,
    best: np.ndarray,
    num_pulls: int,
    rng: np.random.Generator,
    *,
    num_arms: int,
    probabilities: tuple[float, float] = (0.9, 0.1),
    remembers: bool = True,
) -> ContextualRollout:
    """Roll out an agent that knows the prior and pulls the arm that is most probably the best.

    Of each context it keeps the log posterior of which arm is best, uniform at first. A pull of arm a with reward r
    adds ``log p(r | best) - log p(r | other)`` to that of a. Ties are broken at random. It is greedy: no pull is made
    for what it may teach, so that better agents may exist.

    Parameters
    ----------
    contexts
        (M, E), the context of each episode, from 0 to C - 1.
    best
        (M, C), the best arm of each context.
    num_pulls
        Pulls P of an episode, >= 1.
    rng
        Draws rewards and ties.
    num_arms
        Arms k.
    probabilities
        Of reward of the best arm, and of the others.
    remembers
        False: it forgets everything when an episode ends, as an agent without long-term memory.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range.

    Examples
    --------
    >>> found = roll_out_bayes_agent(
    ...     np.array([[0, 0]]), np.array([[2]]), 3, np.random.default_rng(0), num_arms=3, probabilities=(1.0, 0.0)
    ... )
    >>> found.choices[0, 1].tolist(), found.rewards[0, 1].tolist()
    ([2, 2, 2], [1.0, 1.0, 1.0])
    """
    contexts, best = np.asarray(contexts), check_choices(best, num_arms)
    check_at_least(1, num_pulls=num_pulls)
    if contexts.ndim != 2 or best.ndim != 2 or len(contexts) != len(best):
        raise ValueError(f"contexts, best: got shapes {contexts.shape}, {best.shape}, expected (M, E), (M, C)")
    gain_of_reward, gain_of_none = _log_ratios(*probabilities)
    scores, rows = np.zeros((*best.shape, num_arms)), np.arange(len(best))  # log posterior but for a constant
    choices = np.empty((*contexts.shape, num_pulls), dtype=np.int64)
    rewards = np.empty(choices.shape)
    for episode, context in enumerate(contexts.T):
        if not remembers:
            scores[:] = 0.0
        for pull in range(num_pulls):
            now = scores[rows, context]  # (M, k)
            highest = now >= now.max(axis=1, keepdims=True) - 1e-9
            arms = (highest * (1.0 - rng.random(now.shape))).argmax(axis=1)
            paid = rng.random(len(rows)) < np.where(arms == best[rows, context], *probabilities)
            scores[rows, context, arms] += np.where(paid, gain_of_reward, gain_of_none)
            choices[:, episode, pull], rewards[:, episode, pull] = arms, paid
    return ContextualRollout(choices, rewards)


def _log_ratios(best: float, other: float) -> tuple[float, float]:
    """Log of how much likelier the best arm gives a reward, and none, than another one: finite."""
    if not 0 <= other < best <= 1:
        raise ValueError(f"probabilities: got {best}, {other}, expected 0 <= other < best <= 1")
    high, low = np.clip([best, other], _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return float(np.log(high / low)), float(np.log((1 - high) / (1 - low)))
