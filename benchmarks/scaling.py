"""Time and bytes of an iteration against tasks and workers, in local processes and on the nodes of a Ray cluster.

`python -m benchmarks.scaling` trains MAML on HalfCheetahDir with every number of tasks and workers in turn, round by
round, and takes the model ``t = a + b * tasks / workers + c * workers`` (seconds; a: what one process does alone; b: a
task on one worker; c: a worker more to speak to) from it in two ways. ``fit`` is least squares over all settings with
local processes and no more workers than cores: it needs a machine on which nothing else runs. ``parts`` needs one free
core: a and b are those of one worker, and c is what as many calls take as an iteration makes, per worker, where workers
answer at once. Beside the times stand the bytes between learner and each worker. `--output` writes all as JSON.
Absolute numbers belong to the machine; ``ray_over_local`` compares settings of one round. Ray is left out where it is
not installed: ``pip install 'maml_rl[ray]'``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata, util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.records import save_json
from benchmarks.traffic import CountedBackend, EchoSpec
from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.config import Config, load_config
from maml_rl.samplers import Backend, BackendChoice, SerialBackend, WorkerPlan, start_workers
from maml_rl.utils.cores import available_cores
from maml_rl.utils.random import Purpose, generator
from maml_rl.workforce import workers

CONFIG = "configs/maml/halfcheetah-dir.yaml"
CORES = 1000
OBJECT_STORE_BYTES = 128 * 2**20


@dataclass(frozen=True)
class Setting:
    """One thing to measure: tasks of an iteration, workers, and nodes of Ray that run them (0: local processes)."""

    num_tasks: int
    num_workers: int
    num_nodes: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Workers and nodes: settings of the same place share processes."""
        return self.num_workers, self.num_nodes

    @property
    def name(self) -> str:
        """Words for where it runs."""
        return f"ray on {self.num_nodes} nodes" if self.num_nodes else "local processes"


@dataclass(frozen=True)
class Model:
    """Seconds ``a + b * tasks / workers + c * workers``, and the root of its mean squared relative error."""

    a: float
    b: float
    c: float
    error: float

    def seconds(self, num_tasks: int, num_workers: int) -> float:
        """Seconds of an iteration.

        >>> Model(1.0, 0.5, 0.001, 0.0).seconds(1000, 1000)
        2.5
        """
        return self.a + self.b * num_tasks / num_workers + self.c * num_workers


@dataclass(frozen=True)
class Messages:
    """Median seconds of a call of all workers that answer at once, by their number, and its slope.

    Attributes
    ----------
    seconds
        By the number of workers.
    per_worker
        Seconds that a worker more makes a call longer.
    """

    seconds: dict[int, float]
    per_worker: float


def fitted(settings: Sequence[Setting], seconds: Sequence[float]) -> Model:
    """Least squares of relative errors, with coefficients that are not negative."""
    from scipy.optimize import nnls

    rows = np.array([[1.0, one.num_tasks / one.num_workers, one.num_workers] for one in settings])
    times = np.array(seconds)
    found, _ = nnls(rows / times[:, np.newaxis], np.ones(len(times)))
    error = float(np.sqrt(np.mean((rows @ found / times - 1.0) ** 2)))
    return Model(*found.tolist(), error)


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 2], help="nodes of Ray, on this machine")
    parser.add_argument("--episodes", type=int, default=20, help="episodes of each task (default: %(default)s)")
    parser.add_argument("--echoes", type=int, nargs="+", default=[1, 2, 4, 8], help="workers that answer at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    config = load_config(CONFIG).replace(fast_batch_size=arguments.episodes)
    nodes = arguments.nodes if util.find_spec("ray") else []
    settings = [Setting(m, w) for m in arguments.tasks for w in arguments.workers if w <= m]
    most = max(arguments.tasks)
    settings += [Setting(most, w, n) for n in nodes for w in arguments.workers if n <= w <= max(n, available_cores())]
    result = measure(config, settings, arguments.rounds)
    result |= predicted(config, result, arguments.echoes, [0, *nodes[:1]])
    print(json.dumps(result, indent=2))
    save_json(result, arguments.output)


def measure(config: Config, settings: Sequence[Setting], num_rounds: int) -> dict[str, Any]:
    """Seconds of an iteration in every setting, per round, after one that does not count; the model; bytes."""
    rounds: list[list[float]] = []
    with contextlib.ExitStack() as stack:
        clocks: dict[tuple[int, int], Callable[[int], float]] = {}
        for one in settings:
            if one.place not in clocks:
                clocks[one.place] = stack.enter_context((_elsewhere if one.num_nodes else _here)(config, *one.place))
                clocks[one.place](one.num_tasks)  # before the next one starts its processes
        for index in range(num_rounds + 1):
            row = [clocks[one.place](one.num_tasks) for one in settings]
            if index:
                rounds.append(row)
                print(json.dumps(row), flush=True)
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    local = [i for i, one in enumerate(settings) if not one.num_nodes and one.num_workers <= available_cores()]
    model = fitted([settings[i] for i in local], [medians[i] for i in local])
    return {
        "config": config.to_json_dict(),
        "settings": [{**asdict(one), "where": one.name} for one in settings],
        "rounds": rounds,
        "medians": medians,
        "fit": asdict(model),
        "ray_over_local": _ray_over_local(settings, rounds),
        "bytes_of_a_worker": traffic(config),
        "cores": available_cores(),
        "load_average": os.getloadavg(),
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "versions": {
            name: metadata.version(name) for name in ("torch", "numpy", "mujoco", "ray") if util.find_spec(name)
        },
    }


def predicted(config: Config, result: dict[str, Any], counts: Sequence[int], nodes: Sequence[int]) -> dict[str, Any]:
    """Model from its parts, and the seconds of an iteration that it says for many workers."""
    sent, found = result["bytes_of_a_worker"], {}
    rows = zip(result["settings"], result["medians"], strict=True)
    alone = [(row["num_tasks"], seconds) for row, seconds in rows if row["num_workers"] == 1 and not row["num_nodes"]]
    b, a = np.polyfit(*zip(*alone, strict=True), 1).tolist() if len(alone) > 1 else (alone[0][1] / alone[0][0], 0.0)
    for num_nodes in nodes:
        messages = echoes(sent["parameters"], counts, num_nodes)
        model = Model(max(0.0, a), b, messages.per_worker * sent["calls"], 0.0)
        seconds = {f"{m} tasks": model.seconds(m, CORES) for m in (CORES, 10 * CORES)}
        where = Setting(1, 1, num_nodes).name
        found[where] = {"messages": asdict(messages), "parts": asdict(model), f"with_{CORES}_workers": seconds}
    return {"model": found}


def echoes(size: int, counts: Sequence[int], num_nodes: int, num_calls: int = 200) -> Messages:
    """Exchange a vector of `size` numbers with so many workers, again and again."""
    seconds = {}
    for count in counts:
        with _echoing(count, num_nodes) as backend:
            vector, times = np.ones(size), []
            for _ in range(num_calls):
                start = time.perf_counter()
                backend.broadcast("echo", vector)
                times.append(time.perf_counter() - start)
        seconds[count] = statistics.median(times)
    slope = float(np.polyfit(list(seconds), list(seconds.values()), 1)[0]) if len(seconds) > 1 else 0.0
    return Messages(seconds, max(0.0, slope))


@contextlib.contextmanager
def _echoing(num_workers: int, num_nodes: int) -> Iterator[Backend]:
    """Workers that answer at once."""
    with contextlib.ExitStack() as stack:
        choice = BackendChoice("multiprocess")
        if num_nodes:
            choice = BackendChoice("ray", {"address": stack.enter_context(_cluster(num_workers, num_nodes))})
        plan = WorkerPlan(EchoSpec(), num_workers, None, max_shards=num_workers, timeout_seconds=60.0)
        yield stack.enter_context(start_workers(plan, choice))


@contextlib.contextmanager
def _here(config: Config, num_workers: int, num_nodes: int) -> Iterator[Callable[[int], float]]:
    """Seconds of an iteration of so many tasks; every one is the first, from the same parameters."""
    algorithm = make_algorithm(config.replace(meta_batch_size=num_workers))
    with contextlib.ExitStack() as stack:
        choice = BackendChoice("multiprocess")
        if num_nodes:
            choice = BackendChoice("ray", {"address": stack.enter_context(_cluster(num_workers, num_nodes))})
        backend = stack.enter_context(workers(algorithm, num_workers, choice))
        yield lambda num_tasks: _seconds(algorithm, backend, num_tasks)


@contextlib.contextmanager
def _elsewhere(config: Config, num_workers: int, num_nodes: int) -> Iterator[Callable[[int], float]]:
    """As `_here`, in a process of its own: a process knows one cluster only."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(config, num_workers, num_nodes, theirs))
    process.start()
    theirs.close()

    def seconds(num_tasks: int) -> float:
        ours.send(num_tasks)
        return float(ours.recv())

    try:
        yield seconds
    finally:
        ours.send(0)
        process.join()


def _answer(config: Config, num_workers: int, num_nodes: int, pipe: Connection) -> None:
    """Make an iteration of as many tasks as the pipe asks for; 0 is the end."""
    with _here(config, num_workers, num_nodes) as seconds:
        while num_tasks := pipe.recv():
            pipe.send(seconds(num_tasks))


@contextlib.contextmanager
def _cluster(num_workers: int, num_nodes: int) -> Iterator[str]:
    """Address of a cluster of so many nodes on this machine, with a CPU for each worker."""
    from ray.cluster_utils import Cluster

    cpus = [len(part) for part in np.array_split(np.arange(num_workers), num_nodes)]
    sizes = {"object_store_memory": OBJECT_STORE_BYTES}
    head = {"num_cpus": cpus[0], "include_dashboard": False, **sizes}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for count in cpus[1:]:
            cluster.add_node(num_cpus=count, **sizes)
        yield str(cluster.address)
    finally:
        cluster.shutdown()


def _seconds(algorithm: Algorithm, backend: Backend, num_tasks: int) -> float:
    tasks = algorithm.env.sample_tasks(num_tasks, generator(algorithm.config.seed, Purpose.TASKS))
    start = time.perf_counter()
    algorithm.learner(backend, algorithm.initial_parameters()).step(tasks, 0)
    return time.perf_counter() - start


def _ray_over_local(settings: Sequence[Setting], rounds: Sequence[Sequence[float]]) -> dict[str, dict[str, float]]:
    """Time with Ray over that of as many local processes, round by round: median, least and most."""
    found = {}
    for index, one in enumerate(settings):
        same = Setting(one.num_tasks, one.num_workers)
        if one.num_nodes and same in settings:
            ratios = [row[index] / row[settings.index(same)] for row in rounds]
            name = f"{one.num_workers} workers, {one.name}"
            found[name] = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return found


def traffic(config: Config, num_shards: int = 2) -> dict[str, float]:
    """Bytes between the learner and each of two workers in an iteration of two short episodes, and in vectors."""
    algorithm = make_algorithm(config.replace(meta_batch_size=num_shards, fast_batch_size=2))
    with CountedBackend(SerialBackend(algorithm.worker_spec, num_shards)) as backend:
        _seconds(algorithm, backend, num_shards)
        most = int((backend.sent + backend.received).max())
    size = algorithm.layout.size
    return {"parameters": size, "bytes": most, "vectors": most / (8 * size), "calls": backend.num_calls}


if __name__ == "__main__":
    main()
