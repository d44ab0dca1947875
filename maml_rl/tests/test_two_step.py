"""The two-step task moves, pays and switches with its probabilities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from maml_rl.envs import make_meta_env
from maml_rl.tests.sampling import SIGNIFICANCE, consistent, started
from maml_rl.utils.random import Purpose, generator


def play_two_step(num_envs=200, env_kwargs=None):
    """Play TwoStep-v0 at random: task's rich state (N,); choices, second states, rewards, rich states (T, N)."""
    env, tasks = started("TwoStep-v0", num_envs, env_kwargs)
    rng, trials = generator(0, Purpose.ACTIONS), []
    first, _ = env.reset(seed=0)
    while not env.finished.any():
        np.testing.assert_array_equal(first, np.tile([1.0, 0.0, 0.0], (num_envs, 1)))
        choices, rich = rng.integers(2, size=num_envs), env.rich_states
        second, nothing, terminated, _, _ = env.step(choices)
        assert not nothing.any()
        assert not terminated.any()
        np.testing.assert_array_equal(second.sum(axis=1), 1.0)
        assert not second[:, 0].any()
        first, rewards, _, _, _ = env.step(rng.integers(2, size=num_envs))
        trials.append((choices, second[:, 1:].argmax(axis=1), rewards, rich))
    assert env.finished.all()
    return np.array([task["rich"] for task in tasks]), *map(np.stack, zip(*trials, strict=True))


@pytest.mark.parametrize(
    ("env_kwargs", "common", "rich", "poor", "switch", "num_trials"),
    [
        ({}, 0.8, 0.9, 0.1, 0.025, 100),
        (
            {
                "common_probability": 0.7,
                "rich_probability": 0.6,
                "poor_probability": 0.3,
                "switch_probability": 0.2,
                "num_trials": 40,
            },
            *(0.7, 0.6, 0.3, 0.2, 40),
        ),
    ],
)
def test_transitions_rewards_and_switches_have_their_probabilities(env_kwargs, common, rich, poor, switch, num_trials):
    start, choices, second, rewards, rich_states = play_two_step(env_kwargs=env_kwargs)
    assert len(choices) == num_trials
    for choice in (0, 1):
        reached = second[choices == choice]
        assert consistent((reached == choice).sum(), reached.size, common)
    for state in (0, 1):
        for is_rich, probability in ((True, rich), (False, poor)):
            paid = rewards[(second == state) & ((rich_states == state) == is_rich)]
            assert consistent(paid.sum(), paid.size, probability)
    np.testing.assert_array_equal(rich_states[0], start)
    switches = rich_states[1:] != rich_states[:-1]
    assert consistent(switches.sum(), switches.size, switch)
    assert consistent(start.sum(), start.size, 0.5)


def test_transition_reward_and_switch_are_independent():
    _, choices, second, rewards, rich_states = play_two_step(400)
    in_rich = second == rich_states
    common = choices == second
    for state_paid in (in_rich, ~in_rich):
        table = [[(state_paid & common & (rewards == paid)).sum() for paid in (0, 1)]]
        table.append([(state_paid & ~common & (rewards == paid)).sum() for paid in (0, 1)])
        assert stats.chi2_contingency(table).pvalue > SIGNIFICANCE
    switched = rich_states[1:] != rich_states[:-1]
    for given in (common[:-1], rewards[:-1] == 1):
        table = [[(side & (switched == flag)).sum() for flag in (False, True)] for side in (given, ~given)]
        assert stats.chi2_contingency(table).pvalue > SIGNIFICANCE


@pytest.mark.parametrize(
    ("env_name", "task", "message"),
    [
        ("TwoStep-v0", {"rich": 2}, r"task\['rich'\]: got 2, expected 0 or 1"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(env_name, task, message):
    with pytest.raises(ValueError, match=message):
        make_meta_env(env_name, 2).set_tasks([task])


@pytest.mark.parametrize(
    ("env_name", "env_kwargs", "message"),
    [
        ("TwoStep-v0", {"num_trials": 0}, r"num_trials: got 0, expected at least 1"),
        ("TwoStep-v0", {"switch_probability": 2.0}, r"switch_probability: got 2.0, expected a probability"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_line(env_name, env_kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        make_meta_env(env_name, 1, env_kwargs)
    assert "\n" not in str(caught.value)
