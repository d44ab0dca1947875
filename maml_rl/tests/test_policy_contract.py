"""Contract of policies: boundaries of episodes, noise, kinds and their options; a policy from outside the package."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves, tree_map

from maml_rl.actor_critic import distribution_and_values
from maml_rl.adaptation import expand, inner_gradient, policy_distribution
from maml_rl.envs import make_meta_env
from maml_rl.envs.meta_episode import MetaEpisodeVectorEnv
from maml_rl.policies import Interface, Policy, PolicySpec, make_policy, policy_kind, register_policy, registry
from maml_rl.policies.geometric_policy import GeometricOptions
from maml_rl.policies.params import Params, affine
from maml_rl.samplers.meta_episodes import roll_out_meta_episodes
from maml_rl.samplers.recorders import EpisodeRecorder
from maml_rl.samplers.rollout import rollout
from maml_rl.settings import Settings
from maml_rl.shard import Streams
from maml_rl.tests.builders import (
    POLICY_SPECS,
    TWO_LIFETIMES,
    UNEVEN,
    pick,
    spec_id,
    tiny_data,
    tiny_inner,
    tiny_policy,
)
from maml_rl.utils.random import Purpose, generator

every_policy = pytest.mark.parametrize("spec", POLICY_SPECS, ids=spec_id)
BORN_BY_CHANCE = {"plastic"}
"""Kinds that take noise for their initial state."""


class DiaryOptions(Settings):
    """Options of the policy below."""

    diary_spread: float = Field(default=0.0, ge=0, description="Standard deviation of what the diary holds at first.")


class DiaryPolicy(Policy):
    """Working memory of an episode, and a diary in which its closing observation and itself are written at its end."""

    has_memory = True

    def __init__(self, interface: Interface, size: int, spread: float) -> None:
        num_inputs = interface.num_inputs
        layers: dict[str, nn.Module] = {
            "see": nn.Linear(num_inputs, size),
            "recall": nn.Linear(size, size),
            "close": nn.Linear(num_inputs, size),
        }
        super().__init__(interface, layers, size)
        self.size, self.spread = size, spread

    def initial_state(self, params: Params, batch_shape: tuple[int, ...], noise: Tensor | None = None) -> Any:
        working = params["see.weight"].new_zeros((*batch_shape, self.size))
        return working, working if noise is None else self.spread * noise

    def draw_initial_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray | None:
        return rng.standard_normal((*shape, self.size), dtype=np.float32) if self.spread else None

    def begin_episode(self, params: Params, state: Any, closing: Tensor, started: Tensor) -> Any:
        working, diary = state
        entry = torch.tanh(working + affine(params, "close", self.encode(params, closing)))
        written = started.unsqueeze(-1)
        return torch.where(written, torch.zeros_like(working), working), torch.where(written, diary + entry, diary)

    def advance(self, params: Params, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        working, diary = state
        working = torch.tanh(affine(params, "see", inputs) + affine(params, "recall", working + diary))
        return working, (working, diary)


def make_diary(spec: PolicySpec) -> Policy:
    assert isinstance(spec.options, DiaryOptions)
    return DiaryPolicy(spec.interface(), spec.hidden_sizes[0], spec.options.diary_spread)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """Registers the policy for one test."""
    monkeypatch.setattr(registry, "_KINDS", dict(registry._KINDS))
    register_policy("diary", make_diary, options=DiaryOptions)


DIARIES = [PolicySpec("diary", 3, 2, continuous, (3,), "tanh") for continuous in (True, False)]
with_diaries = pytest.mark.parametrize("spec", [*POLICY_SPECS, *DIARIES], ids=spec_id)


@pytest.mark.usefixtures("float64")
@with_diaries
def test_unrolling_is_beginning_episodes_and_stepping(spec):
    policy, params = tiny_policy(spec)
    data = pick(tiny_data(spec, 1, num_steps=7), 0)
    assert data.started.any()
    begin = state = policy.initial_state(params, (3,))
    steps = []
    for observation, started in zip(data.observations, data.started, strict=True):
        state = policy.begin_episode(params, state, observation, started)
        distribution, state = policy.step(params, observation, state)
        steps.append(distribution)
    unrolled = policy.unroll(params, data.observations, data.started, begin)
    for part, expected in zip(unrolled, zip(*steps, strict=True), strict=True):
        assert_close(part, torch.stack(expected))
    assert_close(policy.features(params, data.observations, data.started, begin)[1], state)


@pytest.mark.parametrize("spec", [s for s in POLICY_SPECS if s.name not in TWO_LIFETIMES], ids=spec_id)
def test_a_policy_with_one_lifetime_begins_an_episode_with_the_state_it_has(spec):
    policy, params = tiny_policy(spec)
    state = policy.initial_state(params, (2, 3))
    after = policy.begin_episode(params, state, torch.ones(2, 3, spec.input_size), torch.ones(2, 3, dtype=torch.bool))
    assert after is state


@pytest.mark.usefixtures("float64")
def test_boundaries_matter_to_a_policy_with_two_lifetimes():
    policy, params = tiny_policy(DIARIES[0])
    data = pick(tiny_data(DIARIES[0], 1, num_steps=7), 0)
    state = policy.initial_state(params, (3,))
    unrolled, whole = (policy.unroll(params, data.observations, s, state)[0] for s in (data.started, None))
    first = int(data.started.any(1).nonzero()[0])
    assert_close(unrolled[:first], whole[:first], rtol=0, atol=0)
    assert not torch.allclose(unrolled[first], whole[first])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("spec", DIARIES, ids=spec_id)
def test_inner_gradients_over_boundaries_are_those_of_every_task_by_itself(spec):
    policy, params = tiny_policy(spec)
    inner, data = tiny_inner(policy), tiny_data(spec, 1)
    learning, frozen = inner.split(params)
    together = inner_gradient(inner, expand(learning, 2), frozen, data)
    for task in range(2):
        alone = inner_gradient(inner, expand(learning, 1), frozen, pick(data, slice(task, task + 1)))
        assert_close(pick(alone, 0), pick(together, task))
    assert together["close.weight"].any()


@with_diaries
def test_states_of_episodes_that_are_over_stay_and_others_move_on(spec):
    policy, params = tiny_policy(spec)
    params = {name: value.float() for name, value in params.items()}
    before = policy.initial_state(params, (2, 3))
    _, after = policy.step(params, torch.ones(2, 3, spec.input_size), before)
    active = torch.tensor([[True, False, True], [False, False, True]])
    for kept, new, old in zip(*map(tree_leaves, (policy.keep(active, after, before), after, before)), strict=True):
        assert_close(kept[active], new[active], rtol=0, atol=0)
        assert_close(kept[~active], old[~active], rtol=0, atol=0)


@every_policy
def test_by_default_noise_is_what_the_distribution_over_actions_needs(spec):
    policy, _ = tiny_policy(spec)
    drawn = policy.draw_noise(np.random.default_rng(1), (4, 5))
    expected = policy.distribution.draw_noise(np.random.default_rng(1), (4, 5), spec.output_size)
    np.testing.assert_array_equal(drawn, expected)
    rng = np.random.default_rng(1)
    if spec.name in BORN_BY_CHANCE:
        first, again = (policy.draw_initial_noise(np.random.default_rng(1), (4,)) for _ in range(2))
        assert first is not None
        assert again is not None
        assert first.shape[0] == 4
        np.testing.assert_array_equal(first, again)
    else:
        assert policy.draw_initial_noise(rng, (4,)) is None
        assert rng.random() == np.random.default_rng(1).random()


@with_diaries
def test_an_action_is_a_sample_of_the_step_s_distribution(spec):
    policy, params = tiny_policy(spec)
    state, observation = policy.initial_state(params, (4,)), torch.ones(4, spec.input_size)
    noise = torch.from_numpy(policy.draw_noise(np.random.default_rng(1), (4,)))
    distribution, actions, after = policy.act(params, observation, state, noise)
    expected, expected_after = policy.step(params, observation, state)
    assert_close((tuple(distribution), after), (tuple(expected), expected_after))
    assert_close(actions, expected.sample(noise))


def rolled_out(spread=0.0, *, num_tasks=4, num_episodes=3, seed=3):
    """Meta-episodes of a diary: environment, policy, parameters, tasks and streams."""
    env = MetaEpisodeVectorEnv(make_meta_env(UNEVEN, num_tasks, {"longest": 5}), num_episodes)
    options = DiaryOptions(diary_spread=spread)
    spec = PolicySpec.for_spaces(
        env.single_observation_space,
        env.single_action_space,
        name="diary",
        hidden_sizes=(4,),
        nonlinearity="tanh",
        options=options,
        with_value=True,
    )
    policy, params = tiny_policy(spec)
    tasks = env.sample_tasks(num_tasks, np.random.default_rng(5))
    purposes = (Purpose.ENVIRONMENT, Purpose.ACTIONS)
    streams = Streams(*([generator(seed, purpose, task=i) for i in range(num_tasks)] for purpose in purposes))
    return env, policy, params, tasks, streams


@pytest.mark.parametrize("spread", [0.0, 1.0])
def test_a_learner_computes_what_the_rollout_computed_over_boundaries(spread):
    env, policy, params, tasks, streams = rolled_out(spread)
    data = roll_out_meta_episodes(env, policy, params, tasks, streams, heartbeat=lambda: None).data
    assert int(data.started.sum()) == 2 * len(tasks)
    for backprop_steps in (None, 4):
        distribution, _ = distribution_and_values(policy, params, data, backprop_steps)
        assert_close(distribution.log_prob(data.actions) * data.mask, data.log_probs, rtol=0, atol=1e-5)
    without, _ = distribution_and_values(policy, params, data._replace(started=()))
    assert not torch.allclose(without.log_prob(data.actions) * data.mask, data.log_probs, atol=1e-3)


def test_an_inner_loop_computes_what_the_rollout_computed_over_boundaries():
    env, policy, params, tasks, streams = rolled_out(1.0)
    episodes, _ = rollout(env, policy, expand(params, 4), tasks, streams, recorder=EpisodeRecorder())
    for task in range(4):
        data = pick(episodes.learning_data(slice(task, task + 1)), 0)
        log_probs = policy_distribution(policy, params, data).log_prob(data.actions)
        assert_close(log_probs * data.mask, data.log_probs, rtol=0, atol=1e-5)


def test_a_diary_lasts_into_the_next_meta_episode_with_its_last_episode_in_it():
    env, policy, params, tasks, streams = rolled_out()
    _, (working, diary) = rollout(env, policy, params, tasks, streams, recorder=EpisodeRecorder())
    assert not working.any()
    env, *_, streams = rolled_out(num_episodes=1)
    _, (_, first) = rollout(env, policy, params, tasks, streams, recorder=EpisodeRecorder())
    assert (first.abs() <= 1.0).all()  # one entry, of size 1 at most
    assert not torch.allclose(diary, first, atol=1e-3)
    begun, _ = rollout(env, policy, params, tasks, streams, recorder=EpisodeRecorder(), state=(working, diary))
    assert_close(begun.state, (working, diary))


def test_initial_noise_is_a_task_s_own_and_leaves_the_noise_of_actions_alone():
    env, policy, params, tasks, streams = rolled_out(1.0)
    first, _ = rollout(env, policy, params, tasks, streams, recorder=EpisodeRecorder())
    env, *_, streams = rolled_out(1.0)
    own = Streams([streams.environment[2]], [streams.actions[2]])
    env = MetaEpisodeVectorEnv(make_meta_env(UNEVEN, 1, {"longest": 5}), 3)
    alone, _ = rollout(env, policy, params, tasks[2:3], own, recorder=EpisodeRecorder())
    assert_close(tree_map(lambda part: part[2:3], first.state), alone.state, rtol=0, atol=0)
    assert_close(alone.actions, first.actions[2:3, : alone.mask.shape[1]])
    assert own.actions[0].random() == generator_after(alone.mask.shape[1])


def generator_after(num_steps):
    """Next number of task 2's action noise after a rollout of a policy that draws nothing else."""
    env, policy, params, tasks, streams = rolled_out()
    env = MetaEpisodeVectorEnv(make_meta_env(UNEVEN, 1, {"longest": 5}), 3)
    own = Streams([streams.environment[2]], [streams.actions[2]])
    assert num_steps <= 128  # one block of noise
    rollout(env, policy, params, tasks[2:3], own, recorder=EpisodeRecorder())
    return own.actions[0].random()


@every_policy
def test_a_kind_says_without_being_built_whether_it_has_memory(spec):
    assert policy_kind(spec.name).has_memory == make_policy(spec).has_memory


@every_policy
def test_options_left_out_are_the_kind_s_defaults(spec):
    expected = make_policy(replace(spec, options=policy_kind(spec.name).options()))
    shapes = {name: value.shape for name, value in make_policy(replace(spec, options=None)).named_parameters()}
    assert shapes == {name: value.shape for name, value in expected.named_parameters()}


def test_options_are_read_as_a_configuration_writes_them():
    options = policy_kind("geometric").options.model_validate({"memory-slots": 3})
    assert options == GeometricOptions(memory_slots=3)
    with pytest.raises(ValidationError):
        policy_kind("lstm").options.model_validate({"memory-horizon": 2})


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: register_policy("lstm", make_diary), "policy: 'lstm' is registered already; choose another name"),
        (lambda: policy_kind("dairy"), r"policy: got 'dairy', expected one of \[.*'diary', "),
        (
            lambda: make_policy(replace(DIARIES[0], options=Settings())),
            "options: got Settings, expected DiaryOptions for policy 'diary'",
        ),
        (lambda: register_forgetful() or make_policy(replace(DIARIES[0], name="forgetful")), "has_memory: got False"),
    ],
    ids=["name taken", "unknown", "other options", "other memory"],
)
def test_a_wrong_registration_or_specification_is_refused_in_one_line(act, words):
    with pytest.raises(ValueError, match=words) as caught:
        act()
    assert "\n" not in str(caught.value)


def register_forgetful():
    register_policy("forgetful", make_diary, options=DiaryOptions, has_memory=False)
