"""The worker of an ensemble: agents act in one batched computation, and each learns from its own meta-episodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from maml_rl.metalearners.learner import Report
from maml_rl.metalearners.rl2 import RL2, RL2Step
from maml_rl.policies import make_policy
from maml_rl.policies.layout import stack_params
from maml_rl.samplers.meta_episodes import MetaEpisodeBatch, MetaEpisodes, roll_out_meta_episodes
from maml_rl.samplers.rl2_worker import RL2Worker, RL2WorkerSpec
from maml_rl.samplers.serial import InlineBackend
from maml_rl.samplers.sized_environment import SizedEnvironment
from maml_rl.shard import Shard, Streams

State = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class AgentStep:
    """Outcome of an agent's iteration.

    Attributes
    ----------
    report
        Its iteration in numbers.
    parameters
        Its new parameters (D,).
    state
        State of its learner, by name.
    """

    report: Report
    parameters: np.ndarray
    state: State


@dataclass(frozen=True)
class EnsembleWorkerSpec:
    """Everything a worker of an ensemble is built from; picklable.

    Attributes
    ----------
    agents
        Specification of a worker of each agent alone: they differ in weights that are not trained.
    outers
        Settings of each agent's outer step: they differ in the seed.
    """

    agents: tuple[RL2WorkerSpec, ...]
    outers: tuple[RL2Step, ...]

    @property
    def worker_class(self) -> type[EnsembleWorker]:
        """See `WorkerSpec`."""
        return EnsembleWorker

    def build(self, heartbeat: Callable[[], None]) -> EnsembleWorker:
        """Make the worker in the process that is to run it."""
        return EnsembleWorker(self, heartbeat)


class EnsembleWorker:
    """Lets some agents of an ensemble act together, and learn one after the other; no state outlives a call.

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
        self._env = SizedEnvironment(spec.agents[0].make_env)

    def step(
        self, shards: Sequence[Shard], agents: Sequence[int], parameters: np.ndarray, states: Sequence[State]
    ) -> list[AgentStep]:
        """One iteration of each of these agents.

        Parameters
        ----------
        shards
            M tasks of each of A agents.
        agents
            Which of the ensemble they are, (A,).
        parameters
            Of each, (A, D).
        states
            State of each one's learner; empty: from the beginning.
        """
        batches = self._roll_out(shards, agents, parameters, self.spec.agents[0].task.fast_batch_size)
        return [
            self._learn(agent, shard, vector, state, batch)
            for agent, shard, vector, state, batch in zip(agents, shards, parameters, states, batches, strict=True)
        ]

    def evaluate(
        self, shards: Sequence[Shard], agents: Sequence[int], parameters: np.ndarray, num_episodes: int
    ) -> list[MetaEpisodes]:
        """Meta-episodes of that many episodes of each of these A agents, with parameters (A, D)."""
        batches = self._roll_out(shards, agents, parameters, num_episodes)
        num_inputs = self._env.of(self._num_tasks(shards), num_episodes).num_inputs
        return [batch.meta_episodes(num_inputs) for batch in batches]

    def _learn(self, agent: int, shard: Shard, vector: np.ndarray, state: State, batch: MetaEpisodeBatch) -> AgentStep:
        start = time.perf_counter()
        worker = RL2Worker(self.spec.agents[agent], self.heartbeat)
        learner = RL2(InlineBackend(worker), vector[np.newaxis], self.spec.outers[agent])
        learner.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        told = worker.learn_from(batch, shard.indices, vector, learner.gae_lambda(shard.iteration))
        report = learner.learn([told], shard.iteration, time.perf_counter() - start)
        after = {name: value.numpy() for name, value in learner.state_dict().items()}
        return AgentStep(report, learner.parameters[0], after)

    def _roll_out(
        self, shards: Sequence[Shard], agents: Sequence[int], parameters: np.ndarray, num_episodes: int
    ) -> list[MetaEpisodeBatch]:
        """Meta-episodes of every agent, all of them step by step together."""
        each = [self.spec.agents[agent].layout.on("cpu").params(v) for agent, v in zip(agents, parameters, strict=True)]
        tasks = [task for shard in shards for task in shard.tasks]
        streams = Streams.joined([shard.streams() for shard in shards])
        env = self._env.of(len(tasks), num_episodes)
        whole = roll_out_meta_episodes(env, self.policy, stack_params(each), tasks, streams, heartbeat=self.heartbeat)
        size = len(shards[0].tasks)
        return [whole.part(slice(a * size, (a + 1) * size)) for a in range(len(shards))]

    @staticmethod
    def _num_tasks(shards: Sequence[Shard]) -> int:
        return sum(len(shard.tasks) for shard in shards)

    def close(self) -> None:
        """Free the environments."""
        self._env.close()
