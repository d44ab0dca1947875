"""Returns of expected rewards: the same gradient on average, from less noise, where families know their means."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.algorithms import make_algorithm
from maml_rl.envs.meta_episode import replayed_observations
from maml_rl.episode import generalised_advantages
from maml_rl.policies import PolicySpec
from maml_rl.shard import Shard
from maml_rl.tests.builders import tiny_config, tiny_policy
from maml_rl.utils.errors import InputError

MEANS = np.array([0.9, 0.2])
PULLS = 3


def every_history():
    """Actions and rewards (N, T) of all that can happen in a bandit of two arms, and rewards' chances (N,)."""
    codes = np.array(list(itertools.product((0, 1), repeat=2 * PULLS)))
    actions, rewards = codes[:, :PULLS], codes[:, PULLS:]
    paid = MEANS[actions]
    return actions, rewards.astype(np.float64), np.where(rewards == 1, paid, 1.0 - paid).prod(1)


@pytest.mark.numerical
@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["lstm", "attention"])
def test_the_gradient_of_expected_rewards_is_on_average_that_of_drawn_ones_and_varies_less(name):
    policy, params = tiny_policy(PolicySpec(name, 5, 2, False, (4,), "tanh"))
    params = {key: value.requires_grad_() for key, value in params.items()}
    actions, rewards, chances = every_history()
    shown = replayed_observations(np.zeros((*actions.shape, 1)), actions, rewards, 2, np.ones(actions.shape, bool))
    observations = torch.from_numpy(shown).double().transpose(0, 1)  # (T, N, O)
    taken = torch.from_numpy(actions).T
    log_probs = policy.unroll(params, observations, None, policy.initial_state(params, (len(actions),))).log_prob(taken)
    probabilities = log_probs.sum(0).exp() * torch.from_numpy(chances)  # of whole histories, (N,)
    assert_close(probabilities.sum(), torch.tensor(1.0))
    learned = list(params.values())[:-2]  # but for the layer of actions, which features alone decide

    def gradients(values):
        """Policy gradient (N, D) of each history with returns that add these rewards (N, T)."""
        parts = torch.from_numpy(values).unsqueeze(-1)
        returns = generalised_advantages(
            parts, torch.zeros_like(parts), torch.ones_like(parts), gamma=1.0, gae_lambda=1.0
        )[..., 0]
        gains = (log_probs * returns.T).sum(0)
        each = (torch.autograd.grad(gain, learned, retain_graph=True, allow_unused=True) for gain in gains)
        return torch.stack([torch.cat([part.flatten() for part in row if part is not None]) for row in each])

    weights = probabilities.detach()
    total = (probabilities * torch.from_numpy(rewards.sum(1))).sum()
    exact = torch.autograd.grad(total, learned, retain_graph=True, allow_unused=True)
    expected = torch.cat([part.flatten() for part in exact if part is not None])
    variances = []
    for values in (rewards, MEANS[actions]):
        each = gradients(values)
        mean = weights @ each
        assert_close(mean, expected, rtol=0, atol=1e-12)
        variances.append(float(weights @ (each - mean).square().sum(1)))
    assert variances[1] < 0.9 * variances[0]


@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize(
    ("env_name", "kwargs"), [("TabularMDP-v0", {"max_episode_steps": 3}), ("Bandit-K5-v0", {})], ids=["mdp", "bandit"]
)
def test_a_learner_adds_means_while_agents_see_and_reports_tell_what_was_drawn(env_name, kwargs, dtype):
    changes = {"algorithm": "rl2", "policy": "lstm", "fast_batch_size": 3, "gae_lambda": 1.0, "env_kwargs": kwargs}
    kept = {}
    for expected in (False, True):
        algorithm = make_algorithm(tiny_config(env_name, **changes, expected_rewards=expected), dtype=dtype)
        worker = algorithm.worker_spec.build(lambda: None)
        shard = Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=3)
        report = worker.collect(shard, algorithm.initial_parameters()[0], 1.0)
        kept[expected] = report, worker._data, worker._unit(3)
    (plain, drawn, unit), (report, data, _) = kept[False], kept[True]
    np.testing.assert_array_equal(report.returns, plain.returns)
    assert_close(data.observations, drawn.observations, rtol=0, atol=0)
    assert_close(data.actions, drawn.actions, rtol=0, atol=0)
    if env_name == "TabularMDP-v0":
        states = data.observations[..., 0].long()  # (T, M)
        means = np.stack(
            [t["rewards_mean"][s, a] for t, s, a in zip(shard.tasks, states.T, data.actions.T, strict=True)]
        )
    else:
        means = np.stack([t["mean"][a] for t, a in zip(shard.tasks, data.actions.T, strict=True)])
    gamma = algorithm.config.gamma
    powers = gamma ** np.arange(means.shape[1])
    returns = np.stack([means[:, step:] @ powers[: means.shape[1] - step] for step in range(means.shape[1])])  # (T, M)
    assert_close(data.targets, unit * torch.from_numpy(returns), check_dtype=False)  # values begin at zero
    assert not torch.allclose(drawn.targets, data.targets)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"env_name": "2DNavigation-v0"},
            "expected-rewards: got true with 2DNavigation-v0, expected a family that knows",
        ),
        ({"env_name": "Bandit-K5-v0", "reward_clip": 1.0}, "expected-rewards: got true with reward-clip, expected one"),
    ],
)
def test_expected_rewards_that_are_not_known_are_refused_in_one_line(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        make_algorithm(tiny_config(**changes, algorithm="rl2", policy="rnn", expected_rewards=True))
    assert "\n" not in str(caught.value)
