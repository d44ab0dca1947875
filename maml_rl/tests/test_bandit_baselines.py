"""Baseline agents of bandits against classical tables, brute force and the published results."""

from __future__ import annotations

import numpy as np
import pytest

from maml_rl.analysis.bandit_baselines import (
    bandit_regret,
    epsilon_greedy,
    greedy,
    most_likely_thompson,
    optimistic_thompson,
    random_arm,
    roll_out_bandit,
    thompson,
    ucb1,
)
from maml_rl.analysis.few_pulls import few_pulls_optimum
from maml_rl.analysis.gittins_table import gittins, gittins_indices
from maml_rl.analysis.two_armed_bandits import dependent_arms_optimum, independent_arms_optimum, independent_arms_regret

# Duan et al. 2016, table 1: total rewards by (n, k).
PUBLISHED = {
    (10, 5): {"gittins": 6.6, "ts": 5.7, "ots": 6.5, "ucb1": 6.7, "epsilon": 6.6, "greedy": 6.6},
    (10, 10): {"gittins": 6.6, "ts": 5.5, "ots": 6.2, "ucb1": 6.7, "epsilon": 6.6, "greedy": 6.6},
    (10, 50): {"gittins": 6.5, "ts": 5.2, "ots": 5.5, "ucb1": 6.6, "epsilon": 6.5, "greedy": 6.5},
    (100, 5): {"gittins": 78.3, "ts": 74.7, "ots": 77.9, "ucb1": 78.0, "epsilon": 75.4, "greedy": 74.8},
    (100, 10): {"gittins": 82.8, "ts": 76.7, "ots": 81.4, "ucb1": 82.4, "epsilon": 77.4, "greedy": 77.1},
    (100, 50): {"gittins": 85.2, "ts": 64.5, "ots": 67.7, "ucb1": 84.3, "epsilon": 78.3, "greedy": 78.0},
    (500, 5): {"gittins": 405.8, "ts": 402.0, "ots": 406.7, "ucb1": 405.8, "epsilon": 388.2, "greedy": 380.6},
    (500, 10): {"gittins": 437.8, "ts": 429.5, "ots": 438.9, "ucb1": 437.1, "epsilon": 408.0, "greedy": 395.0},
    (500, 50): {"gittins": 463.7, "ts": 427.2, "ots": 437.6, "ucb1": 457.6, "epsilon": 413.6, "greedy": 402.8},
}
POLICIES = {
    "random": random_arm,
    "greedy": greedy,
    "epsilon": epsilon_greedy(),
    "ucb1": ucb1(),
    "ts": thompson,
    "optimistic": optimistic_thompson,
    "ots": most_likely_thompson(),
    "gittins": gittins(100),
}
MOST_DRAWS = {"ts": 1000, "ots": 100}  # pulls times arms; beyond, a second is not enough

# Two worlds for each difficulty, or nodes at which polynomials of degree 13 are integrated exactly.
NODES, WEIGHTS = np.polynomial.legendre.leggauss(7)
NODES, WEIGHTS = (NODES + 1) / 2, WEIGHTS / 2


def rng(seed=0):
    return np.random.default_rng(seed)


def totals(name, num_pulls, num_arms, num_tasks):
    """Total rewards (M,), freed of most of the luck of the draw of tasks, whose mean maximum is k / (k + 1)."""
    means = rng(num_arms).random((num_tasks, num_arms))
    policy = gittins(num_pulls) if name == "gittins" else POLICIES[name]
    rewards = roll_out_bandit(policy, means, num_pulls, rng(1), ties="first").rewards.sum(axis=1)
    return rewards, rewards - num_pulls * (means.max(axis=1) - num_arms / (num_arms + 1))


def brute_force(worlds, weights, num_pulls):
    """Highest expected total reward: all histories, the posterior over worlds (W, K) spelled out."""
    if num_pulls == 0:
        return 0.0
    best = 0.0
    for arm in range(worlds.shape[1]):
        won, lost = weights * worlds[:, arm], weights * (1 - worlds[:, arm])
        later = brute_force(worlds, won, num_pulls - 1) + brute_force(worlds, lost, num_pulls - 1)
        best = max(best, won.sum() + later)
    return best


def test_the_gittins_index_is_that_of_the_classical_tables():
    table = gittins_indices(20, 0.9)
    np.testing.assert_allclose(table[0, :6], [0.7029, 0.5001, 0.3796, 0.3021, 0.2488, 0.2103], atol=2.5e-4)
    np.testing.assert_allclose(table[1, :4], [0.8001, 0.6346, 0.5163, 0.4342], atol=2.5e-4)
    np.testing.assert_allclose(gittins_indices(3, 0.99)[:2, :2], [[0.8699, 0.7005], [0.9102, 0.7844]], atol=2.5e-4)


@pytest.mark.parametrize("record", [(0, 0), (0, 1), (2, 0), (1, 2)])
def test_the_gittins_index_is_the_value_of_restarting_from_the_record(record):
    # Katehakis & Veinott 1987: (1 - γ) times the value of an arm that may be put back to the record at any time.
    discount, depth = 0.7, 40
    wins, losses = np.indices((depth, depth)) + np.array(record)[:, None, None]
    means = (wins + 1) / (wins + losses + 2)
    values = means / (1 - discount)
    for _ in range(60):
        padded = np.pad(values, ((0, 1), (0, 1)), mode="edge")
        going_on = means + discount * (means * padded[1:, :-1] + (1 - means) * padded[:-1, 1:])
        values = np.maximum(going_on, going_on[0, 0])
    assert gittins_indices(4, discount)[record] == pytest.approx((1 - discount) * values[0, 0], abs=1e-4)


def test_gittins_indices_rise_with_wins_and_patience_and_exceed_the_mean():
    short, long = gittins_indices(30, 0.8), gittins_indices(30, 0.95)
    wins, losses = np.nonzero(np.isfinite(short))
    assert (wins + losses).max() == 29
    assert np.isfinite(long).sum() == 30 * 31 / 2
    assert (short[wins, losses] > (wins + 1) / (wins + losses + 2)).all()
    assert (long >= short)[wins, losses].all()
    assert (short[1:, :-1] > short[:-1, 1:])[np.isfinite(short[1:, :-1])].all()


@pytest.mark.parametrize("num_pulls", [1, 2, 3, 5])
def test_the_optimum_of_independent_arms_is_that_of_brute_force(num_pulls):
    worlds = np.stack(np.meshgrid(NODES, NODES), axis=-1).reshape(-1, 2)
    expected = brute_force(worlds, np.outer(WEIGHTS, WEIGHTS).ravel(), num_pulls)
    assert independent_arms_optimum(num_pulls).reward == pytest.approx(expected, abs=1e-12)


def test_the_optimum_of_few_pulls_is_that_of_brute_force():
    for num_pulls in (1, 2, 4):
        worlds = np.stack(np.meshgrid(NODES, NODES, NODES), axis=-1).reshape(-1, 3)
        weights = np.einsum("i,j,k->ijk", WEIGHTS, WEIGHTS, WEIGHTS).ravel()
        assert few_pulls_optimum(3, num_pulls) == pytest.approx(brute_force(worlds, weights, num_pulls), abs=1e-12)
    assert few_pulls_optimum(2, 10) == pytest.approx(independent_arms_optimum(10).reward, abs=1e-12)
    assert few_pulls_optimum(1, 10) == pytest.approx(5.0, abs=1e-12)


def test_nobody_earns_more_than_the_optimum_of_few_pulls():
    means, optimum = rng().random((20000, 5)), few_pulls_optimum(5, 10)
    earned = [
        np.take_along_axis(means, roll_out_bandit(policy, means, 10, rng(1)).choices, 1).sum(1).mean()
        for policy in (gittins(10), ucb1(), greedy, thompson)
    ]
    assert max(earned) < optimum + 0.02
    assert max(earned) > optimum - 0.05
    assert few_pulls_optimum(5, 9) < few_pulls_optimum(4, 10) < optimum < few_pulls_optimum(50, 10)


@pytest.mark.parametrize("better", [None, 0.9, 0.75, 0.6])
@pytest.mark.parametrize("num_pulls", [1, 2, 5])
def test_the_optimum_of_dependent_arms_is_that_of_brute_force(num_pulls, better):
    first, weights = (NODES, WEIGHTS) if better is None else (np.array([better, 1 - better]), np.full(2, 0.5))
    expected = brute_force(np.stack([first, 1 - first], axis=1), weights, num_pulls)
    assert dependent_arms_optimum(num_pulls, better=better).reward == pytest.approx(expected, abs=1e-12)


def test_the_optima_are_the_published_ones():
    assert independent_arms_optimum(100).regret == pytest.approx(1.75, abs=0.01)
    regrets = [dependent_arms_optimum(100, better=better).regret for better in (None, 0.9, 0.75, 0.6)]
    # 1.22, 0.63, 1.00 and 2.30 are published; the last is 2.312, as the comparison with brute force vouches for.
    np.testing.assert_allclose(regrets, [1.22, 0.63, 1.00, 2.312], atol=0.01)


@pytest.mark.parametrize(
    ("policy", "regret", "tolerance"),
    [
        (lambda wins, losses, rng: np.zeros(wins.shape), 100 / 6, 1e-9),
        (greedy, 2.69, 0.01),
        (ucb1(0.5**0.5, prior_count=0.0), 4.12, 0.01),
        (thompson, 2.77, 0.12),  # draws once in every state: standard error 0.04
    ],
    ids=["random", "greedy", "ucb", "thompson"],
)
def test_regrets_of_two_independent_arms_are_the_published_ones(policy, regret, tolerance):
    assert independent_arms_regret(policy, 100, rng()) == pytest.approx(regret, abs=tolerance)


def test_the_optimal_policy_has_the_optimal_regret_and_nothing_else_has_less():
    optimum = independent_arms_optimum(30)
    assert independent_arms_regret(optimum.policy, 30, rng()) == pytest.approx(optimum.regret, abs=1e-9)
    index = independent_arms_regret(gittins(30), 30, rng())
    assert optimum.regret < index < optimum.regret + 0.03
    assert index < independent_arms_regret(ucb1(), 30, rng())


@pytest.mark.parametrize("better", [None, 0.9, 0.75, 0.6, "independent"])
def test_optimal_policies_earn_their_value_when_played(better):
    if better == "independent":
        means, optimum = rng().random((4000, 2)), independent_arms_optimum(50)
    else:
        first = rng().random(4000) if better is None else np.where(rng().random(4000) < 0.5, better, 1 - better)
        means, optimum = np.stack([first, 1 - first], axis=1), dependent_arms_optimum(50, better=better)
    regrets = bandit_regret(means, roll_out_bandit(optimum.policy, means, 50, rng(1)).choices)
    error = regrets.std() / np.sqrt(4000)  # 0.02 to 0.06
    assert regrets.mean() == pytest.approx(optimum.regret, abs=3.5 * error)


def published_cases():
    for (num_pulls, num_arms), column in PUBLISHED.items():
        for name in column:
            slow = num_pulls == 500 or num_pulls * num_arms > MOST_DRAWS.get(name, np.inf)
            yield pytest.param(num_pulls, num_arms, name, marks=[pytest.mark.slow] if slow else [])


@pytest.mark.parametrize(("num_pulls", "num_arms", "name"), list(published_cases()))
def test_total_rewards_are_the_published_ones(num_pulls, num_arms, name):
    num_tasks = 300 if num_pulls == 500 and name == "ots" else 2000
    rewards, corrected = totals(name, num_pulls, num_arms, num_tasks)
    # The published means are of 1000 tasks and rounded to 0.1: at n = 10 their error is 0.07, at n = 100 it is
    # 0.5, 0.36 and 0.3, at n = 500 2.2, 1.3 and 0.6 for k = 5, 10 and 50.
    error = np.sqrt(rewards.var() / 1000 + corrected.var() / num_tasks)
    published = PUBLISHED[num_pulls, num_arms][name]
    assert corrected.mean() > published - 3 * error - 0.05
    # The published indices were approximations: exact ones earn up to 1.2 per cent more than three errors allow.
    above = 0.012 * published if name == "gittins" else 0.0
    assert corrected.mean() < published + 3 * error + 0.05 + above


@pytest.mark.parametrize("num_arms", [5, 10, 50])
def test_nothing_beats_the_gittins_index(num_arms):
    index = totals("gittins", 100, num_arms, 2000)[1].mean()
    for name in ("random", "greedy", "epsilon", "ucb1"):
        assert index > totals(name, 100, num_arms, 2000)[1].mean()


@pytest.mark.parametrize("name", POLICIES)
def test_policies_give_scores_and_change_nothing(name):
    wins, losses = rng().integers(9, size=(2, 6, 4))
    wins.flags.writeable = losses.flags.writeable = False
    scores = POLICIES[name](wins, losses, rng())
    assert scores.shape == (6, 4)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(scores, POLICIES[name](wins, losses, rng()))


@pytest.mark.parametrize("ties", ["random", "first"])
def test_what_an_arm_has_paid_is_what_the_policy_sees(ties):
    seen = []

    def watch(wins, losses, generator):
        seen.append((wins.copy(), losses.copy()))
        return thompson(wins, losses, generator)

    means = rng().random((5, 3))
    play = roll_out_bandit(watch, means, 20, rng(), ties=ties)
    chosen = play.choices[:, :, None] == np.arange(3)  # (M, n, K)
    for pull, (wins, losses) in enumerate(seen):
        np.testing.assert_array_equal(wins, (chosen * play.rewards[:, :, None])[:, :pull].sum(axis=1))
        np.testing.assert_array_equal(wins + losses, chosen[:, :pull].sum(axis=1))


def test_arms_pay_with_their_probability():
    play = roll_out_bandit(random_arm, np.tile([0.0, 0.3, 1.0], (2000, 1)), 20, rng())
    paid = [play.rewards[play.choices == arm].mean() for arm in range(3)]
    np.testing.assert_allclose(paid, [0.0, 0.3, 1.0], atol=0.015)  # four standard errors of 13,000 pulls


def test_ties_are_broken_as_asked():
    means = np.full((3000, 3), 0.5)
    level = lambda wins, losses, rng: np.zeros(wins.shape)  # noqa: E731
    assert (roll_out_bandit(level, means, 1, rng(), ties="first").choices == 0).all()
    counts = np.bincount(roll_out_bandit(level, means, 1, rng()).choices[:, 0], minlength=3)
    np.testing.assert_allclose(counts / 3000, 1 / 3, atol=0.035)


def test_special_cases_agree():
    wins, losses = rng().integers(9, size=(2, 6, 4))
    np.testing.assert_array_equal(
        most_likely_thompson(1)(wins, losses, rng()), thompson(wins, losses, rng()), strict=True
    )
    np.testing.assert_array_equal(epsilon_greedy(0.0)(wins, losses, rng()), greedy(wins, losses, rng()))
    np.testing.assert_array_equal(ucb1(0.0)(wins, losses, rng()), greedy(wins, losses, rng()))
    drawn = most_likely_thompson(3000)(np.array([[6, 2]]), np.array([[2, 2]]), rng())
    np.testing.assert_allclose(drawn, [[0.75, 0.5]], atol=0.05)  # the mode
    assert (optimistic_thompson(wins, losses, rng()) >= greedy(wins, losses, rng())).all()


def test_without_a_prior_ucb1_pulls_every_arm_once_first():
    choices = roll_out_bandit(ucb1(1.0, prior_count=0.0), rng().random((50, 6)), 6, rng()).choices
    assert (np.sort(choices, axis=1) == np.arange(6)).all()


def test_regret_counts_what_was_missed_not_what_was_paid():
    means = rng().random((7, 3))
    best = np.repeat(means.argmax(axis=1)[:, None], 4, axis=1)
    assert (bandit_regret(means, best) == 0).all()
    worst = np.repeat(means.argmin(axis=1)[:, None], 4, axis=1)
    np.testing.assert_allclose(bandit_regret(means, worst), 4 * np.ptp(means, axis=1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gittins_indices(0, 0.9), "num_pulls: got 0"),
        (lambda: gittins_indices(3, 1.0), "discount: got 1.0"),
        (lambda: roll_out_bandit(gittins(3), np.ones((1, 1)), 5, rng()), "got 3 pulls of an arm"),
        (lambda: roll_out_bandit(greedy, np.ones(3), 5, rng()), "means: got shape"),
        (lambda: roll_out_bandit(greedy, np.full((1, 2), 1.5), 5, rng()), "outside"),
        (lambda: roll_out_bandit(greedy, np.ones((1, 2)), 0, rng()), "num_pulls: got 0"),
        (
            lambda: roll_out_bandit(greedy, np.ones((1, 2)), 1, rng(), ties="last"),  # type: ignore[arg-type]
            "ties: got 'last'",
        ),
        (lambda: bandit_regret(np.ones((2, 3)), np.zeros((3, 4), dtype=int)), "choices: got shape"),
        (lambda: epsilon_greedy(1.5), "epsilon: got 1.5"),
        (lambda: ucb1(-1.0), "constant, prior_count: got -1.0"),
        (lambda: most_likely_thompson(0), "num_samples: got 0"),
        (lambda: independent_arms_optimum(0), "num_pulls: got 0"),
        (lambda: few_pulls_optimum(5, 17), "num_pulls: got 17"),
        (lambda: few_pulls_optimum(0, 5), "num_arms: got 0"),
        (lambda: dependent_arms_optimum(0), "num_pulls: got 0"),
        (lambda: dependent_arms_optimum(3, better=0.5), "better: got 0.5"),
        (lambda: roll_out_bandit(independent_arms_optimum(3).policy, np.ones((1, 2)), 4, rng()), "got 3 pulls"),
        (lambda: roll_out_bandit(dependent_arms_optimum(3).policy, np.ones((1, 3)), 2, rng()), "two arms"),
    ],
)
def test_values_that_make_no_sense_are_refused_by_name(call, words):
    with pytest.raises(ValueError, match=words):
        call()
