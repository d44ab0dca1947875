"""Baseline agents of random tabular MDPs that meta-learners are compared to (Duan et al. 2016, section 3.2).

A policy is a function ``(experience, num_steps, rng) -> plan``: at the start of each episode it says what it will do in
every state at every step of the episode; with `replan` it is asked before every step.
Shapes: M tasks, S states, A actions, H steps per episode, N episodes.

`psrl` and `opsrl` as they are reproduce the columns of Duan's table 2 within two standard errors (about 0.8 at 10
episodes, 7 at 100), but only because their prior expects rewards around 0. With the tasks' own prior, rewards around 1,
PSRL obtains 134 instead of 138 or 139 in 10 episodes: it expects more of what it has not tried. After 50 episodes the
two are level. UCRL2 and BEB are left out.

The "value iteration" bound of 20.77 per episode that the fractions in Mishra et al. 2018 imply is not the optimal
expected return of such tasks, which is 21.83: to take the best of five rewards without any look-ahead gives 21.63, and
in the same table OPSRL obtains 20.99 per episode in episodes 76 to 100. Discounting within the episode by 0.99 gives
20.88, one to two standard errors of 1000 tasks from it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maml_rl.utils.checks import check_at_least


@dataclass(frozen=True)
class MDPOptimum:
    """Result of value iteration; ``[..., h, ...]`` has h steps behind it.

    Attributes
    ----------
    values
        (..., H + 1, S), expected return of the steps that are left; zero at the end.
    action_values
        (..., H, S, A).
    """

    values: np.ndarray
    action_values: np.ndarray

    @property
    def plan(self) -> np.ndarray:
        """The best actions (..., H, S)."""
        return self.action_values.argmax(axis=-1)


def value_iteration(
    transitions: np.ndarray, rewards_mean: np.ndarray, num_steps: int, *, discount: float = 1.0
) -> MDPOptimum:
    """Optimal behaviour in known MDPs with a finite horizon.

    ``Q_h(s, a) = m(s, a) + γ Σ_s' P(s' | s, a) V_{h+1}(s')``, ``V_h(s) = max_a Q_h(s, a)``, ``V_H = 0``
    (Puterman 1994, section 4.5).

    Parameters
    ----------
    transitions
        (..., S, A, S), probabilities of the following state.
    rewards_mean
        (..., S, A).
    num_steps
        Steps per episode H, >= 1.
    discount
        γ, in [0, 1].

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range.

    Examples
    --------
    >>> stay, swap = np.eye(2), np.eye(2)[::-1]
    >>> optimum = value_iteration(np.stack([stay, swap], axis=1), np.array([[0.0, -1.0], [2.0, 0.0]]), 3)
    >>> optimum.values[0].tolist(), optimum.plan[0].tolist()
    ([3.0, 6.0], [1, 0])
    """
    transitions, rewards_mean = _check_tables(transitions, rewards_mean)
    check_at_least(1, num_steps=num_steps)
    if not 0.0 <= discount <= 1.0:
        raise ValueError(f"discount: got {discount}, expected a number in [0, 1]")
    *batch, num_states, num_actions = rewards_mean.shape
    rows = transitions.reshape(*batch, num_states * num_actions, num_states)
    values = np.zeros((*batch, num_steps + 1, num_states))
    action_values = np.empty((*batch, num_steps, num_states, num_actions))
    for step in range(num_steps - 1, -1, -1):
        following = (rows @ values[..., step + 1, :, None]).reshape(rewards_mean.shape)
        action_values[..., step, :, :] = rewards_mean + discount * following
        values[..., step, :] = action_values[..., step, :, :].max(axis=-1)
    return MDPOptimum(values, action_values)


@dataclass(frozen=True)
class MDPExperience:
    """Experience of M tasks; changes in place from episode to episode.

    Attributes
    ----------
    transitions
        (M, S, A, S), how often action a in state s led to state s'.
    rewards
        (M, S, A), sum of the rewards of action a in state s.
    """

    transitions: np.ndarray
    rewards: np.ndarray


MDPPolicy = Callable[[MDPExperience, int, np.random.Generator], np.ndarray]


def roll_out_mdp(
    policy: MDPPolicy,
    transitions: np.ndarray,
    rewards_mean: np.ndarray,
    num_episodes: int,
    rng: np.random.Generator,
    *,
    num_steps: int = 10,
    replan: bool = False,
) -> np.ndarray:
    """Roll out every task for `num_episodes` episodes from state 0, all tasks side by side; return the returns (M, N).

    Action a in state s gives reward ``N(m(s, a), 1)``, as in `TabularMDP-v0`. What happens at the last step, the state
    it leads to included, is experience like the rest.

    Parameters
    ----------
    policy
        Plans an episode from the experience of the earlier ones.
    transitions
        (M, S, A, S), probabilities of the following state.
    rewards_mean
        (M, S, A).
    num_episodes
        Number of episodes N, >= 1.
    rng
        Draws rewards, states and whatever the policy draws.
    num_steps
        Steps per episode H, >= 1.
    replan
        Whether the policy is asked for a new plan before every step, so that it learns within an episode.

    Raises
    ------
    ValueError
        If an argument has the wrong shape or range.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> transitions, rewards_mean = rng.dirichlet(np.ones(10), (3, 10, 5)), 1.0 + rng.standard_normal((3, 10, 5))
    >>> roll_out_mdp(psrl(), transitions, rewards_mean, 4, rng).shape
    (3, 4)
    """
    transitions, rewards_mean = _check_tables(transitions, rewards_mean)
    if rewards_mean.ndim != 3:
        raise ValueError(f"rewards_mean: got shape {rewards_mean.shape}, expected (M, S, A)")
    check_at_least(1, num_episodes=num_episodes, num_steps=num_steps)
    thresholds = transitions.cumsum(axis=-1)[..., :-1]  # (M, S, A, S - 1)
    experience = MDPExperience(np.zeros(transitions.shape), np.zeros(rewards_mean.shape))
    rows = np.arange(len(rewards_mean))
    returns = np.zeros((len(rewards_mean), num_episodes))
    for episode in range(num_episodes):
        plan = policy(experience, num_steps, rng)  # (M, H, S)
        states = np.zeros(len(rows), dtype=np.int64)
        for step in range(num_steps):
            if replan and step > 0:
                plan = policy(experience, num_steps, rng)
            chosen = (rows, states, plan[rows, step, states])
            rewards = rewards_mean[chosen] + rng.standard_normal(len(rows))
            states = (rng.random((len(rows), 1)) >= thresholds[chosen]).sum(axis=-1)
            experience.transitions[(*chosen, states)] += 1.0
            experience.rewards[chosen] += rewards
            returns[:, episode] += rewards
    return returns


def random_plan(experience: MDPExperience, num_steps: int, rng: np.random.Generator) -> np.ndarray:
    """Any action, whatever has been seen: a plan (M, H, S)."""
    num_tasks, num_states, num_actions = experience.rewards.shape
    return rng.integers(num_actions, size=(num_tasks, num_steps, num_states))


def greedy(*, bonus: float = 0.0, prior_mean: float = 1.0) -> MDPPolicy:
    """Best action of every state by the rewards seen there and a bonus for what was seen little; no looking ahead.

    ``argmax_a E[m(s, a)] + bonus * std[m(s, a)]`` with the moments of the posterior of `sample_mdp`. Where all actions
    lead to nearly any state this obtains more than posterior sampling: in 10 episodes of 10 steps 158.9 without a
    bonus, 162.3 with 0.75 and 161.8 with 1 (4,000 tasks, +- 0.8; `replan`; one plan per episode 149.8, 151.3, 150.1).

    Parameters
    ----------
    bonus
        Standard deviations that are added, >= 0; 0: none.
    prior_mean
        Mean of the prior ``N(prior_mean, 1)`` of mean rewards; 1 is the tasks' own.

    Raises
    ------
    ValueError
        If `bonus` is negative.
    """
    if bonus < 0.0:
        raise ValueError(f"bonus: got {bonus}, expected a number >= 0")

    def policy(experience: MDPExperience, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        precision = 1.0 + experience.transitions.sum(axis=-1)  # (M, S, A)
        scores = (prior_mean + experience.rewards) / precision + bonus / np.sqrt(precision)
        return np.repeat(scores.argmax(axis=-1)[:, np.newaxis], num_steps, axis=1)

    return policy


def sample_mdp(
    experience: MDPExperience, rng: np.random.Generator, *, prior_mean: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw transition tables (M, S, A, S) and mean rewards (M, S, A) from their posterior.

    With n visits of a state and action, n(s') of which led to s', and rewards that sum to r::

        P ~ Dirichlet(1 + n(s')),   m ~ N((prior_mean + r) / (1 + n), 1 / (1 + n))

    These are the conjugate posteriors of Dirichlet(1) and ``N(prior_mean, 1)`` with rewards of known variance 1.
    """
    tables = rng.standard_gamma(1.0 + experience.transitions)
    tables /= tables.sum(axis=-1, keepdims=True)
    precision = 1.0 + experience.transitions.sum(axis=-1)  # (M, S, A)
    noise = rng.standard_normal(precision.shape) / np.sqrt(precision)
    return tables, (prior_mean + experience.rewards) / precision + noise


def psrl(*, prior_mean: float = 0.0) -> MDPPolicy:
    """Posterior sampling: one MDP is drawn per episode and acted in optimally (Strens 2000; Osband et al. 2013).

    Parameters
    ----------
    prior_mean
        Mean of the prior ``N(prior_mean, 1)`` of mean rewards. The tasks' own is 1; 0 is what Duan et al. 2016 must
        have used, and makes the better agent where episodes are few.
    """
    return opsrl(1, prior_mean=prior_mean)


def opsrl(num_samples: int = 10, *, prior_mean: float = 0.0) -> MDPPolicy:
    """Optimistic posterior sampling: several MDPs are drawn per episode, each action counts for what it is worth in the
    best of them, ``max_i Q_i``, state by state and step by step (Osband & Van Roy 2016).

    To plan in one of the drawn MDPs, that with the highest value in state 0, hardly differs from `psrl` and is no match
    for the published figures.

    Parameters
    ----------
    num_samples
        Number of MDPs drawn per episode, >= 1; time is proportional to it. More than 10 hardly help.
    prior_mean
        As in `psrl`.

    Raises
    ------
    ValueError
        If `num_samples` is below 1.
    """
    check_at_least(1, num_samples=num_samples)

    def policy(experience: MDPExperience, num_steps: int, rng: np.random.Generator) -> np.ndarray:
        best = None
        for _ in range(num_samples):
            tables, means = sample_mdp(experience, rng, prior_mean=prior_mean)
            drawn = value_iteration(tables, means, num_steps).action_values
            best = drawn if best is None else np.maximum(best, drawn)
        assert best is not None
        return best.argmax(axis=-1)

    return policy


def _check_tables(transitions: np.ndarray, rewards_mean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    transitions = np.asarray(transitions, dtype=np.float64)
    rewards_mean = np.asarray(rewards_mean, dtype=np.float64)
    expected = (*rewards_mean.shape, *rewards_mean.shape[-2:-1])
    if rewards_mean.ndim < 2 or transitions.shape != expected:
        raise ValueError(
            f"transitions: got shape {transitions.shape} beside rewards_mean of shape {rewards_mean.shape}, "
            "expected (..., S, A, S) and (..., S, A)"
        )
    if (transitions < 0).any() or not np.allclose(transitions.sum(axis=-1), 1.0):
        raise ValueError("transitions: got rows that are not probabilities, expected sums of 1")
    return transitions, rewards_mean
