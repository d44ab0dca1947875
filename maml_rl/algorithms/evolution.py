"""Algorithm ``evolution``: all weights, by the fitness of whole lives and without a gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from maml_rl.algorithms.algorithm import Adaptation, Evaluation, Stage
from maml_rl.algorithms.building import initial_policy, policy_spec, tried_env
from maml_rl.algorithms.experience import ExperiencedAlgorithm
from maml_rl.algorithms.rl2 import evaluation
from maml_rl.config import Config
from maml_rl.envs import MetaEpisodeVectorEnv, MetaVectorEnv
from maml_rl.metalearners.evolution import Evolution
from maml_rl.metalearners.learner import Workers
from maml_rl.samplers import Backend
from maml_rl.samplers.evolution_worker import EvolutionWorkerSpec
from maml_rl.samplers.meta_episodes import MetaEpisodes
from maml_rl.settings import EvolutionSettings
from maml_rl.shard import Shard
from maml_rl.utils.errors import InputError


class EvolvedAgent(ExperiencedAlgorithm):
    """Evolution of a configuration's policy; an individual's life is a meta-episode of `fast-batch-size` episodes.

    Parameters
    ----------
    config
        The configuration.
    device, dtype
        Device on which populations live in tensor families, and float type of the policy.
    """

    remedy = "es-sigma or es-learning-rate"
    env: MetaEpisodeVectorEnv

    def __init__(self, config: Config, device: str, dtype: str) -> None:
        env = MetaEpisodeVectorEnv(tried_env(config), config.task.fast_batch_size)
        self.spec = policy_spec(config, env, dtype)
        super().__init__(config, env, [initial_policy(self.spec, config.run.seed)], device=device)

    @property
    def settings(self) -> EvolutionSettings:
        """Population, strategy and fitness."""
        return self.config.section(EvolutionSettings)

    @property
    def adaptation(self) -> Adaptation:
        """See `Algorithm.adaptation`."""
        return adaptation(self.config)

    @property
    def max_shards(self) -> int:
        """See `Algorithm.max_shards`: one an individual."""
        return self.settings.population_size

    @property
    def worker_spec(self) -> EvolutionWorkerSpec:
        """See `Algorithm.worker_spec`."""
        return EvolutionWorkerSpec(self.config.task, self.settings, self.spec, self.layout)

    def check_trainable(self) -> None:
        """See `Algorithm.check_trainable`: controls are of evaluations."""
        for name in ("yoked_reward", "hidden_ends"):
            if getattr(self.settings, name):
                raise InputError(
                    f"{name.replace('_', '-')}: got true, expected false in training: it is a control of test.py; "
                    "leave it out"
                )

    def learner(self, backend: Workers, parameters: np.ndarray) -> Evolution:
        """See `Algorithm.learner`: parameters (1, D)."""
        return Evolution(backend, parameters, self.settings, self.config.run)

    def evaluate(self, backend: Backend, shard: Shard, parameters: np.ndarray, num_adaptation_steps: int) -> Evaluation:
        """See `Algorithm.evaluate`: parameters (1, D)."""
        if self.settings.yoked_reward and len(shard.tasks) < 2:
            raise InputError("yoked-reward: got one life, expected another to take rewards from; test more tasks")
        parts = shard.split(backend.num_shards)
        calls: list[tuple[Any, ...]] = [(part, parameters[0], num_adaptation_steps + 1) for part in parts]
        lives = MetaEpisodes.joined(backend.map("evaluate", calls))
        if self.settings.yoked_reward:
            shown = np.roll(lives.rewards[0], 1, axis=0)  # (1, L, T) -> (L, T)
            ends = np.cumsum([len(part.tasks) for part in parts])[:-1]
            yoked = [(*call, own) for call, own in zip(calls, np.split(shown, ends), strict=True)]
            lives = MetaEpisodes.joined(backend.map("evaluate", yoked))
        return evaluation(shard, lives, self.adaptation)

    def stages(self, shard: Shard, parameters: np.ndarray, heartbeat: Any = lambda: None) -> list[Stage]:
        """See `Algorithm.stages`: both ends of a life with parameters (1, D)."""
        params = self.layout.on("cpu").stack(parameters)
        return [
            Stage("first seconds of a life", params, part="start"),
            Stage("last seconds of a life", params, part="end"),
        ]

    def film_env(self, env: MetaVectorEnv) -> MetaEpisodeVectorEnv:
        """See `Algorithm.film_env`: lives of episodes of `env`."""
        return MetaEpisodeVectorEnv(env, self.config.task.fast_batch_size)


def adaptation(config: Config) -> Adaptation:
    """Adaptation within a life: the episodes before its last."""
    return Adaptation(
        config.task.fast_batch_size - 1,
        "episodes",
        "first episode of a life",
        "last episode of a life",
        "life",
        label="{unit} of a life on {task} so far",
        as_trained=True,
        keeps_trials=True,
    )
