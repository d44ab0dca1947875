"""Environment steps per second on Space Invaders: our sampler with its policy beside the bare emulator and others.

`python -m benchmarks.atari` plays, round by round, random actions in a bare loop of `ALEInterface.act` in one process
per core, in ale-py's own vector environment and in Gymnasium's `AtariPreprocessing`; and, in our workers, episodes of a
random policy on the console's memory and on pixels. A step is four frames everywhere, sticky actions are on; bare loop
and workers play the same modes and difficulties, which do not all cost the same, the others know the default one only.
With `--learning` it measures the learning of the outer loop, per environment step: with whole second derivatives, with
none (first order), and with an inner loop of the head alone. It prints medians and ratios; `--output` also writes them
as JSON. Absolute numbers belong to the machine; compare ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.records import save_json
from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.config import load_config
from maml_rl.envs import make_meta_env
from maml_rl.samplers import Backend, MultiprocessBackend, SerialBackend
from maml_rl.shard import Shard
from maml_rl.utils.cores import available_cores

GAME = "space_invaders"
FRAME_SKIP, STICKY, EPISODE_STEPS = 4, 0.25, 500
SAME_GAME = [f"env-kwargs.frame_skip={FRAME_SKIP}", f"env-kwargs.max_episode_steps={EPISODE_STEPS}"]
OURS = {
    "ours, memory": "configs/maml/space-invaders.yaml",
    "ours, pixels 42": "configs/maml/space-invaders-pixels.yaml",
}
LEARNERS = {
    "memory, mlp": ("configs/maml/space-invaders.yaml", ["policy=mlp"]),
    "memory, geometric": ("configs/maml/space-invaders.yaml", ["policy=geometric"]),
    "pixels 42, mlp": ("configs/maml/space-invaders-pixels.yaml", []),
}
INNER_LOOPS = {"second order": [], "first order": ["first-order=true"], "head alone": ["adapted-layers=head"]}
_TASKS_OF_A_LEARNER = 3
_barrier: Any = None


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each of the others in a round")
    parser.add_argument("--learning", type=int, default=0, help="iterations of each learner; 0: none")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.num_workers, arguments.rounds, arguments.seconds)
    if arguments.learning:
        result["microseconds_per_step"] = measure_learning(arguments.learning)
    print(json.dumps(result, indent=2))
    save_json(result, arguments.output)


def measure(cores: int, num_rounds: int, seconds: float) -> dict[str, Any]:
    """Steps per second of all, per round, after one that does not count."""
    only_roll_out = [*SAME_GAME, "num-steps=0"]
    algorithms = {name: make_algorithm(load_config(path, only_roll_out)) for name, path in OURS.items()}
    rates: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        ways: dict[str, Callable[[], float]] = {
            "bare": lambda: bare_emulators(cores, seconds),
            "ale-py vector": lambda: ale_vector(cores, seconds),
            "gymnasium": lambda: in_processes(_gymnasium_loop, cores, seconds),
        }
        for name, algorithm in algorithms.items():
            started = MultiprocessBackend(algorithm.worker_spec, cores)
            backend = stack.enter_context(contextlib.closing(started))
            ways[name] = lambda algorithm=algorithm, backend=backend: our_sampler(algorithm, backend)
        for index in range(num_rounds + 1):
            for name, way in ways.items():
                rate = way()
                if index:
                    rates.setdefault(name, []).append(rate)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    return {
        "cores": cores,
        "rounds": num_rounds,
        "steps_per_second": {name: round(value, 1) for name, value in medians.items()},
        "of_bare": {
            name: round(statistics.median(x / y for x, y in zip(values, rates["bare"], strict=True)), 3)
            for name, values in rates.items()
        },
        "of_ale_py_vector": {
            name: round(statistics.median(x / y for x, y in zip(rates[name], rates["ale-py vector"], strict=True)), 3)
            for name in OURS
        },
        "versions": {name: metadata.version(name) for name in ("ale-py", "gymnasium", "torch", "numpy")},
        "python": platform.python_version(),
    }


def measure_learning(num_rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Microseconds of one core per environment step, sampling and learning, medians over iterations after the first."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, (path, overrides) in LEARNERS.items():
        for kind, settings in INNER_LOOPS.items():
            overriding = [*SAME_GAME, *overrides, *settings, f"meta-batch-size={_TASKS_OF_A_LEARNER}"]
            config = load_config(path, overriding)
            algorithm = make_algorithm(config)
            with contextlib.closing(SerialBackend(algorithm.worker_spec)) as backend:
                learner = algorithm.learner(backend, algorithm.initial_parameters())
                reports = [learner.step(algorithm.sample_tasks(i), i) for i in range(num_rounds + 1)][1:]
            found.setdefault(name, {})[kind] = {
                part: round(statistics.median(1e6 * getattr(r, f"{part}_seconds") / r.env_steps for r in reports), 1)
                for part in ("sampling", "learning")
            }
    return found


def our_sampler(algorithm: Algorithm, backend: Backend) -> float:
    """Episodes of all tasks of one iteration's meta-batch."""
    (theta,) = algorithm.initial_parameters()
    whole = Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=algorithm.config.run.seed)
    calls = [(part, theta) for part in whole.split(backend.num_shards)]
    start = time.perf_counter()
    reports = backend.map("collect", calls)
    return sum(report.env_steps for report in reports) / (time.perf_counter() - start)


def bare_emulators(cores: int, seconds: float) -> float:
    """One loop of `act` per core; the emulator itself skips frames and repeats actions."""
    return in_processes(_bare_loop, cores, seconds)


def in_processes(loop: Callable[[float], float], cores: int, seconds: float) -> float:
    """The sum of what the same loop does in one process per core."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(cores, initializer=_set_barrier, initargs=(context.Barrier(cores),)) as pool:
        return float(sum(pool.map(loop, [seconds] * cores, chunksize=1)))


def _set_barrier(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _bare_loop(seconds: float) -> float:
    from ale_py import ALEInterface, LoggerMode, roms

    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    emulator.setInt("frame_skip", FRAME_SKIP)
    emulator.setFloat("repeat_action_probability", STICKY)
    emulator.setInt("random_seed", 0)
    path = roms.get_rom_path(GAME)
    assert path is not None
    emulator.loadROM(path)
    actions, rng = emulator.getMinimalActionSet(), np.random.default_rng(0)
    choices = [actions[i] for i in rng.integers(0, len(actions), EPISODE_STEPS)]
    env = make_meta_env("SpaceInvadersModes-v0", 1)
    act, over = emulator.act, emulator.game_over
    _barrier.wait()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        (task,) = env.sample_tasks(1, rng)
        emulator.setDifficulty(task["difficulty"])
        emulator.setMode(task["mode"])
        emulator.reset_game()
        for action in choices:
            act(action)
            count += 1
            if over():
                break
    return count / (time.perf_counter() - start)


def ale_vector(cores: int, seconds: float, num_envs: int = 32) -> float:
    """ale-py's own vector environment, 84 x 84 grey, in one thread per core."""
    from ale_py import AtariVectorEnv

    env = AtariVectorEnv(
        GAME, num_envs, num_threads=cores, frameskip=FRAME_SKIP, repeat_action_probability=STICKY, noop_max=0
    )
    actions = np.random.default_rng(0).integers(0, 6, (100, num_envs))
    env.reset(seed=0)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        env.step(actions[count % len(actions)])
        count += 1
    rate = count * num_envs / (time.perf_counter() - start)
    env.close()
    return rate


def _gymnasium_loop(seconds: float) -> float:
    import ale_py
    import gymnasium as gym
    from gymnasium.wrappers import AtariPreprocessing

    gym.register_envs(ale_py)
    made = gym.make("ALE/SpaceInvaders-v5", frameskip=1, repeat_action_probability=STICKY)
    env = AtariPreprocessing(made, noop_max=0, frame_skip=FRAME_SKIP)
    choices = np.random.default_rng(0).integers(0, 6, 1000).tolist()
    env.reset(seed=0)
    _barrier.wait()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        _, _, terminated, truncated, _ = env.step(choices[count % 1000])
        count += 1
        if terminated or truncated:
            env.reset()
    return count / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
