"""What the samples used for curvature cost, and what they save.

`python -m benchmarks.diagnostics.curvature --iterations 8` trains for some iterations, then makes one outer step from
the same episodes with exact curvature and with samples, and prints for each: seconds of conjugate gradient, cosine with
the exact direction, improvement and KL of the accepted step, both measured on all episodes, and its improvement on
meta-batches of other tasks, which the parameters before the step have collected too.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.records import save_json
from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.config import load_config
from maml_rl.experiment import workers
from maml_rl.metalearners import MAMLTRPO, conjugate_gradient
from maml_rl.settings import TrustRegion
from maml_rl.utils.cores import available_cores

SAMPLES = ("1000,250", "700,250", "500,160", "null,160", "500,null", "300,100")
"""Pairs of `hessian-steps` and `fisher-steps`."""


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/maml/halfcheetah-dir.yaml")
    parser.add_argument("--policy", help="start from this policy.th")
    parser.add_argument("--iterations", type=int, default=8, help="outer steps before the comparison")
    parser.add_argument("--samples", nargs="+", default=SAMPLES, help="beside the exact one, null,null")
    parser.add_argument("--held-out", type=int, default=2, help="other meta-batches")
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    algorithm = make_algorithm(load_config(arguments.config, arguments.set))
    rows = compare(algorithm, arguments)
    for row in rows:
        print(json.dumps(row))
    save_json(rows, arguments.output)


def compare(algorithm: Algorithm, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row per sample size; the first is exact."""
    if arguments.policy:
        algorithm = algorithm.with_policy(arguments.policy)
    with workers(algorithm, arguments.num_workers, "multiprocess") as backend:
        learner = algorithm.learner(backend, algorithm.initial_parameters())
        for iteration in range(arguments.iterations):
            learner.step(algorithm.sample_tasks(iteration), iteration)
        parameters = learner.parameters
    rows: list[dict[str, Any]] = []
    exact = None
    for sample in ("null,null", *arguments.samples):
        hessian_steps, fisher_steps = (None if word == "null" else int(word) for word in sample.split(","))
        config = algorithm.config.replace(hessian_steps=hessian_steps, fisher_steps=fisher_steps)
        row, direction = _one_step(make_algorithm(config), parameters, arguments)
        exact = direction if exact is None else exact
        cosine = direction @ exact / (np.linalg.norm(direction) * np.linalg.norm(exact))
        sizes = {"hessian_steps": hessian_steps, "fisher_steps": fisher_steps}
        rows.append({**sizes, "cosine_with_exact": float(cosine), **row})
    return rows


def _one_step(
    algorithm: Algorithm, parameters: np.ndarray, arguments: argparse.Namespace
) -> tuple[dict[str, Any], np.ndarray]:
    num_tasks, settings = algorithm.config.run.meta_batch_size, algorithm.config.section(TrustRegion)
    (theta,) = parameters
    with workers(algorithm, arguments.num_workers, "multiprocess") as backend:
        learner = MAMLTRPO(backend, parameters, settings, seed=algorithm.config.run.seed)
        learner.collect(algorithm.sample_tasks(arguments.iterations), arguments.iterations)
        losses, gradients = zip(*backend.broadcast("surrogate_gradient", theta), strict=True)
        loss, gradient = sum(losses) / num_tasks, np.sum(gradients, axis=0) / num_tasks

        def curvature(vector: np.ndarray) -> np.ndarray:
            products = backend.broadcast("fisher_vector_product", vector, theta)
            return np.sum(products, axis=0) / num_tasks + settings.cg_damping * vector

        curvature(gradient)
        start = time.perf_counter()
        direction = conjugate_gradient(curvature, gradient, num_iterations=settings.cg_iters)
        seconds = time.perf_counter() - start
        outcome = learner.outer_step(loss, gradient, num_tasks)
        held_out = []
        for iteration in range(arguments.iterations + 1, arguments.iterations + 1 + arguments.held_out):
            learner.collect(algorithm.sample_tasks(iteration), iteration)
            losses, _ = zip(*backend.broadcast("surrogate_gradient", theta), strict=True)
            later, _ = zip(*backend.broadcast("surrogate", outcome.parameters), strict=True)
            held_out.append((sum(losses) - sum(later)) / num_tasks)
    row = {
        "conjugate_gradient_seconds": round(seconds, 3),
        "improvement": loss - outcome.loss,
        "improvement_held_out": [float(value) for value in held_out],
        "kl": outcome.kl,
        "line_search_steps": outcome.line_search_steps,
    }
    return row, direction


if __name__ == "__main__":
    main()
