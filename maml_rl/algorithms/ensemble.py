"""Algorithm ``rl2`` with several agents: independent learners of one configuration and different seeds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maml_rl.algorithms.algorithm import Adaptation, Evaluation
from maml_rl.algorithms.building import initial_policy, policy_spec
from maml_rl.algorithms.experience import ExperiencedAlgorithm
from maml_rl.algorithms.rl2 import RL2Agent, adaptation, evaluation, meta_episodes, outer_step, worker_spec
from maml_rl.config import Config
from maml_rl.envs import MetaEpisodeVectorEnv, Task
from maml_rl.metalearners import RL2, Report, RL2Step
from maml_rl.metalearners.learner import StateTensor, Workers
from maml_rl.samplers import Backend
from maml_rl.samplers.ensemble_worker import AgentStep, EnsembleWorkerSpec, State
from maml_rl.samplers.meta_episodes import MetaEpisodes
from maml_rl.settings import RL2Settings
from maml_rl.shard import Shard
from maml_rl.utils.random import Purpose, generator


class Ensemble(ExperiencedAlgorithm):
    """RL² agents side by side: agent i is the agent that seed ``seed + i`` makes alone.

    Parameters
    ----------
    config
        The configuration.
    device, dtype
        Device that learns, and float type of the policy.
    """

    remedy = "learning-rate or max-kl"
    env: MetaEpisodeVectorEnv
    films = "a film shows one agent, and these are several"

    def __init__(self, config: Config, device: str, dtype: str) -> None:
        env = meta_episodes(config)
        self.spec = policy_spec(config, env, dtype, with_value=True)
        self._seeds = [config.run.seed + i for i in range(config.section(RL2Settings).num_agents)]
        super().__init__(config, env, [initial_policy(self.spec, seed) for seed in self._seeds], device=device)

    @property
    def adaptation(self) -> Adaptation:
        """See `Algorithm.adaptation`."""
        return adaptation(self.config)

    @property
    def worker_spec(self) -> EnsembleWorkerSpec:
        """See `Algorithm.worker_spec`."""
        agents = tuple(worker_spec(self.config, self.env, self.spec, layout) for layout in self.layouts)
        return EnsembleWorkerSpec(agents, self._outers)

    @property
    def _outers(self) -> tuple[RL2Step, ...]:
        run = self.config.run
        return tuple(outer_step(self.config, run.model_copy(update={"seed": seed})) for seed in self._seeds)

    @property
    def max_shards(self) -> int:
        """See `Algorithm.max_shards`: one an agent."""
        return self.population_size

    def individual(self, index: int) -> RL2Agent:
        """See `Algorithm.individual`: the agent that its seed makes alone."""
        super().individual(index)
        alone = self.config.replace(num_agents=1, seed=self._seeds[index])
        dtype = str(next(iter(self.individuals()[index].values())).dtype).removeprefix("torch.")
        return RL2Agent(alone, self.device, dtype).with_individuals([self.individuals()[index]])

    def sample_tasks(self, iteration: int) -> list[Task]:
        """Tasks of each agent, one agent's behind the other's (P * M)."""
        size = self.config.run.meta_batch_size
        rngs = [generator(seed, Purpose.TASKS, iteration=iteration) for seed in self._seeds]
        return [task for rng in rngs for task in self.env.sample_tasks(size, rng)]

    def learner(self, backend: Workers, parameters: np.ndarray) -> EnsembleLearner:
        """See `Algorithm.learner`."""
        return EnsembleLearner(backend, parameters, self._outers)

    def evaluate(self, backend: Backend, shard: Shard, parameters: np.ndarray, num_adaptation_steps: int) -> Evaluation:
        """See `Algorithm.evaluate`: every agent has all tasks, and the same noise."""
        calls = [
            ([shard] * len(agents), agents, parameters[agents], num_adaptation_steps + 1)
            for agents in _parts(self.population_size, backend.num_shards)
        ]
        each = [one for part in backend.map("evaluate", calls) for one in part]
        return evaluation(shard, MetaEpisodes.joined(each, axis=0), self.adaptation)


class EnsembleLearner:
    """One RL² learner for each of P agents; those of a worker act together.

    An agent whose rewards or gradients are not numbers stays where it is in that iteration; others go on.

    Parameters
    ----------
    workers
        A backend of workers made of `EnsembleWorkerSpec`.
    parameters
        Initial parameters (P, D) of all agents.
    outers
        Settings of each agent's outer step.
    """

    details: tuple[str, ...] = RL2.details

    def __init__(self, workers: Workers, parameters: np.ndarray, outers: Sequence[RL2Step]) -> None:
        self.workers = workers
        self._parameters = parameters.copy()
        self._outers = outers
        like = RL2(workers, parameters[:1], outers[0])
        self._layout = like.state_layout()
        self._states: list[State] = [{k: v.numpy() for k, v in like.state_dict().items()} for _ in outers]

    @property
    def parameters(self) -> np.ndarray:
        """See `Learner.parameters`."""
        return self._parameters.copy()

    def state_layout(self) -> dict[str, StateTensor]:
        """See `Learner.state_layout`: (P, D) and (P,)."""
        return {k: StateTensor((len(self._outers), *one.shape), one.least) for k, one in self._layout.items()}

    def state_dict(self) -> dict[str, Tensor]:
        """See `Learner.state_dict`."""
        return {name: torch.from_numpy(np.stack([state[name] for state in self._states])) for name in self._layout}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `Learner.load_state_dict`."""
        if state:
            self._states = [{k: v[agent].numpy() for k, v in state.items()} for agent in range(len(self._outers))]

    def step(self, tasks: Sequence[Task], iteration: int) -> Report:
        """One iteration of every agent on M tasks of its own, given one agent's behind the other's (P * M)."""
        start = time.perf_counter()
        size = len(tasks) // len(self._outers)
        shards = [
            Shard.whole(tasks[agent * size : (agent + 1) * size], iteration=iteration, seed=outer.run.seed)
            for agent, outer in enumerate(self._outers)
        ]
        calls = [
            ([shards[i] for i in part], part, self._parameters[part], [self._states[i] for i in part])
            for part in _parts(len(shards), self.workers.num_shards)
        ]
        steps: list[AgentStep] = [step for steps in self.workers.map("step", calls) for step in steps]
        self._parameters = np.stack([step.parameters for step in steps])
        self._states = [step.state for step in steps]
        return mean_report([step.report for step in steps], time.perf_counter() - start, self.workers.num_workers)


def _parts(count: int, num_parts: int) -> list[list[int]]:
    """Numbers 0 ... count - 1 in contiguous parts, as even as possible."""
    return [part.tolist() for part in np.array_split(np.arange(count), num_parts)]


def mean_report(reports: Sequence[Report], seconds: float, num_workers: int) -> Report:
    """Means over the agents whose numbers are finite; steps of all; whether all moved, and any was finite.

    What is not learning is sampling.
    """
    sound = [report for report in reports if report.finite] or list(reports)

    def mean(values: Sequence[Any]) -> float:
        return float(np.mean(values))

    learning = min(seconds, sum(report.learning_seconds for report in reports) / num_workers)
    return Report(
        env_steps=sum(report.env_steps for report in reports),
        sampling_seconds=seconds - learning,
        learning_seconds=learning,
        return_before=mean([report.return_before for report in sound]),
        return_after=mean([report.return_after for report in sound]),
        return_total=mean([report.return_total for report in sound]),
        step_accepted=all(report.step_accepted for report in reports),
        finite=any(report.finite for report in reports),  # who is not stays where it is; others go on
        details={name: mean([report.details[name] for report in sound]) for name in sound[0].details},
        headline=sound[0].headline,
    )
