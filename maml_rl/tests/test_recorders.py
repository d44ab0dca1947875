"""Recorders see the same rollout; what they keep agrees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves

from maml_rl.adaptation import expand
from maml_rl.envs import MetaVectorEnv, make_meta_env
from maml_rl.envs.meta_episode import MetaEpisodeVectorEnv
from maml_rl.policies import PolicySpec, policy_kinds, registered_policies
from maml_rl.policies.policy import is_initial
from maml_rl.samplers.film_recorders import EndRecorder, FrameRecorder
from maml_rl.samplers.meta_episodes import roll_out_meta_episodes
from maml_rl.samplers.recorders import EpisodeRecorder, ReturnRecorder, StateRecorder
from maml_rl.samplers.rollout import rollout
from maml_rl.shard import Streams
from maml_rl.tests.builders import NEED_REWARDS, TWO_LIFETIMES, UNEVEN, UnevenEnv, small_options, tiny_policy
from maml_rl.utils.random import Purpose, generator

TASKS, EPISODES = 3, 4


def uneven(longest=15):
    """Episodes of unequal length, two a task."""
    env = make_meta_env(UNEVEN, 2 * TASKS, {"longest": longest})
    return env, env.sample_tasks(TASKS, np.random.default_rng(5))


def meta_episodes(longest=5):
    """Meta-episodes of unequal episodes, two a task."""
    env = MetaEpisodeVectorEnv(make_meta_env(UNEVEN, 2 * TASKS, {"longest": longest}), EPISODES)
    return env, env.sample_tasks(TASKS, np.random.default_rng(5))


FAMILIES = {"episodes": uneven, "meta-episodes": meta_episodes}
BLIND = {(name, "episodes") for name in NEED_REWARDS}
"""Kinds of policies that need to see more than such episodes show."""
every_family = pytest.mark.parametrize("make", FAMILIES.values(), ids=FAMILIES)


def streams(num_tasks):
    """Streams of this many tasks, the same with every call."""
    purposes = (Purpose.ENVIRONMENT, Purpose.ACTIONS)
    return Streams(*([generator(3, purpose, task=i) for i in range(num_tasks)] for purpose in purposes))


def record(recorder, env, tasks, name="lstm"):
    """Result of a recorder and the state at the end; the same episodes whatever is kept."""
    policy, params = policy_for(env, name)
    return rollout(env, policy, expand(params, len(tasks)), tasks, streams(len(tasks)), recorder=recorder)


def policy_for(env, name):
    spaces = (env.single_observation_space, env.single_action_space)
    shape = (env.num_inputs,) if isinstance(env, MetaEpisodeVectorEnv) else ()
    spec = PolicySpec.for_spaces(
        *spaces,
        name=name,
        hidden_sizes=(4,),
        nonlinearity="tanh",
        options=small_options(name),
        observation_shape=shape,
    )
    return tiny_policy(spec)


@every_family
def test_returns_without_steps_are_those_of_whole_episodes(make):
    episodes, _ = record(EpisodeRecorder(), *make())
    outcome, _ = record(ReturnRecorder(), *make())
    assert outcome.returns.shape == (TASKS, 2, 1)
    np.testing.assert_allclose(outcome.returns[..., 0], episodes.rewards.double().sum(1), rtol=1e-6)
    np.testing.assert_array_equal(outcome.env_steps, episodes.mask.sum(1))
    assert len(set(outcome.env_steps.flatten())) > 1


def test_episodes_of_a_meta_episode_are_told_apart():
    env, tasks = meta_episodes()
    outcome, _ = record(ReturnRecorder(EPISODES), env, tasks)
    by_two, _ = record(ReturnRecorder(2), env, tasks)
    np.testing.assert_allclose(by_two.returns[..., 0], outcome.returns[..., 0])
    np.testing.assert_allclose(by_two.returns[..., 1], outcome.returns[..., 1:].sum(-1))
    policy, params = policy_for(env, "lstm")
    single = MetaEpisodeVectorEnv(make_meta_env(UNEVEN, TASKS, {"longest": 5}), EPISODES)
    batch = roll_out_meta_episodes(single, policy, params, tasks, streams(TASKS), heartbeat=lambda: None)
    alone, _ = rollout(single, policy, params, tasks, streams(TASKS), recorder=ReturnRecorder(EPISODES))
    np.testing.assert_allclose(alone.returns[:, 0], batch.returns, rtol=1e-6)


@every_family
def test_a_film_has_a_picture_before_the_first_step_and_after_every_one(make):
    episodes, _ = record(EpisodeRecorder(), *make())
    length = episodes.mask.shape[1]

    def draw(env: MetaVectorEnv) -> list[bytes]:
        return [row.tobytes() for row in env._observations]

    film, _ = record(FrameRecorder(draw, 1000), *make())
    assert len(film.pictures) == length + 1
    seen = episodes.observations.transpose(1, 2).flatten(0, 1).numpy()  # (M, T, B, O) -> (N, T, O)
    lengths = episodes.mask.sum(1).flatten().int()
    for n, steps in enumerate(lengths):
        assert [film.pictures[t][n] for t in range(steps)] == [seen[n, t].tobytes() for t in range(steps)]
    assert film.returns.shape == (2 * TASKS, length + 1)
    assert not film.returns[:, 0].any()
    np.testing.assert_allclose(film.returns[:, -1], episodes.returns().flatten(), rtol=1e-5)
    short, _ = record(FrameRecorder(draw, 3), *make())
    assert short.pictures == film.pictures[:4]
    np.testing.assert_array_equal(short.returns, film.returns[:, :4])
    for steps in (2, 1000):  # the ends, of at most half of the steps
        for part in ("start", "end"):
            ends, _ = record(EndRecorder(draw, steps, part), *make())
            for n, whole in enumerate(lengths.tolist()):
                size = min(steps, max(1, whole // 2))
                shown = range(size + 1) if part == "start" else range(whole - size, whole + 1)
                assert [row[n] for row in ends.pictures[: size + 1]] == [film.pictures[t][n] for t in shown]
                assert {row[n] for row in ends.pictures[size:]} == {film.pictures[shown[-1]][n]}
                np.testing.assert_array_equal(ends.returns[n, : size + 1], film.returns[n, list(shown)])


@pytest.mark.parametrize(
    ("make", "name"),
    [
        pytest.param(make, name, id=f"{name}-{family}")
        for name in registered_policies()
        for family, make in FAMILIES.items()
        if policy_kinds()[name].has_memory and (name, family) not in BLIND
    ],
)
def test_states_are_those_of_stepping_again_along_the_recorded_observations(make, name):
    env, tasks = make()
    episodes, _ = record(EpisodeRecorder(), env, tasks, name)
    policy, params = policy_for(env, name)
    states, last = record(StateRecorder(policy.remembered), env, tasks, name)
    state = policy.initial_state(params, (TASKS, 2)) if is_initial(episodes.state) else episodes.state
    for step, observation in enumerate(episodes.observations.unbind(1)):
        state = policy.begin_episode(params, state, observation, episodes.started[:, step])
        _, state = policy.step(params, observation, state)
        active = episodes.mask[:, step].bool()
        assert_close(states[:, step][active], policy.remembered(state)[active], rtol=0, atol=1e-5)
        if step and name not in TWO_LIFETIMES:  # at the end of a meta-episode another one is ready to begin
            assert torch.equal(states[:, step][~active], states[:, step - 1][~active])
    assert torch.equal(states[:, -1], policy.remembered(last)) == (name not in TWO_LIFETIMES)


def size_of(recorder):
    """Numbers in all that a recorder holds."""
    held = [part.values if hasattr(part, "values") else part for part in vars(recorder).values()]
    return sum(np.size(leaf) if isinstance(leaf, np.ndarray) else 1 for leaf in tree_leaves(held))


@pytest.mark.parametrize(("kind", "grows"), [(ReturnRecorder, False), (EpisodeRecorder, True)])
def test_only_whole_episodes_take_memory_that_grows_with_their_length(kind, grows):
    sizes = []
    for longest in (5, 50):
        recorder = kind()
        record(recorder, *uneven(longest))
        sizes.append(size_of(recorder))
    assert (sizes[1] > 5 * sizes[0]) if grows else (sizes[1] == sizes[0])


class MeasuredEnv(UnevenEnv):
    """Counts steps, as its only measure."""

    measures = ("steps",)

    def _measure(self):
        return {"steps": self._elapsed + 100.0 * self.finished}


def test_a_measure_is_the_value_at_an_episode_s_last_step():
    env = MeasuredEnv(TASKS, longest=8)
    tasks = env.sample_tasks(TASKS, np.random.default_rng(0))
    episodes, _ = record(EpisodeRecorder(), env, tasks)
    outcome, _ = record(ReturnRecorder(), env, tasks)
    np.testing.assert_array_equal(episodes.measures["steps"], 100.0 + episodes.mask.sum(1))
    np.testing.assert_array_equal(outcome.measures["steps"], episodes.measures["steps"])


def test_in_a_meta_episode_a_measure_is_the_value_at_each_episode_s_last_step():
    env = MetaEpisodeVectorEnv(MeasuredEnv(TASKS, longest=5), EPISODES)
    tasks = env.sample_tasks(TASKS, np.random.default_rng(5))
    policy, params = policy_for(env, "lstm")
    batch = roll_out_meta_episodes(env, policy, params, tasks, streams(TASKS), heartbeat=lambda: None)
    active, episode = batch.data.mask.T.bool(), batch.data.started.T.cumsum(1)  # (M, T)
    lengths = np.stack([(active & (episode == i)).sum(1) for i in range(EPISODES)], 1)
    assert len(np.unique(lengths)) > 1
    np.testing.assert_array_equal(batch.measures["steps"], 100.0 + lengths)
    part = batch.part(slice(1, 3)).meta_episodes(env.num_inputs)
    np.testing.assert_array_equal(part.measures["steps"], 100.0 + lengths[np.newaxis, 1:3])


def test_where_an_episode_is_over_the_observation_says_so():
    env, tasks = meta_episodes()
    env.set_tasks(tasks)
    env.reset(seed=1)
    total = np.zeros(env.num_envs)
    while not env.finished.all():
        active = ~env.finished
        observations, _, _, _, info = env.step(np.stack([env.single_action_space.sample()] * env.num_envs))
        over = info["episode_over"]
        assert not over[~active].any()
        np.testing.assert_array_equal(over[active], observations[active, env.done_index] == 1.0)
        total += over
    np.testing.assert_array_equal(total, EPISODES)
