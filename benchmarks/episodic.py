"""What a dictionary costs: a step of a thousand of them, and training beside a loop over single environments.

`python -m benchmarks.episodic` measures in one run, round by round: a step of the episodic policy in 1,000 environments
with 1,000 entries of 48 units, writes included; the same step in a loop over environments, with lists of entries; and
whole iterations of training on contextual two-step trials beside an agent that meets one environment at a time, as
public programs do. `--output` also writes the numbers as JSON. Absolute numbers belong to the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.records import save_json
from maml_rl.algorithms import make_algorithm
from maml_rl.config import load_config
from maml_rl.envs import make_meta_env
from maml_rl.policies import PolicySpec, make_policy
from maml_rl.policies.episodic_state import EpisodicOptions
from maml_rl.utils.cores import available_cores
from maml_rl.workforce import workers

CONFIG = "configs/rl2/contextual-two-step.yaml"
NUM_ENVS, CAPACITY, UNITS, KEY_SIZE, NUM_ACTIONS = 1000, 1000, 48, 10, 2
ENDING = 0.1
"""Fraction of environments whose episode ends with a step."""
NUM_LOOPED = 20
"""Environments of the loop, whose time per environment is what counts."""


def main() -> None:
    """Parse arguments, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    result = measure(arguments.num_workers, arguments.rounds)
    print(json.dumps(result, indent=2))
    save_json(result, arguments.output)


def measure(cores: int, num_rounds: int) -> dict[str, Any]:
    """All of them once per round, after one round that does not count."""
    together, alone, single = batched_step(), looped_step(), SingleEnvironment()
    with training_iterations(cores) as training:
        torch.set_num_threads(cores)  # workers have one each
        parts: dict[str, Callable[[], float]] = {
            "step_ms": lambda: 1e3 * seconds(together),
            "looped_step_ms": lambda: 1e3 * seconds(alone) * NUM_ENVS / NUM_LOOPED,
            "meta_episode_ms": lambda: 1e3 * training(),
            "single_meta_episode_ms": lambda: 1e3 * seconds(single.meta_episode),
        }
        rounds = [{name: part() for name, part in parts.items()} for _ in range(num_rounds + 1)][1:]
    medians = {name: statistics.median(values[name] for values in rounds) for name in parts}
    return {
        "cpu_cores": cores,
        "platform": platform.machine(),
        "torch": torch.__version__,
        "environments": NUM_ENVS,
        "entries": CAPACITY,
        "units": UNITS,
        "rounds": num_rounds,
        **medians,
        "times_the_loop": ratio(rounds, "looped_step_ms", "step_ms"),
        "times_the_single_environment": ratio(rounds, "single_meta_episode_ms", "meta_episode_ms"),
    }


def ratio(rounds: list[dict[str, float]], slow: str, fast: str) -> float:
    """Median of the rounds' ratios."""
    return statistics.median(values[slow] / values[fast] for values in rounds)


def seconds(function: Callable[[], object]) -> float:
    """Time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def batched_step() -> Callable[[], None]:
    """A step of the policy in all environments, with dictionaries that are full."""
    options = EpisodicOptions(dictionary_capacity=CAPACITY)
    size = KEY_SIZE + NUM_ACTIONS + 2
    policy = make_policy(PolicySpec("episodic", size, NUM_ACTIONS, False, (UNITS,), "tanh", options))
    rng = np.random.default_rng(0)
    policy.initialise(rng)
    params = policy.params()
    observations = torch.from_numpy(rng.standard_normal((NUM_ENVS, size)).astype(np.float32))
    state = policy.initial_state(params, (NUM_ENVS,))
    entries = state.entries
    entries.keys.normal_(generator=torch.Generator().manual_seed(0))
    entries.keys.div_(entries.keys.norm(dim=-2, keepdim=True))
    entries.squares.fill_(1.0)
    entries.written.fill_(CAPACITY)
    held = [state]

    def step() -> None:
        with torch.no_grad():
            active = torch.from_numpy(rng.random(NUM_ENVS) < 0.9)  # some environments are over
            over = torch.from_numpy(rng.random(NUM_ENVS) < ENDING)
            _, after = policy.step(params, observations, held[0])
            held[0] = policy.begin_episode(params, policy.keep(active, after, held[0]), observations, over)

    return step


def looped_step() -> Callable[[], None]:
    """The same for a few environments one after another, entry by entry as lists."""
    rng = np.random.default_rng(0)
    agents = [SingleAgent(KEY_SIZE, UNITS, entries=CAPACITY) for _ in range(NUM_LOOPED)]
    inputs = torch.zeros(KEY_SIZE + NUM_ACTIONS + 2)

    def step() -> None:
        with torch.no_grad():
            for agent in agents:
                key = torch.from_numpy(rng.standard_normal(KEY_SIZE).astype(np.float32))
                agent.step(inputs, key)
                if rng.random() < ENDING:
                    agent.write(key)

    return step


@contextlib.contextmanager
def training_iterations(cores: int) -> Iterator[Callable[[], float]]:
    """Function that trains for an iteration and returns its seconds per meta-episode."""
    config = load_config(CONFIG, [f"meta-batch-size={256 * cores}", "outer-step=a2c", "hidden-sizes=[24]"])
    algorithm = make_algorithm(config)
    with workers(algorithm, cores, backend="multiprocess") as backend:
        learner = algorithm.learner(backend, algorithm.initial_parameters())
        counter = iter(range(1_000_000))

        def iteration() -> float:
            index = next(counter)
            tasks = algorithm.sample_tasks(index)
            return seconds(lambda: learner.step(tasks, index)) / len(tasks)

        yield iteration


class SingleAgent(nn.Module):
    """An LSTM with a reinstatement gate for one environment, its entries in lists."""

    def __init__(self, key_size: int, size: int, *, entries: int = 0, num_inputs: int | None = None) -> None:
        super().__init__()
        inputs = key_size + NUM_ACTIONS + 2 if num_inputs is None else num_inputs
        self.ih, self.hh = nn.Linear(inputs, 5 * size), nn.Linear(size, 5 * size)
        self.policy, self.value = nn.Linear(size, NUM_ACTIONS), nn.Linear(size, 1)
        self.output, self.cell = torch.zeros(size), torch.zeros(size)
        self.keys = [torch.randn(key_size, generator=torch.Generator().manual_seed(i)) for i in range(entries)]
        self.values = [torch.zeros(size) for _ in range(entries)]

    def step(self, inputs: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (A,) and value () after inputs (I,) under a key (K,)."""
        recalled = torch.zeros_like(self.cell)
        if self.keys:
            similarity = torch.cosine_similarity(torch.stack(self.keys), key.unsqueeze(0))
            recalled = self.values[int(similarity.argmax())]
        enter, forget, show, reinstate, candidate = (self.ih(inputs) + self.hh(self.output)).chunk(5)
        cell = torch.sigmoid(forget) * self.cell + torch.sigmoid(enter) * torch.tanh(candidate)
        self.cell = cell + torch.sigmoid(reinstate) * torch.tanh(recalled)
        self.output = torch.sigmoid(show) * torch.tanh(self.cell)
        return self.policy(self.output), self.value(self.output)[0]

    def write(self, key: Tensor) -> None:
        """Keep the cell under a key (K,)."""
        self.keys.append(key)
        self.values.append(self.cell.detach())

    def begin(self) -> None:
        """Forget all."""
        self.output, self.cell = torch.zeros_like(self.output), torch.zeros_like(self.cell)
        self.keys, self.values = [], []


class SingleEnvironment:
    """An advantage actor-critic that rolls out one meta-episode of a hundred trials, then learns from it."""

    def __init__(self) -> None:
        self.env = make_meta_env("ContextualTwoStep-v0", 1)
        self.agent = SingleAgent(KEY_SIZE, 24, num_inputs=3 + KEY_SIZE + NUM_ACTIONS + 2)
        self.optimiser = torch.optim.Adam(self.agent.parameters(), lr=1e-3)
        self.rng = np.random.default_rng(0)

    def meta_episode(self) -> None:
        """Roll out and learn."""
        self.agent.begin()
        self.env.set_tasks(self.env.sample_tasks(1, self.rng))
        observed, _ = self.env.reset(seed=0)
        beside, log_probs, values, rewards = torch.zeros(NUM_ACTIONS + 2), [], [], []
        for _ in range(100):
            for _ in range(2):
                own = torch.from_numpy(observed[0])
                logits, value = self.agent.step(torch.cat([own, beside]), own[3:])
                probabilities = torch.softmax(logits, -1)
                action = int(self.rng.random() < float(probabilities[1].detach()))
                observed, reward, over, _, _ = self.env.step(np.array([action]))
                beside = torch.zeros(NUM_ACTIONS + 2)
                beside[action], beside[NUM_ACTIONS], beside[NUM_ACTIONS + 1] = 1.0, float(reward[0]), float(over[0])
                log_probs.append(torch.log(probabilities[action]))
                values.append(value)
                rewards.append(float(reward[0]))
            self.agent.write(own[3:])
            observed, _ = self.env.reset()
        self._learn(log_probs, values, rewards)

    def _learn(self, log_probs: list[Tensor], values: list[Tensor], rewards: list[float]) -> None:
        returns, total = [], 0.0
        for reward in reversed(rewards):
            total = reward + 0.9 * total
            returns.append(total)
        targets, baseline = torch.tensor(returns[::-1]), torch.stack(values)
        advantages = targets - baseline.detach()
        loss = -(torch.stack(log_probs) * advantages).sum() + 0.5 * (baseline - targets).square().sum()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


if __name__ == "__main__":
    main()
