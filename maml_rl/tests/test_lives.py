"""Lives of evolved agents: the same on tensors as over the bridge; rewards of other lives as a control."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.algorithms import make_algorithm
from maml_rl.config import Config
from maml_rl.envs import MetaEpisodeVectorEnv, make_meta_env, make_tensor_env
from maml_rl.policies import PolicySpec, registered_policies
from maml_rl.policies.plastic_making import RULES
from maml_rl.samplers import SerialBackend, evolution_worker, lives
from maml_rl.samplers.lives import live
from maml_rl.samplers.meta_episodes import MetaEpisodeBatch, roll_out_meta_episodes
from maml_rl.samplers.recorders import ReturnRecorder
from maml_rl.samplers.rollout import rollout
from maml_rl.shard import Shard, Streams
from maml_rl.tests.builders import small_options, tiny_policy
from maml_rl.utils.errors import InputError

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("float64")]

POLICIES = [name for name in registered_policies() if name != "plastic"]
AGENTS = [*((name, {}) for name in POLICIES), *(("plastic", {"plastic_rule": rule}) for rule in RULES)]


@pytest.mark.parametrize(("name", "changes"), AGENTS, ids=[f"{n}{''.join(c.values())}" for n, c in AGENTS])
@pytest.mark.parametrize(
    ("env_name", "kwargs"),
    [("CartPoleControl-v0", {"max_episode_steps": 30}), ("FoodWorld-v0", {"max_episode_steps": 12})],
    ids=["cart pole", "food"],
)
def test_lives_on_tensors_are_those_of_meta_episodes_over_the_bridge(env_name, kwargs, name, changes, monkeypatch):
    monkeypatch.setattr(lives, "LANES", 1)  # so that lives that are over are left out of few, too
    num_individuals, num_lives, num_episodes = 3, 4, 3
    env = MetaEpisodeVectorEnv(make_meta_env(env_name, num_individuals * num_lives, kwargs), num_episodes)
    spec = PolicySpec.for_spaces(
        env.single_observation_space,
        env.single_action_space,
        name=name,
        hidden_sizes=(4,),
        nonlinearity="tanh",
        options=small_options(name).model_copy(update=changes),
        observation_shape=(env.num_inputs,),
    )
    each = [tiny_policy(spec, seed) for seed in range(num_individuals)]
    policy, params = each[0][0], {key: torch.stack([one[key] for _, one in each]) for key in each[0][1]}
    tasks = env.sample_tasks(num_lives, np.random.default_rng(5))
    shard = Shard.whole(tasks, iteration=2, seed=3)
    streams = Streams.joined([shard.streams() for _ in range(num_individuals)])
    recorder = ReturnRecorder(num_episodes)
    expected, _ = rollout(env, policy, params, tasks * num_individuals, streams, recorder=recorder)
    on_tensors = make_tensor_env(env_name, (num_individuals, num_lives), kwargs, dtype=torch.float32)  # as the bridge
    returns, steps = live(on_tensors, policy, params, tasks, shard.streams(), num_episodes=num_episodes)
    assert_close(returns, expected.returns.reshape(returns.shape), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(steps, expected.env_steps.reshape(steps.shape))
    assert len(np.unique(returns)) > num_individuals
    if env_name.startswith("CartPole"):
        assert len(np.unique(steps)) > 1
        assert steps.sum() < 0.8 * steps.size * steps.max()  # something is left out


@pytest.fixture
def batches(monkeypatch) -> list[MetaEpisodeBatch]:
    """Meta-episodes that workers of evolution roll out, as they come."""
    found: list[MetaEpisodeBatch] = []

    def kept(*args, **kwargs):
        found.append(roll_out_meta_episodes(*args, **kwargs))
        return found[-1]

    monkeypatch.setattr(evolution_worker, "roll_out_meta_episodes", kept)
    return found


@pytest.mark.parametrize("policy", ["rnn", "plastic"])
def test_yoked_lives_see_each_other_s_rewards_and_are_judged_by_their_own(policy, batches):
    config = Config(
        env_name="2DNavigation-v0",
        env_kwargs={"max_episode_steps": 9},
        algorithm="evolution",
        policy=policy,
        hidden_sizes=(4,),
        meta_batch_size=5,
        yoked_reward=True,
    )
    algorithm = make_algorithm(config, dtype="float64")
    shard, parameters = Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=1), algorithm.initial_parameters()
    backend = SerialBackend(algorithm.worker_spec)
    evaluation = algorithm.evaluate(backend, shard, parameters, 1)
    free, yoked = batches
    place = 2 + 2  # behind position and action
    assert_close(free.data.observations[1:, :, place], free.rewards[:-1], check_dtype=False)
    seen = yoked.data.observations[1:, :, place]
    assert_close(seen, free.rewards.roll(1, 1)[:-1], check_dtype=False)
    assert not torch.allclose(seen, yoked.rewards[:-1].to(seen))
    goals = torch.tensor(np.array([task["goal"] for task in shard.tasks]))
    inside = ~yoked.data.started[1:].bool()  # elsewhere the next position is that of another episode
    distance = (yoked.data.observations[1:, :, :2] - goals).norm(dim=-1)
    assert_close(yoked.rewards[:-1][inside].double(), -distance[inside].double(), rtol=0, atol=1e-5)
    np.testing.assert_allclose(evaluation.returns.sum(), float(yoked.rewards.sum()), rtol=1e-6)
    apart = algorithm.evaluate(SerialBackend(algorithm.worker_spec, 3), shard, parameters, 1)
    np.testing.assert_allclose(apart.returns, evaluation.returns, rtol=0, atol=1e-9)
    algorithm.evaluate(backend, shard, parameters, 1)
    np.testing.assert_array_equal(batches[-2].returns, free.returns)  # the control leaves no trace
    with pytest.raises(InputError, match="yoked-reward: got one life, expected another"):
        algorithm.evaluate(backend, Shard.whole(shard.tasks[:1], iteration=0, seed=1), parameters, 1)


@pytest.mark.parametrize("hidden", [False, True])
def test_lives_that_do_not_observe_ends_never_see_one(hidden, batches):
    config = Config(
        env_name="2DNavigation-v0",
        env_kwargs={"max_episode_steps": 4},
        algorithm="evolution",
        policy="rnn",
        hidden_sizes=(4,),
        meta_batch_size=3,
        fast_batch_size=3,
        hidden_ends=hidden,
    )
    algorithm = make_algorithm(config, dtype="float64")
    shard = Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=1)
    evaluation = algorithm.evaluate(SerialBackend(algorithm.worker_spec), shard, algorithm.initial_parameters(), 2)
    ends = batches[0].data.observations[..., 2 + 2 + 1]  # behind position, action and reward
    assert ends.sum() == (0 if hidden else 2 * 3)
    assert np.shape(evaluation.returns) == (3, 3, 1)


@pytest.mark.gpu
@pytest.mark.parametrize("changes", [{"policy": "mlp"}, {"policy": "plastic"}], ids=lambda c: c["policy"])
def test_populations_live_on_the_device_as_on_the_host(changes):
    config = Config(
        algorithm="evolution",
        env_name="FoodWorld-v0",
        env_kwargs={"max_episode_steps": 20},
        hidden_sizes=(4,),
        population_size=6,
        meta_batch_size=3,
        fast_batch_size=2,
        **changes,
    )
    results = []
    for device in ("cpu", "cuda"):
        algorithm = make_algorithm(config, device=device, dtype="float64")
        worker = algorithm.worker_spec.build(lambda: None)
        shard = Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=1)
        vectors = algorithm.initial_parameters() + np.random.default_rng(0).normal(size=(6, algorithm.layout.size))
        results.append(worker.live(shard, vectors))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-6)
