"""Success on goals, counted both ways."""

from __future__ import annotations

import numpy as np
import pytest

from maml_rl.analysis.success import success_as_upstream, success_per_goal


def episodes(seed, num_goals=12, num_episodes=3, horizon=500):
    rng = np.random.default_rng(seed)
    success = (rng.random((num_goals, num_episodes)) < rng.random((num_goals, 1))).astype(float)
    return success, np.where(success > 0, rng.integers(10, horizon, success.shape), horizon)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_goals_says_nothing_of_success_per_goal(seed):
    success, _ = episodes(seed)
    interval, turned = success_per_goal(success), success_per_goal(success[::-1])
    assert float(interval.mean) == pytest.approx(float(turned.mean))
    assert 0.0 <= interval.low <= interval.mean <= interval.high <= 1.0
    assert float(interval.mean) == pytest.approx(success.mean())


def test_where_all_episodes_last_as_long_both_countings_agree_on_goals_that_are_alike():
    success = np.tile([[1.0, 0.0, 1.0]], (6, 1))
    steps = np.full(success.shape, 500)
    assert success_as_upstream(success, steps, goals_together=1) == pytest.approx(2 / 3)
    assert float(success_per_goal(success).mean) == pytest.approx(2 / 3)


def test_one_quick_goal_stands_for_all_where_upstream_counts():
    success = np.zeros((20, 3))
    success[0] = 1.0
    steps = np.where(success > 0, 100, 500)
    assert success_as_upstream(success, steps, goals_together=20) == 1.0
    assert float(success_per_goal(success).mean) == pytest.approx(0.05)


@pytest.mark.parametrize("seed", range(5))
def test_upstreams_count_is_that_of_a_clock(seed):
    """An oracle: environments step together until three episodes have ended, as upstream's loop does."""
    success, steps = episodes(seed)
    counted: list[float] = []
    episode, age = np.zeros(len(success), dtype=int), np.zeros(len(success), dtype=int)
    while len(counted) < 3:
        age += 1
        for goal in range(len(success)):
            if age[goal] == steps[goal, episode[goal]]:
                counted.append(success[goal, episode[goal]])
                episode[goal], age[goal] = episode[goal] + 1, 0
    assert success_as_upstream(success, steps, goals_together=len(success)) == pytest.approx(np.mean(counted[:3]))


@pytest.mark.parametrize(("together", "episodes_counted"), [(0, 3), (13, 3), (12, 4), (12, 0)])
def test_more_than_there_is_cannot_be_counted(together, episodes_counted):
    success, steps = episodes(0)
    with pytest.raises(ValueError, match="expected at most as many"):
        success_as_upstream(success, steps, goals_together=together, num_episodes=episodes_counted)
