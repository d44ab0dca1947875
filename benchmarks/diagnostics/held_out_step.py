"""What an outer step of MAML gains on the episodes it is computed from, and on others.

`python -m benchmarks.diagnostics.held_out_step --config configs/maml/space-invaders.yaml` collects two meta-batches on
the same tasks with the same untrained weights. From the first it computes the trust-region step for every damping,
scaled to `max-kl`, and says which improvement of the surrogate the gradient promises, and which the gradient of the
second batch would have given that step: promise without signal is overfitting to noise. Beside it: how much of the
variance of returns the linear baseline explains of the episodes it was fitted to, half of a task's, and of the rest.
`--ridges` are values of `baseline-regularisation`, `--dampings` of `cg-damping`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.records import save_json
from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.baseline import LinearFeatureBaseline
from maml_rl.config import Config, load_config
from maml_rl.episode import Episodes, clip_rewards, discounted_returns
from maml_rl.metalearners.trpo import conjugate_gradient
from maml_rl.samplers import MAMLWorker, MAMLWorkerSpec
from maml_rl.shard import Shard
from maml_rl.utils.random import Purpose, generator
from maml_rl.utils.vectors import dot


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/maml/space-invaders.yaml")
    parser.add_argument("--ridges", type=float, nargs="+", default=[1e-5, 1e3])
    parser.add_argument("--dampings", type=float, nargs="+", default=[1e-5, 0.1, 1.0, 10.0])
    parser.add_argument("--pairs", type=int, default=4, help="of meta-batches, over which means are taken")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for ridge in arguments.ridges:
        config = load_config(arguments.config, [*arguments.set, f"baseline-regularisation={ridge}"])
        pairs = [list(measure(config, arguments.dampings, number)) for number in range(arguments.pairs)]
        for same in zip(*pairs, strict=True):
            means = {key: float(np.mean([row[key] for row in same])) for key in same[0]}
            error = float(np.std([row["kept"] for row in same], ddof=1) / np.sqrt(len(same))) if len(same) > 1 else None
            about = {"config": arguments.config, "set": arguments.set, "pairs": len(same), "ridge": ridge}
            rows.append({**about, **means, "standard_error_of_kept": error})
            print(json.dumps(rows[-1]), flush=True)
    save_json(rows, arguments.output)


def measure(config: Config, dampings: list[float], pair: int) -> Iterator[dict[str, float]]:
    """Two collections, and a row for each damping."""
    algorithm = make_algorithm(config)
    first, second = (_collected(algorithm, config, pair, iteration) for iteration in (2 * pair, 2 * pair + 1))
    (theta,), num_tasks = algorithm.initial_parameters(), config.meta_batch_size
    gradients = [worker.surrogate_gradient(theta)[1] / num_tasks for worker in (first, second)]
    norms = [np.sqrt(dot(gradient, gradient)) for gradient in gradients]

    def curvature(vector: np.ndarray) -> np.ndarray:
        return first.fisher_vector_product(vector, theta) / num_tasks

    explained = _explained(first._episodes[-1], config)
    common = {
        "env_steps": int(first._episodes[-1].mask.sum()),
        "cosine": dot(*gradients) / (norms[0] * norms[1]),
        "explained": explained[0],
        "explained_of_others": explained[1],
    }
    for damping in dampings:

        def damped(vector: np.ndarray, damping: float = damping) -> np.ndarray:
            return curvature(vector) + damping * vector

        direction = conjugate_gradient(damped, gradients[0], num_iterations=config.cg_iters)
        step = direction * np.sqrt(2.0 * config.max_kl / dot(direction, curvature(direction)))
        yield {**common, "damping": damping, "promised": dot(step, gradients[0]), "kept": dot(step, gradients[1])}


def _collected(algorithm: Algorithm, config: Config, pair: int, iteration: int) -> MAMLWorker:
    """A worker with a meta-batch; both of a pair have the same tasks."""
    assert isinstance(algorithm.worker_spec, MAMLWorkerSpec)
    worker = MAMLWorker(algorithm.worker_spec, lambda: None)
    tasks = algorithm.env.sample_tasks(config.meta_batch_size, generator(config.seed, Purpose.TASKS, iteration=pair))
    (theta,) = algorithm.initial_parameters()
    worker.collect(Shard.whole(tasks, iteration=iteration, seed=config.run.seed), theta)
    return worker


def _explained(episodes: Episodes, config: Config) -> tuple[float, float]:
    """Share of the returns' variance that a baseline explains: of the half it is fitted to, and of the other half."""
    baseline = LinearFeatureBaseline(config.baseline_regularisation)
    returns = discounted_returns(clip_rewards(episodes.rewards, config.reward_clip), episodes.mask, config.gamma)
    half = episodes.mask.shape[-1] // 2
    seen, rest = (episodes.mask.clone() for _ in range(2))
    seen[..., half:], rest[..., :half] = 0, 0
    predictions = _predictions(baseline, replace(episodes, mask=seen), returns)
    return _share(predictions, returns, seen), _share(predictions, returns, rest)


def _predictions(baseline: LinearFeatureBaseline, seen: Episodes, returns: torch.Tensor) -> torch.Tensor:
    """Predictions (M, T, B) for all steps by a baseline fitted to those that `seen.mask` counts."""
    values = []
    for observations, mask, target in zip(seen.observations, seen.mask, returns, strict=True):
        seen_steps = mask > 0
        weights = baseline.weights(baseline.features(observations, seen_steps), target[seen_steps])
        everywhere = baseline.features(observations, torch.ones_like(seen_steps))
        values.append((everywhere @ weights).reshape(mask.shape).float())
    return torch.stack(values)


def _share(predictions: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor) -> float:
    """Mean over tasks of one minus the squared error by the variance."""
    shares = []
    for value, target, counts in zip(predictions, returns, mask > 0, strict=True):
        shares.append(1.0 - float((value - target)[counts].square().mean() / target[counts].var(correction=0)))
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
