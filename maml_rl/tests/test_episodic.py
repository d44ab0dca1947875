"""An episodic LSTM: episodes that are unrolled together, what its dictionary holds, and what reaches it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.adaptation import expand, for_every_task
from maml_rl.policies import PolicySpec
from maml_rl.policies.episodic_lstm_policy import EpisodicLSTMPolicy
from maml_rl.policies.episodic_state import EpisodicOptions
from maml_rl.tests.builders import tiny_policy
from maml_rl.utils.transforms import is_batched

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("float64")]

OWN, ACTIONS, WIDTH = 3, 2, 4


def spec(**options):
    return PolicySpec(
        "episodic",
        OWN + ACTIONS + 2,
        ACTIONS,
        False,
        (5,),
        "tanh",
        EpisodicOptions(**{"dictionary_capacity": 3, **options}),
        with_value=True,
    )


def sequences(rng, num_steps=23, *, num_contexts=4):
    """Observations (T, B, O) whose own part is one of some contexts in every episode, and boundaries (T, B)."""
    started = rng.random((num_steps, WIDTH)) < 0.25
    started[0] = False
    started[:, -1] &= np.arange(num_steps) > 12  # a long first episode
    contexts, episode = rng.normal(size=(num_contexts, OWN)), started.cumsum(0)
    shown = contexts[rng.integers(num_contexts, size=(num_steps, WIDTH))[episode, np.arange(WIDTH)]]
    beside = rng.normal(size=(num_steps, WIDTH, ACTIONS + 2))
    return torch.from_numpy(np.concatenate([shown, beside], -1)), torch.from_numpy(started)


def step_by_step(policy, params, observations, started, state):
    outputs = []
    for observation, begins in zip(observations, started, strict=True):
        state = policy.begin_episode(params, state, observation, begins)
        features, state = policy.advance(params, observation, state)
        outputs.append(features)
    return torch.stack(outputs), state


@pytest.mark.parametrize("way", ["reinstate", "input", "none"])
@pytest.mark.parametrize(
    ("kernel", "reach"), [("cosine", None), ("inverse-distance", None), ("euclidean", 0.9), ("cosine", 0.0)]
)
@pytest.mark.parametrize("resets", [True, False])
@pytest.mark.parametrize("key", ["observation", "embedding"])
def test_episodes_side_by_side_are_episodes_one_after_another(way, kernel, reach, resets, key):
    rng = np.random.default_rng(3)
    dictionary = {"dictionary_kernel": kernel, "dictionary_reach": reach, "dictionary_key": key}
    policy, params = tiny_policy(spec(dictionary_retrieval=way, dictionary_resets=resets, **dictionary))
    state = policy.initial_state(params, (WIDTH,))
    for _ in range(2):  # the second part begins with entries, in the middle of an episode
        observations, started = sequences(rng)
        expected, expected_state = step_by_step(policy, params, observations, started, state)
        found, after = policy.features(params, observations, started, state)
        assert_close(found, expected)
        assert_close(after, expected_state)
        state = after


@pytest.mark.parametrize("detach", [True, False])
@pytest.mark.parametrize("resets", [True, False])
def test_gradients_side_by_side_are_those_one_after_another(detach, resets):
    rng = np.random.default_rng(4)
    policy, params = tiny_policy(spec(dictionary_detach=detach, dictionary_resets=resets))
    params = {name: value.requires_grad_() for name, value in params.items()}
    observations, started = sequences(rng)
    state = policy.initial_state(params, (WIDTH,))
    factors = torch.from_numpy(rng.normal(size=(len(observations), WIDTH, 5)))
    expected = step_by_step(policy, params, observations, started, state)[0]
    found = policy.features(params, observations, started, state)[0]
    names = [name for name in params if name.startswith("layer")]
    values = [params[name] for name in names]
    for gradient, other in zip(
        *(torch.autograd.grad((out * factors).sum(), values) for out in (expected, found)), strict=True
    ):
        assert_close(gradient, other)
        assert gradient.any()


@pytest.mark.parametrize("detach", [True, False])
def test_first_derivatives_in_float32_are_those_of_a_higher_order(detach):
    rng = np.random.default_rng(6)
    policy, params = tiny_policy(spec(dictionary_detach=detach))
    params = {name: value.float().requires_grad_() for name, value in params.items()}
    values = [value for name, value in params.items() if name.startswith("layer")]
    observations, started = sequences(rng)
    state = policy.initial_state(params, (WIDTH,))
    factors = torch.from_numpy(rng.normal(size=(len(observations), WIDTH, 5))).float()
    results = []
    for order in (1, 2):
        features, after = policy.features(params, observations.float(), started, state, order=order)
        gradients = torch.autograd.grad((features * factors).sum() + after.working.cell.sum(), values)
        results.append([features, after.working.cell, after.entries.values, *gradients])
    assert features.grad_fn is not None
    for first, second in zip(*results, strict=True):
        assert_close(first, second, rtol=1e-4, atol=3e-5)


def test_gates_are_those_of_the_equations():
    rng = np.random.default_rng(8)
    policy, params = tiny_policy(spec(dictionary_retrieval="none", dictionary_key_enters=True))
    observations, started = sequences(rng)
    assert isinstance(policy, EpisodicLSTMPolicy)
    gates = policy.gates(params, observations, torch.zeros_like(started))
    outputs, _ = policy.features(params, observations, None, policy.initial_state(params, (WIDTH,)))
    before = torch.cat([torch.zeros_like(outputs[:1]), outputs[:-1]])
    weights = {part: params[f"layer1.{part}"] for part in ("ih.weight", "hh.weight", "ih.bias", "hh.bias")}
    entering = observations @ weights["ih.weight"].mT + weights["ih.bias"] + weights["hh.bias"]
    expected = torch.sigmoid(entering + before @ weights["hh.weight"].mT).unflatten(-1, (5, 5)).mean(-1)
    for index, name in enumerate(("input", "forget", "output", "reinstatement")):
        assert_close(gates[name], expected[..., index])


def test_with_entries_that_are_no_constants_gradients_reach_the_episodes_that_wrote_them():
    rng = np.random.default_rng(5)
    observations, started = sequences(rng, 12)
    started[:] = False
    started[6] = True
    observations[6:, :, :OWN] = observations[:1, :, :OWN]
    observations.requires_grad_()
    for detach in (True, False):
        policy, params = tiny_policy(spec(dictionary_detach=detach))
        features, _ = policy.features(params, observations, started, policy.initial_state(params, (WIDTH,)))
        (gradient,) = torch.autograd.grad(features[6:].sum(), observations)
        assert bool(gradient[:6].any()) == (not detach)


def test_the_next_episode_s_first_observation_is_not_in_what_the_last_one_wrote():
    policy, params = tiny_policy(spec())
    rng = np.random.default_rng(6)
    observations, started = sequences(rng, 5)
    started[:] = False
    started[4] = True
    entries = []
    for last in (0.0, 7.0):
        observations[4, :, :OWN] = last
        _, state = policy.features(params, observations, started, policy.initial_state(params, (WIDTH,)))
        entries.append(state.entries)
    assert_close(entries[0], entries[1], rtol=0, atol=0)
    assert entries[0].values[:, 0].any()


def test_without_retrieval_nothing_is_written_and_an_episode_begins_as_the_first_one():
    policy, params = tiny_policy(spec(dictionary_retrieval="none"))
    observations, started = sequences(np.random.default_rng(7), 8)
    started[:] = False
    started[4] = True
    observations[4:] = observations[:4]
    features, state = policy.features(params, observations, started, policy.initial_state(params, (WIDTH,)))
    assert_close(features[4:], features[:4], rtol=0, atol=1e-14)
    assert not state.entries.values.any()


def test_steps_behind_the_end_change_nothing_before_it():
    rng = np.random.default_rng(9)
    policy, params = tiny_policy(spec())
    params = {name: value.requires_grad_() for name, value in params.items()}
    observations, started = sequences(rng, 15)
    padded = torch.cat([observations, torch.zeros_like(observations[:4])])
    flags = torch.cat([started, torch.zeros_like(started[:4])])
    state = policy.initial_state(params, (WIDTH,))
    whole, longer = (
        policy.features(params, seen, begins, state)[0][:15]
        for seen, begins in ((observations, started), (padded, flags))
    )
    assert_close(longer, whole)
    weight = params["layer1.hh.weight"]
    assert_close(*(torch.autograd.grad(part.square().sum(), weight)[0] for part in (longer, whole)))


def test_a_key_that_does_not_enter_changes_nothing_but_what_is_read():
    rng = np.random.default_rng(8)
    policy, params = tiny_policy(spec(dictionary_key_enters=False))
    observations, started = sequences(rng)
    others = observations.clone()
    others[..., :OWN] = observations[..., :OWN] @ torch.from_numpy(np.linalg.qr(rng.normal(size=(OWN, OWN)))[0])
    for seen, same in ((others, True), (others.roll(3, 0), False)):
        found, expected = (
            policy.features(params, along, started, policy.initial_state(params, (WIDTH,)))[0]
            for along in (seen, observations)
        )
        assert torch.allclose(found, expected) == same  # a rotation leaves all distances of keys as they are


def test_a_key_is_the_part_of_the_observation_that_was_asked_for():
    policy, params = tiny_policy(spec(dictionary_key_range=(1, 3)))
    assert isinstance(policy, EpisodicLSTMPolicy)
    own = torch.arange(3.0)
    assert_close(policy.key_of(params, own), own[1:])
    with pytest.raises(
        ValueError, match=r"dictionary-key-range: got \[1, 4\], expected \[first, last\] with 0 <= first < last <= 3"
    ):
        tiny_policy(spec(dictionary_key_range=(1, 4)))
    with pytest.raises(ValueError, match="policy: got 'episodic' where neither previous action nor reward are obs"):
        tiny_policy(replace(spec(), input_size=4))


@pytest.mark.parametrize("key", ["observation", "embedding"])
@pytest.mark.parametrize("way", ["reinstate", "none"])
def test_tasks_one_by_one_have_the_derivatives_that_vmap_gives(monkeypatch, way, key):
    policy, params = tiny_policy(spec(dictionary_retrieval=way, dictionary_key=key))
    parts = [sequences(np.random.default_rng(seed)) for seed in range(3)]
    observations, started = (torch.stack(part) for part in zip(*parts, strict=True))
    hidden = []

    def loss(values, seen, begins):
        hidden.append(is_batched(begins))
        distribution, _ = policy.unroll_with_values(values, seen, begins, policy.initial_state(values, (WIDTH,)))[:2]
        return distribution.log_prob(torch.ones(seen.shape[:-1], dtype=torch.int64)).square().mean()

    def gradient(values):
        return for_every_task(policy, torch.func.grad(loss))(values, observations, started)

    def derivatives():
        slopes, product = torch.func.vjp(gradient, expand(params, 3))  # type: ignore[misc]
        return slopes, product({name: torch.cos(value) for name, value in slopes.items()})

    one_by_one = derivatives()
    monkeypatch.setattr(EpisodicLSTMPolicy, "reads_values", False)
    assert_close(one_by_one, derivatives())
    assert hidden == [False] * 3 + [True]
