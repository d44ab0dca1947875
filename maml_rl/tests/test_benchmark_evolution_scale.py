"""The baseline of `benchmarks.evolution_scale` computes what the package does."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from maml_rl.shard import Shard

scale = pytest.importorskip("benchmarks.evolution_scale")
plain = pytest.importorskip("benchmarks.message_passing")

pytestmark = pytest.mark.numerical


def test_the_plain_computation_gives_the_returns_of_a_worker():
    config = scale.configuration(6, 30).replace(hidden_sizes=[4, 3])
    algorithm, vectors = scale.population(config, scale=0.5, dtype="float64")
    worker = algorithm.worker_spec.build(lambda: None)
    shard = Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=1)
    returns, _ = worker.live(shard, vectors)
    plainly = scale.live_plainly(torch, algorithm, shard, vectors, 30)
    assert np.std(returns) > 0.01
    np.testing.assert_allclose(plainly, returns[:, 0, 0], rtol=1e-9)
