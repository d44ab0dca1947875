"""Episodes are a function of (seed, iteration, task) and parameters, however tasks are dealt to shards."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.adaptation import expand, policy_distribution
from maml_rl.algorithms import make_algorithm
from maml_rl.baseline import LinearFeatureBaseline
from maml_rl.config import Config
from maml_rl.envs import make_meta_env
from maml_rl.episode import Episodes, subsample_steps
from maml_rl.objectives import linearised_curvature
from maml_rl.samplers import MAMLWorker, MAMLWorkerSpec
from maml_rl.samplers.rollout import play_episodes, with_advantages
from maml_rl.settings import MAMLSettings, ReturnSettings
from maml_rl.shard import Shard, Streams
from maml_rl.tests.builders import pick, tiny_config
from maml_rl.utils.random import Purpose, generator

CONFIGS = [
    tiny_config("2DNavigation-v0"),
    tiny_config("Bandit-K5-v0"),
    tiny_config("GaussianBandit-K5-v0"),
    tiny_config("TabularMDP-v0"),
    tiny_config("TabularMDP-v0", env_kwargs={"one_hot": True, "num_states": 4}),
    tiny_config("HalfCheetahDir-v2", env_kwargs={"max_episode_steps": 20}, meta_batch_size=3, fast_batch_size=2),
]
COLUMNS = [field.name for field in fields(Episodes) if field.name != "state"]
every_family = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.env_name)


def sampled(config: Config):
    """Algorithm and tasks of iteration 0."""
    if config.env_name.startswith("HalfCheetah"):
        pytest.importorskip("mujoco")
    algorithm = make_algorithm(config)
    rng = generator(config.seed, Purpose.TASKS)
    return algorithm, algorithm.env.sample_tasks(config.meta_batch_size, rng)


def play(algorithm, tasks, indices, iteration=0):
    """Episodes of some tasks of the meta-batch, before adaptation."""
    config = algorithm.config
    params = expand(algorithm.policy.params(), len(indices))
    streams = [
        [generator(config.seed, purpose, iteration=iteration, task=i) for i in indices]
        for purpose in (Purpose.ENVIRONMENT, Purpose.ACTIONS)
    ]
    env = make_meta_env(config.env_name, len(indices) * config.fast_batch_size, config.env_kwargs)
    return play_episodes(env, algorithm.policy, params, [tasks[i] for i in indices], Streams(*streams))[0]


def assert_same(first: Episodes, second: Episodes):
    """Bit for bit."""
    for name in COLUMNS:
        assert torch.equal(getattr(first, name), getattr(second, name)), name


@every_family
def test_episodes_repeat_and_differ_between_iterations(config):
    algorithm, tasks = sampled(config)
    indices = list(range(len(tasks)))
    first = play(algorithm, tasks, indices)
    assert_same(first, play(algorithm, tasks, indices))
    assert not torch.equal(first.actions, play(algorithm, tasks, indices, iteration=1).actions)


@every_family
@pytest.mark.parametrize("num_shards", [2, 3])
def test_episodes_are_the_same_for_any_split_into_shards(config, num_shards):
    algorithm, tasks = sampled(config)
    together = play(algorithm, tasks, list(range(len(tasks))))
    for shard in Shard.whole(tasks, iteration=0, seed=config.seed).split(num_shards):
        indices = list(shard.indices)
        alone = play(algorithm, tasks, indices)
        length = alone.mask.shape[1]
        for name in COLUMNS:
            part = getattr(together, name)[indices]
            assert torch.equal(getattr(alone, name), part[:, :length]), name
            assert not part[:, length:].any()


@every_family
def test_finished_episodes_are_masked_and_padded_with_zeros(config):
    algorithm, tasks = sampled(config)
    episodes = play(algorithm, tasks, list(range(len(tasks))))
    padding = episodes.mask == 0
    for values in (episodes.observations, episodes.actions, episodes.rewards, episodes.log_probs, episodes.advantages):
        assert not values[padding].any()
    assert (episodes.mask[:, 1:] <= episodes.mask[:, :-1]).all()
    assert (episodes.mask[:, 0] == 1).all()
    assert episodes.mask[:, -1].any()


@every_family
def test_recorded_probabilities_are_the_policy_s(config):
    algorithm, tasks = sampled(config)
    episodes = play(algorithm, tasks, list(range(len(tasks))))
    policy, params = algorithm.policy, algorithm.policy.params()
    for task in range(len(tasks)):
        data = pick(episodes.learning_data(slice(task, task + 1)), 0)
        log_probs = policy_distribution(policy, params, data).log_prob(data.actions)
        assert_close(data.log_probs, log_probs * data.mask, rtol=1e-4, atol=1e-4)


@every_family
def test_recorded_actions_replay_to_the_recorded_rewards(config):
    algorithm, tasks = sampled(config)
    indices = list(range(len(tasks)))
    episodes = play(algorithm, tasks, indices)
    env = make_meta_env(config.env_name, len(tasks) * config.fast_batch_size, config.env_kwargs)
    env.set_tasks(tasks)
    rngs = [generator(config.seed, Purpose.ENVIRONMENT, task=i) for i in indices]
    observations, _ = env.reset(options={"rngs": rngs})
    lengths = np.zeros(env.num_envs)
    for step in range(episodes.mask.shape[1]):
        active = ~env.finished
        recorded = [part[:, step].flatten(0, 1).numpy() for part in (episodes.observations, episodes.actions)]
        np.testing.assert_array_equal(active, episodes.mask[:, step].flatten().numpy() == 1)
        np.testing.assert_array_equal(observations.reshape(env.num_envs, -1)[active], recorded[0][active])
        observations, rewards, _, _, _ = env.step(recorded[1])
        np.testing.assert_array_equal(rewards.astype(np.float32), episodes.rewards[:, step].flatten().numpy())
        lengths += active
    assert env.finished.all()
    np.testing.assert_array_equal(episodes.mask.sum(1).flatten().numpy(), lengths)
    assert episodes.num_steps == lengths.sum()


def test_episodes_of_unequal_length_occur_here():
    # Goals on the way make some episodes end early: the padding above is no empty case.
    algorithm, _ = sampled(CONFIGS[0])
    tasks = [{"goal": np.array([0.05, 0.05])}, {"goal": np.array([0.1, 0.0])}, {"goal": np.array([5.0, 5.0])}]
    episodes = play(algorithm, tasks * 4, list(range(12)))
    lengths = episodes.mask.sum(1)
    assert 1 <= lengths.min() < lengths.max() == 15


def test_a_heartbeat_is_given_every_step():
    algorithm, _ = sampled(CONFIGS[0])
    beats = []
    env = make_meta_env("2DNavigation-v0", 2, {"max_episode_steps": 15})
    streams = Streams(*([generator(0, purpose)] for purpose in (Purpose.ENVIRONMENT, Purpose.ACTIONS)))
    params = expand(algorithm.policy.params(), 1)
    episodes, _ = play_episodes(
        env, algorithm.policy, params, [{"goal": np.full(2, 9.0)}], streams, heartbeat=lambda: beats.append(1)
    )
    assert len(beats) == episodes.mask.shape[1] == 15


def whole(config: Config, tasks, iteration=0):
    """All tasks of a meta-batch of training."""
    return Shard.whole(tasks, iteration=iteration, seed=config.seed)


def vector_of(algorithm):
    """Initial parameters (D,)."""
    (theta,) = algorithm.initial_parameters()
    return theta


@pytest.fixture(scope="module")
def collected():
    """Make workers of 2DNavigation that have collected; a function of their settings."""

    def make(**changes):
        config = tiny_config("2DNavigation-v0", num_steps=2, env_kwargs={"max_episode_steps": 8})
        algorithm, tasks = sampled(config)
        spec = algorithm.worker_spec
        assert isinstance(spec, MAMLWorkerSpec)
        returns = {name: value for name, value in changes.items() if name in ReturnSettings.model_fields}
        inner = {name: value for name, value in changes.items() if name not in returns}
        assert inner.keys() <= MAMLSettings.model_fields.keys()
        spec = replace(spec, returns=spec.returns.model_copy(update=returns), maml=spec.maml.model_copy(update=inner))
        worker = MAMLWorker(spec, lambda: None)
        report = worker.collect(whole(config, tasks), vector_of(algorithm))
        return worker, algorithm, report

    return make


@pytest.mark.parametrize(("hessian_steps", "fisher_steps"), [(None, None), (12, None), (None, 12), (12, 20)])
def test_a_workers_curvature_is_the_one_of_the_sampled_steps(collected, hessian_steps, fisher_steps):
    worker, algorithm, _ = collected(hessian_steps=hessian_steps, fisher_steps=fisher_steps)
    theta = vector_of(algorithm)
    direction = np.random.default_rng(0).normal(size=theta.shape)
    *train, valid = [episodes.learning_data(slice(None)) for episodes in worker._episodes]
    product = linearised_curvature(
        worker.inner,
        algorithm.policy.params(),
        [subsample_steps(data, hessian_steps) for data in train],
        subsample_steps(valid, fisher_steps),
        path=worker._paths,
    )
    expected = {k: v.double().sum(0) for k, v in product(algorithm.layout.learning(direction)).items()}
    np.testing.assert_allclose(
        worker.fisher_vector_product(direction, theta),
        algorithm.layout.vector(expected),
        rtol=1e-5,
        atol=1e-6,
    )


def test_a_workers_sums_do_not_depend_on_the_size_of_its_chunks(collected, monkeypatch):
    results = []
    for rows in (8192, 1, 70):
        monkeypatch.setattr("maml_rl.samplers.maml_worker._CHUNK_ROWS", {False: rows})
        worker, algorithm, _ = collected()
        theta = vector_of(algorithm)
        loss, gradient = worker.surrogate_gradient(theta)
        product = worker.fisher_vector_product(gradient, theta)
        results.append((len(worker._chunks), loss, gradient, product, worker.surrogate(theta + 0.01 * gradient)))
    assert [result[0] for result in results] == [1, 5, 3]
    for result in results[1:]:
        for part, expected in zip(result[1:], results[0][1:], strict=True):
            np.testing.assert_allclose(part, expected, rtol=1e-4, atol=1e-6)


def test_a_workers_report_is_about_its_episodes(collected):
    worker, algorithm, report = collected()
    assert len(report.returns) == len(worker._episodes) == 3
    for returns, episodes in zip(report.returns, worker._episodes, strict=True):
        assert_close(torch.from_numpy(returns), episodes.rewards.sum(1))
    assert report.env_steps == sum(int(episodes.mask.sum()) for episodes in worker._episodes)
    assert report.finite
    assert algorithm.config.num_steps == 2


def test_evaluation_plays_other_episodes_than_training(collected):
    worker, algorithm, report = collected()
    _, tasks = sampled(algorithm.config)
    shard = replace(whole(algorithm.config, tasks), evaluation=True)
    returns = worker.evaluate(shard, vector_of(algorithm), 2)
    assert returns.shape == (3, 5, 4)
    assert not np.array_equal(returns[0], report.returns[0])


def test_cut_rewards_teach_and_whole_ones_are_told(collected):
    uncut, _, report = collected(fast_lr=0.0)
    cut, _, as_told = collected(fast_lr=0.0, reward_clip=0.3)
    np.testing.assert_array_equal(as_told.returns, report.returns)
    for episodes, clipped in zip(uncut._episodes, cut._episodes, strict=True):
        assert_close(clipped.rewards, episodes.rewards)
        assert (episodes.rewards < -0.3).any()
        expected = with_advantages(
            replace(episodes, rewards=episodes.rewards.clamp(-0.3, 0.3)),
            LinearFeatureBaseline(),
            uncut.spec.returns,
        )
        assert_close(clipped.advantages, expected.advantages)
        assert not torch.allclose(clipped.advantages, episodes.advantages)


def test_the_baseline_is_as_stiff_as_the_configuration_says(collected):
    worker, algorithm, _ = collected(baseline_regularisation=10.0)
    drawn = make_algorithm(algorithm.config.replace(baseline_regularisation=10.0)).worker_spec
    assert isinstance(drawn, MAMLWorkerSpec)
    assert drawn.maml.baseline_regularisation == worker.spec.maml.baseline_regularisation == 10.0
    for episodes in worker._episodes:
        expected, loose = (
            with_advantages(episodes, LinearFeatureBaseline(ridge), worker.spec.returns).advantages
            for ridge in (10.0, 1e-5)
        )
        assert_close(episodes.advantages, expected)
        assert not torch.allclose(expected, loose)


def test_where_the_head_adapts_nothing_else_does(collected):
    _, algorithm, _ = collected()
    head = tuple(algorithm.policy.head_parameters())
    worker, algorithm, _ = collected(adapted_layers="head")
    assert set(head) == {"mu.weight", "mu.bias", "sigma"}
    for name in algorithm.layout.names:
        moved = [bool((path[name] != worker._paths[0][name]).any()) for path in worker._paths[1:]]
        assert moved == [name in head] * 2
    gradient = worker.surrogate_gradient(vector_of(algorithm))[1]
    parts = algorithm.layout.learning(gradient)
    assert all(bool(part.any()) for part in parts.values())


def test_bytes_stay_bytes_in_memory_and_count_from_0_to_1():
    pytest.importorskip("ale_py")
    config = tiny_config(
        "SpaceInvadersModes-v0",
        env_kwargs={"observation": "pixels", "size": 12, "num_stack": 2, "max_episode_steps": 6},
        encoder_channels=(3,),
        meta_batch_size=2,
        fast_batch_size=2,
    )
    algorithm, tasks = sampled(config)
    worker = MAMLWorker(algorithm.worker_spec, lambda: None)
    theta = vector_of(algorithm)
    worker.collect(whole(config, tasks), theta)
    episodes = worker._episodes[0]
    assert episodes.observations.dtype == torch.uint8
    distribution = worker.policy.unroll(algorithm.policy.params(), episodes.observations[0] / 255.0, episodes.mask[0])
    assert_close(distribution.log_prob(episodes.actions[0]) * episodes.mask[0], episodes.log_probs[0])
    loss, gradient = worker.surrogate_gradient(theta)
    assert np.isfinite(loss)
    assert np.isfinite(worker.fisher_vector_product(gradient, theta)).all()
