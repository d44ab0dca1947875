"""Variation within an episode of the features that a head sees: what an inner step can tie actions to.

`python -m benchmarks.diagnostics.features --seeds 1 2 3` rolls out untrained policies on HalfCheetahDir and prints for
each the squared norm of their features, its part that varies within an episode, and the fraction of that. An inner step
of the head changes actions by the inner product of features: along what does not vary it moves a posture, the same in
all steps.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.records import save_json
from maml_rl.adaptation import expand
from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.config import load_config
from maml_rl.envs import make_meta_env
from maml_rl.policies import Params
from maml_rl.samplers.recorders import EpisodeRecorder
from maml_rl.samplers.rollout import rollout
from maml_rl.shard import Shard

POLICIES = ("mlp", "rnn", "lstm", "geometric")


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/maml/halfcheetah-dir.yaml")
    parser.add_argument("--policies", nargs="+", default=POLICIES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--num-tasks", type=int, default=4)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for policy in arguments.policies:
        for seed in arguments.seeds:
            own = [f"policy={policy}", f"seed={seed}", f"meta-batch-size={arguments.num_tasks}"]
            algorithm = make_algorithm(load_config(arguments.config, [*arguments.set, *own]))
            rows.append({"policy": policy, "seed": seed, **measure(algorithm)})
            print(json.dumps(rows[-1]), flush=True)
    save_json(rows, arguments.output)


def measure(algorithm: Algorithm) -> dict[str, float]:
    """Means over the episodes of the first meta-batch, at the initial parameters."""
    config, params = algorithm.config, algorithm.policy.params()
    shard = Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=config.run.seed)
    num_tasks = len(shard.tasks)
    env = make_meta_env(config.task.env_name, num_tasks * config.task.fast_batch_size, config.task.env_kwargs)
    episodes, _ = rollout(
        env,
        algorithm.policy,
        expand(params, num_tasks),
        shard.tasks,
        shard.streams(0),
        recorder=EpisodeRecorder(),
    )
    env.close()
    # (M, T, B, O) -> (T, M * B, O)
    observations = episodes.observations.transpose(0, 1).flatten(1, 2)
    mask = episodes.mask.transpose(0, 1).flatten(1, 2)
    return variation(features_along(algorithm, params, observations), mask)


def features_along(algorithm: Algorithm, params: Params, observations: Tensor) -> Tensor:
    """Features (T, N, F) that the head sees along observations (T, N, O)."""
    policy = algorithm.policy
    with torch.no_grad():
        state = policy.initial_state(params, tuple(observations.shape[1:2]))
        return policy.features(params, observations, None, state)[0]


def variation(features: Tensor, mask: Tensor) -> dict[str, float]:
    """Squared norm of features (T, N, F) per step, and its part around the mean of an episode; mask (T, N)."""
    weights = (mask / mask.sum(0)).double().unsqueeze(-1)  # of the steps of an episode
    mean = (weights * features).sum(0)
    total = (weights * features.square()).sum((0, 2)).mean().item()
    varying = (weights * (features - mean).square()).sum((0, 2)).mean().item()
    return {"squared_norm": total, "varying": varying, "fraction": varying / total}


if __name__ == "__main__":
    main()
