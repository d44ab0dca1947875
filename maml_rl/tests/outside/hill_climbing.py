"""An algorithm: one random step in all weights, kept where it is better on the meta-batch's tasks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from maml_rl.adaptation import expand
from maml_rl.algorithms import Adaptation, Algorithm, Evaluation, Stage, register_algorithm
from maml_rl.algorithms.building import initial_policy, policy_spec, tried_env
from maml_rl.config import Config
from maml_rl.envs import Task, make_meta_env
from maml_rl.metalearners import Report
from maml_rl.metalearners.learner import StateTensor, Workers
from maml_rl.policies import PolicySpec, make_policy
from maml_rl.policies.layout import ParameterLayout
from maml_rl.samplers import Backend
from maml_rl.samplers.backend import builds_state
from maml_rl.samplers.recorders import ReturnRecorder, Returns
from maml_rl.samplers.rollout import rollout
from maml_rl.settings import Settings, TaskSettings
from maml_rl.shard import Shard
from maml_rl.utils.random import generator


class Purpose(IntEnum):
    """Streams of random numbers that only this algorithm has."""

    SEARCH = 1000


class SearchSettings(Settings):
    """Outer step of the search."""

    search_sigma: float = Field(default=0.1, gt=0, description="Standard deviation of a step, in every weight.")


@dataclass(frozen=True)
class ClimbingWorkerSpec:
    """Everything a worker is built from; picklable."""

    task: TaskSettings
    policy: PolicySpec
    layout: ParameterLayout

    @property
    def worker_class(self) -> type[ClimbingWorker]:
        """See `WorkerSpec`."""
        return ClimbingWorker

    def build(self, heartbeat: Callable[[], None]) -> ClimbingWorker:
        """See `WorkerSpec`."""
        return ClimbingWorker(self, heartbeat)


class ClimbingWorker:
    """Rolls out episodes of a shard's tasks one after another; memory lasts from each to the next."""

    def __init__(self, spec: ClimbingWorkerSpec, heartbeat: Callable[[], None]) -> None:
        self.spec = spec
        self.heartbeat = heartbeat
        self.policy = make_policy(spec.policy)
        self._shard: Shard | None = None

    @builds_state("restart")
    def begin(self, shard: Shard) -> None:
        """Remember the shard on which `score` compares parameters."""
        self._shard = shard

    def score(self, vector: np.ndarray) -> tuple[np.ndarray, int]:
        """Returns (2, M, B) of a first and a second episode with parameters (D,), and environment steps."""
        assert self._shard is not None
        outcomes = self._roll_out(self._shard, vector, 2)
        return np.stack([o.returns[..., 0] for o in outcomes]), sum(int(o.env_steps.sum()) for o in outcomes)

    def evaluate(self, shard: Shard, vector: np.ndarray, num_episodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns and successes (K, M, B) of each of these episodes."""
        outcomes = self._roll_out(shard, vector, num_episodes)
        success = [o.measures.get("success", np.zeros(o.env_steps.shape)) for o in outcomes]
        return np.stack([o.returns[..., 0] for o in outcomes]), np.stack(success)

    def _roll_out(self, shard: Shard, vector: np.ndarray, num_episodes: int) -> list[Returns]:
        task, count = self.spec.task, len(shard.tasks)
        env = make_meta_env(task.env_name, count * task.fast_batch_size, task.env_kwargs)
        params, state, outcomes = expand(self.spec.layout.params(vector), count), (), []
        for episode in range(num_episodes):
            outcome, state = rollout(
                env,
                self.policy,
                params,
                shard.tasks,
                shard.streams(episode),
                recorder=ReturnRecorder(),
                state=state,
                heartbeat=self.heartbeat,
            )
            outcomes.append(outcome)
        env.close()
        return outcomes

    def close(self) -> None:
        """Nothing to free."""


class HillClimber:
    """The learner: its state is how many steps it has kept."""

    details = ("num_kept",)

    def __init__(self, workers: Workers, parameters: np.ndarray, sigma: float, seed: int) -> None:
        self.workers, self.sigma, self.seed = workers, sigma, seed
        self._parameters, self._num_kept = parameters.copy(), torch.zeros(1, dtype=torch.float64)

    @property
    def parameters(self) -> np.ndarray:
        """See `Learner.parameters`."""
        return self._parameters.copy()

    def state_layout(self) -> dict[str, StateTensor]:
        """See `Learner.state_layout`."""
        return {"num_kept": StateTensor((1,), least=0.0)}

    def state_dict(self) -> dict[str, Tensor]:
        """See `Learner.state_dict`."""
        return {"num_kept": self._num_kept.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `Learner.load_state_dict`."""
        self._num_kept = state.get("num_kept", self._num_kept).clone()

    def step(self, tasks: Sequence[Task], iteration: int) -> Report:
        """See `Learner.step`."""
        start = time.perf_counter()
        shards = Shard.whole(tasks, iteration=iteration, seed=self.seed).split(self.workers.num_shards)
        self.workers.map("begin", [(shard,) for shard in shards])
        noise = generator(self.seed, Purpose.SEARCH, iteration=iteration).normal(size=self._parameters.shape)
        candidate = self._parameters + self.sigma * noise
        (before, steps), (after, more) = (self._score(vector[0]) for vector in (self._parameters, candidate))
        kept = bool(after.sum() > before.sum())
        if kept:
            self._parameters, before = candidate, after
            self._num_kept += 1
        first, second = before.mean(axis=(1, 2))
        return Report(
            env_steps=steps + more,
            sampling_seconds=time.perf_counter() - start,
            learning_seconds=0.0,
            return_before=float(first),
            return_after=float(second),
            return_total=float(first + second),
            step_accepted=kept,
            finite=bool(np.isfinite(before).all()),
            details={"num_kept": float(self._num_kept)},
            headline=("num_kept",),
        )

    def _score(self, vector: np.ndarray) -> tuple[np.ndarray, int]:
        returns, steps = zip(*self.workers.broadcast("score", vector), strict=True)
        return np.concatenate(returns, axis=1), sum(steps)


class HillClimbing(Algorithm):
    """Hill climbing of a configuration."""

    remedy = "search-sigma"

    def __init__(self, config: Config, device: str, dtype: str) -> None:
        env = tried_env(config)
        self.spec = policy_spec(config, env, dtype)
        super().__init__(config, env, [initial_policy(self.spec, config.run.seed)], device=device)

    @property
    def adaptation(self) -> Adaptation:
        """See `Algorithm.adaptation`."""
        return adaptation(self.config)

    @property
    def worker_spec(self) -> ClimbingWorkerSpec:
        """See `Algorithm.worker_spec`."""
        return ClimbingWorkerSpec(self.config.task, self.spec, self.layout)

    def learner(self, backend: Workers, parameters: np.ndarray) -> HillClimber:
        """See `Algorithm.learner`."""
        sigma = self.config.section(SearchSettings).search_sigma
        return HillClimber(backend, parameters, sigma, self.config.run.seed)

    def evaluate(self, backend: Backend, shard: Shard, parameters: np.ndarray, num_adaptation_steps: int) -> Evaluation:
        """See `Algorithm.evaluate`."""
        calls = [(part, parameters[0], num_adaptation_steps + 1) for part in shard.split(backend.num_shards)]
        returns, success = (np.concatenate(parts, 1) for parts in zip(*backend.map("evaluate", calls), strict=True))
        return Evaluation(list(shard.tasks), returns, self.adaptation.trained, {"success": success})

    def stages(self, shard: Shard, parameters: np.ndarray, heartbeat: Any = lambda: None) -> list[Stage]:
        """See `Algorithm.stages`: two episodes with one memory."""
        params = expand(self.layout.params(parameters[0]), len(shard.tasks))
        return [Stage("first", params), Stage("second", params, keeps_state=True)]


def adaptation(config: Config) -> Adaptation:
    """Adaptation by episodes."""
    return Adaptation(1, "episodes", "first episode", "second episode", "both episodes")


register_algorithm("climb", HillClimbing, adaptation, sections=[SearchSettings], needs_memory=True)
