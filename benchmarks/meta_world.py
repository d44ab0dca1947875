"""Meta-World beside its own vector environments: environment steps per second, in turn.

`python -m benchmarks.meta_world` runs, round by round, the sampler of `configs/maml/meta-world.yaml` with its policy
acting and adapting, workers on all cores; upstream's AsyncVectorEnv and SyncVectorEnv and EnvPool's own tasks, whose
goals cannot be set, with random actions and without a policy; and the bare engine in this process, the sub-steps of a
control step and nothing else, times the number of cores. It prints medians and ratios; `--output` also writes them as
JSON. Absolute numbers belong to the machine; compare ratios. Needs ``pip install 'maml_rl[bench,metaworld]'``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import metaworld
import mujoco
import numpy as np

from benchmarks.records import save_json
from maml_rl.algorithms import make_algorithm
from maml_rl.config import load_config
from maml_rl.envs.manipulation.shared_arm import SharedArm
from maml_rl.utils.cores import available_cores
from maml_rl.utils.random import Purpose, generator
from maml_rl.workforce import workers

CONFIG = "configs/maml/meta-world.yaml"
SUB_STEPS = 5


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="push", help="Meta-World's task (default: %(default)s)")
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--num-tasks", type=int, default=4, help="tasks of an iteration (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=4.0, help="per environment and round (default: %(default)s)")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments)
    print(json.dumps(result, indent=2))
    save_json(result, arguments.output)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Steps per second of all, per round, after one that does not count."""
    own = {"env_name": f"ML1-{arguments.task}-v0", "meta_batch_size": arguments.num_tasks}
    algorithm = make_algorithm(load_config(CONFIG).replace(**own))
    rows = []
    with contextlib.ExitStack() as stack:
        backend = stack.enter_context(workers(algorithm, arguments.num_workers, "multiprocess"))
        learner = algorithm.learner(backend, algorithm.initial_parameters())
        upstream = {
            f"upstream_{strategy}_{count}": _upstream(arguments.task, strategy, count)
            for strategy, count in (("async", arguments.num_workers), ("async", 20), ("sync", 1))
        }
        upstream["envpool"] = _envpool(arguments.task, arguments.num_workers)
        for env in upstream.values():
            stack.callback(env.close)
        for index in range(arguments.rounds + 1):
            row = {name: _speed(env, arguments.seconds) for name, env in upstream.items()}
            row["bare_engine"] = arguments.num_workers * _bare(arguments.task, arguments.seconds / 2)
            tasks = algorithm.env.sample_tasks(arguments.num_tasks, generator(1, Purpose.TASKS, iteration=index))
            report = learner.step(tasks, index)
            row["sampler"] = report.env_steps / report.sampling_seconds
            if index:
                rows.append(row)
                print(json.dumps(row), flush=True)
    names = [name for name in rows[0] if name != "sampler"]
    return {
        "task": arguments.task,
        "workers": arguments.num_workers,
        "rounds": rows,
        "medians": {name: statistics.median(row[name] for row in rows) for name in rows[0]},
        "sampler_over": {name: statistics.median(row["sampler"] / row[name] for row in rows) for name in names},
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in ("torch", "numpy", "mujoco", "metaworld")},
    }


def _upstream(task: str, strategy: Any, count: int) -> Any:
    return metaworld.make_ml_envs(
        f"{task}-v3", seed=1, meta_batch_size=count, total_tasks_per_cls=count, vector_strategy=strategy
    )


def _envpool(task: str, cores: int, num_envs: int = 20) -> Any:
    """EnvPool's task, one thread per core."""
    import envpool

    name = "".join(part.capitalize() for part in task.split("-"))
    return envpool.make(f"MetaWorld/{name}-v3", env_type="gymnasium", num_envs=num_envs, num_threads=cores)


def _speed(env: Any, seconds: float) -> float:
    """Steps per second of all sub-environments, with random actions that were drawn before."""
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1.0, 1.0, (64, env.num_envs, 4)).astype(np.float32)
    env.reset()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        env.step(actions[steps % 64])
        steps += 1
    return steps * int(env.num_envs) / (time.perf_counter() - start)


def _bare(task: str, seconds: float) -> float:
    """Control steps per second of the engine alone."""
    arm = SharedArm(f"{task}-v3")
    arm.begin(np.array(arm.env._random_reset_space.low))
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        mujoco.mj_step(arm.model, arm.data, SUB_STEPS)
        mujoco.mj_forward(arm.model, arm.data)
        steps += 1
    return steps / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
