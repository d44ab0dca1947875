"""The worker of evolution: rolls out the lives of a part of the population."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from maml_rl.envs import is_tensor_family, make_meta_env, make_tensor_env
from maml_rl.envs.meta_episode import MetaEpisodeVectorEnv
from maml_rl.envs.tensor_env import TensorMetaVectorEnv
from maml_rl.evolution import Candidates
from maml_rl.metalearners.evolution import LivesReport, lives_report
from maml_rl.policies import PolicySpec, make_policy
from maml_rl.policies.layout import ParameterLayout
from maml_rl.policies.spec import DTYPES
from maml_rl.samplers.lives import live
from maml_rl.samplers.meta_episodes import MetaEpisodes, roll_out_meta_episodes
from maml_rl.samplers.recorders import ReturnRecorder
from maml_rl.samplers.rollout import rollout
from maml_rl.samplers.sized_environment import SizedEnvironment
from maml_rl.settings import EvolutionSettings, TaskSettings
from maml_rl.shard import Shard, Streams


@dataclass(frozen=True)
class EvolutionWorkerSpec:
    """Everything a worker of evolution is built from; picklable.

    Attributes
    ----------
    task, evolution
        Sections of the configuration.
    policy
        Specification of every individual's policy.
    layout
        Places of the policy's parameters in vectors; on its device lives of tensor families are lived.
    """

    task: TaskSettings
    evolution: EvolutionSettings
    policy: PolicySpec
    layout: ParameterLayout

    @property
    def worker_class(self) -> type[EvolutionWorker]:
        """See `WorkerSpec`."""
        return EvolutionWorker

    def build(self, heartbeat: Callable[[], None]) -> EvolutionWorker:
        """Make the worker in the process that is to run it."""
        return EvolutionWorker(self, heartbeat)

    def make_env(self, num_lives: int, num_episodes: int) -> MetaEpisodeVectorEnv:
        """An environment of this many lives of this many episodes."""
        return MetaEpisodeVectorEnv(make_meta_env(self.task.env_name, num_lives, self.task.env_kwargs), num_episodes)

    def make_tensor_env(self, num_individuals: int, num_lives: int) -> TensorMetaVectorEnv:
        """An environment of a tensor family for so many individuals and lives."""
        shape, dtype = (num_individuals, num_lives), DTYPES[self.policy.dtype]
        return make_tensor_env(self.task.env_name, shape, self.task.env_kwargs, device=self.layout.device, dtype=dtype)


class EvolutionWorker:
    """Gives individuals their lives; no state outlives a call.

    All individuals have the same tasks, births and noise: life l of one draws what life l of another does.

    Parameters
    ----------
    spec
        See `EvolutionWorkerSpec`.
    heartbeat
        Called at least once per environment step.
    """

    def __init__(self, spec: EvolutionWorkerSpec, heartbeat: Callable[[], None]) -> None:
        self.spec = spec
        self.heartbeat = heartbeat
        self.policy = make_policy(spec.policy)
        self._layout = spec.layout.on("cpu")
        self._env = SizedEnvironment(spec.make_env)
        self._tensors = is_tensor_family(spec.task.env_name)

    def rate(self, shard: Shard, candidates: Candidates, base: np.ndarray) -> LivesReport:
        """Fitness of individuals after their lives, one for each task of a shard; see `live`.

        They are `candidates` on their `base`, (D,) or (P, D), which travels once to many workers.
        """
        return lives_report(*self.live(shard, candidates.on(base).vectors), self.spec.evolution)

    def live(self, shard: Shard, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns (P, L, E) of the E episodes in the L lives of a shard, and environment steps (P, L).

        Parameters
        ----------
        shard
            A task for each life.
        vectors
            Parameters (P, D) of the individuals; at most `chunk_size` of them act together, in chunks of like size.
        """
        live_part = self._live_on_tensors if self._tensors else self._live
        chunks = np.array_split(vectors, -(-len(vectors) // self.spec.evolution.chunk_size))
        parts = [live_part(shard, chunk) for chunk in chunks]
        returns, steps = zip(*parts, strict=True)
        return np.concatenate(returns), np.concatenate(steps)

    def _live(self, shard: Shard, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `live`, of one chunk, in any family."""
        num_episodes = self.spec.task.fast_batch_size
        outcome, _ = rollout(
            self._env.of(len(vectors) * len(shard.tasks), num_episodes),
            self.policy,
            self._layout.stack(vectors),
            list(shard.tasks) * len(vectors),
            _repeated(shard, len(vectors)),
            recorder=ReturnRecorder(num_episodes),
            heartbeat=self.heartbeat,
        )
        return outcome.returns, outcome.env_steps

    def _live_on_tensors(self, shard: Shard, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `live`, of one chunk, in a tensor family."""
        return live(
            self.spec.make_tensor_env(len(vectors), len(shard.tasks)),
            self.policy,
            self.spec.layout.stack(vectors),
            shard.tasks,
            shard.streams(),
            num_episodes=self.spec.task.fast_batch_size,
            heartbeat=self.heartbeat,
        )

    def evaluate(
        self, shard: Shard, vector: np.ndarray, num_episodes: int, shown_rewards: np.ndarray | None = None
    ) -> MetaEpisodes:
        """Lives of `num_episodes` episodes of one individual with parameters `vector` (D,), step by step.

        Rewards `shown_rewards` (L, T) are observed in place of those obtained, a control; ``None``: those obtained.
        """
        env, params = self._env.of(len(shard.tasks), num_episodes), self._layout.params(vector)
        env.shown_rewards, env.shows_ends = shown_rewards, not self.spec.evolution.hidden_ends
        try:
            batch = roll_out_meta_episodes(
                env, self.policy, params, shard.tasks, shard.streams(), heartbeat=self.heartbeat
            )
        finally:
            env.shown_rewards, env.shows_ends = None, True
        return batch.meta_episodes(env.num_inputs)

    def close(self) -> None:
        """Free the environments."""
        self._env.close()


def _repeated(shard: Shard, num_individuals: int) -> Streams:
    """Streams of every individual's lives, one individual's behind the other's: the same numbers again and again."""
    return Streams.joined([shard.streams() for _ in range(num_individuals)])
