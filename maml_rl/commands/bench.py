"""`maml-rl bench`: what policy and recording cost beside the environment alone, on this machine."""

from __future__ import annotations

import argparse
import math
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from maml_rl.algorithms import make_algorithm
from maml_rl.cli import run_command
from maml_rl.config import Config, load_config
from maml_rl.envs import MetaVectorEnv, make_meta_env
from maml_rl.samplers.recorders import EpisodeRecorder
from maml_rl.samplers.rollout import rollout
from maml_rl.shard import Shard
from maml_rl.utils.command_lines import Parser
from maml_rl.utils.errors import InputError
from maml_rl.utils.graphics import choose_gl
from maml_rl.utils.log import LOGGER
from maml_rl.utils.random import Purpose, generator

_NUM_TASKS = 4
_LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Rates:
    """Environment steps per second of one process, a number for each round.

    Attributes
    ----------
    alone
        The environment alone: the actions of the sampler's episodes again, without policy and recording.
    sampler
        The sampler: the policy chooses, episodes are recorded.
    """

    alone: list[float]
    sampler: list[float]

    @property
    def ratio(self) -> float:
        """Median over rounds of the sampler's rate, as a fraction of that of the environment alone."""
        return statistics.median(x / y for x, y in zip(self.sampler, self.alone, strict=True))


def bench_command(argv: Sequence[str] | None = None, *, prog: str = "maml-rl bench") -> int:
    """Measure the sampler beside the environment alone."""
    parser = Parser(prog=prog, description="Measure the sampler beside the environment alone, in one process.")
    parser.add_argument(
        "family", nargs="?", default="HalfCheetahDir-v2", help="a task family, or a configuration whose family it is"
    )
    parser.add_argument("--episodes", type=int, default=20, help="episodes of each of 4 tasks (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="time to measure for (default: %(default)s)")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _bench(arguments), interrupted="nothing is kept")


def _bench(arguments: argparse.Namespace) -> None:
    choose_gl()
    if arguments.episodes < 1:
        raise InputError(f"--episodes: got {arguments.episodes}, expected at least 1")
    if not (math.isfinite(arguments.seconds) and arguments.seconds > 0):
        raise InputError(f"--seconds: got {arguments.seconds:g}, expected a number > 0")
    name = arguments.family
    is_family = re.search(r"-v\d+$", name) is not None
    task = {"env_name": name} if is_family else vars(load_config(name, quiet=True).task)
    config = Config(env_name=task["env_name"], env_kwargs=task.get("env_kwargs", {}))
    rates = measure(config, num_episodes=arguments.episodes, seconds=arguments.seconds)
    LOGGER.info(
        f"{config.env_name}: {arguments.episodes} episodes of each of {_NUM_TASKS} tasks step together in one process, "
        "one thread\n"
        f"environment alone  {statistics.median(rates.alone):>12,.0f} steps/s\n"
        f"sampler            {statistics.median(rates.sampler):>12,.0f} steps/s, an untrained MLP of "
        f"{list(config.hidden_sizes)} acts, episodes are recorded\n"
        f"ratio              {rates.ratio:>12.2f}, median of {len(rates.alone)} rounds with the same actions"
    )


def measure(config: Config, *, num_episodes: int, seconds: float) -> Rates:
    """Have sampler and environment alone take turns, for about `seconds` and in at least three rounds.

    Parameters
    ----------
    config
        Its task family and its policy.
    num_episodes
        Episodes of each task, >= 1.
    seconds
        Longest time, > 0; the first round, which warms up, does not count.
    """
    torch.set_num_threads(1)
    algorithm = make_algorithm(config)
    params = algorithm.layout.on("cpu").stack(algorithm.initial_parameters())
    env = make_meta_env(config.env_name, _NUM_TASKS * num_episodes, config.env_kwargs)
    tasks = env.sample_tasks(_NUM_TASKS, generator(config.seed, Purpose.EVALUATION_TASKS))
    shard = Shard(range(_NUM_TASKS), tasks, 0, config.seed, evaluation=True)
    rates, end = Rates([], []), math.inf
    try:
        while len(rates.alone) < _LEAST_ROUNDS or time.perf_counter() < end:
            start = time.perf_counter()
            recorder = EpisodeRecorder()
            episodes, _ = rollout(env, algorithm.policy, params, tasks, shard.streams(), recorder=recorder)
            sampled = time.perf_counter() - start
            actions = episodes.actions[0].numpy()  # (T, N, *A)
            alone = _replay(env, shard, actions)
            if end == math.inf:  # the first round
                end = time.perf_counter() + seconds
                continue
            rates.sampler.append(episodes.num_steps / sampled)
            rates.alone.append(episodes.num_steps / alone)
    finally:
        env.close()
    return rates


def _replay(env: MetaVectorEnv, shard: Shard, actions: np.ndarray) -> float:
    """Seconds that the environment takes for actions (T, N, *A)."""
    streams = shard.streams()
    start = time.perf_counter()
    env.set_tasks(shard.tasks)
    env.reset(options={"rngs": streams.environment})
    for row in actions:
        env.step(row)
    return time.perf_counter() - start
