"""What memory costs: meta-iterations of every policy beside the MLP's and the bare engine, on HalfCheetahDir.

`python -m benchmarks.memory` measures all of them in one run, round by round, at the published sizes; it prints medians
and ratios; `--output` also writes them as JSON. Absolute numbers belong to the machine; compare ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from benchmarks.engines import bare_engine
from benchmarks.foundation import iterate
from benchmarks.records import save_json
from maml_rl.algorithms import make_algorithm
from maml_rl.config import load_config
from maml_rl.envs.mujoco.mujoco_engine import gymnasium_model_path
from maml_rl.utils.cores import available_cores
from maml_rl.workforce import workers

CONFIG = "configs/maml/halfcheetah-dir.yaml"
POLICIES = {
    "mlp": ["policy=mlp"],
    "linear": ["policy=linear"],
    "rnn-masked": ["policy=rnn", "train-recurrent=false"],
    "rnn": ["policy=rnn"],
    "lstm-masked": ["policy=lstm", "train-recurrent=false"],
    "lstm": ["policy=lstm"],
    "geometric-masked": ["policy=geometric", "train-recurrent=false"],
    "geometric": ["policy=geometric"],
}


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of the bare engine, per round")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.num_workers, arguments.rounds, arguments.seconds)
    print(json.dumps(result, indent=2))
    save_json(result, arguments.output)


def measure(cores: int, num_rounds: int, seconds: float) -> dict[str, Any]:
    """One meta-iteration of every policy per round, after one that does not count."""
    algorithms = {name: make_algorithm(load_config(CONFIG, overrides)) for name, overrides in POLICIES.items()}
    config = algorithms["mlp"].config
    model, scale = gymnasium_model_path("half_cheetah.xml"), float(config.env_kwargs["normalization_scale"])
    rounds: list[dict[str, dict[str, float]]] = []
    with contextlib.ExitStack() as stack:
        learners = {}
        for name, algorithm in algorithms.items():
            backend = stack.enter_context(workers(algorithm, cores, "multiprocess"))
            learners[name] = algorithm.learner(backend, algorithm.initial_parameters())
            iterate(algorithm, learners[name], 0)
        for index in range(num_rounds):
            row = {"bare_engine": {"sampler": bare_engine(model, cores, seconds, scale)}}
            row |= {name: iterate(algorithms[name], learner, index + 1) for name, learner in learners.items()}
            rounds.append(row)
            print(json.dumps(row), flush=True)

    def median(name: str, key: str, over: str) -> float:
        return statistics.median(row[name][key] / row[over][key] for row in rounds)

    return {
        "config": CONFIG,
        "policies": POLICIES,
        "cores": cores,
        "rounds": rounds,
        "sampler_over_bare_engine": {name: median(name, "sampler", "bare_engine") for name in POLICIES},
        "meta_iteration_over_mlp": {name: median(name, "meta_iteration_seconds", "mlp") for name in POLICIES},
        "python": platform.python_version(),
        "versions": {"torch": torch.__version__, "mujoco": mujoco.__version__, "numpy": np.__version__},
    }


if __name__ == "__main__":
    main()
