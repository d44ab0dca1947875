"""The worker of gradient-based meta-learning: owns a shard, its episodes and its inner loops."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from maml_rl.adaptation import STEP_SIZE, InnerLoop, adapt_step, expand, inner_gradient
from maml_rl.baseline import LinearFeatureBaseline
from maml_rl.envs import make_meta_env
from maml_rl.envs.meta_env import MetaVectorEnv
from maml_rl.episode import CollectReport, Episodes, LearningData, RecordedEpisode, subsample_steps
from maml_rl.objectives import linearised_curvature, meta_gradient, surrogate
from maml_rl.policies import Params, Policy, PolicySpec, make_policy
from maml_rl.policies.layout import ParameterLayout
from maml_rl.proximal import ProximalWeights, distributions_along, proximal_gradient, proximal_terms
from maml_rl.samplers.backend import builds_state
from maml_rl.samplers.recorded import recorded_episodes
from maml_rl.samplers.recorders import EpisodeRecorder
from maml_rl.samplers.rollout import rollout, with_advantages
from maml_rl.samplers.sized_environment import SizedEnvironment
from maml_rl.settings import CurvatureSample, MAMLSettings, ReturnSettings, TaskSettings
from maml_rl.shard import Shard

_CHUNK_ROWS = {False: 8192, True: 16384}
"""Environment steps per batched computation, without and with memory: large enough to hide Python, small enough for the
cache. A policy with memory computes one time step after another, so that a batch is small also if the chunk is not."""

_CHUNK_NUMBERS = {False: 2**22, True: 2**24}
"""Numbers that the first layer sees in a batched computation, likewise: its inputs alone are 16 or 64 MiB."""


@dataclass(frozen=True)
class MAMLWorkerSpec:
    """Everything a MAML worker is built from; picklable.

    Attributes
    ----------
    task, returns, maml
        Sections of the configuration; the inner objective is no longer ``"auto"``.
    curvature
        Sample for curvature products; of all steps if the policy has memory.
    policy
        What its policy is built from.
    layout
        Where the policy's parameters are in vectors; its device is the one that learns.
    """

    task: TaskSettings
    returns: ReturnSettings
    maml: MAMLSettings
    curvature: CurvatureSample
    policy: PolicySpec
    layout: ParameterLayout

    @property
    def worker_class(self) -> type[MAMLWorker]:
        """See `WorkerSpec`."""
        return MAMLWorker

    def build(self, heartbeat: Callable[[], None]) -> MAMLWorker:
        """Make the worker."""
        return MAMLWorker(self, heartbeat)

    def make_env(self, num_envs: int) -> MetaVectorEnv:
        """An environment of the family with this many sub-environments."""
        return make_meta_env(self.task.env_name, num_envs, self.task.env_kwargs)


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
        self.inner = make_inner_loop(self.policy, spec.layout, spec.maml)
        self.baseline = LinearFeatureBaseline(spec.maml.baseline_regularisation)
        self._acting = spec.layout.on("cpu")  # episodes are rolled out on the CPU: single steps of small networks
        self._env = SizedEnvironment(spec.make_env)
        self._episodes: list[Episodes] = []
        self._paths: list[Params] = []
        self._chunks: list[slice] = []
        self._indices: Sequence[int] = ()
        self._old: list[Any] = []
        self._old_before: list[list[Any]] = []
        self._credit: np.ndarray | None = None
        self._at = np.empty(0)
        self._products: list[Callable[[Params], Params]] = []

    @builds_state("restart")
    def collect(self, shard: Shard, vector: np.ndarray) -> CollectReport:
        """Sample and keep episodes before, between and after the inner steps from parameters `vector` (D,)."""
        self._old, self._old_before, self._products, self._credit = [], [], [], None
        self._indices = shard.indices
        self._episodes, self._paths = self._roll_out_and_adapt(shard, vector, self.spec.maml.num_steps)
        self._chunks = self._cut(self._episodes[0], self._episodes[0].mask[0].numel())
        return CollectReport(
            np.stack([episodes.returns().numpy().mean(axis=1, dtype=np.float64) for episodes in self._episodes]),
            sum(episodes.num_steps for episodes in self._episodes),
            all(bool(episodes.is_finite().all()) for episodes in self._episodes),
        )

    def evaluate(self, shard: Shard, vector: np.ndarray, num_steps: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Returns (K + 1, M, B) after 0 ... K = `num_steps` inner steps from parameters `vector` (D,), and measures.

        The environment's measures are arrays of the same shape by name.
        """
        episodes, _ = self._roll_out_and_adapt(shard, vector, num_steps)
        measures = {name: np.stack([e.measures[name].numpy() for e in episodes]) for name in episodes[0].measures}
        return np.stack([e.returns().numpy() for e in episodes]), measures

    def adapted_parameters(self, shard: Shard, vector: np.ndarray, num_steps: int) -> list[Params]:
        """All parameters (M, ...) after 0 ... K = `num_steps` inner steps from `vector` (D,), as in `evaluate`."""
        _, path = self._roll_out_and_adapt(shard, vector, num_steps)
        _, frozen = self.inner.split(self._acting.params(vector))
        return [{**expand(frozen, len(shard.tasks)), **learning} for learning in path]

    def adapted_to(self, params: Params, recorded: Sequence[RecordedEpisode], *, step: int) -> Params:
        """Parameters (1, ...) after inner step `step`, 0 the first, from `params` (1, ...) on episodes of one task.

        Their actions count as the policy's own with `params`, whoever chose them.
        """
        own = {name: value[0] for name, value in params.items()}
        episodes = recorded_episodes(recorded, self.policy, own, continuous=self.spec.policy.continuous)
        episodes = with_advantages(episodes, self.baseline, self.spec.returns)
        learning, frozen = self.inner.split(params)
        first = {name: value[0] for name, value in frozen.items()}
        return {**frozen, **self._adapt(step, learning, first, episodes)}

    def _roll_out_and_adapt(
        self, shard: Shard, vector: np.ndarray, num_steps: int
    ) -> tuple[list[Episodes], list[Params]]:
        spec, num_tasks = self.spec, len(shard.tasks)
        learning, frozen = self.inner.split(self._acting.params(vector))
        learning = expand(learning, num_tasks)
        all_episodes, path, state = [], [learning], ()
        for step in range(num_steps + 1):
            episodes, state = rollout(
                self._env.of(num_tasks * spec.task.fast_batch_size),
                self.policy,
                {**expand(frozen, num_tasks), **learning},
                shard.tasks,
                shard.streams(step),
                recorder=EpisodeRecorder(),
                state=state if spec.maml.memory_scope == "task" else (),
                heartbeat=self.heartbeat,
            )
            episodes = with_advantages(episodes, self.baseline, spec.returns)
            all_episodes.append(episodes)
            if step < num_steps:
                learning = self._adapt(step, learning, frozen, episodes)
                path.append(learning)
        return all_episodes, path

    def _adapt(self, step: int, learning: Params, frozen: Params, episodes: Episodes) -> Params:
        adapted = []
        for chunk in self._cut(episodes, episodes.mask[0].numel()):
            self.heartbeat()
            values = {name: value[chunk] for name, value in learning.items()}
            gradients = inner_gradient(self.inner, values, frozen, episodes.learning_data(chunk))
            adapted.append(adapt_step(self.inner, step, values, gradients, frozen))
        return {name: torch.cat([values[name] for values in adapted]) for name in learning}

    def displacement(self) -> np.ndarray:
        """Sum (D,) over the shard's tasks of what the inner steps moved, in float64."""
        first, last = self._paths[0], self._paths[-1]
        moved = {name: last[name].double() - first[name].double() for name in last}
        sizes = {name: self._acting.values[name] for name in self.inner.step_size_names}  # no task changes these
        zeros = {name: torch.zeros((1, *value.shape), dtype=torch.float64) for name, value in sizes.items()}
        return self._sum_tasks({**moved, **zeros})

    @builds_state("keep")
    def surrogate_gradient(self, vector: np.ndarray, credit: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Sums over the shard's tasks of surrogate losses at `vector` (D,) and of their gradients (D,), in float64.

        Remembers the adapted policies there as the old ones of `surrogate` and `fisher_vector_product`. The episodes
        before adaptation get `credit`, of each task of the meta-batch (M,), see `maml_rl.objectives.credit_loss`;
        ``None``: none.
        """
        params = self.spec.layout.params(vector)
        self._old, self._products, self._at, self._credit = [], [], vector, credit
        total_loss, total_gradient = 0.0, np.zeros(len(vector))
        for chunk in self._chunks:
            self.heartbeat()
            train, valid = self._data(chunk)
            gradients, losses, old = meta_gradient(self.inner, params, train, valid, self._credit_of(chunk))
            self._old.append(old)
            total_loss += losses.double().sum().item()
            total_gradient += self._sum_tasks(gradients)
        return total_loss, total_gradient

    @builds_state("keep")
    def remember_policies(self, vector: np.ndarray) -> None:
        """Remember the adapted policies from `vector` (D,), which rolled out, as `surrogate_gradient` does."""
        params = self.spec.layout.params(vector)
        self._old, self._old_before, self._products, self._at, self._credit = [], [], [], vector, None
        for chunk in self._chunks:
            self.heartbeat()
            self._old += distributions_along(self.inner, params, [self._point(-1, chunk)], [self._data(chunk)[1]])

    def fisher_vector_product(self, vector: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """Sum over the shard's tasks of curvature products with `vector` (D,).

        They are those at parameters `at` (D,); ``None``: where `surrogate_gradient` was.
        """
        if not self._products:
            params = self.spec.layout.params(self._at if at is None else at)
            rows = min(self._episodes[0].mask[0].numel(), self.spec.curvature.hessian_steps or sys.maxsize)
            self._products = [self._curvature(chunk, params) for chunk in self._cut(self._episodes[0], rows)]
        direction = self.spec.layout.learning(vector)
        total = np.zeros(len(vector))
        for product in self._products:
            self.heartbeat()
            total += self._sum_tasks(product(direction))
        return total

    def surrogate(self, vector: np.ndarray) -> tuple[float, float]:
        """Sums over the shard's tasks of surrogate losses at `vector` (D,) and of divergences from the old policies."""
        params = self.spec.layout.params(vector)
        total_loss, total_kl = 0.0, 0.0
        for chunk, old in zip(self._chunks, self._old, strict=True):
            self.heartbeat()
            losses, divergences = surrogate(self.inner, params, *self._data(chunk), old, self._credit_of(chunk))
            total_loss += losses.double().sum().item()
            total_kl += divergences.double().sum().item()
        return total_loss, total_kl

    def proximal_gradient(
        self, vector: np.ndarray, weights: ProximalWeights, tasks: Sequence[int] | None = None
    ) -> np.ndarray:
        """Sum (D,) over the shard's tasks of the gradients of ProMP's loss at `vector` (D,), in float64.

        Old policies are those last remembered. Only of `tasks`, positions in the meta-batch; ``None``:
        of all.
        """
        params, total = self.spec.layout.params(vector), np.zeros(len(vector))
        for episodes, old in self._proximal_chunks(tasks):
            total += self._sum_tasks(proximal_gradient(self.inner, params, episodes, old, weights))
        return total

    def proximal_terms(self, vector: np.ndarray, weights: ProximalWeights) -> np.ndarray:
        """Sums (4 + K,) over the shard's tasks of the `ProximalTerms` at `vector` (D,), in float64."""
        params, total = self.spec.layout.params(vector), np.zeros(4 + len(weights.inner_kl_coefs))
        for episodes, old in self._proximal_chunks():
            terms = proximal_terms(self.inner, params, episodes, old, weights)
            rows = torch.cat([torch.stack(terms[:4]), terms.inner_divergences])  # (4 + K, M)
            total += rows.double().sum(1).cpu().numpy()
        return total

    def _proximal_chunks(self, tasks: Sequence[int] | None = None) -> Iterator[tuple[list[LearningData], list[Any]]]:
        """Episodes of each chunk before every inner step and after the last, and the policies that rolled them out.

        Only of `tasks`, positions in the meta-batch; ``None``: of all.
        """
        if not self._old_before:
            params = self.spec.layout.params(self._at)
            for chunk in self._chunks:
                path = [self._point(step, chunk) for step in range(len(self._paths) - 1)]
                self._old_before.append(distributions_along(self.inner, params, path, self._data(chunk)[0]))
        for chunk, before, after in zip(self._chunks, self._old_before, self._old, strict=True):
            rows = self._rows_of(chunk, tasks)
            if not rows:
                continue
            self.heartbeat()
            train, valid = self._data(chunk)
            along = [*train, valid], [*before, after]
            yield along if len(rows) == len(valid.mask) else tree_map(lambda part, rows=rows: part[rows], along)

    def _rows_of(self, chunk: slice, tasks: Sequence[int] | None) -> list[int]:
        """Rows of a chunk whose tasks are at these positions of the meta-batch; ``None``: all."""
        own = self._indices[chunk]
        return [row for row, index in enumerate(own) if tasks is None or index in tasks]

    def _credit_of(self, chunk: slice) -> Tensor | None:
        """Credit (M,) of a chunk's tasks."""
        if self._credit is None:
            return None
        own = torch.from_numpy(self._credit[list(self._indices)][chunk])
        return own.to(device=self.spec.layout.device, dtype=self._episodes[0].mask.dtype)

    def _cut(self, episodes: Episodes, rows: int) -> list[slice]:
        """Cut the shard into groups of tasks computed together, equally large ones; a task has `rows` steps."""
        widest, memory = max(self.spec.policy.input_size, self.policy.input_size), self.policy.has_memory
        size = max(1, min(_CHUNK_ROWS[memory], _CHUNK_NUMBERS[memory] // widest) // rows)
        even = -(-episodes.num_tasks // -(-episodes.num_tasks // size))  # a small rest costs as much as a whole group
        return [slice(i, i + even) for i in range(0, episodes.num_tasks, even)]

    def _curvature(self, chunk: slice, params: Params) -> Callable[[Params], Params]:
        self.heartbeat()
        sample = self.spec.curvature
        train, valid = self._data(chunk)
        train = [subsample_steps(data, sample.hessian_steps) for data in train]
        valid = subsample_steps(valid, sample.fisher_steps)
        path = [self._point(step, chunk) for step in range(len(self._paths))]
        return linearised_curvature(self.inner, params, train, valid, path=path)

    def _data(self, chunk: slice) -> tuple[list[LearningData], LearningData]:
        parts = [
            LearningData(*tree_map(lambda x: x.to(self.spec.layout.device), tuple(data)))
            for data in (episodes.learning_data(chunk) for episodes in self._episodes)
        ]
        return parts[:-1], parts[-1]

    def _point(self, step: int, chunk: slice) -> Params:
        """Parameters (M, ...) of a chunk's tasks after as many inner steps, -1: all."""
        return {name: value[chunk].to(self.spec.layout.device) for name, value in self._paths[step].items()}

    def _sum_tasks(self, values: Params) -> np.ndarray:
        sums: dict[str, Tensor] = {k: v.detach().double().sum(0) for k, v in values.items()}
        return self.spec.layout.vector(sums)

    def close(self) -> None:
        """Free the environments."""
        self._env.close()


def make_inner_loop(policy: Policy, layout: ParameterLayout, settings: MAMLSettings) -> InnerLoop:
    """The inner loop that settings ask for; its objective is no longer ``"auto"``."""
    adapted = tuple(policy.head_parameters()) if settings.adapted_layers == "head" else None
    names = tuple(name for name in layout.names if not name.startswith(STEP_SIZE))
    return InnerLoop(
        policy,
        settings.fast_lr,
        names,
        settings.inner_objective,
        settings.first_order,
        adapted,
        learns_step_sizes=names != layout.names,
        later_factor=settings.fast_lr_later_factor,
    )
