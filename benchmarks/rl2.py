"""RL² beside sb3-contrib's RecurrentPPO: environment steps per second of training, on the same bandit.

`python -m benchmarks.rl2` trains both in turn, round by round, with the same LSTM on meta-episodes of 100 pulls of a
5-armed Bernoulli bandit; it prints medians and ratios; `--output` also writes them as JSON. RecurrentPPO runs with its
default 10 epochs on 16 environments and minibatches of 128 steps, ours with as many epochs and minibatches, and again
as `configs/rl2` has it. With `--best-batch` RecurrentPPO runs once more, at equal epochs, with the number of
environments and the minibatch of a small grid with which it is fastest: what it learns per step is not looked at.
With `--jax` one jitted JAX program (`benchmarks.jax_rl2`) runs too, with the sizes, epochs and minibatches of
`configs/rl2` and as many threads as it likes; it is the one that `default` is to be compared with. `default, served
here` is the same with `--serve-here true`.
Absolute numbers belong to the machine; compare ratios. Needs ``pip install 'maml_rl[bench]'``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from benchmarks.jax_rl2 import JaxLearner, sizes_of
from benchmarks.records import save_json
from maml_rl.algorithms import make_algorithm
from maml_rl.config import Config, load_config
from maml_rl.envs import Task
from maml_rl.samplers import BackendChoice
from maml_rl.utils.cores import available_cores
from maml_rl.utils.random import Purpose, generator
from maml_rl.workforce import workers

CONFIG = "configs/rl2/bandit-k5-n100.yaml"
NUM_ARMS = 5
NUM_ENVS, NUM_STEPS, BATCH_SIZE, NUM_EPOCHS = 16, 128, 128, 10
NUM_MINIBATCHES = NUM_ENVS * NUM_STEPS // BATCH_SIZE
TURN_SECONDS = 2.0
GRID_OF_ENVS, GRID_OF_BATCH_SIZES = (16, 64, 256), (128, 512, 2048)
"""Where `--best-batch` looks; every size divides the steps of every rollout."""


class PlainBandit(gym.Env[np.ndarray, int]):
    """A meta-episode as an ordinary environment, written for speed: 100 pulls, previous action and reward observed."""

    def __init__(self, k: int, num_pulls: int) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (k + 2,), np.float32)
        self.action_space = gym.spaces.Discrete(k)
        self._k, self._num_pulls = k, num_pulls

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New means, nothing pulled yet."""
        super().reset(seed=seed)
        self._means, self._pulls = self.np_random.random(self._k), 0
        return self._observe(None, 0.0), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Pull an arm."""
        reward = float(self.np_random.random() < self._means[action])
        self._pulls += 1
        return self._observe(action, reward), reward, self._pulls == self._num_pulls, False, {}

    def _observe(self, action: int | None, reward: float) -> np.ndarray:
        observation = np.zeros(self._k + 2, np.float32)
        observation[0], observation[-1] = 1.0, reward
        if action is not None:
            observation[1 + action] = 1.0
        return observation


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--best-batch",
        action="store_true",
        help="also run RecurrentPPO with the environments and minibatch of a grid with which it is fastest",
    )
    parser.add_argument("--jax", action="store_true", help="also run one jitted JAX program")
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = measure(
        arguments.num_workers, arguments.rounds, with_best_batch=arguments.best_batch, with_jax=arguments.jax
    )
    print(json.dumps(result, indent=2))
    save_json(result, arguments.output)


def measure(cores: int, num_rounds: int, *, with_best_batch: bool = False, with_jax: bool = False) -> dict[str, Any]:
    """Training steps per second of all, in turn, per round, after one that does not count."""
    default = load_config(CONFIG)
    epochs = {"num_epochs": NUM_EPOCHS, "num_minibatches": NUM_MINIBATCHES, "outer_step": "ppo"}
    configs = {"equal_epochs": default.replace(**epochs), "default": default, "default, served here": default}
    theirs = {"recurrent_ppo": _recurrent_ppo(default, cores)}
    grid: list[dict[str, float]] = []
    if with_best_batch:
        theirs["recurrent_ppo_best_batch"], grid = fastest_batch(default, cores)
    speeds = {name: partial(_speed, learner) for name, learner in theirs.items()}
    if with_jax:
        speeds["jax"] = JaxLearner(sizes_of(default)).speed
    rows: list[dict[str, float]] = []
    with contextlib.ExitStack() as stack:
        learners, env = {}, make_algorithm(default).env
        for name, config in configs.items():
            algorithm = make_algorithm(config)
            choice = BackendChoice("multiprocess", {"serve_here": name.endswith("served here")})
            backend = stack.enter_context(workers(algorithm, cores, choice))
            learners[name] = algorithm.learner(backend, algorithm.initial_parameters())
        for index in range(num_rounds + 1):
            torch.set_num_threads(cores)
            row = {name: _turn(speed) for name, speed in speeds.items()}
            torch.set_num_threads(1)  # as `train.py` has it: each worker has a core
            for name, learner in learners.items():
                rng = generator(default.seed, Purpose.TASKS, iteration=index)
                tasks = env.sample_tasks(configs[name].meta_batch_size, rng)
                row[name] = _turn(partial(_own_speed, learner, tasks, index))
            if index:
                rows.append(row)
                print(json.dumps(row), flush=True)
    packages = ("torch", "numpy", "stable-baselines3", "sb3-contrib", *(["jax"] if with_jax else []))
    return {
        "config": default.to_json_dict(),
        **{name: _batch(learner) for name, learner in theirs.items()},
        "grid": grid,
        "cores": cores,
        "rounds": rows,
        "medians": {name: statistics.median(row[name] for row in rows) for name in rows[0]},
        **{
            f"over_{other}": {name: statistics.median(row[name] / row[other] for row in rows) for name in configs}
            for other in speeds
        },
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
    }


def fastest_batch(config: Config, cores: int) -> tuple[Any, list[dict[str, float]]]:
    """RecurrentPPO with the environments and the minibatch of the grid that give most steps per second of training.

    Epochs are the same everywhere. One rollout each, whose speed stands in the list that is returned beside it.
    """
    grid: list[dict[str, float]] = []
    for num_envs in GRID_OF_ENVS:
        for batch_size in GRID_OF_BATCH_SIZES:
            learner = _recurrent_ppo(config, cores, num_envs=num_envs, batch_size=batch_size)
            grid.append({"n_envs": num_envs, "batch_size": batch_size, "steps_per_second": _speed(learner)})
            print(json.dumps(grid[-1]), flush=True)
    best = max(grid, key=lambda row: row["steps_per_second"])
    sizes = {"num_envs": int(best["n_envs"]), "batch_size": int(best["batch_size"])}
    return _recurrent_ppo(config, cores, **sizes), grid


def _turn(speed: Callable[[], float]) -> float:
    """Median speed of the iterations that begin within `TURN_SECONDS`, after one that does not count.

    Threads of whoever ran before go on spinning for a while, and caches are cold.
    """
    speed()
    speeds, start = [speed()], time.perf_counter()
    while time.perf_counter() - start < TURN_SECONDS:
        speeds.append(speed())
    return statistics.median(speeds)


def _own_speed(learner: Any, tasks: Sequence[Task], iteration: int) -> float:
    report = learner.step(tasks, iteration)
    return float(report.env_steps / (report.sampling_seconds + report.learning_seconds))


def _speed(learner: Any) -> float:
    """Environment steps per second of one rollout of RecurrentPPO and of learning from it."""
    start, before = time.perf_counter(), learner.num_timesteps
    learner.learn(learner.n_envs * learner.n_steps, reset_num_timesteps=False)
    return float((learner.num_timesteps - before) / (time.perf_counter() - start))


def _batch(learner: Any) -> dict[str, int]:
    return {key: getattr(learner, key) for key in ("n_envs", "n_steps", "batch_size", "n_epochs")}


def _recurrent_ppo(config: Config, cores: int, *, num_envs: int = NUM_ENVS, batch_size: int = BATCH_SIZE) -> Any:
    """sb3-contrib's learner with the network of the configuration: one LSTM that actions and values share."""
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.vec_env import DummyVecEnv

    torch.set_num_threads(cores)
    env = DummyVecEnv([lambda: PlainBandit(NUM_ARMS, config.fast_batch_size)] * num_envs)
    return RecurrentPPO(
        "MlpLstmPolicy",
        env,
        n_steps=NUM_STEPS,
        batch_size=batch_size,
        n_epochs=NUM_EPOCHS,
        gamma=config.gamma,
        gae_lambda=config.gae_lambda,
        learning_rate=config.learning_rate,
        ent_coef=config.entropy_coef,
        vf_coef=config.value_coef,
        max_grad_norm=config.max_grad_norm,
        policy_kwargs={
            "lstm_hidden_size": config.hidden_sizes[0],
            "shared_lstm": True,
            "enable_critic_lstm": False,
            "net_arch": [],
        },
        device="cpu",
        seed=config.seed,
    )


if __name__ == "__main__":
    main()
