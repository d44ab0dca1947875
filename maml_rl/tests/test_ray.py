"""Workers on the nodes of a Ray cluster: the same numbers as elsewhere, whatever nodes and workers do."""

from __future__ import annotations

import contextlib
import csv
import json
import re
import threading
import time
from typing import Any

import numpy as np
import pytest

from maml_rl.algorithms import make_algorithm
from maml_rl.cli import test_command, train_command
from maml_rl.experiment import train
from maml_rl.run_folder import RunFolder
from maml_rl.samplers import BackendChoice, SerialBackend
from maml_rl.samplers.ray_backend import RayBackend
from maml_rl.samplers.ray_session import RaySession
from maml_rl.studies.__main__ import main as studies_command
from maml_rl.tests.builders import CounterSpec, is_running, numbers, tiny_config, wait_until, write_config

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'maml_rl[ray]'")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the library's own warnings

CLOCKS = ("seconds", "sampling_seconds", "learning_seconds", "workers_replaced")
BANDIT: dict[str, Any] = {"env_name": "Bandit-K5-v0", "algorithm": "rl2", "policy": "lstm", "num_batches": 2}
CONFIGS = {
    "maml": tiny_config(num_shards=3),
    "rl2": tiny_config(**BANDIT, num_shards=3, num_minibatches=2, num_epochs=2),
    "ensemble": tiny_config(**BANDIT, num_agents=3, num_shards=3),
    "openai-es": tiny_config().replace(algorithm="evolution", population_size=8, num_shards=3),
    "genetic-algorithm": tiny_config().replace(
        algorithm="evolution", population_size=8, es_strategy="genetic-algorithm", num_shards=3
    ),
}
SIZES: dict[str, Any] = {"object_store_memory": 100 * 2**20}


@pytest.fixture
def cluster(monkeypatch):
    """Two nodes of one CPU each."""
    from ray.cluster_utils import Cluster

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **SIZES})
    cluster.add_node(num_cpus=1, **SIZES)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def trained(config, folder, backend, num_workers=None):
    """Metrics but for clocks, parameters, and lines of warning."""
    run = RunFolder(folder)
    parameters = train(make_algorithm(config), num_workers=num_workers, backend=backend, folder=run)
    with run.metrics_path.open(newline="", encoding="utf-8") as file:
        rows = [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]
    return rows, parameters


def on(cluster, **options):
    """The backend of a cluster."""
    return BackendChoice("ray", {"address": cluster.address, **options})


def opened(cluster, spec, num_shards, **options):
    """Workers on a cluster."""
    return RayBackend(RaySession(cluster.address), spec, num_shards, **options)


def test_every_algorithm_has_the_metrics_of_local_processes_bit_for_bit(cluster, tmp_path):
    for name, config in CONFIGS.items():
        here = trained(config, tmp_path / f"{name}-here", "multiprocess", num_workers=2)
        there = trained(config, tmp_path / f"{name}-there", on(cluster))
        assert here[0] == there[0], name
        np.testing.assert_array_equal(here[1], there[1], err_msg=name)
        assert (tmp_path / f"{name}-here" / "config.json").read_text() == (
            tmp_path / f"{name}-there" / "config.json"
        ).read_text()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("auto", "expected a Ray cluster that runs on this machine, and found none; start one with ray start --head"),
        ("127.0.0.1:1", "expected the head of a Ray cluster, and none answers at 127.0.0.1:1 (connection refused); "),
        (
            "no-such-host.invalid",
            "expected a host whose name is known; start one with ray start --head --port=6379, ",
        ),
        ("host:port", "expected auto, local, HOST or HOST:PORT; start one with ray start --head --port=6379, or give "),
    ],
)
def test_an_address_without_a_cluster_costs_one_line_and_writes_nothing(address, words, tmp_path, capfd, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    config = write_config(tmp_path / "config.json", CONFIGS["maml"])
    flags = ["--config", config, "--output-folder", tmp_path / "run", "--backend", "ray", "--address", address]
    assert train_command([str(flag) for flag in flags]) == 2
    output, error = capfd.readouterr()
    assert (output, error.count("\n")) == ("", 1)
    assert error.startswith(f"error: --address: got {address!r}, {words}")
    assert not (tmp_path / "run").exists()


def test_commands_train_test_and_study_on_a_cluster(cluster, tmp_path, capfd):
    config = write_config(tmp_path / "config.json", CONFIGS["rl2"])
    own = ["--backend", "ray", "--address", cluster.address]
    run = tmp_path / "run"
    assert train_command(["--config", str(config), "--output-folder", str(run), *own]) == 0
    files = ["--config", str(run / "config.json"), "--policy", str(run / "policy.th")]
    sizes = ["--num-batches", "1", "--meta-batch-size", "3"]
    for name, backend in (("there", own), ("here", ["--backend", "serial", "--num-workers", "2"])):
        assert test_command([*files, *sizes, "--output", str(tmp_path / f"{name}.npz"), *backend]) == 0
    with np.load(tmp_path / "there.npz") as there, np.load(tmp_path / "here.npz") as here:
        for name in here.files:
            np.testing.assert_array_equal(there[name], here[name])
    study = {"name": "tiny", "question": "?", "test_tasks": 3, "test_steps": 1}
    study["runs"] = {"memory": {"config": str(config), "seeds": [1]}}
    (tmp_path / "tiny.yaml").write_text(json.dumps(study), encoding="utf-8")
    results = tmp_path / "results"
    assert studies_command(["run", str(tmp_path / "tiny.yaml"), "--results", str(results), *own]) == 0
    assert (results / "tiny" / "memory" / "seed-1" / "results.npz").exists()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("moment", ["between calls", "within a call"])
def test_a_node_removed_within_an_iteration_costs_seconds_and_changes_nothing(moment, cluster):
    algorithm = make_algorithm(tiny_config(num_shards=2, num_batches=1, fast_batch_size=400))
    expected = steps(algorithm, SerialBackend(algorithm.worker_spec, 2))
    with opened(cluster, algorithm.worker_spec, 2) as backend:
        lines: list[str] = []
        backend.warn = lines.append
        removed = []

        def remove_node():
            assert backend.num_workers == 2
            removed.append(time.monotonic())
            cluster.remove_node(next(node for node in cluster.list_all_nodes() if not node.head))

        def happen(method):
            if moment == "between calls" and method == "fisher_vector_product" and not removed:
                remove_node()
            if moment == "within a call" and method == "surrogate_gradient":
                threading.Timer(0.02, remove_node).start()

        found = steps(algorithm, Between(backend, happen))
        assert time.monotonic() - removed[0] < 20
        assert backend.num_restarts == 1
        (line,) = lines
        assert "was lost because its node has died in " in line
        assert "(seed 3, iteration 0, tasks [" in line
        # The next iteration has one worker for both shards, and another one as soon as there is a node again.
        steps(algorithm, backend)
        assert backend.num_workers == 1
        cluster.add_node(num_cpus=1, **SIZES)
        assert wait_until(lambda: backend.session.num_cpus() == 2, seconds=20)
        np.testing.assert_equal(steps(algorithm, backend), expected)
        assert backend.num_workers == 2
    np.testing.assert_equal(found, expected)


class Between:
    """Workers of a backend, with something happening before each call."""

    def __init__(self, backend, happen):
        self.backend, self.happen = backend, happen
        self.num_shards, self.num_workers = backend.num_shards, backend.num_workers

    def map(self, method, arguments):
        self.happen(method)
        return self.backend.map(method, arguments)

    def broadcast(self, method, *arguments):
        return self.map(method, [arguments] * self.num_shards)


def steps(algorithm, backend):
    """Parameters after an iteration, and its numbers."""
    learner = algorithm.learner(backend, algorithm.initial_parameters())
    report = learner.step(algorithm.sample_tasks(0), 0)
    return learner.parameters, dict(report.details), report.return_after


def test_a_straggler_s_shard_is_done_by_another_actor_as_well(cluster, tmp_path):
    fuse = tmp_path / "fuse"
    with opened(cluster, CounterSpec("linger", str(fuse)), 2, straggler_factor=3.0) as backend:
        backend.map("begin", [(numbers(1, 2),), (numbers(3, 4),)])
        assert backend.broadcast("add", 10) == [13, 17]
        fuse.touch()  # whoever adds next takes a minute
        start = time.monotonic()
        assert backend.broadcast("add", 1) == [14, 18]
        assert time.monotonic() - start < 20
        assert (backend.num_duplicates, backend.num_restarts) == (1, 0)
        # The straggler is still busy, and nobody waits for it.
        assert len({process for _, process in backend.broadcast("read")}) == 1
        assert time.monotonic() - start < 20


def test_actors_and_processes_are_gone_after_close(cluster):
    with opened(cluster, CounterSpec(), 2) as backend:
        backend.broadcast("begin", numbers(1))
        processes = {process for _, process in backend.broadcast("read")}
        assert all(is_running(process) for process in processes)
        assert len(processes) == 2
    assert wait_until(lambda: not any(is_running(process) for process in processes), seconds=10)
    assert not ray.is_initialized()
    with contextlib.closing(RaySession(cluster.address)) as session:
        assert wait_until(lambda: session.ray.available_resources().get("CPU") == 2.0, seconds=10)


def test_a_cluster_of_this_machine_alone_ends_with_the_session(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with RayBackend(RaySession("local"), CounterSpec(), 2, num_workers=1) as backend:
        assert backend.broadcast("begin", numbers(1, 2)) == [3, 3]
        (process,) = {process for _, process in backend.broadcast("read")}
        assert backend.num_workers == 1
    assert wait_until(lambda: not is_running(process), seconds=10)
    assert not ray.is_initialized()


def test_the_object_store_holds_no_parameters_after_a_call(cluster):
    vector = np.ones(2**20)  # 8 MiB
    with opened(cluster, CounterSpec(), 2) as backend:
        backend.broadcast("begin", numbers(0))
        for _ in range(20):  # with the answers 480 MiB, more than both nodes can hold
            first, second = backend.broadcast("add", vector)
            assert not backend._references
        assert first[0] == second[-1] == 20.0
        del first, second
        backend.broadcast("begin", numbers(0))
        assert wait_until(lambda: stored_megabytes(cluster) < 1, seconds=10)


def stored_megabytes(cluster):
    """Size of what all nodes' stores hold, the specification of the workers among it."""
    from ray._private.internal_api import memory_summary

    summary = memory_summary(cluster.address, stats_only=True)
    sizes = re.findall(r"Plasma memory usage ([0-9.]+) MiB", summary)
    assert sizes, summary
    return sum(map(float, sizes))
