"""Seconds of training until a half cheetah reaches a return of 130 after one step: settings in turn, seed by seed.

python -m benchmarks.time_to_return

A run ends after the iteration in which the mean return after adaptation of the last `WINDOW` tasks reaches the target;
its agent is then measured in new episodes. Seconds are those of `metrics.csv`: sampling and learning, without the start
of the workers.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.records import save_json
from maml_rl.algorithms import make_algorithm
from maml_rl.callbacks import Row, RowCallback
from maml_rl.demo import CONFIG
from maml_rl.evaluation import evaluate
from maml_rl.experiment import train
from maml_rl.utils.cores import available_cores

TARGET = 130.0
"""Return after one step of adaptation, in reward per episode."""
WINDOW = 100
"""Tasks whose mean return has to reach it."""
SETTINGS: dict[str, dict[str, Any]] = {
    "trpo": {"maml_outer_step": "trpo", "meta_batch_size": 20, "fast_lr": 0.1},
    "promp": {"promp_learning_rate": 1e-3, "fast_lr": 0.1},
    "promp-larger-steps": {},
}
"""What is compared, as changes of the demo's configuration."""


class UntilReturn(RowCallback):
    """Ends a run when the mean return after adaptation of the last tasks reaches a target.

    Parameters
    ----------
    target
        That return.
    num_iterations
        Iterations whose mean has to reach it.

    Attributes
    ----------
    rows
        Of all iterations so far.
    """

    def __init__(self, target: float, num_iterations: int) -> None:
        self.target, self.num_iterations = target, num_iterations
        self.rows: list[Row] = []

    def on_row(self, row: Row) -> bool:
        """See `maml_rl.callbacks.RowCallback.on_row`."""
        self.rows.append(row)
        return len(self.rows) >= self.num_iterations and self.reached >= self.target

    @property
    def reached(self) -> float:
        """Mean return after adaptation of the last iterations."""
        return float(np.mean([row["return_after"] for row in self.rows[-self.num_iterations :]]))


def measure(changes: Mapping[str, Any], seed: int, max_seconds: float) -> dict[str, float]:
    """Train until the target is reached, or for `max_seconds`; seconds, steps, and returns in new episodes."""
    config = CONFIG.replace(**changes, seed=seed, num_batches=100_000)
    until = UntilReturn(TARGET, -(-WINDOW // config.run.meta_batch_size))
    algorithm = make_algorithm(config)
    workers: dict[str, Any] = {"num_workers": available_cores(), "backend": "multiprocess"}
    parameters = train(algorithm, callbacks=[until], max_seconds=max_seconds, **workers)
    last = until.rows[-1]
    evaluation = evaluate(algorithm, parameters, num_batches=1, meta_batch_size=40, num_adaptation_steps=1, **workers)
    before, after = (evaluation.returns[step].mean(dtype=np.float64) for step in (0, 1))
    sampling, learning = (sum(row[f"{part}_seconds"] for row in until.rows) for part in ("sampling", "learning"))
    return {
        "seconds": last["seconds"] if until.reached >= TARGET else float("inf"),
        "env_steps": last["env_steps"],
        "iterations": len(until.rows),
        "sampling_seconds": sampling,
        "learning_seconds": learning,
        "new_episodes_before": float(before),
        "new_episodes_after": float(after),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Train settings in turn; print seconds to the target and their median over seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--max-seconds", type=float, default=240.0, help="longest run (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS), help="settings to run")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    arguments = parser.parse_args(argv)
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.only}
    for seed in arguments.seeds:
        for name, of_name in runs.items():
            of_name.append(measure(SETTINGS[name], seed, arguments.max_seconds))
            words = ", ".join(f"{key} {value:.1f}" for key, value in of_name[-1].items())
            print(f"{name}, seed {seed}: {words}", flush=True)
    medians = {name: statistics.median(run["seconds"] for run in of_name) for name, of_name in runs.items()}
    for name, seconds in medians.items():
        print(f"{name}: {seconds:.1f} s to {TARGET:g}, median of {len(arguments.seeds)} seeds")
    save_json({"target": TARGET, "window": WINDOW, "median_seconds": medians, "runs": runs}, arguments.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
