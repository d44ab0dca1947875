"""Algorithm ``rl2``: all weights of an agent whose memory learns the task."""

from __future__ import annotations

from typing import Any

import numpy as np

from maml_rl.algorithms.algorithm import Adaptation, Evaluation, Stage
from maml_rl.algorithms.building import initial_policy, policy_spec, tried_env
from maml_rl.algorithms.experience import ExperiencedAlgorithm
from maml_rl.config import Config
from maml_rl.envs import MetaEpisodeVectorEnv, MetaVectorEnv
from maml_rl.metalearners import RL2, RL2Step
from maml_rl.metalearners.learner import Workers
from maml_rl.policies import PolicySpec
from maml_rl.policies.layout import ParameterLayout
from maml_rl.samplers import Backend, RL2WorkerSpec
from maml_rl.samplers.meta_episodes import MetaEpisodes
from maml_rl.settings import ReturnSettings, RL2Settings, RunSettings, TrustRegion
from maml_rl.shard import Shard
from maml_rl.utils.errors import InputError


class RL2Agent(ExperiencedAlgorithm):
    """RL² of a configuration with one agent (Duan et al. 2016; Wang et al. 2016).

    Parameters
    ----------
    config
        The configuration.
    device, dtype
        Device that learns, and float type of the policy.
    """

    remedy = "learning-rate or max-kl"
    env: MetaEpisodeVectorEnv

    def __init__(self, config: Config, device: str, dtype: str) -> None:
        env = meta_episodes(config)
        self.spec = policy_spec(config, env, dtype, with_value=True)
        super().__init__(config, env, [initial_policy(self.spec, config.run.seed)], device=device)

    @property
    def adaptation(self) -> Adaptation:
        """See `Algorithm.adaptation`."""
        return adaptation(self.config)

    @property
    def worker_spec(self) -> RL2WorkerSpec:
        """See `Algorithm.worker_spec`."""
        return worker_spec(self.config, self.env, self.spec, self.layout)

    def learner(self, backend: Workers, parameters: np.ndarray) -> RL2:
        """See `Algorithm.learner`: parameters (1, D)."""
        return RL2(backend, parameters, outer_step(self.config, self.config.run))

    def evaluate(self, backend: Backend, shard: Shard, parameters: np.ndarray, num_adaptation_steps: int) -> Evaluation:
        """See `Algorithm.evaluate`: parameters (1, D)."""
        calls = [(part, parameters[0], num_adaptation_steps + 1) for part in shard.split(backend.num_shards)]
        return evaluation(shard, MetaEpisodes.joined(backend.map("evaluate", calls)), self.adaptation)

    def stages(self, shard: Shard, parameters: np.ndarray, heartbeat: Any = lambda: None) -> list[Stage]:
        """See `Algorithm.stages`: both ends of a meta-episode with parameters (1, D)."""
        params = self.layout.on("cpu").stack(parameters)
        if self.config.task.fast_batch_size == 1:
            return [Stage("an episode", params)]
        return [
            Stage("first steps of a meta-episode", params, part="start"),
            Stage("last steps of a meta-episode", params, part="end"),
        ]

    def film_env(self, env: MetaVectorEnv) -> MetaEpisodeVectorEnv:
        """See `Algorithm.film_env`: meta-episodes of episodes of `env`."""
        return _in_meta_episodes(self.config, env)


def meta_episodes(config: Config) -> MetaEpisodeVectorEnv:
    """One environment of the configuration's meta-episodes.

    Raises
    ------
    InputError
        In one line, if returns are to add expected rewards that the family does not know or that are clipped.
    """
    env = _in_meta_episodes(config, tried_env(config))
    if config.section(RL2Settings).expected_rewards:
        if not env.knows_expected_rewards:
            raise InputError(
                f"expected-rewards: got true with {config.task.env_name}, expected a family that knows its mean "
                "rewards, such as TabularMDP-v0 or Bandit-K5-v0; set it to false"
            )
        if config.section(ReturnSettings).reward_clip is not None:
            raise InputError(
                "expected-rewards: got true with reward-clip, expected one of the two: the mean of clipped rewards is "
                "not known; set reward-clip to null"
            )
    return env


def _in_meta_episodes(config: Config, env: MetaVectorEnv) -> MetaEpisodeVectorEnv:
    return MetaEpisodeVectorEnv(
        env,
        config.task.fast_batch_size,
        show_progress=config.section(RL2Settings).observe_episode_fraction,
        show_previous=config.section(RL2Settings).observe_previous,
        reward_clip=config.section(ReturnSettings).reward_clip,
        reward_change_unit=config.section(RL2Settings).observe_reward_change,
    )


def worker_spec(config: Config, env: MetaEpisodeVectorEnv, spec: PolicySpec, layout: ParameterLayout) -> RL2WorkerSpec:
    """Specification of the workers of an agent with these frozen parameters."""
    returns, rl2 = config.section(ReturnSettings), config.section(RL2Settings)
    return RL2WorkerSpec(config.task, returns, rl2, spec, layout, env.env.max_episode_steps)


def outer_step(config: Config, run: RunSettings) -> RL2Step:
    """Settings of the outer step of an agent of this run."""
    return RL2Step(run, config.section(ReturnSettings), config.section(RL2Settings), config.section(TrustRegion))


def evaluation(shard: Shard, episodes: MetaEpisodes, adaptation: Adaptation) -> Evaluation:
    """Evaluation by meta-episodes (P, N, ...) of a shard's N tasks."""
    returns, *measures = (
        np.ascontiguousarray(values.transpose(2, 1, 0))  # (P, N, E) -> (E, N, P)
        for values in (episodes.returns, *episodes.measures.values())
    )
    named = dict(zip(episodes.measures, measures, strict=True))
    return Evaluation(list(shard.tasks), returns, adaptation.trained, named, episodes)


def adaptation(config: Config) -> Adaptation:
    """Adaptation by episodes of experience: those before a meta-episode's last."""
    trained = config.task.fast_batch_size - 1
    bounded = config.section(RL2Settings).observe_episode_fraction
    return Adaptation(
        trained,
        "episodes",
        "first episode of a task",
        "last episode of a task",
        "meta-episode",
        label="{unit} of {task} so far",
        limit=trained if bounded else None,
        limit_reason=("with observe-episode-fraction: true, where the agent sees how much of the meta-episode is over"),
        as_trained=True,
        keeps_trials=True,
    )
