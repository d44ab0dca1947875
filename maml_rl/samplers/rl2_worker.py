"""The worker of memory-based meta-learning: owns a shard of tasks and the meta-episodes rolled out on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from maml_rl.actor_critic import (
    ActorCriticData,
    Weights,
    actor_critic_loss,
    distribution_and_values,
    divergence,
)
from maml_rl.envs import make_meta_env
from maml_rl.envs.meta_episode import MetaEpisodeVectorEnv
from maml_rl.episode import clip_rewards, generalised_advantages
from maml_rl.metalearners.rl2 import RL2Report
from maml_rl.policies import Params, PolicySpec, make_policy
from maml_rl.policies.layout import ParameterLayout
from maml_rl.policies.recurrence import Order
from maml_rl.samplers.backend import builds_state
from maml_rl.samplers.meta_episodes import MetaEpisodeBatch, MetaEpisodes, roll_out_meta_episodes
from maml_rl.samplers.sized_environment import SizedEnvironment
from maml_rl.settings import ReturnSettings, RL2Settings, TaskSettings
from maml_rl.shard import Shard

_CHUNK_ROWS = 5000
"""Environment steps per batched computation of gradients: what they need fits into a core's cache."""

_SMALLEST_UNIT = 0.01
"""Of values, where neither the discount nor the length of a meta-episode sets a limit to them."""


@dataclass(frozen=True)
class RL2WorkerSpec:
    """Everything an RL² worker is built from; picklable.

    Attributes
    ----------
    task, returns, rl2
        Sections of the configuration.
    policy
        What its policy is built from.
    layout
        Where the policy's parameters are in vectors; its device is the one that learns.
    max_episode_steps
        Limit of an episode's length; ``None``: none is known.
    """

    task: TaskSettings
    returns: ReturnSettings
    rl2: RL2Settings
    policy: PolicySpec
    layout: ParameterLayout
    max_episode_steps: int | None

    @property
    def worker_class(self) -> type[RL2Worker]:
        """See `WorkerSpec`."""
        return RL2Worker

    def build(self, heartbeat: Callable[[], None]) -> RL2Worker:
        """Make the worker in the process that is to run it."""
        return RL2Worker(self, heartbeat)

    def make_env(self, num_tasks: int, num_episodes: int) -> MetaEpisodeVectorEnv:
        """An environment of this many meta-episodes of this many episodes."""
        env = MetaEpisodeVectorEnv(
            make_meta_env(self.task.env_name, num_tasks, self.task.env_kwargs),
            num_episodes,
            show_progress=self.rl2.observe_episode_fraction,
            show_previous=self.rl2.observe_previous,
            reward_clip=self.returns.reward_clip,
            reward_change_unit=self.rl2.observe_reward_change,
        )
        env.reports_expected_rewards = self.rl2.expected_rewards
        return env


class RL2Worker:
    """Rolls out a shard's meta-episodes and evaluates losses on them.

    Parameters
    ----------
    spec
        See `RL2WorkerSpec`.
    heartbeat
        Called at least once per environment step and per chunk of learning.
    """

    def __init__(self, spec: RL2WorkerSpec, heartbeat: Callable[[], None]) -> None:
        self.spec = spec
        self.heartbeat = heartbeat
        self.policy = make_policy(spec.policy)
        self._acting = spec.layout.on("cpu")  # single steps of small networks
        self._env = SizedEnvironment(spec.make_env)
        self._places: dict[int, int] = {}
        self._data: ActorCriticData | None = None
        self._old: list[Any] = []
        self._vector = np.empty(0)

    @builds_state("restart")
    def collect(self, shard: Shard, vector: np.ndarray, gae_lambda: float) -> RL2Report:
        """Roll out a meta-episode of every task with parameters `vector` (D,) and keep it, see `learn_from`."""
        batch = self._roll_out(shard, vector, self.spec.task.fast_batch_size)
        return self.learn_from(batch, shard.indices, vector, gae_lambda)

    def evaluate(self, shard: Shard, vector: np.ndarray, num_episodes: int) -> MetaEpisodes:
        """Meta-episodes of `num_episodes` episodes with parameters `vector` (D,)."""
        batch = self._roll_out(shard, vector, num_episodes)
        return batch.meta_episodes(self._env.of(len(shard.tasks), num_episodes).num_inputs)

    def learn_from(
        self, batch: MetaEpisodeBatch, indices: Sequence[int], vector: np.ndarray, gae_lambda: float
    ) -> RL2Report:
        """Keep meta-episodes, with advantages that are not yet normalised.

        Parameters
        ----------
        batch
            Meta-episodes of M tasks.
        indices
            Position of each task in the meta-batch, (M,).
        vector
            Parameters (D,) that rolled them out.
        gae_lambda
            Of the advantages, in [0, 1].
        """
        self._old, self._vector = [], vector
        params, data, returns = self.spec.layout.params(vector), batch.data, batch.returns
        with torch.no_grad():
            values = torch.cat([self._outputs(params, part)[1].cpu() for part in self._chunks(data)], dim=1)
        unit = self._unit(returns.shape[1])
        advantages = generalised_advantages(
            (clip_rewards(batch.learned, self.spec.returns.reward_clip) * unit).T.unsqueeze(-1),
            values.T.unsqueeze(-1),
            data.mask.T.unsqueeze(-1),
            gamma=self.spec.returns.gamma,
            gae_lambda=gae_lambda,
        )[..., 0].T  # (M, T, 1) -> (T, M)
        targets = advantages + values
        self._data = data._replace(advantages=advantages, targets=targets)
        self._places = {task: position for position, task in enumerate(indices)}
        sums = [data.mask.sum(dtype=torch.float64)]
        for part in (advantages.double() * data.mask, targets.double() * data.mask):
            sums += [part.sum(), part.square().sum()]
        moments = np.array([float(x) for x in sums])
        finite = bool(np.isfinite(moments).all() and torch.isfinite(data.observations).all())
        told = np.stack([returns[:, 0], returns[:, -1], returns.sum(axis=1)], axis=1)
        return RL2Report(told.astype(np.float64), int(moments[0]), moments, finite)

    def _roll_out(self, shard: Shard, vector: np.ndarray, num_episodes: int) -> MetaEpisodeBatch:
        """Meta-episodes of E = `num_episodes` episodes; on the CPU, whatever the device that learns."""
        env = self._env.of(len(shard.tasks), num_episodes)
        return roll_out_meta_episodes(
            env, self.policy, self._acting.params(vector), shard.tasks, shard.streams(), heartbeat=self.heartbeat
        )

    def _unit(self, num_episodes: int) -> float:
        """Factor of rewards with which values are averages of the rewards to come, whatever discount and horizon."""
        longest = self.spec.max_episode_steps
        shortest_unit = 1.0 / (longest * num_episodes) if longest else _SMALLEST_UNIT
        return max(1.0 - self.spec.returns.gamma, shortest_unit)

    @builds_state("keep")
    def remember(self, mean: float, deviation: float, keep_policies: bool) -> None:
        """Normalise the advantages; keep the policies that rolled out as the old ones of `losses`, if asked to."""
        assert self._data is not None
        advantages = (self._data.advantages - mean) / deviation * self._data.mask
        self._data = self._data._replace(advantages=advantages)
        if keep_policies:
            params = self.spec.layout.params(self._vector)
            with torch.no_grad():
                self._old = [self._outputs(params, part) for part in self._chunks(self._data)]

    def gradient(
        self, vector: np.ndarray | None, tasks: Sequence[int] | None, weights: Weights
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Gradient (D,) and parts of the loss, sums over the steps of those of these tasks that lie here.

        Parameters
        ----------
        vector
            Parameters (D,); ``None``: those that rolled out.
        tasks
            Positions in the meta-batch; ``None``: all.
        weights
            Of the parts of the loss.
        """
        assert self._data is not None
        vector = self._vector if vector is None else vector
        total, sums, data = np.zeros(len(vector)), {"steps": 0.0}, self._data
        if tasks is not None:
            data = data.of([self._places[i] for i in tasks if i in self._places])
        learning = {k: v.requires_grad_() for k, v in self.spec.layout.learning(vector).items()}
        params, names = {**self.spec.layout.frozen(), **learning}, self.spec.layout.names
        for part in self._chunks(data):
            self.heartbeat()
            outputs = distribution_and_values(self.policy, params, part, self.spec.rl2.backprop_steps, order=1)
            loss, parts = actor_critic_loss(*outputs, part, weights, order=1)
            gradients = torch.autograd.grad(loss, [learning[name] for name in names])
            total += self.spec.layout.vector(dict(zip(names, gradients, strict=True)))
            for name, value in {**parts, "steps": part.mask.sum()}.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return total, sums

    def losses(self, vector: np.ndarray, weights: Weights) -> tuple[float, float]:
        """Sums over steps of the loss at `vector` (D,) and of the policies' divergence from those of `remember`."""
        params, loss, moved = self.spec.layout.params(vector), 0.0, 0.0
        assert self._data is not None
        with torch.no_grad():
            for part, old in zip(self._chunks(self._data), self._old, strict=True):
                outputs = self._outputs(params, part)
                loss += float(actor_critic_loss(*outputs, part, weights)[0])
                moved += float(divergence(*outputs, part, old, value_coef=0.0)[0])
        return loss, moved

    def fisher_vector_product(self, vector: np.ndarray, at: np.ndarray, value_coef: float) -> np.ndarray:
        """Sum over steps of the Hessian at `at` (D,) of `divergence`, times `vector` (D,)."""
        assert self._data is not None
        layout, names = self.spec.layout, self.spec.layout.names
        direction, total = layout.learning(vector), np.zeros(len(vector))
        for part, old in zip(self._chunks(self._data), self._old, strict=True):
            learning = {k: v.requires_grad_() for k, v in layout.learning(at).items()}
            values = [learning[name] for name in names]
            outputs = self._outputs({**layout.frozen(), **learning}, part, order=2)
            moved = divergence(*outputs, part, old, value_coef=value_coef)[1]
            slopes = torch.autograd.grad(moved, values, create_graph=True)
            along = sum((g * direction[n]).sum() for n, g in zip(names, slopes, strict=True))
            products = torch.autograd.grad(along, values)  # type: ignore[arg-type]
            total += layout.vector(dict(zip(names, products, strict=True)))
        return total

    def _outputs(self, params: Params, part: ActorCriticData, *, order: Order = 1) -> tuple[Any, torch.Tensor]:
        """Distributions and values (T, B) of a chunk, nothing cut; differentiable as often as wanted with `order` 2."""
        self.heartbeat()
        return distribution_and_values(self.policy, params, part, order=order)

    def _chunks(self, data: ActorCriticData) -> Iterator[ActorCriticData]:
        """Tasks computed together, a bounded number of environment steps each."""
        num_tasks = data.mask.shape[1]
        size = max(self.policy.tasks_together, _CHUNK_ROWS // max(1, data.mask.shape[0]))
        for start in range(0, num_tasks, size):
            part = data if num_tasks <= size else data.stretch(start, min(start + size, num_tasks))
            yield part.each(lambda tensor, _: tensor.to(self.spec.layout.device))

    def close(self) -> None:
        """Free the environments."""
        self._env.close()
