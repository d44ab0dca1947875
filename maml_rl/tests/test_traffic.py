"""Parameters travel, trajectories stay: bytes between a learner and its workers are counted, call by call."""

from __future__ import annotations

import pytest

from maml_rl.algorithms import make_algorithm
from maml_rl.samplers import SerialBackend
from maml_rl.settings import TrustRegion
from maml_rl.tests.builders import tiny_config

traffic = pytest.importorskip("benchmarks.traffic")

NUM_SHARDS = 2
SMALL_BYTES = 1500
"""What a call may take beside vectors: names, positions, tasks, statistics."""
WIDE = {"hidden_sizes": (100, 100), "meta_batch_size": 2, "num_batches": 2}
RL2 = {**WIDE, "env_name": "Bandit-K5-v0", "env_kwargs": {}, "algorithm": "rl2", "num_epochs": 2, "num_minibatches": 2}
EVOLUTION = {**WIDE, "algorithm": "evolution", "population_size": 8}


def counted(fast_batch_size, changes, iterations=(0,)):
    """Report of the last of these iterations, its counts, and D."""
    config = tiny_config().replace(**changes, fast_batch_size=fast_batch_size)
    algorithm = make_algorithm(config)
    with traffic.CountedBackend(SerialBackend(algorithm.worker_spec, NUM_SHARDS)) as backend:
        learner = algorithm.learner(backend, algorithm.initial_parameters())
        for iteration in iterations:
            backend.forget()
            report = learner.step(algorithm.sample_tasks(iteration), iteration)
        return report, backend.sent + backend.received, backend.num_calls, algorithm.layout.size


def assert_at_most(vectors, changes, more_numbers=0):
    """The bytes of each worker are at most those of so many vectors, and do not grow with the number of episodes."""
    report, total, num_calls, size = counted(2, changes)
    limit = vectors(report) if callable(vectors) else vectors
    assert total.max() <= 8 * (limit * size + more_numbers) + SMALL_BYTES * num_calls
    more, later, calls, _ = counted(11, changes)
    if callable(vectors):
        later = later - 8 * size * (vectors(more) - limit)
    assert abs(later - total).max() <= 400 * max(num_calls, calls)


def test_maml_exchanges_two_vectors_for_each_curvature_product_and_one_for_each_candidate():
    region = TrustRegion()
    assert 3 + 2 * region.cg_iters + region.ls_max_steps <= 45
    cg_iters = tiny_config().cg_iters
    assert_at_most(lambda report: 3 + 2 * cg_iters + report.details["line_search_steps"], WIDE)


@pytest.mark.parametrize(("changes", "num_gradients"), [({}, 4), ({"outer_step": "a2c"}, 1)], ids=["ppo", "a2c"])
def test_rl2_exchanges_two_vectors_for_each_minibatch_and_epoch(changes, num_gradients):
    assert_at_most(2 * num_gradients, {**RL2, "policy": "rnn", **changes})


def test_openai_es_exchanges_a_vector_and_its_fitness():
    assert_at_most(1, EVOLUTION, more_numbers=EVOLUTION["population_size"])


@pytest.mark.parametrize("strategy", ["cma-es", "genetic-algorithm"])
def test_other_strategies_send_individuals_to_those_who_let_them_live(strategy):
    changes = {**EVOLUTION, "es_strategy": strategy}
    assert_at_most(changes["population_size"] / NUM_SHARDS, changes)
