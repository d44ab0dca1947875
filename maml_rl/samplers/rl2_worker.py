"""The worker of memory-based meta-learning: owns a shard of tasks and the meta-episodes played on them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_map

from maml_rl.actor_critic import (
    ActorCriticData,
    Weights,
    actor_critic_loss,
    distribution_and_values,
    divergence,
)
from maml_rl.envs import make_meta_env
from maml_rl.envs.meta_env import Task
from maml_rl.envs.meta_episode import MetaEpisodeVectorEnv
from maml_rl.episode import clip_rewards, generalised_advantages
from maml_rl.policies import Params, PolicySpec, make_policy
from maml_rl.policies.recurrence import Order
from maml_rl.samplers.meta_episodes import MetaEpisodes, Played, RL2Report, play_meta_episodes
from maml_rl.samplers.rollout import Streams
from maml_rl.utils.random import Purpose, generator
from maml_rl.utils.vectors import flatten, unflatten

_CHUNK_ROWS = 5000
"""Environment steps per batched computation of gradients: what they need fits into a core's cache."""

_SMALLEST_UNIT = 0.01
"""Of values, where neither the discount nor the length of a meta-episode sets a limit to them."""


@dataclass(frozen=True)
class RL2WorkerSpec:
    """What an RL² worker is built from; picklable. Hyper-parameters as in `maml_rl.config.Config`."""

    env_name: str
    env_kwargs: dict[str, Any]
    policy: PolicySpec
    names: tuple[str, ...]
    frozen: dict[str, np.ndarray]
    fast_batch_size: int
    show_progress: bool
    gamma: float
    seed: int
    backprop_steps: int | None = None
    reward_clip: float | None = None
    device: str = "cpu"

    replayed_methods = {"collect": "restart", "remember": "keep"}  # noqa: RUF012
    """Calls that build a worker's state: after a loss they are made again, from the last restart on."""

    def build(self, heartbeat: Callable[[], None]) -> RL2Worker:
        """Make the worker in the process that is to run it."""
        return RL2Worker(self, heartbeat)

    def make_env(self, num_tasks: int, num_episodes: int) -> MetaEpisodeVectorEnv:
        """An environment of so many meta-episodes of so many episodes."""
        env = make_meta_env(self.env_name, num_tasks, self.env_kwargs)
        return MetaEpisodeVectorEnv(env, num_episodes, show_progress=self.show_progress, reward_clip=self.reward_clip)

    def describe(self, method: str, arguments: tuple[Any, ...]) -> str:
        """Say in words what a call was about, for error messages."""
        if method in ("collect", "evaluate"):
            return f"seed {self.seed}, iteration {arguments[3]}, tasks {list(arguments[0])}"
        return f"seed {self.seed}"


class RL2Worker:
    """Plays a shard's meta-episodes and evaluates losses on them.

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
        self._like = self.policy.params()
        for name, value in spec.frozen.items():
            self._like[name] = torch.from_numpy(value)
        self._env: MetaEpisodeVectorEnv | None = None
        self._indices: dict[int, int] = {}
        self._data: ActorCriticData | None = None
        self._old: list[Any] = []

    def collect(
        self, indices: Sequence[int], tasks: Sequence[Task], vector: np.ndarray, iteration: int, gae_lambda: float
    ) -> RL2Report:
        """Play a meta-episode of every task and keep it, with advantages that are not yet normalised.

        Parameters
        ----------
        indices
            Position of each task in the meta-batch: with seed and iteration it fixes the meta-episode.
        tasks
            The M tasks of the shard.
        vector
            Parameters (P,).
        iteration
            Outer iteration.
        gae_lambda
            Of the advantages, in [0, 1].
        """
        self._old = []
        params = self._params(vector)
        purposes = (Purpose.ENVIRONMENT, Purpose.ACTIONS)
        data, rewards, returns = self._play(indices, tasks, vector, iteration, purposes, self.spec.fast_batch_size)
        with torch.no_grad():
            values = torch.cat([self._outputs(params, part)[1].cpu() for part in self._chunks(data)], dim=1)
        advantages = generalised_advantages(
            (clip_rewards(rewards, self.spec.reward_clip) * self._unit()).T.unsqueeze(-1),
            values.T.unsqueeze(-1),
            data.mask.T.unsqueeze(-1),
            gamma=self.spec.gamma,
            gae_lambda=gae_lambda,
        )[..., 0].T  # (M, T, 1) -> (T, M)
        targets = advantages + values
        self._data = data._replace(advantages=advantages, targets=targets)
        self._indices = {task: position for position, task in enumerate(indices)}
        sums = [data.mask.sum(dtype=torch.float64)]
        for part in (advantages.double() * data.mask, targets.double() * data.mask):
            sums += [part.sum(), part.square().sum()]
        moments = np.array([float(x) for x in sums])
        finite = bool(np.isfinite(moments).all() and torch.isfinite(data.observations).all())
        return RL2Report(returns, int(moments[0]), moments, finite)

    def evaluate(
        self,
        indices: Sequence[int],
        tasks: Sequence[Task],
        vector: np.ndarray,
        iteration: int,
        num_steps: int,
    ) -> MetaEpisodes:
        """Meta-episodes of ``num_steps + 1`` episodes on evaluation streams."""
        purposes = (Purpose.EVALUATION_ENVIRONMENT, Purpose.EVALUATION_ACTIONS)
        played = self._play(indices, tasks, vector, iteration, purposes, num_steps + 1)
        return played.meta_episodes(self._environment(len(tasks), num_steps + 1).num_inputs)

    def _play(
        self,
        indices: Sequence[int],
        tasks: Sequence[Task],
        vector: np.ndarray,
        iteration: int,
        purposes: tuple[Purpose, Purpose],
        num_episodes: int,
    ) -> Played:
        """Play meta-episodes of E = `num_episodes` episodes; on the CPU, whatever the device that learns."""
        params = {**self._like, **unflatten(vector, self._like, self.spec.names)}
        env = self._environment(len(tasks), num_episodes)
        streams = Streams(
            *([generator(self.spec.seed, p, iteration=iteration, task=i) for i in indices] for p in purposes)
        )
        return play_meta_episodes(env, self.policy, params, tasks, streams, heartbeat=self.heartbeat)

    def _unit(self) -> float:
        """What rewards count, so that values are averages of the rewards to come, whatever discount and horizon."""
        assert self._env is not None
        longest = self._env.env.max_episode_steps
        shortest_unit = 1.0 / (longest * self._env.num_episodes) if longest else _SMALLEST_UNIT
        return max(1.0 - self.spec.gamma, shortest_unit)

    def remember(self, mean: float, deviation: float, vector: np.ndarray | None) -> None:
        """Normalise the advantages; with a vector (P,), keep its policies as the old ones of `divergences`."""
        assert self._data is not None
        advantages = (self._data.advantages - mean) / deviation * self._data.mask
        self._data = self._data._replace(advantages=advantages)
        if vector is not None:
            params = self._params(vector)
            with torch.no_grad():
                self._old = [self._outputs(params, part) for part in self._chunks(self._data)]

    def gradient(
        self, vector: np.ndarray, tasks: Sequence[int] | None, weights: Weights
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Gradient (P,) and parts of the loss, sums over the steps of those of these tasks that lie here.

        Parameters
        ----------
        vector
            Parameters (P,).
        tasks
            Positions in the meta-batch; ``None``: all.
        weights
            Of the parts of the loss.
        """
        assert self._data is not None
        mine = None if tasks is None else [self._indices[i] for i in tasks if i in self._indices]
        total, sums = np.zeros(len(vector)), {"steps": 0.0}
        data = self._data if mine is None else self._data.of(mine)
        learning = {k: v.requires_grad_() for k, v in self._learning(vector).items()}
        params = {**self._frozen(), **learning}
        for part in self._chunks(data):
            self.heartbeat()
            outputs = distribution_and_values(self.policy, params, part, self.spec.backprop_steps, order=1)
            loss, parts = actor_critic_loss(*outputs, part, weights)
            gradients = torch.autograd.grad(loss, [learning[name] for name in self.spec.names])
            total += flatten(dict(zip(self.spec.names, gradients, strict=True)), self.spec.names)
            for name, value in {**parts, "steps": part.mask.sum()}.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return total, sums

    def losses(self, vector: np.ndarray, weights: Weights) -> tuple[float, float]:
        """Sums over steps of the loss and of the policies' divergence from those of `remember`."""
        params, loss, moved = self._params(vector), 0.0, 0.0
        assert self._data is not None
        with torch.no_grad():
            for part, old in zip(self._chunks(self._data), self._old, strict=True):
                outputs = self._outputs(params, part)
                loss += float(actor_critic_loss(*outputs, part, weights)[0])
                moved += float(divergence(*outputs, part, old, value_weight=0.0)[0])
        return loss, moved

    def fisher_vector_product(self, vector: np.ndarray, at: np.ndarray, value_weight: float) -> np.ndarray:
        """Sum over steps of the Hessian at `at` (P,) of `divergence`, times `vector` (P,)."""
        assert self._data is not None
        direction, total = self._learning(vector), np.zeros(len(vector))
        for part, old in zip(self._chunks(self._data), self._old, strict=True):
            learning = {k: v.requires_grad_() for k, v in self._learning(at).items()}
            values = [learning[name] for name in self.spec.names]
            outputs = self._outputs({**self._frozen(), **learning}, part, order=2)
            moved = divergence(*outputs, part, old, value_weight=value_weight)[1]
            slopes = torch.autograd.grad(moved, values, create_graph=True)
            along = sum((g * direction[n]).sum() for n, g in zip(self.spec.names, slopes, strict=True))
            products = torch.autograd.grad(along, values)  # type: ignore[arg-type]
            total += flatten(dict(zip(self.spec.names, products, strict=True)), self.spec.names)
        return total

    def _outputs(self, params: Params, part: ActorCriticData, *, order: Order = 1) -> tuple[Any, torch.Tensor]:
        """Distributions and values (T, B) of a chunk, nothing cut; differentiable as often as wanted with `order` 2."""
        self.heartbeat()
        return distribution_and_values(self.policy, params, part, order=order)

    def _chunks(self, data: ActorCriticData) -> Iterator[ActorCriticData]:
        """Tasks computed together, a bounded number of environment steps each."""
        num_tasks = data.mask.shape[1]
        size = max(1, _CHUNK_ROWS // max(1, data.mask.shape[0]))
        for start in range(0, num_tasks, size):
            yield tree_map(lambda part: part.to(self.spec.device), data.of(slice(start, start + size)))

    def _learning(self, vector: np.ndarray) -> Params:
        return tree_map(lambda x: x.to(self.spec.device), unflatten(vector, self._like, self.spec.names))

    def _frozen(self) -> Params:
        return {k: v.to(self.spec.device) for k, v in self._like.items() if k not in set(self.spec.names)}

    def _params(self, vector: np.ndarray) -> Params:
        return {**self._frozen(), **self._learning(vector)}

    def _environment(self, num_tasks: int, num_episodes: int) -> MetaEpisodeVectorEnv:
        size = (num_tasks, num_episodes)
        if self._env is None or (self._env.num_envs, self._env.num_episodes) != size:
            if self._env is not None:
                self._env.close()
            self._env = self.spec.make_env(num_tasks, num_episodes)
        return self._env

    def close(self) -> None:
        """Free the environments."""
        if self._env is not None:
            self._env.close()
