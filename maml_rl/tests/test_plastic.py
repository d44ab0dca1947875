"""Plastic networks: lives replayed, rules as controls and as node perturbation, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.testing import assert_close

from maml_rl.algorithms import make_algorithm
from maml_rl.config import Config, ConfigError, load_config
from maml_rl.policies import PolicySpec
from maml_rl.policies.plastic_making import RULES
from maml_rl.policies.plastic_policy import PlasticOptions, PlasticPolicy
from maml_rl.samplers import SerialBackend
from maml_rl.tests.builders import tiny_config, tiny_policy
from maml_rl.utils.errors import InputError

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("float64")]

every_rule = pytest.mark.parametrize("rule", RULES)
both_kinds = pytest.mark.parametrize("continuous", [True, False], ids=["continuous", "discrete"])
OWN, ACTIONS = 3, 2


def options(**changes):
    return PlasticOptions(**{"plastic_state_size": 2, "plastic_units": 3, "plastic_rate": 0.3, **changes})


def network(*, continuous=True, hidden=(4,), seed=0, num_actions=ACTIONS, with_value=False, **changes):
    """A plastic network with random parameters."""
    size = OWN + num_actions + 2
    spec = PolicySpec("plastic", size, num_actions, continuous, hidden, "tanh", options(**changes), with_value)
    policy, params = tiny_policy(spec, seed)
    assert isinstance(policy, PlasticPolicy)
    return policy, params


def born(policy, params, shape, seed=1):
    noise = policy.draw_initial_noise(np.random.default_rng(seed), shape)
    return policy.initial_state(params, shape, torch.from_numpy(noise))


def observations(num_steps, num_lives, *, continuous=True, num_actions=ACTIONS, seed=2):
    """Observations (T, B, O) of actions and rewards at random."""
    rng = np.random.default_rng(seed)
    shape = (num_steps, num_lives)
    chosen = np.eye(num_actions)[rng.integers(num_actions, size=shape)]
    actions = rng.standard_normal((*shape, num_actions)) if continuous else chosen
    parts = (
        rng.standard_normal((*shape, OWN)),
        actions,
        rng.standard_normal((*shape, 1)),
        rng.random((*shape, 1)) < 0.2,
    )
    return torch.from_numpy(np.concatenate(parts, -1))


@every_rule
@both_kinds
def test_unrolling_meets_the_noise_of_hidden_neurons_again(rule, continuous):
    policy, params = network(continuous=continuous, plastic_rule=rule)
    begin, seen = born(policy, params, (3,)), observations(6, 3, continuous=continuous)
    state, steps = begin, []
    for observation in seen:
        distribution, state = policy.step(params, observation, state)
        steps.append(distribution[0])
    unrolled = policy.unroll(params, seen, None, begin)[0]
    assert_close(unrolled, torch.stack(steps), rtol=0, atol=1e-12)
    other_key = policy.unroll(params, seen, None, begin._replace(key=begin.key + 1))[0]
    assert not torch.allclose(other_key, unrolled)
    quiet, _ = network(continuous=continuous, plastic_rule=rule, plastic_hidden_noise=False)
    silent = quiet.unroll(params, seen, None, begin)[0]
    assert not torch.allclose(silent, unrolled)
    assert_close(quiet.unroll(params, seen, None, begin._replace(key=begin.key + 1))[0], silent, rtol=0, atol=0)


def test_hidden_neurons_are_moved_by_their_noise_level():
    policy, params = network(hidden=(200,), plastic_rule="synapse-gru")
    _, state = policy.step(params, observations(1, 50)[0], born(policy, params, (50,)))
    hidden, drive = state.activity.noise[0], state.activity.drives[0]
    levels = policy.rule.levels(params, state.rule)
    assert not torch.equal(levels[0], levels[0][:1].expand_as(levels[0]))  # they change within a life
    level = float(levels[0].square().mean().sqrt())
    assert float(hidden.std()) == pytest.approx(level, rel=0.03)
    assert_close(state.activity.outputs[0], torch.tanh(drive + hidden))
    assert_close(
        policy.step(params, observations(1, 50)[0], born(policy, params, (50,)))[0][1].exp()[0, 0],
        levels[1][0, 0],
    )


# Controls


@every_rule
@both_kinds
def test_a_frozen_network_keeps_its_weights_and_its_rule_says_how_noisy_it_is_and_nothing_else(rule, continuous):
    policy, params = network(continuous=continuous, plastic_rule=rule, plastic_frozen=True)
    plastic, _ = network(continuous=continuous, plastic_rule=rule)
    seen, state = observations(8, 3, continuous=continuous), born(policy, params, (3,))
    others = {name: value + 1.0 if name != "rule.log_level" else value for name, value in params.items()}
    features, last = policy.features(params, seen, None, state)
    assert_close(policy.remembered(last), policy.remembered(state), rtol=0, atol=0)
    assert_close(policy.features(others, seen, None, state)[0], features, rtol=0, atol=0)
    moved, after = plastic.features(params, seen, None, state)
    assert not torch.allclose(moved, features)
    assert not torch.allclose(plastic.remembered(after), plastic.remembered(state))
    if "rule.log_level" in params:
        louder = policy.features({**params, "rule.log_level": params["rule.log_level"] + 0.5}, seen, None, state)[0]
        assert not torch.allclose(louder, features)


@pytest.mark.parametrize("rule", ["message-passing", "synapse-gru"])
@both_kinds
def test_observations_that_are_told_in_another_order_are_as_good(rule, continuous):
    assert_close(*in_two_orders(rule, continuous), rtol=0, atol=1e-9)


@both_kinds
def test_coefficients_of_each_synapse_know_the_order_of_observations(continuous):
    first, second = in_two_orders("hebbian", continuous)
    assert not torch.allclose(first, second, atol=1e-3)


def in_two_orders(rule, continuous):
    """Features along observations, and along the same in another order with first weights in that order too."""
    policy, params = network(continuous=continuous, plastic_rule=rule)
    order = [2, 0, 1]
    seen = observations(10, 3, continuous=continuous)
    noise = torch.from_numpy(policy.draw_initial_noise(np.random.default_rng(1), (3,)))
    turned = torch.cat([seen[..., order], seen[..., OWN:]], -1)
    rows, columns = policy.rule.shapes[0]
    first = noise[:, : rows * columns].reshape(3, rows, columns)[..., [*order, OWN]].flatten(1)
    turned_noise = torch.cat([first, noise[:, rows * columns :]], -1)
    states = [policy.initial_state(params, (3,), n) for n in (noise, turned_noise)]
    return [policy.features(params, s, None, state)[0] for s, state in zip((seen, turned), states, strict=True)]


# Node perturbation


EARLY, LATE = slice(50), slice(-100, None)
SMALL = 1e-4
"""Scale at which tanh is the identity to 1e-8."""


def node_perturbation(policy, params, level=0.3):
    """Parameters with which the change of a weight is rate (r - mean) x_j noise_i, of the step before."""
    params = {name: torch.zeros_like(value) for name, value in params.items()}
    size = policy.rule.state_size
    for index in range(len(policy.rule.shapes)):
        params[f"rule.node{index}"][-1, :size] = -50.0  # the update gate: nothing is kept
        params[f"rule.product{index}"][1, 2 * size] = SMALL
        params[f"rule.change{index}"][0, 1] = 1.0 / SMALL
    params["rule.log_level"].fill_(math.log(level))
    return params


PLAIN = {"plastic_rule": "synapse-gru", "plastic_normalise": False, "plastic_normalise_reward": False}


@both_kinds
def test_the_synapses_rule_can_be_node_perturbation(continuous):
    policy, params = network(continuous=continuous, **PLAIN, plastic_rate=0.1, plastic_weight_limit=100.0)
    params = node_perturbation(policy, params)
    state = born(policy, params, (3,))
    weights, mean = [w.clone() for w in policy.rule.weights(state.rule)], torch.zeros(3)
    before: tuple[torch.Tensor, ...] = ()  # inputs of both layers, noise of the first, expected action
    for age, seen in enumerate(observations(8, 3, continuous=continuous), 1):
        own, action, reward = seen[:, :OWN], seen[:, OWN : OWN + ACTIONS], seen[:, OWN + ACTIONS]
        change = 0.1 * (reward - mean).clamp(-5.0, 5.0)[:, None, None]
        mean = mean + max(0.5, 1.0 / age) * (reward - mean)
        if before:
            first, second, noise, expected = before
            weights[0] = weights[0] + change * noise[:, :, None] * first[:, None]
            weights[1] = weights[1] + change * (action - expected)[:, :, None] * second[:, None]
        _, state = policy.step(params, seen, state)
        assert_close(policy.rule.weights(state.rule), tuple(weights), rtol=0, atol=1e-6)
        first, noise = torch.nn.functional.pad(own, (0, 1), value=1.0), state.activity.noise[0]
        hidden = torch.tanh((weights[0] @ first[..., None])[..., 0] + noise)
        second = torch.nn.functional.pad(hidden, (0, 1), value=1.0)
        output = (weights[1] @ second[..., None])[..., 0]
        before = (first, second, noise, output if continuous else torch.softmax(output, -1))


def rewards_of(policy, params, num_lives=64, num_steps=500):
    """Mean rewards (T,) of lives in which an action shall be a linear function of what is seen, another in each."""
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.standard_normal((num_lives, OWN)))
    state, told = born(policy, params, (num_lives,)), torch.zeros(num_lives, 3)
    means = []
    with torch.no_grad():
        for _ in range(num_steps):
            seen = torch.from_numpy(rng.standard_normal((num_lives, OWN)))
            noise = torch.from_numpy(policy.draw_noise(rng, (num_lives,)))
            _, action, state = policy.act(params, torch.cat([seen, told], -1), state, noise)
            reward = -(action[:, 0] - (target * seen).sum(-1)).square()
            told = torch.stack([action[:, 0], reward, torch.zeros(num_lives)], -1)
            means.append(float(reward.mean()))
    return np.array(means)


def test_node_perturbation_learns_what_a_life_rewards_and_a_frozen_network_does_not():
    curves = []
    for frozen in (False, True):
        policy, params = network(
            num_actions=1, **PLAIN, plastic_baseline="fast", plastic_rate=0.05, plastic_frozen=frozen
        )
        curves.append(rewards_of(policy, node_perturbation(policy, params)))
    (learned, stayed), (start, other) = ([curve[part].mean() for curve in curves] for part in (LATE, EARLY))
    assert learned > 0.5 * start  # -1.1 after -3.4
    assert stayed == pytest.approx(other, rel=0.15)


# Learning by gradients


@every_rule
@both_kinds
def test_derivatives_of_a_short_life_are_those_of_finite_differences(rule, continuous):
    policy, params = network(
        continuous=continuous, hidden=(2,), plastic_rule=rule, plastic_state_size=1, with_value=True
    )
    state, seen = born(policy, params, (2,)), observations(3, 2, continuous=continuous)
    names = list(params)

    def outputs(*values):
        distribution, values, _ = policy.unroll_with_values(dict(zip(names, values, strict=True)), seen, None, state)
        return (*distribution, values)

    assert torch.autograd.gradcheck(outputs, [params[name].requires_grad_() for name in names])


@every_rule
def test_an_iteration_of_rl2_changes_the_rule(rule):
    config = tiny_config("Bandit-K5-v0", algorithm="rl2", policy="plastic", hidden_sizes=(3,), plastic_rule=rule)
    algorithm = make_algorithm(config)
    learner = algorithm.learner(SerialBackend(algorithm.worker_spec), algorithm.initial_parameters())
    report = learner.step(algorithm.sample_tasks(0), 0)
    assert report.finite
    before, after = (algorithm.state_dict(p) for p in (algorithm.initial_parameters(), learner.parameters))
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert {name for name in before if name.startswith("rule.")} - moved <= {"rule.log_level"}
    assert all(value.isfinite().all() for value in after.values())


# What is refused


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("plastic-rule", "hebb"),
        ("plastic-state-size", 0),
        ("plastic-units", 0),
        ("plastic-rate", 0.0),
        ("plastic-rate", math.inf),
        ("plastic-weight-limit", -1.0),
        ("plastic-baseline", "slowest"),
        *((f"plastic-{name}", "perhaps") for name in ("normalise", "frozen", "broadcast", "eligibility")),
    ],
)
def test_an_option_out_of_range_costs_one_line(key, value):
    with pytest.raises(ConfigError, match=rf"^{key} in .*: got .*, expected ") as caught:
        Config(env_name="Bandit-K5-v0", algorithm="rl2", policy="plastic", **{key.replace("-", "_"): value})
    assert "\n" not in str(caught.value)
    with pytest.raises(ValidationError):
        PlasticOptions.model_validate({key: value})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "policy: got 'plastic' where neither previous action nor reward are observed, expected .* MetaEpisode-v0"),
        ({"algorithm": "evolution", "hidden_sizes": ()}, r"hidden-sizes: got \[\], expected at least one layer"),
        ({"algorithm": "rl2", "encoder": "conv", "env_name": "TabularMDP-v0"}, "encoder: got 'conv', expected none"),
        (
            {
                "env_name": "MetaEpisode-v0",
                "env_kwargs": {"env_name": "Bandit-K5-v0", "num_episodes": 3},
                "adapted_layers": "head",
            },
            "adapted-layers: got 'head' with policy 'plastic', whose head has no weights, expected 'all'",
        ),
    ],
    ids=["rewards unseen", "no layer", "encoder", "head"],
)
def test_a_configuration_that_does_not_fit_costs_one_line(changes, words):
    with pytest.raises(InputError, match=words) as caught:
        make_algorithm(Config(**{"env_name": "Bandit-K5-v0", "policy": "plastic", **changes}))
    assert "\n" not in str(caught.value)


def test_keys_of_plastic_networks_are_refused_with_other_policies(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("env-name: Bandit-K5-v0\nplastic-rate: 0.1\n")
    with pytest.raises(ConfigError, match=r"which policy 'mlp' has no use for; leave it out or set policy: plastic"):
        load_config(path)


def test_the_fraction_of_episodes_that_are_over_is_not_taken_for_an_observation():
    config = tiny_config("Bandit-K5-v0", algorithm="rl2", policy="plastic", observe_episode_fraction=True)
    policy = make_algorithm(config).policy
    assert isinstance(policy, PlasticPolicy)
    assert policy.rule.shapes[0] == (8, 1 + 1)
