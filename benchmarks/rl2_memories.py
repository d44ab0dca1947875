"""What a memory costs under RL²: acting and learning of every memory beside the LSTM, at 100 and at 500 steps.

`python -m benchmarks.rl2_memories` has every memory act and learn in turn, round by round, on meta-episodes of a
5-armed bandit, 40,000 environment steps an iteration whatever their length, with the epochs and minibatches of
`configs/rl2`; it prints medians and ratios; `--output` also writes them as JSON. Absolute numbers belong to the
machine; compare ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.records import save_json
from maml_rl.algorithms import make_algorithm
from maml_rl.config import Config, load_config
from maml_rl.metalearners.learner import Learner
from maml_rl.utils.cores import available_cores
from maml_rl.utils.random import Purpose, generator
from maml_rl.workforce import workers

CONFIG = "configs/rl2/bandit-k5-n100.yaml"
LENGTHS = (100, 500)
STEPS = 40_000
MEMORIES = {
    "lstm": ["policy=lstm", "hidden-sizes=[48]"],
    "gru": ["policy=gru", "hidden-sizes=[48]"],
    "linear": ["policy=linear", "hidden-sizes=[48]"],
    "delta": ["policy=delta"],
    "attention": ["policy=attention", "attention-layers=1", "attention-width=64", "hidden-sizes=[128]"],
}


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.num_workers, arguments.rounds)
    print(json.dumps(result, indent=2))
    save_json(result, arguments.output)


def configuration(memory: str, length: int) -> Config:
    """RL² with this memory on meta-episodes of `length` pulls."""
    sizes = [f"fast-batch-size={length}", f"meta-batch-size={STEPS // length}"]
    return load_config(CONFIG, [*MEMORIES[memory], *sizes])


def measure(cores: int, num_rounds: int) -> dict[str, Any]:
    """Speeds of every memory at every length, of one length after the other."""
    rounds = [
        {name: speeds for part in same_round for name, speeds in part.items()}
        for same_round in zip(*(measure_length(length, cores, num_rounds) for length in LENGTHS), strict=True)
    ]
    return {
        "config": CONFIG,
        "memories": MEMORIES,
        "cores": cores,
        "parameters": {name: make_algorithm(configuration(name, LENGTHS[0])).layout.size for name in MEMORIES},
        "rounds": rounds,
        "steps_per_second": summary(rounds),
        "over_lstm": over_lstm(rounds),
        "python": platform.python_version(),
        "machine": platform.processor() or platform.machine(),
        "versions": {"torch": torch.__version__, "numpy": np.__version__},
    }


def measure_length(length: int, cores: int, num_rounds: int) -> list[dict[str, dict[str, float]]]:
    """An iteration of every memory per round, after one round that does not count: steps per second by name."""
    configs = {memory: configuration(memory, length) for memory in MEMORIES}
    rounds: list[dict[str, dict[str, float]]] = []
    with contextlib.ExitStack() as stack:
        learners: dict[str, Learner] = {}
        for memory, config in configs.items():
            algorithm = make_algorithm(config)
            backend = stack.enter_context(workers(algorithm, cores, "multiprocess"))
            learners[memory] = algorithm.learner(backend, algorithm.initial_parameters())
        env = make_algorithm(configs["lstm"]).env
        for index in range(num_rounds + 1):
            row = {}
            for memory, learner in learners.items():
                rng = generator(configs[memory].seed, Purpose.TASKS, iteration=index)
                tasks = env.sample_tasks(configs[memory].meta_batch_size, rng)
                learner.step(tasks, index)  # caches are those of whoever ran before
                report = learner.step(tasks, index)
                row[_name(memory, length)] = {
                    "acting": report.env_steps / report.sampling_seconds,
                    "learning": report.env_steps / report.learning_seconds,
                    "training": report.env_steps / (report.sampling_seconds + report.learning_seconds),
                }
            if index:
                rounds.append(row)
                print(json.dumps(row), flush=True)
    return rounds


def summary(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over rounds of the speeds of every memory."""
    return {
        name: {part: statistics.median(row[name][part] for row in rounds) for part in speeds}
        for name, speeds in rounds[0].items()
    }


def over_lstm(rounds: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Medians over rounds of the speeds of every memory as multiples of the LSTM's at the same length."""
    found = {}
    for length in LENGTHS:
        base = _name("lstm", length)
        for memory in MEMORIES:
            name = _name(memory, length)
            found[name] = {
                part: statistics.median(row[name][part] / row[base][part] for row in rounds) for part in rounds[0][name]
            }
    return found


def _name(memory: str, length: int) -> str:
    return f"{memory}-{length}"


if __name__ == "__main__":
    main()
