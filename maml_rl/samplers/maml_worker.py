"""The worker of gradient-based meta-learning: owns a shard, its episodes and its inner loops."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from maml_rl.adaptation import InnerLoop, adapt_step, expand, inner_gradient
from maml_rl.baseline import LinearFeatureBaseline
from maml_rl.envs import make_meta_env
from maml_rl.envs.meta_env import MetaVectorEnv, Task
from maml_rl.episode import CollectReport, Episodes, LearningData, thin
from maml_rl.objectives import linearised_curvature, meta_gradient, surrogate
from maml_rl.policies import Params, PolicySpec, make_policy
from maml_rl.samplers.recorders import EpisodeRecorder
from maml_rl.samplers.rollout import Streams, rollout, with_advantages
from maml_rl.utils.random import Purpose, generator
from maml_rl.utils.vectors import flatten, unflatten

_CHUNK_ROWS = {False: 8192, True: 16384}
"""Environment steps per batched computation, without and with memory: large enough to hide Python, small enough for the
cache. A policy with memory computes one time step after another, so that a batch is small also if the chunk is not."""

_CHUNK_NUMBERS = {False: 2**22, True: 2**24}
"""Numbers that the first layer sees in a batched computation, likewise: its inputs alone are 16 or 64 MiB."""


@dataclass(frozen=True)
class MAMLWorkerSpec:
    """What a MAML worker is built from; picklable. Hyper-parameters as in `maml_rl.config.Config`."""

    env_name: str
    env_kwargs: dict[str, Any]
    policy: PolicySpec
    names: tuple[str, ...]
    frozen: dict[str, np.ndarray]
    fast_batch_size: int
    num_steps: int
    fast_lr: float
    inner_objective: str
    gamma: float
    gae_lambda: float
    baseline_regularisation: float
    memory_scope: str
    first_order: bool
    hessian_steps: int | None
    fisher_steps: int | None
    seed: int
    adapted: tuple[str, ...] | None = None
    reward_clip: float | None = None
    device: str = "cpu"

    replayed_methods = {"collect": "restart", "surrogate_gradient": "keep"}  # noqa: RUF012
    """Calls that build a worker's state: after a loss they are made again, from the last restart on."""

    def build(self, heartbeat: Callable[[], None]) -> MAMLWorker:
        """Make the worker."""
        return MAMLWorker(self, heartbeat)

    def describe(self, method: str, arguments: tuple[Any, ...]) -> str:
        """Say in words what a call was about, for error messages."""
        if method in ("collect", "evaluate", "adapted_parameters"):
            indices, iteration = arguments[0], arguments[3]
            return f"seed {self.seed}, iteration {iteration}, tasks {list(indices)}"
        return f"seed {self.seed}"


class MAMLWorker:
    """Collects a shard's episodes and evaluates the meta-objective on them.

    Parameters
    ----------
    spec
        See `MAMLWorkerSpec`.
    heartbeat
        Called at least once per environment step and per chunk of learning.
    """

    def __init__(self, spec: MAMLWorkerSpec, heartbeat: Callable[[], None]) -> None:
        self.spec = spec
        self.heartbeat = heartbeat
        self.policy = make_policy(spec.policy)
        self.inner = InnerLoop(
            self.policy, spec.fast_lr, spec.names, spec.inner_objective, spec.first_order, spec.adapted
        )
        self.baseline = LinearFeatureBaseline(spec.baseline_regularisation)
        self._like = self.policy.params()
        for name, value in spec.frozen.items():
            self._like[name] = torch.from_numpy(value)
        self._env: MetaVectorEnv | None = None
        self._episodes: list[Episodes] = []
        self._paths: list[Params] = []
        self._chunks: list[slice] = []
        self._old: list[Any] = []
        self._products: list[Callable[[Params], Params]] = []

    def collect(
        self, indices: Sequence[int], tasks: Sequence[Task], vector: np.ndarray, iteration: int
    ) -> CollectReport:
        """Sample episodes before, between and after the inner steps; keep them for learning.

        Parameters
        ----------
        indices
            Position of each task in the meta-batch: with seed and iteration it fixes the episodes.
        tasks
            The M tasks of the shard.
        vector
            Initial parameters (P,).
        iteration
            Outer iteration.
        """
        self._old, self._products = [], []
        purposes = (Purpose.ENVIRONMENT, Purpose.ACTIONS)
        self._episodes, self._paths = self._play_and_adapt(
            indices, tasks, vector, iteration, self.spec.num_steps, purposes
        )
        self._chunks = self._cut(self._episodes[0], self._episodes[0].mask[0].numel())
        return CollectReport(
            np.stack([episodes.returns().numpy() for episodes in self._episodes]),
            sum(episodes.num_steps for episodes in self._episodes),
            all(bool(episodes.is_finite().all()) for episodes in self._episodes),
        )

    def evaluate(
        self,
        indices: Sequence[int],
        tasks: Sequence[Task],
        vector: np.ndarray,
        iteration: int,
        num_steps: int,
    ) -> np.ndarray:
        """Returns (K + 1, M, B) after 0 ... K = `num_steps` inner steps on evaluation streams."""
        purposes = (Purpose.EVALUATION_ENVIRONMENT, Purpose.EVALUATION_ACTIONS)
        episodes, _ = self._play_and_adapt(indices, tasks, vector, iteration, num_steps, purposes)
        return np.stack([e.returns().numpy() for e in episodes])

    def adapted_parameters(
        self,
        indices: Sequence[int],
        tasks: Sequence[Task],
        vector: np.ndarray,
        iteration: int,
        num_steps: int,
    ) -> np.ndarray:
        """Meta-parameters (K + 1, M, P) after 0 ... K = `num_steps` inner steps, those `evaluate` makes."""
        purposes = (Purpose.EVALUATION_ENVIRONMENT, Purpose.EVALUATION_ACTIONS)
        _, path = self._play_and_adapt(indices, tasks, vector, iteration, num_steps, purposes)
        return np.stack(
            [
                [flatten({k: v[m] for k, v in learning.items()}, self.spec.names) for m in range(len(tasks))]
                for learning in path
            ]
        )

    def _play_and_adapt(
        self,
        indices: Sequence[int],
        tasks: Sequence[Task],
        vector: np.ndarray,
        iteration: int,
        num_steps: int,
        purposes: tuple[Purpose, Purpose],
    ) -> tuple[list[Episodes], list[Params]]:
        spec = self.spec
        # Episodes are played, and adapted to, on the CPU: single steps of small networks.
        initial = {**self._like, **unflatten(vector, self._like, self.spec.names)}
        learning, frozen = self.inner.split(initial)
        learning = expand(learning, len(tasks))
        all_episodes, path, state = [], [learning], ()
        for step in range(num_steps + 1):
            rngs = [
                [generator(spec.seed, p, iteration=iteration, task=i, inner_step=step) for i in indices]
                for p in purposes
            ]
            params = {**expand(frozen, len(tasks)), **learning}
            episodes, state = rollout(
                self._environment(len(tasks)),
                self.policy,
                params,
                tasks,
                Streams(*rngs),
                recorder=EpisodeRecorder(),
                state=state if spec.memory_scope == "task" else (),
                heartbeat=self.heartbeat,
            )
            episodes = with_advantages(
                episodes,
                self.baseline,
                gamma=spec.gamma,
                gae_lambda=spec.gae_lambda,
                reward_clip=spec.reward_clip,
            )
            all_episodes.append(episodes)
            if step < num_steps:
                learning = self._adapt(learning, frozen, episodes)
                path.append(learning)
        return all_episodes, path

    def _adapt(self, learning: Params, frozen: Params, episodes: Episodes) -> Params:
        adapted = []
        for chunk in self._cut(episodes, episodes.mask[0].numel()):
            self.heartbeat()
            values = {name: value[chunk] for name, value in learning.items()}
            gradients = inner_gradient(self.inner, values, frozen, episodes.learning_data(chunk))
            adapted.append(adapt_step(self.inner, values, gradients))
        return {name: torch.cat([values[name] for values in adapted]) for name in learning}

    def surrogate_gradient(self, vector: np.ndarray) -> tuple[float, np.ndarray]:
        """Sum over the shard's tasks of surrogate losses and of their gradients (P,), in float64.

        Remembers the adapted policies at `vector` as the old ones of `surrogate` and
        `fisher_vector_product`.
        """
        params = self._params(vector)
        self._old, self._products = [], []
        total_loss, total_gradient = 0.0, np.zeros(len(vector))
        for chunk in self._chunks:
            self.heartbeat()
            train, valid = self._data(chunk)
            gradients, losses, old = meta_gradient(self.inner, params, train, valid)
            self._old.append(old)
            total_loss += losses.double().sum().item()
            total_gradient += self._sum_tasks(gradients)
        return total_loss, total_gradient

    def fisher_vector_product(self, vector: np.ndarray, old: np.ndarray) -> np.ndarray:
        """Sum over the shard's tasks of curvature products with `vector` (P,) at parameters `old` (P,)."""
        if not self._products:
            params = self._params(old)
            rows = min(self._episodes[0].mask[0].numel(), self.spec.hessian_steps or sys.maxsize)
            self._products = [self._curvature(chunk, params) for chunk in self._cut(self._episodes[0], rows)]
        direction = self._learning(vector)
        total = np.zeros(len(vector))
        for product in self._products:
            self.heartbeat()
            total += self._sum_tasks(product(direction))
        return total

    def surrogate(self, vector: np.ndarray) -> tuple[float, float]:
        """Sum over the shard's tasks of surrogate losses and of KL divergences from the old policies."""
        params = self._params(vector)
        total_loss, total_kl = 0.0, 0.0
        for chunk, old in zip(self._chunks, self._old, strict=True):
            self.heartbeat()
            losses, divergences = surrogate(self.inner, params, *self._data(chunk), old)
            total_loss += losses.double().sum().item()
            total_kl += divergences.double().sum().item()
        return total_loss, total_kl

    def _cut(self, episodes: Episodes, rows: int) -> list[slice]:
        """Cut the shard into groups of tasks computed together, `rows` environment steps each."""
        widest, memory = max(self.spec.policy.input_size, self.policy.input_size), self.policy.has_memory
        size = max(1, min(_CHUNK_ROWS[memory], _CHUNK_NUMBERS[memory] // widest) // rows)
        return [slice(i, i + size) for i in range(0, episodes.num_tasks, size)]

    def _curvature(self, chunk: slice, params: Params) -> Callable[[Params], Params]:
        self.heartbeat()
        train, valid = self._data(chunk)
        whole = self.policy.has_memory
        train = [thin(data, self.spec.hessian_steps, whole_episodes=whole) for data in train]
        valid = thin(valid, self.spec.fisher_steps, whole_episodes=whole)
        path = [self._to_device({k: v[chunk] for k, v in p.items()}) for p in self._paths]
        return linearised_curvature(self.inner, params, train, valid, path=path)

    def _data(self, chunk: slice) -> tuple[list[LearningData], LearningData]:
        parts = [
            LearningData(*tree_map(lambda x: x.to(self.spec.device), tuple(data)))
            for data in (episodes.learning_data(chunk) for episodes in self._episodes)
        ]
        return parts[:-1], parts[-1]

    def _learning(self, vector: np.ndarray) -> Params:
        """A vector (P,) as named values on the learning device."""
        return self._to_device(unflatten(vector, self._like, self.spec.names))

    def _params(self, vector: np.ndarray) -> Params:
        """All parameters on the learning device: those of the vector (P,) and the frozen ones."""
        return {**self._to_device(self._like), **self._learning(vector)}

    def _to_device(self, params: Params) -> Params:
        return {name: value.to(self.spec.device) for name, value in params.items()}

    def _sum_tasks(self, values: Params) -> np.ndarray:
        sums: dict[str, Tensor] = {k: v.detach().double().sum(0) for k, v in values.items()}
        return flatten(sums, self.spec.names)

    def _environment(self, num_tasks: int) -> MetaVectorEnv:
        num_envs = num_tasks * self.spec.fast_batch_size
        if self._env is None or self._env.num_envs != num_envs:
            if self._env is not None:
                self._env.close()
            self._env = make_meta_env(self.spec.env_name, num_envs, self.spec.env_kwargs)
        return self._env

    def close(self) -> None:
        """Free the environments."""
        if self._env is not None:
            self._env.close()
