"""What the curvature of an outer step costs, and what the step keeps on other tasks.

`python -m benchmarks.diagnostics.curvature --iterations 8 --cg-iters 10 5 3` trains for some iterations, then makes one
outer step from the same episodes with exact curvature and with samples, by so many iterations of conjugate gradient. It
prints for each: seconds of conjugate gradient, cosine with the first direction, improvement and KL of the accepted
step, both measured on the episodes it was made from, and its improvement on meta-batches of other tasks, which the
parameters before the step have collected too. Only the last tells how good a step is: the better a step fits its own
episodes, the more of their noise is in it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.records import save_json
from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.config import load_config
from maml_rl.metalearners import MAMLTRPO, conjugate_gradient
from maml_rl.settings import CurvatureSample, TrustRegion
from maml_rl.utils.cores import available_cores
from maml_rl.workforce import workers

SAMPLES = ("1000,250", "700,250", "500,160", "null,160", "500,null", "300,100")
"""Pairs of `hessian-steps` and `fisher-steps`, for policies without memory."""


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/maml/halfcheetah-dir.yaml")
    parser.add_argument("--policy", help="start from this policy.th")
    parser.add_argument("--iterations", type=int, default=8, help="outer steps before the comparison")
    parser.add_argument("--samples", nargs="+", help="beside the exact one, null,null")
    parser.add_argument("--cg-iters", type=int, nargs="+", default=[10], help="iterations of conjugate gradient")
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
    """Return one row per sample and number of conjugate-gradient iterations; the first is exact."""
    if arguments.policy:
        algorithm = algorithm.with_policy(arguments.policy)
    with workers(algorithm, arguments.num_workers, "multiprocess") as backend:
        learner = algorithm.learner(backend, algorithm.initial_parameters())
        for iteration in range(arguments.iterations):
            learner.step(algorithm.sample_tasks(iteration), iteration)
        parameters = learner.parameters
    rows: list[dict[str, Any]] = []
    first = None
    for sample, cg_iters in itertools.product(_samples(algorithm, arguments.samples), arguments.cg_iters):
        config = algorithm.config.replace(**sample, cg_iters=cg_iters)
        row, direction = _one_step(make_algorithm(config), parameters, arguments)
        first = direction if first is None else first
        cosine = direction @ first / (np.linalg.norm(direction) * np.linalg.norm(first))
        rows.append({**sample, "cg_iters": cg_iters, "cosine_with_first": float(cosine), **row})
    return rows


def _samples(algorithm: Algorithm, pairs: Sequence[str] | None) -> list[dict[str, int | None]]:
    """Values of `hessian_steps` and `fisher_steps`, exact ones first; a policy with memory has no such keys."""
    if not any(isinstance(section, CurvatureSample) for section in algorithm.config.sections):
        if pairs:
            named = f"{pairs[0]} with policy {algorithm.config.policy!r}"
            raise SystemExit(f"--samples: got {named}, expected none where there is memory; leave it out")
        return [{}]
    words = ["null,null", *(SAMPLES if pairs is None else pairs)]
    sizes = [[None if word == "null" else int(word) for word in pair.split(",")] for pair in words]
    return [dict(zip(("hessian_steps", "fisher_steps"), pair, strict=True)) for pair in sizes]


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
