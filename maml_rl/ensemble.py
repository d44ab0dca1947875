"""Independent agents trained side by side: they act in one batched computation, and each learns from its own data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from maml_rl.envs import MetaEpisodeVectorEnv, Task
from maml_rl.metalearners import RL2, RL2IterationReport, RL2Settings, TrustRegion
from maml_rl.metalearners.dealing import Workers, shards
from maml_rl.policies import make_policy
from maml_rl.samplers import RL2WorkerSpec
from maml_rl.samplers.meta_episodes import MetaEpisodes, Played, play_meta_episodes
from maml_rl.samplers.rl2_worker import RL2Worker
from maml_rl.samplers.rollout import Streams
from maml_rl.utils.random import Purpose, generator
from maml_rl.utils.vectors import unflatten

State = Mapping[str, np.ndarray]


class AgentStep(NamedTuple):
    """What became of an agent in one iteration.

    Attributes
    ----------
    report
        Its iteration in numbers.
    parameters
        Its new parameters (P,).
    optimiser
        What its optimiser remembers, by name.
    """

    report: RL2IterationReport
    parameters: np.ndarray
    optimiser: State


@dataclass(frozen=True)
class EnsembleWorkerSpec:
    """What a worker of an ensemble is built from; picklable.

    Attributes
    ----------
    agents
        What a worker of each agent alone would be built from: they differ in seeds and in weights that are not trained.
    settings, trust_region
        Of every agent's outer step.
    """

    agents: tuple[RL2WorkerSpec, ...]
    settings: RL2Settings
    trust_region: TrustRegion

    @property
    def replayed_methods(self) -> Mapping[str, str]:
        """None: a call holds all that its results depend on."""
        return {}

    def build(self, heartbeat: Callable[[], None]) -> EnsembleWorker:
        """Make the worker in the process that is to run it."""
        return EnsembleWorker(self, heartbeat)

    def describe(self, method: str, arguments: tuple[Any, ...]) -> str:
        """Say in words what a call was about, for error messages."""
        return f"agents of seeds {[self.agents[agent].seed for agent in arguments[0]]}, iteration {arguments[3]}"


class EnsembleWorker:
    """Lets some agents of an ensemble act together, and learn one after the other.

    Acting is a product with each agent's weights in every step, for which batching them pays. In learning, a fused
    LSTM over one agent's whole episodes is faster on a CPU than a batched one that goes step by step.

    Parameters
    ----------
    spec
        See `EnsembleWorkerSpec`.
    heartbeat
        Called at least once per environment step and per chunk of learning.
    """

    def __init__(self, spec: EnsembleWorkerSpec, heartbeat: Callable[[], None]) -> None:
        self.spec = spec
        self.heartbeat = heartbeat
        self.policy = make_policy(spec.agents[0].policy)
        self._env: MetaEpisodeVectorEnv | None = None

    def step(
        self,
        agents: Sequence[int],
        tasks: Sequence[Sequence[Task]],
        parameters: np.ndarray,
        iteration: int,
        optimisers: Sequence[State],
    ) -> list[AgentStep]:
        """One iteration of each of these agents.

        Parameters
        ----------
        agents
            Which of the ensemble.
        tasks
            M tasks of each.
        parameters
            Of each, (a, P).
        iteration
            Outer iteration.
        optimisers
            What each one's optimiser remembers.
        """
        purposes = (Purpose.ENVIRONMENT, Purpose.ACTIONS)
        num_episodes = self.spec.agents[0].fast_batch_size
        played = self._play(agents, tasks, parameters, iteration, purposes, num_episodes)
        return [
            self._learn(agent, own, vector, iteration, optimiser, part)
            for agent, own, vector, optimiser, part in zip(agents, tasks, parameters, optimisers, played, strict=True)
        ]

    def evaluate(
        self, agents: Sequence[int], tasks: Sequence[Task], parameters: np.ndarray, first: int, num_steps: int
    ) -> list[MetaEpisodes]:
        """Meta-episodes of ``num_steps + 1`` episodes of each of these agents on the same tasks, evaluation streams.

        `first` is the position of the first of these tasks among all.
        """
        purposes = (Purpose.EVALUATION_ENVIRONMENT, Purpose.EVALUATION_ACTIONS)
        played = self._play(agents, [tasks] * len(agents), parameters, 0, purposes, num_steps + 1, first)
        assert self._env is not None
        return [part.meta_episodes(self._env.num_inputs) for part in played]

    def _learn(
        self, agent: int, tasks: Sequence[Task], vector: np.ndarray, iteration: int, optimiser: State, played: Played
    ) -> AgentStep:
        spec = self.spec.agents[agent]
        assert self._env is not None
        worker = _AgentWorker(spec, self.heartbeat, self._env, played)
        settings = replace(self.spec.settings, seed=spec.seed)
        learner = RL2(_Alone(worker), vector, settings, self.spec.trust_region)
        learner.load_optimiser_state({name: torch.from_numpy(np.array(value)) for name, value in optimiser.items()})
        report = learner.step(tasks, iteration)
        state = {name: value.numpy() for name, value in learner.optimiser_state().items()}
        return AgentStep(report, learner.parameters, state)

    def _play(
        self,
        agents: Sequence[int],
        tasks: Sequence[Sequence[Task]],
        parameters: np.ndarray,
        iteration: int,
        purposes: tuple[Purpose, Purpose],
        num_episodes: int,
        first: int = 0,
    ) -> list[Played]:
        """Let every agent play its tasks, from position `first` on, all of them step by step together."""
        specs = [self.spec.agents[agent] for agent in agents]
        own = []
        for spec, vector in zip(specs, parameters, strict=True):
            like = {**self.policy.params(), **{name: torch.from_numpy(value) for name, value in spec.frozen.items()}}
            own.append({**like, **unflatten(vector, like, spec.names)})
        params = {name: torch.stack([one[name] for one in own]) for name in own[0]}
        num_tasks = len(tasks[0])
        positions = range(first, first + num_tasks)
        streams = Streams(
            *(
                [generator(spec.seed, purpose, iteration=iteration, task=i) for spec in specs for i in positions]
                for purpose in purposes
            )
        )
        env = self._environment(len(agents) * num_tasks, num_episodes)
        everyone = [task for part in tasks for task in part]
        played = play_meta_episodes(env, self.policy, params, everyone, streams, heartbeat=self.heartbeat)
        return [played.part(slice(a * num_tasks, (a + 1) * num_tasks)) for a in range(len(agents))]

    def _environment(self, num_tasks: int, num_episodes: int) -> MetaEpisodeVectorEnv:
        size = (num_tasks, num_episodes)
        if self._env is None or (self._env.num_envs, self._env.num_episodes) != size:
            self.close()
            self._env = self.spec.agents[0].make_env(num_tasks, num_episodes)
        return self._env

    def close(self) -> None:
        """Free the environments."""
        if self._env is not None:
            self._env.close()


class _AgentWorker(RL2Worker):
    """The worker of one agent, whose meta-episodes have been played already."""

    def __init__(
        self, spec: RL2WorkerSpec, heartbeat: Callable[[], None], env: MetaEpisodeVectorEnv, played: Played
    ) -> None:
        super().__init__(spec, heartbeat)
        self._env, self._played = env, played

    def _play(self, *_: Any) -> Played:
        return self._played


class _Alone:
    """One worker in this process, as learners see workers."""

    num_workers = 1

    def __init__(self, worker: RL2Worker) -> None:
        self._worker = worker

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [getattr(self._worker, method)(*arguments[0])]

    def broadcast(self, method: str, *arguments: Any) -> list[Any]:
        return [getattr(self._worker, method)(*arguments)]


class RL2Ensemble:
    """A learners of one configuration and different seeds: agent i is the agent that seed ``seed + i`` makes alone.

    An agent whose rewards or gradients are no numbers stays where it is in that iteration; others go on.

    Parameters
    ----------
    workers
        A backend of workers made of `EnsembleWorkerSpec`.
    parameters
        Initial parameters of all agents, one behind the other (A * P,).
    num_agents
        Agents A.
    """

    def __init__(self, workers: Workers, parameters: np.ndarray, num_agents: int) -> None:
        self.workers = workers
        self.num_agents = num_agents
        self._parameters = parameters.reshape(num_agents, -1).copy()
        self._optimisers: list[State] = [{}] * num_agents

    @property
    def parameters(self) -> np.ndarray:
        """Parameters of all agents, one behind the other (A * P,) float64."""
        return self._parameters.reshape(-1).copy()

    def optimiser_state(self) -> dict[str, torch.Tensor]:
        """What the optimisers remember, as tensors (A * P,) or (A,) by name; zeros of agents that never moved."""
        like: State = next((state for state in self._optimisers if state), {})
        return {
            name: torch.from_numpy(
                np.stack([state.get(name, np.zeros_like(value)) for state in self._optimisers]).reshape(-1)
            )
            for name, value in like.items()
        }

    def load_optimiser_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `optimiser_state` gave."""
        parts = {name: value.numpy().reshape(self.num_agents, -1) for name, value in state.items()}
        own = [
            {name: part[agent] if part.shape[1] > 1 else part[agent, 0] for name, part in parts.items()}
            for agent in range(self.num_agents)
        ]
        self._optimisers = [state if state and state["step"] > 0 else {} for state in own]

    def step(self, tasks: Sequence[Task], iteration: int) -> RL2IterationReport:
        """One iteration of every agent on M tasks of its own, given one agent's behind the other's (A * M)."""
        start = time.perf_counter()
        num_tasks = len(tasks) // self.num_agents
        own = [tasks[agent * num_tasks : (agent + 1) * num_tasks] for agent in range(self.num_agents)]
        calls = [
            (part, [own[i] for i in part], self._parameters[part], iteration, [self._optimisers[i] for i in part])
            for part in shards(self.num_agents, self.workers.num_workers)
        ]
        steps: list[AgentStep] = [step for steps in self.workers.map("step", calls) for step in steps]
        self._parameters = np.stack([step.parameters for step in steps])
        self._optimisers = [step.optimiser for step in steps]
        return _mean_report([step.report for step in steps], time.perf_counter() - start, self.workers.num_workers)


def _mean_report(reports: Sequence[RL2IterationReport], seconds: float, num_workers: int) -> RL2IterationReport:
    """Means over the agents whose numbers are finite; steps of all; whether all moved, and any was finite.

    What is not learning is sampling.
    """
    sound = [report for report in reports if report.finite] or list(reports)
    values: dict[str, Any] = {
        field.name: float(np.mean([getattr(report, field.name) for report in sound]))
        for field in fields(RL2IterationReport)
    }
    values["learning_seconds"] = min(seconds, sum(report.learning_seconds for report in reports) / num_workers)
    values["sampling_seconds"] = seconds - values["learning_seconds"]
    values["env_steps"] = sum(report.env_steps for report in reports)
    values["step_accepted"] = all(report.step_accepted for report in reports)
    values["finite"] = any(report.finite for report in reports)  # who is not stays where it is; others go on
    return RL2IterationReport(**values)
