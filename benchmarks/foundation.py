"""Sampling and learning speed of MAML-TRPO beside the bare engine and other vector environments.

`python -m benchmarks.foundation` measures everything in one run, round by round, and prints medians and
ratios; `--output` also writes them as JSON. Absolute numbers belong to the machine; compare ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from benchmarks.engines import bare_engine, envpool_vector, gymnasium_vector
from benchmarks.records import save_json
from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.config import load_config
from maml_rl.envs.mujoco.mujoco_engine import gymnasium_model_path
from maml_rl.metalearners import Learner
from maml_rl.samplers import Backend
from maml_rl.utils.cores import available_cores
from maml_rl.workforce import workers

ROBOTS = {
    "halfcheetah-dir": ("half_cheetah.xml", "HalfCheetah-v5", "HalfCheetah-v4"),
    "ant-dir": ("ant.xml", "Ant-v5", "Ant-v4"),
}


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", choices=sorted(ROBOTS), default="halfcheetah-dir")
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=2.0, help="per engine and round")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    algorithm = make_algorithm(load_config(f"configs/maml/{arguments.config}.yaml", arguments.set))
    result = measure(algorithm, arguments)
    print(json.dumps(result, indent=2))
    save_json(result, arguments.output)


def measure(algorithm: Algorithm, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every engine and one meta-iteration per round, interleaved."""
    model, gymnasium_id, envpool_id = ROBOTS[arguments.config]
    cores, seconds = arguments.num_workers, arguments.seconds
    num_envs = 100 * cores
    scale = float(algorithm.config.env_kwargs.get("normalization_scale", 1.0))
    engines: dict[str, Callable[[], float]] = {
        "bare_engine": lambda: bare_engine(gymnasium_model_path(model), cores, seconds, scale),
        "bare_engine_full_controls": lambda: bare_engine(gymnasium_model_path(model), cores, seconds, 0.0),
        "envpool": lambda: envpool_vector(envpool_id, num_envs, cores, seconds),
        "gymnasium_sync": lambda: gymnasium_vector(gymnasium_id, "sync", cores, seconds),
        "gymnasium_async": lambda: gymnasium_vector(gymnasium_id, "async", cores, seconds),
    }
    rows: list[dict[str, float]] = []
    with workers(algorithm, cores, "multiprocess") as backend:
        learner = algorithm.learner(backend, algorithm.initial_parameters())
        iterate(algorithm, learner, 0)
        for index in range(arguments.rounds):
            row = {name: run() for name, run in engines.items()}
            row |= iterate(algorithm, learner, index + 1)
            rows.append(row)
        memory = _peak_memory(backend)
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    ratios = {f"sampler_over_{name}": statistics.median(row["sampler"] / row[name] for row in rows) for name in engines}
    ratios["learning_over_sampling"] = statistics.median(
        row["learning_seconds"] / row["sampling_seconds"] for row in rows
    )
    versions = {"torch": torch.__version__, "mujoco": mujoco.__version__, "numpy": np.__version__}
    return {
        "config": algorithm.config.to_json_dict(),
        "cores": cores,
        "rounds": rows,
        "medians": medians,
        "ratios": ratios,
        "peak_memory_gb": memory,
        "python": platform.python_version(),
        "versions": versions,
    }


def iterate(algorithm: Algorithm, learner: Learner, iteration: int) -> dict[str, float]:
    """Take one outer step and return its times and the steps/s of its sampling."""
    report = learner.step(algorithm.sample_tasks(iteration), iteration)
    return {
        "sampler": report.env_steps / report.sampling_seconds,
        "sampling_seconds": report.sampling_seconds,
        "learning_seconds": report.learning_seconds,
        "meta_iteration_seconds": report.sampling_seconds + report.learning_seconds,
    }


def _peak_memory(backend: Backend) -> float:
    """Sum over this process and its workers of the largest resident set, in GB (shared pages count twice)."""
    pids = [os.getpid(), *getattr(backend, "process_ids", [])]
    kilobytes = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                kilobytes += int(line.split()[1])
    return kilobytes / 1e6


if __name__ == "__main__":
    main()
