"""An ensemble beside the straightforward loop: environment steps per second of training networks on a drifting bandit.

`python -m benchmarks.ensemble` trains, round by round, one network by a loop that plays one episode at a time, step by
step, and then makes one gradient step (A2C); and an ensemble with the same sizes, once with the loop's single gradient
per iteration and once as `configs/rl2` has it. It prints medians and ratios; `--output` also writes them as JSON.
Absolute numbers belong to the machine; compare ratios.
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

import numpy as np
import torch

from benchmarks.records import save_json
from maml_rl.algorithms import make_algorithm
from maml_rl.config import Config, load_config
from maml_rl.utils.cores import available_cores
from maml_rl.workforce import workers

CONFIG = "configs/rl2/drifting-bandit.yaml"
NUM_ARMS, NUM_TRIALS = 4, 150
FIXATE = NUM_ARMS
EPISODES_PER_ROUND = 6


class PlainDriftingBandit:
    """The task as an ordinary environment of one episode, written for speed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def reset(self) -> list[float]:
        """New arms; the observation with previous action, reward and done."""
        self._means, self._step = self._rng.uniform(0.0, 100.0, NUM_ARMS), 0
        return self._observe(None, 0.0)

    def step(self, action: int) -> tuple[list[float], float, bool]:
        """Fixate or choose."""
        deciding = self._step % 2 == 1
        reward = 0.0
        if (action == FIXATE) == deciding:
            reward = -1.0
        elif deciding:
            reward = (self._means[action] + 4.0 * self._rng.standard_normal()) / 50.0
        if deciding:
            noise = 2.8 * self._rng.standard_normal(NUM_ARMS)
            self._means = 50.0 + 0.9836 * (self._means - 50.0) + noise
        self._step += 1
        return self._observe(action, reward), reward, self._step == 2 * NUM_TRIALS

    def _observe(self, action: int | None, reward: float) -> list[float]:
        stage = self._step % 2
        actions = [0.0] * (NUM_ARMS + 1)
        if action is not None:
            actions[action] = 1.0
        return [1.0 - stage, float(stage), *actions, reward, 0.0]


class Loop:
    """One network, one episode at a time (Mnih et al. 2016; Wang et al. 2016)."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._env = PlainDriftingBandit(np.random.default_rng(0))
        self._generator = torch.Generator().manual_seed(0)
        size = config.hidden_sizes[0]
        self._cell = torch.nn.LSTMCell(NUM_ARMS + 5, size)
        self._policy, self._value = torch.nn.Linear(size, NUM_ARMS + 1), torch.nn.Linear(size, 1)
        self._parameters = [p for part in (self._cell, self._policy, self._value) for p in part.parameters()]
        self._optimiser = torch.optim.Adam(self._parameters, config.learning_rate)

    def train_episode(self) -> int:
        """Play an episode and make a gradient step; return its environment steps."""
        observation, done = self._env.reset(), False
        state = None
        log_probs, values, entropies, rewards = [], [], [], []
        while not done:
            state = self._cell(torch.tensor([observation], dtype=torch.float32), state)
            logs = torch.log_softmax(self._policy(state[0])[0], -1)
            action = int(torch.multinomial(logs.detach().exp(), 1, generator=self._generator))
            observation, reward, done = self._env.step(action)
            log_probs.append(logs[action])
            entropies.append(-(logs.exp() * logs).sum())
            values.append(self._value(state[0])[0, 0])
            rewards.append(reward)
        self._learn(torch.stack(log_probs), torch.stack(values), torch.stack(entropies), rewards)
        return len(rewards)

    def _learn(
        self, log_probs: torch.Tensor, values: torch.Tensor, entropies: torch.Tensor, rewards: list[float]
    ) -> None:
        c = self._config
        now = values.detach().tolist()
        following = [*now[1:], 0.0]
        advantages, gain = [0.0] * len(rewards), 0.0
        for step in reversed(range(len(rewards))):
            error = rewards[step] + c.gamma * following[step] - now[step]
            gain = error + c.gamma * c.gae_lambda * gain
            advantages[step] = gain
        advantage = torch.tensor(advantages, dtype=torch.float32)
        targets = advantage + values.detach()
        loss = -(log_probs * advantage).mean() + c.value_coef * (values - targets).square().mean()
        loss = loss - c.entropy_coef * entropies.mean()
        self._optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, c.max_grad_norm)
        self._optimiser.step()


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--num-agents", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.num_workers, arguments.num_agents, arguments.rounds)
    print(json.dumps(result, indent=2))
    save_json(result, arguments.output)


def measure(cores: int, num_agents: int, num_rounds: int) -> dict[str, Any]:
    """Training steps per second of all, per round, after one that does not count."""
    default = load_config(CONFIG, [f"num-agents={num_agents}"])
    configs = {"a2c": default.replace(outer_step="a2c"), "default": default}
    loop, rows = Loop(default), []
    with contextlib.ExitStack() as stack:
        learners, algorithms = {}, {name: make_algorithm(config) for name, config in configs.items()}
        for name, algorithm in algorithms.items():
            backend = stack.enter_context(workers(algorithm, cores, "multiprocess"))
            learners[name] = algorithm.learner(backend, algorithm.initial_parameters())
        torch.set_num_threads(cores)
        for index in range(num_rounds + 1):
            start = time.perf_counter()
            steps = sum(loop.train_episode() for _ in range(EPISODES_PER_ROUND))
            row = {"loop": steps / (time.perf_counter() - start)}
            for name, learner in learners.items():
                tasks = algorithms[name].sample_tasks(index)
                start = time.perf_counter()
                report = learner.step(tasks, index)
                row[name] = report.env_steps / (time.perf_counter() - start)
            if index:
                rows.append(row)
                print(json.dumps(row), flush=True)
    return {
        "config": default.to_json_dict(),
        "cores": cores,
        "rounds": rows,
        "medians": {name: statistics.median(row[name] for row in rows) for name in rows[0]},
        "over_loop": {name: statistics.median(row[name] / row["loop"] for row in rows) for name in configs},
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in ("torch", "numpy")},
    }


if __name__ == "__main__":
    main()
