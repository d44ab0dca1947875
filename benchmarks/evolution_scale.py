"""Ten thousand plastic networks, one life each: steps per second beside plain PyTorch and JAX, and memory.

`python -m benchmarks.evolution_scale` has a population of networks 3-8-8-1 swing up a pendulum, whose weights the
message-passing rule changes after every step. Round by round it measures a generation of the package with a worker on
each core, the same arithmetic written plainly for the whole population (`benchmarks.message_passing`) in eager PyTorch,
under `torch.compile` and as one jitted JAX program; then generations of other sizes, and the peak memory of fresh
processes. It prints medians and ratios; `--output` also writes them as JSON. Absolute numbers belong to the machine;
compare ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import message_passing
from benchmarks.records import save_json
from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.config import Config
from maml_rl.metalearners.learner import Report
from maml_rl.shard import Shard
from maml_rl.utils.cores import available_cores
from maml_rl.workforce import workers

CONFIG: dict[str, Any] = {
    "algorithm": "evolution",
    "env_name": "PendulumSwingUp-v0",
    "policy": "plastic",
    "hidden_sizes": [8, 8],
    "plastic_rule": "message-passing",
    "plastic_units": 4,
    "plastic_broadcast": False,
    "plastic_centred": False,
    "plastic_summed": False,
    "plastic_eligibility": False,
    "fast_batch_size": 1,
    "meta_batch_size": 1,
    "chunk_size": 1000,
}
SIZES = (100, 1000, 10_000)


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--population-size", type=int, default=SIZES[-1])
    parser.add_argument("--steps", type=int, default=200, help="of a life")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", nargs="*", default=[], choices=["compiled", "jax"], help="baselines to leave out")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = measure(
        arguments.num_workers, arguments.population_size, arguments.steps, arguments.rounds, set(arguments.without)
    )
    print(json.dumps(result, indent=2))
    save_json(result, arguments.output)


def configuration(num_individuals: int, steps: int) -> Config:
    """The configuration, for lives of some steps."""
    return Config(**CONFIG, population_size=num_individuals, env_kwargs={"max_episode_steps": steps})


def population(config: Config, *, scale: float = 0.1, dtype: str = "float32") -> tuple[Algorithm, np.ndarray]:
    """The algorithm of a configuration, and parameters (P, D) around its initial ones."""
    algorithm = make_algorithm(config, dtype=dtype)
    initial, count = algorithm.initial_parameters(), config.population_size
    return algorithm, initial + scale * np.random.default_rng(0).standard_normal((count, initial.shape[1]))


def live_plainly(
    xp: Any, algorithm: Algorithm, shard: Shard, vectors: np.ndarray, steps: int, *, compiled: bool = False
) -> np.ndarray:
    """Returns (P,) by the plain computation, in `torch` or `jax.numpy`."""
    return np.asarray(plain_lives(xp, algorithm, shard, vectors, steps, compiled=compiled)())


def plain_lives(
    xp: Any, algorithm: Algorithm, shard: Shard, vectors: np.ndarray, steps: int, *, compiled: bool = False
) -> Callable[[], Any]:
    """A function that lives the lives by the plain computation; with JAX one compiled program of all steps."""
    params = algorithm.layout.stack(vectors)
    policy = algorithm.worker_spec.build(lambda: None).policy  # type: ignore[attr-defined]
    life = message_passing.draw_life(policy, algorithm.config.task, shard, params, steps)
    dtype = life.weights[0].dtype

    def as_array(values: np.ndarray) -> Any:
        return torch.from_numpy(values.astype(dtype)) if xp is torch else xp.asarray(values.astype(dtype))

    own = {name: as_array(value) for name, value in message_passing.rule_parameters(params).items()}
    state = message_passing.begin(xp, life, len(vectors), own["leak"].shape[-1] // 2, as_array)
    noise = as_array(life.hidden_noise), as_array(life.action_noise)
    if xp is torch:
        step = torch.compile(message_passing.live_step) if compiled else message_passing.live_step

        def live() -> Any:
            with torch.no_grad():
                now = state
                for hidden, action in zip(*noise, strict=True):
                    now = step(torch, own, life.task, now, hidden, action)
            return now.returned

        return live
    import jax

    def scan(own: Any, state: Any, noise: Any) -> Any:
        def body(now: Any, drawn: Any) -> Any:
            return message_passing.live_step(xp, own, life.task, now, *drawn), None

        return jax.lax.scan(body, state, noise)[0].returned

    program = jax.jit(scan)
    return lambda: program(own, state, noise).block_until_ready()


def measure(cores: int, num_individuals: int, steps: int, num_rounds: int, without: set[str]) -> dict[str, Any]:
    """Individual-steps per second of all, per round, after one that does not count; generations by size; memory."""
    algorithm, vectors = population(configuration(num_individuals, steps))
    shard = Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=0)
    baselines = {"eager": plain_lives(torch, algorithm, shard, vectors, steps)}
    if "compiled" not in without:
        baselines["compiled"] = plain_lives(torch, algorithm, shard, vectors, steps, compiled=True)
    if "jax" not in without:
        import jax.numpy as jnp

        baselines["jax"] = plain_lives(jnp, algorithm, shard, vectors, steps)
    rows, by_size = [], []
    with contextlib.ExitStack() as stack:
        generations = {}
        for size in sorted({*SIZES, num_individuals}):
            own = make_algorithm(configuration(size, steps))
            backend = stack.enter_context(workers(own, cores, "multiprocess"))
            generations[size] = _generation(own, own.learner(backend, own.initial_parameters()))
        torch.set_num_threads(cores)
        for index in range(num_rounds + 1):
            sizes = {str(size): live().sampling_seconds / size / steps * 1e6 for size, live in generations.items()}
            row = {"ours": 1e6 / sizes[str(num_individuals)]}
            row |= {name: num_individuals * steps / _seconds(live) for name, live in baselines.items()}
            if index:
                rows.append(row)
                by_size.append(sizes)
                print(json.dumps({**row, "microseconds": sizes}), flush=True)
    ratios = {name: [row["ours"] / row[name] for row in rows] for name in baselines}
    return {
        "config": algorithm.config.to_json_dict(),
        "cores": cores,
        "steps_per_second": rows,
        "medians": {name: statistics.median(row[name] for row in rows) for name in rows[0]},
        "ours_over": {
            name: {"median": statistics.median(each), "range": [min(each), max(each)]} for name, each in ratios.items()
        },
        "microseconds_per_step_by_population_size": {
            size: statistics.median(row[size] for row in by_size) for size in by_size[0]
        },
        "peak_megabytes": memory(cores, num_individuals),
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "versions": {
            name: metadata.version(name) for name in ("torch", "numpy", "numba", *(["jax"] * ("jax" in baselines)))
        },
    }


def memory(cores: int, num_individuals: int) -> dict[str, float]:
    """Peak resident megabytes of a generation of whole episodes in a fresh process, and of each of its workers.

    ``worker_beyond_torch`` is a worker's less that of a process that only imports torch. The pages of a library's
    file are in memory once, however many processes map them: ``private`` leaves them out, it is what one more worker
    takes of the machine after its generation.
    """

    def run(program: str) -> Any:
        done = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE)
        return json.loads(done.stdout)

    own = "import json; from benchmarks.evolution_scale import peak_memory as p; print(json.dumps(p({}, {})))"
    alone, shared = (run(own.format(n, num_individuals)) for n in (0, cores))
    kilobytes = "int(re.search(r'{}:\\s*(\\d+)', open('/proc/self/{}').read())[1])"
    private = " + ".join(kilobytes.format(f"Private_{kind}", "smaps_rollup") for kind in ("Clean", "Dirty"))
    peak = kilobytes.format("VmHWM", "status")
    torch_alone, torch_private = run(f"import json, re, torch; print(json.dumps([{peak} / 1024, ({private}) / 1024]))")
    worker, worker_private = (max(found[index] for found in shared["workers"]) for index in (0, 1))
    return {
        "serial": alone["main"],
        "import_torch": torch_alone,
        "worker": worker,
        "worker_beyond_torch": worker - torch_alone,
        "worker_private_beyond_torch": worker_private - torch_private,
    }


def peak_memory(num_workers: int, num_individuals: int) -> dict[str, Any]:
    """Megabytes of this process, peak resident, and of its workers, (peak resident, private), after a generation.

    Serial with 0 workers.
    """
    algorithm = make_algorithm(configuration(num_individuals, 200))
    with workers(algorithm, max(num_workers, 1), "multiprocess" if num_workers else "serial") as backend:
        torch.set_num_threads(2)
        _generation(algorithm, algorithm.learner(backend, algorithm.initial_parameters()))()
        pids = backend.process_ids if num_workers else []  # type: ignore[attr-defined]
        return {"main": _peak("self"), "workers": [[_peak(pid), _private(pid)] for pid in pids]}


def _peak(pid: int | str) -> float:
    return _megabytes(pid, "status", "VmHWM")


def _private(pid: int | str) -> float:
    return sum(_megabytes(pid, "smaps_rollup", name) for name in ("Private_Clean", "Private_Dirty"))


def _megabytes(pid: int | str, file: str, field: str) -> float:
    text = Path(f"/proc/{pid}/{file}").read_text(encoding="utf-8")
    return int(text.split(f"{field}:")[1].split()[0]) / 1024


def _generation(algorithm: Algorithm, learner: Any) -> Callable[[], Report]:
    tasks = algorithm.sample_tasks(0)
    return lambda: learner.step(tasks, 0)


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
