"""Returns and advantages against loops and closed forms."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.episode import (
    Episodes,
    LearningData,
    discounted_returns,
    generalised_advantages,
    normalise,
    subsample_steps,
)

pytestmark = pytest.mark.numerical

M, T, B = 2, 5, 4
SETTINGS = [(1.0, 1.0), (0.9, 1.0), (0.9, 0.0), (0.8, 0.7), (0.0, 0.5), (1.0, 0.0)]


def draw(seed=0):
    """Rewards, values and mask (M, T, B) of episodes of 1 to T steps; garbage values on padding."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T + 1, (M, 1, B))
    lengths[0, 0, :2] = 1, T
    mask = (np.arange(T)[:, None] < lengths).astype(np.float64)
    rewards, values = rng.normal(size=(M, T, B)) * mask, rng.normal(size=(M, T, B))
    return torch.from_numpy(rewards), torch.from_numpy(values), torch.from_numpy(mask)


def episodes_of(mask):
    """Task, episode and length of every episode."""
    return [(m, b, int(mask[m, :, b].sum())) for m in range(M) for b in range(B)]


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_returns_are_discounted_sums_of_what_follows(gamma):
    rewards, _, mask = draw()
    returns = discounted_returns(rewards, mask, gamma)
    expected = torch.zeros_like(rewards)
    for m, b, length in episodes_of(mask):
        for t in range(length):
            expected[m, t, b] = sum(gamma ** (k - t) * rewards[m, k, b] for k in range(t, length))
    assert_close(returns, expected)


@pytest.mark.parametrize(("gamma", "gae_lambda"), SETTINGS)
def test_advantages_are_the_weighted_sum_of_one_step_errors(gamma, gae_lambda):
    rewards, values, mask = draw()
    expected = torch.zeros_like(rewards)
    for m, b, length in episodes_of(mask):
        value = [*values[m, :length, b], 0.0]
        errors = [rewards[m, t, b] + gamma * value[t + 1] - value[t] for t in range(length)]
        for t in range(length):
            expected[m, t, b] = sum((gamma * gae_lambda) ** (k - t) * errors[k] for k in range(t, length))
    assert_close(generalised_advantages(rewards, values, mask, gamma=gamma, gae_lambda=gae_lambda), expected)


def test_with_lambda_one_the_advantage_is_return_minus_value():
    rewards, values, mask = draw()
    advantages = generalised_advantages(rewards, values, mask, gamma=0.9, gae_lambda=1.0)
    assert_close(advantages, discounted_returns(rewards, mask, 0.9) - values * mask)


def test_with_lambda_zero_the_advantage_is_the_one_step_error():
    rewards, values, mask = draw()
    following = torch.cat([values * mask, torch.zeros(M, 1, B, dtype=mask.dtype)], 1)[:, 1:]
    advantages = generalised_advantages(rewards, values, mask, gamma=0.9, gae_lambda=0.0)
    assert_close(advantages, (rewards + 0.9 * following - values) * mask)


def test_a_perfect_value_leaves_no_advantage():
    rewards, _, mask = draw()
    values = discounted_returns(rewards, mask, 0.9)
    advantages = generalised_advantages(rewards, values, mask, gamma=0.9, gae_lambda=0.6)
    assert_close(advantages, torch.zeros_like(advantages))


def test_normalised_advantages_have_mean_zero_and_deviation_one_in_every_task():
    _, values, mask = draw()
    normalised = normalise(3.0 + 7.0 * values, mask)
    assert not normalised[mask == 0].any()
    for m in range(M):
        steps = normalised[m][mask[m] == 1]
        assert_close(steps.mean(), torch.tensor(0.0).double())
        assert_close(steps.std(correction=0), torch.tensor(1.0).double())


def test_normalising_ignores_shift_and_scale():
    _, values, mask = draw()
    assert_close(normalise(3.0 + 7.0 * values, mask), normalise(values, mask))


def test_padding_never_changes_returns_or_advantages():
    rewards, values, mask = draw()
    tail = torch.zeros(M, 3, B, dtype=mask.dtype)
    longer = [torch.cat([part, tail + extra], 1) for part, extra in ((rewards, 5.0), (values, 5.0), (mask, 0.0))]
    returns = discounted_returns(longer[0], longer[2], 0.9)
    advantages = generalised_advantages(*longer, gamma=0.9, gae_lambda=0.5)
    assert not returns[:, T:].any()
    assert not advantages[:, T:].any()
    assert_close(returns[:, :T], discounted_returns(rewards, mask, 0.9))
    assert_close(advantages[:, :T], generalised_advantages(rewards, values, mask, gamma=0.9, gae_lambda=0.5))
    assert_close(normalise(advantages, longer[2])[:, :T], normalise(advantages[:, :T], mask))


def some_episodes(**changes):
    rewards, values, mask = draw()
    observations = torch.from_numpy(np.random.default_rng(1).normal(size=(M, T, B, 3))) * mask[..., None]
    parts = {"observations": observations, "actions": observations[..., :2], "rewards": rewards, "mask": mask}
    return Episodes(**{**parts, "log_probs": -rewards, "advantages": values * mask, **changes})


def test_steps_and_returns_leave_the_padding_out():
    episodes = some_episodes()
    lengths = [length for _, _, length in episodes_of(episodes.mask)]
    assert episodes.num_steps == sum(lengths)
    assert episodes.num_tasks == M
    for m, b, length in episodes_of(episodes.mask):
        assert_close(episodes.returns()[m, b], episodes.rewards[m, :length, b].sum())


@pytest.mark.parametrize("name", ["observations", "actions", "rewards", "log_probs", "advantages"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_found_in_its_task(name, value):
    assert some_episodes().is_finite().tolist() == [True, True]
    damaged = getattr(some_episodes(), name).clone()
    damaged[1, 0, 1] = value
    assert some_episodes(**{name: damaged}).is_finite().tolist() == [True, False]


def test_indices_of_actions_are_always_finite():
    assert some_episodes(actions=torch.zeros(M, T, B, dtype=torch.int64)).is_finite().all()


def test_learning_data_selects_tasks():
    episodes = some_episodes()
    for part, name in zip(episodes.learning_data(slice(1, 2)), LearningData._fields, strict=True):
        assert_close(part, getattr(episodes, name)[1:2])


def numbered(lengths, num_steps):
    """Episodes (1, T, B) of one task whose observations tell step and episode."""
    mask = torch.arange(num_steps).reshape(1, -1, 1) < torch.tensor(lengths)
    step = torch.arange(num_steps).reshape(1, -1, 1).expand_as(mask)
    observations = torch.stack([step, torch.arange(len(lengths)).expand_as(mask)], -1)
    return LearningData(observations, step, mask.double(), step.double(), step.double())


def steps_of(data, task=0):
    """The (step, episode) pairs that count, in a task."""
    return [tuple(pair) for pair in data.observations[task][data.mask[task] == 1].tolist()]


def test_subsampling_keeps_a_step_of_every_stretch_of_every_episode():
    sampled = subsample_steps(numbered([12, 12], 12), 8)
    assert [(step // 3, episode) for step, episode in steps_of(sampled)] == list(product(range(4), range(2)))
    assert_close(sampled.actions, sampled.observations[..., 0])
    assert_close(sampled.advantages, sampled.observations[..., 0].double())


def test_subsampling_favours_no_step_and_has_no_period():
    num_episodes, num_steps, count = 400, 100, 35
    kept = subsample_steps(numbered([num_steps] * num_episodes, num_steps), count * num_episodes).observations[
        0, ..., 0
    ]
    share = torch.bincount(kept.flatten(), minlength=num_steps) / num_episodes
    assert share.min() > 0.8 * count / num_steps
    assert share.max() < 1.2 * count / num_steps
    frequencies = torch.linspace(0.01, 0.5, 200).reshape(-1, 1, 1)  # even spacing has a resonance of 1 at 0.35
    waves = torch.exp(2j * torch.pi * frequencies * kept.T).mean(-1).abs()  # (frequency, episode)
    assert waves[2:].square().mean(1).max() < 0.15


@pytest.mark.parametrize("num_samples", [None, 24, 1000])
def test_subsampling_keeps_all_when_all_are_wanted(num_samples):
    data = numbered([12, 12], 12)
    assert steps_of(subsample_steps(data, num_samples)) == steps_of(data)


@pytest.mark.parametrize("lengths", [[12, 7, 1], [5, 3, 5], [1, 1, 1]])
@pytest.mark.parametrize("num_samples", [1, 5, 14, 16, 30])
def test_subsampling_is_a_function_of_the_task_and_not_of_longer_ones_beside_it(lengths, num_samples):
    alone = subsample_steps(numbered(lengths, max(lengths)), num_samples)
    tall = [numbered(lengths, 40), numbered([40, 20, 10], 40)]
    together = subsample_steps(
        LearningData(*(torch.cat(parts) for parts in list(zip(*tall, strict=True))[:5])), num_samples
    )
    assert steps_of(together) == steps_of(alone)
    assert len(steps_of(alone)) >= 1
    if set(lengths) == {max(lengths)}:
        assert len(steps_of(alone)) >= min(num_samples, sum(lengths))
