"""Evolution: births, tasks and noise are common to all individuals, and a run is a function of its configuration."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest

from maml_rl.algorithms import make_algorithm
from maml_rl.config import Config, ConfigError
from maml_rl.evaluation import evaluate
from maml_rl.experiment import TrainingError, train
from maml_rl.metalearners.evolution import fitness_of
from maml_rl.run_folder import RunFolder
from maml_rl.settings import EvolutionSettings
from maml_rl.shard import Shard
from maml_rl.tests.builders import NAN_REWARD, UNEVEN
from maml_rl.utils.errors import InputError

EXACT = 1e-9
SMALL = Config(
    algorithm="evolution",
    env_name="Bandit-K5-v0",
    policy="rnn",
    hidden_sizes=(3,),
    fast_batch_size=4,
    meta_batch_size=3,
    num_batches=3,
    population_size=6,
    seed=4,
)
FAMILIES = {
    "bandit": {},
    "uneven": {"env_name": UNEVEN, "env_kwargs": {"longest": 5}, "policy": "mlp"},
    "cart pole": {"env_name": "CartPoleControl-v0", "env_kwargs": {"max_episode_steps": 40}, "policy": "lstm"},
    "plastic pole": {
        "env_name": "CartPoleControl-v0",
        "env_kwargs": {"max_episode_steps": 20},
        "policy": "plastic",
        "plastic_state_size": 2,
    },
    "plastic point": {
        "env_name": "2DNavigation-v0",
        "env_kwargs": {"max_episode_steps": 4},
        "policy": "plastic",
        "plastic_rule": "message-passing",
        "plastic_units": 2,
    },
    "navigation": {"env_name": "2DNavigation-v0", "env_kwargs": {"max_episode_steps": 4}, "policy": "geometric"},
}
every_family = pytest.mark.parametrize("changes", FAMILIES.values(), ids=FAMILIES)
every_strategy = pytest.mark.parametrize("strategy", ["openai-es", "cma-es", "genetic-algorithm"])
CLOCKS = {"seconds", "sampling_seconds", "learning_seconds"}


def trained(config, path=None, dtype="float64", **kwargs):
    """Metrics without times, and final parameters."""
    folder = None if path is None else RunFolder(path)
    parameters = train(make_algorithm(config, dtype=dtype), folder=folder, **kwargs)
    if folder is None:
        return parameters
    with folder.metrics_path.open(newline="", encoding="utf-8") as file:
        rows = [{k: float(v) for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]
    return rows, parameters


@every_family
def test_neither_workers_nor_chunks_change_anything(changes, tmp_path):
    config = SMALL.replace(**changes)
    rows, parameters = trained(config, tmp_path / "one")
    assert len({row["mean_fitness"] for row in rows}) > 1
    chunked = config.replace(chunk_size=2)
    for name, other, num_workers in (("two", config, 2), ("five", config, 5), ("chunks", chunked, 1)):
        again, moved = trained(other, tmp_path / name, num_workers=num_workers)
        np.testing.assert_allclose(moved, parameters, rtol=0, atol=EXACT)
        for first, second in zip(rows, again, strict=True):
            assert first == pytest.approx(second, rel=EXACT, abs=EXACT)


@every_family
def test_individuals_have_the_same_births_tasks_and_noise(changes):
    algorithm = make_algorithm(SMALL.replace(**changes), dtype="float64")
    worker = algorithm.worker_spec.build(lambda: None)
    shard = Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=4)
    (vector,) = algorithm.initial_parameters()
    vector = vector + np.random.default_rng(0).normal(size=vector.shape)
    others = np.random.default_rng(1).normal(size=(3, len(vector)))
    returns, steps = worker.live(shard, np.stack([vector, *others, vector]))
    np.testing.assert_allclose(returns[0], returns[-1], rtol=0, atol=EXACT)
    np.testing.assert_array_equal(steps[0], steps[-1])
    alone, _ = worker.live(shard, vector[np.newaxis])
    np.testing.assert_allclose(alone[0], returns[0], rtol=0, atol=EXACT)
    worker.close()


@every_strategy
@pytest.mark.parametrize("changes", [{}, {"policy": "plastic", "plastic_state_size": 1}], ids=["rnn", "plastic"])
def test_an_interrupted_run_resumes_bit_for_bit(strategy, changes, tmp_path):
    config, dtype = SMALL.replace(es_strategy=strategy, **changes), "float32"  # as runs are, with kernels
    expected = trained(config, tmp_path / "whole", dtype)
    trained(config.replace(num_batches=1), tmp_path / "part", dtype)
    rows, parameters = trained(config, tmp_path / "part", dtype, resume=True)
    assert rows == expected[0]
    np.testing.assert_array_equal(parameters, expected[1])


def test_rewards_that_are_not_numbers_move_nothing_and_stop_the_run():
    config = SMALL.replace(env_name=NAN_REWARD, env_kwargs={"healthy_resets": 0}, policy="mlp", num_batches=9)
    with pytest.raises(TrainingError, match=r"3 iterations in a row gave NaN or infinity.*lower es-sigma or"):
        trained(config)


def test_fitness_is_of_whole_lives():
    returns = np.array([[[0.0, 3.0], [4.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])  # (P, L, E)
    for settings, expected in (
        ({}, [2.0, 1.0]),
        ({"fitness": "min"}, [1.5, 1.0]),
        ({"fitness": "mean-min"}, [1.75, 1.0]),
        ({"late_episodes_count": True}, [2.0, 1.0]),
        ({"late_episodes_count": True, "fitness": "min"}, [2.0, 1.0]),
    ):
        np.testing.assert_allclose(fitness_of(returns, EvolutionSettings(**settings)), expected)


def test_an_evaluation_has_the_returns_of_every_episode_of_new_lives():
    algorithm = make_algorithm(SMALL)
    sizes: dict[str, Any] = {"num_batches": 2, "meta_batch_size": 3, "num_adaptation_steps": 6}
    evaluation = evaluate(algorithm, algorithm.initial_parameters(), **sizes)
    assert evaluation.trained == 3
    assert evaluation.returns.shape == (7, 6, 1)
    assert evaluation.meta_episodes is not None
    np.testing.assert_allclose(evaluation.meta_episodes.rewards.sum((0, 2)), evaluation.returns.sum((0, 2)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"population_size": 5}, "population-size: got 5, expected an even number .*; change population-size or"),
        ({"population_size": 2, "es_strategy": "cma-es"}, "population-size: got 2, expected at least 4 for CMA-ES"),
    ],
)
def test_a_population_that_does_not_fit_costs_one_line(changes, words):
    with pytest.raises(InputError, match=words):
        trained(SMALL.replace(**changes))


def test_keys_of_other_algorithms_are_refused():
    with pytest.raises(ConfigError, match=r"gamma in Config: got 0\.9, which algorithm 'evolution' has no use for"):
        Config(algorithm="evolution", env_name="Bandit-K5-v0", gamma=0.9)
    with pytest.raises(ConfigError, match=r"es-sigma in Config: got 0\.5, which algorithm 'maml' has no use for"):
        Config(env_name="Bandit-K5-v0", es_sigma=0.5)


@every_strategy
def test_weights_evolve_that_balance_poles(strategy):
    config = Config(
        algorithm="evolution",
        env_name="CartPoleControl-v0",
        env_kwargs={"max_episode_steps": 100, "flip_probability": 0.0},
        hidden_sizes=(),
        fast_batch_size=1,
        meta_batch_size=4,
        num_batches=15,
        population_size=24,
        es_strategy=strategy,
        es_sigma=0.5,
        es_learning_rate=0.3,
        seed=1,
    )
    algorithm = make_algorithm(config)
    after = train(algorithm)
    sizes: dict[str, Any] = {"num_batches": 1, "meta_batch_size": 40, "num_adaptation_steps": 0}
    returns = [evaluate(algorithm, one, **sizes).returns.mean() for one in (algorithm.initial_parameters(), after)]
    assert returns[1] > 2.0 * returns[0]  # of at most 100


@pytest.mark.parametrize("control", ["yoked_reward", "hidden_ends"])
def test_controls_of_an_evaluation_are_refused_in_training(control, tmp_path):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match=f"{control.replace('_', '-')}: got true, expected false in training"):
        train(make_algorithm(SMALL.replace(**{control: True})), folder=folder)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@every_strategy
def test_a_step_to_infinity_is_undone(strategy, tmp_path):
    """Whatever the strategy: with mutations or steps of 1e300 no weights are left that are not finite."""
    changes = {"es_strategy": strategy, "es_sigma": 1e300, "es_learning_rate": 1e300, "num_batches": 2}
    rows, parameters = trained(SMALL.replace(**changes), tmp_path / "run")
    assert np.isfinite(parameters.astype(np.float32)).all()
    assert 0.0 in {row["finite"] for row in rows}


def test_the_width_of_a_search_does_not_rise_to_its_limit(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match=r"es-sigma-limit: got 5, expected at most es-sigma, 0\.1"):
        train(make_algorithm(SMALL.replace(es_sigma_limit=5.0)), folder=folder)
    assert not (tmp_path / "run").exists()
