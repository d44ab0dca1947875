"""Sampling of every family of robots beside the bare engine: processor time of the same steps, in one process.

`python -m benchmarks.robots` lets a worker sample episodes before and after an inner step (policy, adaptation,
advantages and baseline included), and then a bare Python loop over `mj_step` make the very same steps: episode by
episode from the same states with the same controls on the same bodies, without observation, reward or policy. That
both end in the same states is checked. Rounds take turns; medians and ratios of processor time are printed, and
written as JSON with `--output`. Absolute numbers belong to the machine; compare ratios.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch

from benchmarks.records import save_json
from maml_rl.algorithms import make_algorithm
from maml_rl.config import load_config
from maml_rl.envs.mujoco.robot_batch import RobotBatch
from maml_rl.shard import Shard

CONFIG = "configs/maml/halfcheetah-dir-promp.yaml"
FAMILIES = (
    "HalfCheetahDir-v2",
    "HalfCheetahVel-v2",
    "AntDir-v2",
    "AntVel-v2",
    "Walker2DDir-v0",
    "Walker2DVel-v0",
    "WalkerRandParams-v0",
    "HopperRandParams-v0",
    "HumanoidDir-v0",
)
ENV_KWARGS = {"normalization_scale": 10.0, "max_episode_steps": 100}
_BODIES = ("body_mass", "body_inertia", "dof_damping", "geom_friction")


class Episode:
    """Beginning, body and controls of an episode, and the state it ends in."""

    def __init__(self, robots: RobotBatch, index: int) -> None:
        self.parts = [part[index].copy() for part in (robots.qpos, robots.qvel, robots.warmstart, robots.ctrl)]
        self.body = [getattr(robots.model, name).copy() for name in _BODIES]
        self.controls: list[np.ndarray] = []
        self.frame_skip = 1
        self.end = self.parts[0]


class Recorder:
    """Remembers all that robots do while it is there."""

    def __init__(self) -> None:
        self.episodes: list[Episode] = []
        self.model: Any = None

    def __enter__(self) -> Recorder:
        """Look on."""
        self._settle, self._advance = RobotBatch.settle, RobotBatch.advance
        current: dict[int, Episode] = {}

        def settle(robots: RobotBatch, indices: np.ndarray) -> None:
            self._advance(robots, indices, 0)
            for index in indices.tolist():
                current[index] = Episode(robots, index)
                self.episodes.append(current[index])
            self.model = robots.model

        def advance(robots: RobotBatch, indices: np.ndarray, num_steps: int) -> None:
            for index in indices.tolist():
                current[index].controls.append(robots.ctrl[index].copy())
                current[index].frame_skip = num_steps
            self._advance(robots, indices, num_steps)
            for index in indices.tolist():
                current[index].end = robots.qpos[index].copy()

        RobotBatch.settle, RobotBatch.advance = settle, advance  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        """Look away."""
        RobotBatch.settle, RobotBatch.advance = self._settle, self._advance  # type: ignore[method-assign]


def bare_loop(model: Any, data: Any, episodes: Sequence[Episode]) -> list[np.ndarray]:
    """Make the steps of these episodes; the positions they end in."""
    ends, step = [], mujoco.mj_step
    parts = (data.qpos, data.qvel, data.qacc_warmstart, data.ctrl)
    for episode in episodes:
        for name, values in zip(_BODIES, episode.body, strict=True):
            getattr(model, name)[...] = values
        for part, values in zip(parts, episode.parts, strict=True):
            part[:] = values
        ctrl, frame_skip = data.ctrl, episode.frame_skip
        for control in episode.controls:
            ctrl[:] = control
            step(model, data, frame_skip)
        ends.append(data.qpos.copy())
    return ends


def measure(family: str, num_tasks: int, rounds: int) -> dict[str, float]:
    """Microseconds of a step in the sampler and in the bare loop, and the share of its rate that the sampler has."""
    algorithm = make_algorithm(load_config(CONFIG).replace(env_name=family, env_kwargs=ENV_KWARGS))
    worker, (theta,) = algorithm.worker_spec.build(lambda: None), algorithm.initial_parameters()
    shard = Shard.whole(algorithm.env.sample_tasks(num_tasks, np.random.default_rng(0)), iteration=0, seed=1)
    with Recorder() as recorder:
        num_steps = worker.collect(shard, theta).env_steps
    data = mujoco.MjData(recorder.model)
    rows = []
    for _ in range(rounds):
        start = time.process_time()
        worker.collect(shard, theta)
        between = time.process_time()
        ends = bare_loop(recorder.model, data, recorder.episodes)
        rows.append((between - start, time.process_time() - between))
    for end, episode in zip(ends, recorder.episodes, strict=True):
        np.testing.assert_array_equal(end, episode.end)
    sampler, bare = (1e6 * statistics.median(column) / num_steps for column in zip(*rows, strict=True))
    shares = [row[1] / row[0] for row in rows]
    return {
        "steps": num_steps,
        "sampler_microseconds": round(sampler, 1),
        "bare_microseconds": round(bare, 1),
        "share": round(statistics.median(shares), 3),
        "least_share": round(min(shares), 3),
        "largest_share": round(max(shares), 3),
    }


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=FAMILIES, choices=FAMILIES, metavar="FAMILY")
    parser.add_argument("--num-tasks", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for family in arguments.families:
        found[family] = measure(family, arguments.num_tasks, arguments.rounds)
        print(family, json.dumps(found[family]), flush=True)
    result = {
        "families": found,
        "rounds": arguments.rounds,
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "mujoco", "gymnasium")},
    }
    save_json(result, arguments.output)


if __name__ == "__main__":
    main()
