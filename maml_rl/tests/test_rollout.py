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
from maml_rl.policies import DTYPES
from maml_rl.samplers import MAMLWorker, MAMLWorkerSpec
from maml_rl.samplers.recorders import EpisodeRecorder
from maml_rl.samplers.rollout import rollout, with_advantages
from maml_rl.shard import Shard, Streams
from maml_rl.tests.builders import pick, tiny_config
from maml_rl.utils.random import Purpose, generator
from maml_rl.utils.vectors import flatten, unflatten

pytestmark = pytest.mark.numerical

CONFIGS = [
    tiny_config("2DNavigation-v0"),
    tiny_config("Bandit-K5-v0"),
    tiny_config("GaussianBandit-K5-v0"),
    tiny_config("TabularMDP-v0"),
    tiny_config("TabularMDP-v0", env_kwargs={"one_hot": True, "num_states": 4}),
    tiny_config("HalfCheetahDir-v2", env_kwargs={"max_episode_steps": 20}, meta_batch_size=3, fast_batch_size=2),
]
EXACT = 1e-9
"""Largest difference that rounding in float64 makes here, with room to spare."""

COLUMNS = [field.name for field in fields(Episodes) if field.name not in ("state", "measures")]
every_family = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.env_name)


def sampled(config: Config, dtype: str = "float64"):
    """Algorithm and tasks of iteration 0; in float64, where rounding hides no mistake."""
    if config.env_name.startswith("HalfCheetah"):
        pytest.importorskip("mujoco")
    algorithm = make_algorithm(config, dtype=dtype)
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
    own = [tasks[i] for i in indices]
    return rollout(env, algorithm.policy, params, own, Streams(*streams), recorder=EpisodeRecorder())[0]


def whole(tasks):
    """All tasks of iteration 0."""
    return Shard.whole(tasks, iteration=0, seed=tiny_config().seed)


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
    for part in Shard.whole(tasks, iteration=0, seed=0).split(num_shards):
        indices = list(part.indices)
        alone = play(algorithm, tasks, indices)
        length = alone.mask.shape[1]
        for name in COLUMNS:
            part = getattr(together, name)[indices]
            assert_close(getattr(alone, name), part[:, :length], rtol=0, atol=EXACT)
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
        assert_close(data.log_probs, log_probs * data.mask, rtol=0, atol=EXACT)


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
        np.testing.assert_array_equal(rewards, episodes.rewards[:, step].flatten().numpy())
        lengths += active
    assert env.finished.all()
    np.testing.assert_array_equal(episodes.mask.sum(1).flatten().numpy(), lengths)
    assert episodes.num_steps == lengths.sum()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_family
def test_episodes_have_the_float_type_of_the_policy(config, dtype):
    algorithm, tasks = sampled(config, dtype)
    worker = MAMLWorker(algorithm.worker_spec, lambda: None)
    worker.collect(whole(tasks), *algorithm.initial_parameters())
    for episodes in worker._episodes:
        parts = [getattr(episodes, name) for name in COLUMNS]
        assert {str(part.dtype) for part in parts} <= {f"torch.{dtype}", "torch.int64", "torch.bool"}
        assert episodes.advantages.dtype == episodes.observations.dtype == DTYPES[dtype]
    kinds = {value.dtype for path in worker._paths for value in path.values()}
    assert kinds == {DTYPES[dtype]}


@every_family
def test_the_draws_are_the_same_in_either_float_type(config):
    indices = list(range(config.meta_batch_size))
    (single, tasks), (double, _) = (sampled(config, dtype) for dtype in ("float32", "float64"))
    first, second = play(single, tasks, indices), play(double, tasks, indices)
    assert_close(first.observations[:, 0].double(), second.observations[:, 0], rtol=0, atol=0)
    assert_close(first.actions[:, 0], second.actions[:, 0], rtol=0, atol=1e-5, check_dtype=False)


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
    episodes, _ = rollout(
        env,
        algorithm.policy,
        params,
        [{"goal": np.full(2, 9.0)}],
        streams,
        recorder=EpisodeRecorder(),
        heartbeat=lambda: beats.append(1),
    )
    assert len(beats) == episodes.mask.shape[1] == 15


@pytest.fixture(scope="module")
def collected():
    """Make workers of 2DNavigation that have collected; a function of their settings."""

    def make(**changes):
        config = tiny_config("2DNavigation-v0", num_steps=2, env_kwargs={"max_episode_steps": 8})
        algorithm, tasks = sampled(config)
        spec, returns, sample = algorithm.worker_spec, changes.pop("returns", {}), changes.pop("sample", {})
        maml, returns = spec.maml.model_copy(update=changes), spec.returns.model_copy(update=returns)
        curvature = spec.curvature.model_copy(update=sample)
        worker = MAMLWorker(replace(spec, maml=maml, returns=returns, curvature=curvature), lambda: None)
        report = worker.collect(whole(tasks), *algorithm.initial_parameters())
        return worker, algorithm, report

    return make


@pytest.mark.parametrize(("hessian_steps", "fisher_steps"), [(None, None), (12, None), (None, 12), (12, 20)])
def test_a_workers_curvature_is_the_one_of_the_sampled_steps(collected, hessian_steps, fisher_steps):
    worker, algorithm, _ = collected(sample={"hessian_steps": hessian_steps, "fisher_steps": fisher_steps})
    (theta,) = algorithm.initial_parameters()
    direction = np.random.default_rng(0).normal(size=theta.shape)
    *train, valid = [episodes.learning_data(slice(None)) for episodes in worker._episodes]
    product = linearised_curvature(
        worker.inner,
        algorithm.policy.params(),
        [subsample_steps(data, hessian_steps) for data in train],
        subsample_steps(valid, fisher_steps),
        path=worker._paths,
    )
    like = {k: torch.from_numpy(v) for k, v in _unflat(direction, algorithm).items()}
    expected = {k: v.double().sum(0) for k, v in product(like).items()}
    np.testing.assert_allclose(
        worker.fisher_vector_product(direction, theta),
        flatten(expected, algorithm.layout.names),
        rtol=EXACT,
        atol=EXACT,
    )


def _unflat(vector, algorithm):
    like = algorithm.policy.params()
    parts = np.split(vector, np.cumsum([like[name].numel() for name in algorithm.layout.names])[:-1])
    return {
        name: part.reshape(tuple(like[name].shape)) for name, part in zip(algorithm.layout.names, parts, strict=True)
    }


def test_a_workers_sums_do_not_depend_on_the_size_of_its_chunks(collected, monkeypatch):
    results = []
    for rows in (8192, 1, 70):
        monkeypatch.setattr("maml_rl.samplers.maml_worker._CHUNK_ROWS", {False: rows})
        worker, algorithm, _ = collected()
        (theta,) = algorithm.initial_parameters()
        loss, gradient = worker.surrogate_gradient(theta)
        product = worker.fisher_vector_product(gradient, theta)
        results.append((len(worker._chunks), loss, gradient, product, worker.surrogate(theta + 0.01 * gradient)))
    assert [result[0] for result in results] == [1, 5, 3]
    for result in results[1:]:
        for part, expected in zip(result[1:], results[0][1:], strict=True):
            np.testing.assert_allclose(part, expected, rtol=EXACT, atol=EXACT)


def test_a_workers_report_is_about_its_episodes(collected):
    worker, algorithm, report = collected()
    assert len(report.returns) == len(worker._episodes) == 3
    for returns, episodes in zip(report.returns, worker._episodes, strict=True):
        assert_close(torch.from_numpy(returns), episodes.rewards.sum(1).double().mean(1))
    assert report.env_steps == sum(int(episodes.mask.sum()) for episodes in worker._episodes)
    assert report.finite
    assert algorithm.config.num_steps == 2


def test_evaluation_plays_other_episodes_than_training(collected):
    worker, algorithm, report = collected()
    _, tasks = sampled(algorithm.config)
    shard = replace(whole(tasks), evaluation=True)
    returns, _ = worker.evaluate(shard, *algorithm.initial_parameters(), 2)
    assert returns.shape == (3, 5, 4)
    assert not np.isclose(returns[0].mean(axis=1), report.returns[0]).any()


def test_cut_rewards_teach_and_whole_ones_are_told(collected):
    uncut, _, report = collected(fast_lr=0.0)
    cut, _, as_told = collected(fast_lr=0.0, returns={"reward_clip": 0.3})
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
    assert drawn.maml.baseline_regularisation == worker.spec.maml.baseline_regularisation
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
    gradient = worker.surrogate_gradient(*algorithm.initial_parameters())[1]
    parts = unflatten(gradient, algorithm.policy.params(), algorithm.layout.names)
    assert all(bool(part.any()) for part in parts.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bytes_stay_bytes_in_memory_and_count_from_0_to_1(dtype):
    pytest.importorskip("ale_py")
    config = tiny_config(
        "SpaceInvadersModes-v0",
        env_kwargs={"observation": "pixels", "size": 12, "num_stack": 2, "max_episode_steps": 6},
        encoder_channels=(3,),
        meta_batch_size=2,
        fast_batch_size=2,
    )
    algorithm, tasks = sampled(config, dtype)
    worker = MAMLWorker(algorithm.worker_spec, lambda: None)
    worker.collect(whole(tasks), *algorithm.initial_parameters())
    episodes = worker._episodes[0]
    assert episodes.observations.dtype == torch.uint8
    distribution = worker.policy.unroll(algorithm.policy.params(), episodes.observations[0].to(episodes.mask) / 255.0)
    assert_close(distribution.log_prob(episodes.actions[0]) * episodes.mask[0], episodes.log_probs[0])
    loss, gradient = worker.surrogate_gradient(*algorithm.initial_parameters())
    assert np.isfinite(loss)
    assert np.isfinite(worker.fisher_vector_product(gradient, *algorithm.initial_parameters())).all()
