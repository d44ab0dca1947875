"""How much of an inner gradient is signal: cosine between gradients from independent batches of episodes.

`python -m benchmarks.diagnostics.gradient_signal --config configs/maml/ant-dir.yaml --scales 1 2 3 5 10 20` rolls out,
for one task and one policy, several batches of `fast-batch-size` episodes, and compares the gradients MAML would adapt
with. A mean cosine c says that one batch sees about a fraction c of the true gradient's direction; 0 is noise.
`--policy` takes a trained policy in place of a random one.

With continuous actions it also says by how much one inner step changes the mean action (root mean square over the
steps of the episodes it learned from), and how large the part of that change is that differs between steps: a change
that is the same in all of them moves joints to another place, but makes nothing run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from benchmarks.records import save_json
from maml_rl.adaptation import InnerLoop, adapt_step, expand, inner_gradient
from maml_rl.algorithms import make_algorithm
from maml_rl.baseline import LinearFeatureBaseline
from maml_rl.config import Config, load_config
from maml_rl.envs import make_meta_env
from maml_rl.episode import Episodes
from maml_rl.policies import Params, Policy
from maml_rl.run_folder import load_policy
from maml_rl.samplers.recorders import EpisodeRecorder
from maml_rl.samplers.rollout import rollout, with_advantages
from maml_rl.settings import ReturnSettings
from maml_rl.shard import Streams
from maml_rl.utils.random import Purpose, generator


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/maml/ant-dir.yaml")
    parser.add_argument("--policy", help="a policy.th; default: untrained")
    parser.add_argument("--scales", type=float, nargs="+", default=[10.0], help="normalization_scale of the actions")
    parser.add_argument("--batches", type=int, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for scale in arguments.scales:
        overrides = [*arguments.set, f"env-kwargs.normalization_scale={scale}"]
        row = {"scale": scale, **measure(load_config(arguments.config, overrides), arguments)}
        rows.append(row)
        print(json.dumps(row), flush=True)
    save_json(rows, arguments.output)


def measure(config: Config, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the mean pairwise cosine and what the episodes looked like."""
    algorithm, count = make_algorithm(config), arguments.batches
    params = algorithm.policy.params()
    if arguments.policy:
        params = load_policy(arguments.policy, params)
    env = make_meta_env(config.env_name, count * config.fast_batch_size, config.env_kwargs)
    rngs = [
        [generator(config.seed, purpose, task=i) for i in range(count)]
        for purpose in (Purpose.EVALUATION_ENVIRONMENT, Purpose.EVALUATION_ACTIONS)
    ]
    tasks = [env.default_task()] * count
    episodes, _ = rollout(
        env, algorithm.policy, expand(params, count), tasks, Streams(*rngs), recorder=EpisodeRecorder()
    )
    baseline = LinearFeatureBaseline(config.baseline_regularisation)
    episodes = with_advantages(episodes, baseline, config.section(ReturnSettings))
    inner = InnerLoop(algorithm.policy, config.fast_lr, algorithm.layout.names)
    learning, frozen = inner.split(params)
    gradients = inner_gradient(inner, expand(learning, count), frozen, episodes.learning_data(slice(None)))
    flat = torch.cat([gradients[name].reshape(count, -1) for name in inner.names], 1).double()
    unit = flat / flat.norm(dim=1, keepdim=True)
    cosines = (unit @ unit.T)[~torch.eye(count, dtype=torch.bool)]
    returns, lengths = episodes.returns(), episodes.mask.sum(1)
    changes = {}
    if algorithm.worker_spec.policy.continuous:
        adapted = adapt_step(inner, expand(learning, count), gradients, frozen)
        changes = _changes(algorithm.policy, {**expand(frozen, count), **expand(learning, count)}, adapted, episodes)
    return {
        **changes,
        "mean_cosine": float(cosines.mean()),
        "episode_length": float(lengths.mean()),
        "return_mean": float(returns.mean()),
        "return_std": float(np.std(returns.numpy())),
    }


def _changes(policy: Policy, params: Params, adapted: Params, episodes: Episodes) -> dict[str, float]:
    """How far one inner step moves mean actions, and what of that differs between steps."""

    def means(values: Params, observations: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        state = policy.initial_state(values, tuple(mask.shape[1:]))
        return policy.unroll(values, observations, mask, state).loc  # type: ignore[union-attr]

    with torch.no_grad():
        before, after = (
            torch.func.vmap(means)({**params, **own}, episodes.observations, episodes.mask) for own in ({}, adapted)
        )
    played = episodes.mask.unsqueeze(-1)
    change = (after - before) * played  # (M, T, B, A)
    steps = played.sum((1, 2), keepdim=True)
    same = change.sum((1, 2), keepdim=True) / steps
    varying = (change - same) * played

    def size(part: torch.Tensor) -> float:
        return float((part.square().sum((1, 2)) / steps[:, 0, 0]).mean().sqrt())

    return {"change_of_mean_action": size(change), "of_that_varying": size(varying)}


if __name__ == "__main__":
    main()
