"""What a configuration asks for: environment, policy, workers and learner, checked but not yet running."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import gymnasium as gym
import numpy as np
import torch

from maml_rl.config import Config
from maml_rl.ensemble import EnsembleWorkerSpec, RL2Ensemble
from maml_rl.envs import MetaEpisodeVectorEnv, MetaVectorEnv, Task, make_meta_env, rehearse
from maml_rl.metalearners import MAMLTRPO, RL2, RL2Settings, TrustRegion
from maml_rl.policies import Params, Policy, PolicySpec, make_policy, policy_kind
from maml_rl.run_folder import load_policy
from maml_rl.samplers import Backend, MAMLWorkerSpec, RL2WorkerSpec
from maml_rl.samplers.backend import WorkerSpec
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator
from maml_rl.utils.vectors import flatten, unflatten

_IMAGE_AXES, _SMALLEST_IMAGE = 3, 20
"""Channels, height and width, of which the default encoder needs so much."""


@dataclass(frozen=True)
class Blueprint:
    """What a configuration asks for, checked but not yet running.

    Attributes
    ----------
    config
        The configuration.
    env
        One environment of the family, for spaces and task distribution.
    policy
        Policy with its initial parameters, a function of the seed.
    names
        Meta-parameters, in the order of flat vectors.
    worker
        What workers are built from.
    """

    config: Config
    env: MetaVectorEnv
    policy: Policy
    names: tuple[str, ...]
    worker: MAMLWorkerSpec | RL2WorkerSpec

    @property
    def num_agents(self) -> int:
        """Agents the configuration asks for."""
        return 1

    @property
    def worker_spec(self) -> WorkerSpec:
        """What a backend builds its workers from."""
        return self.worker

    @property
    def num_shares(self) -> int:
        """Into how many parts an iteration's work can be divided at most."""
        return self.config.meta_batch_size

    def with_seed(self, seed: int) -> Blueprint:
        """The same where episodes are played with another seed."""
        return replace(self, worker=replace(self.worker, seed=seed))

    def sample_tasks(self, iteration: int) -> list[Task]:
        """Tasks of an iteration's meta-batch."""
        rng = generator(self.config.seed, Purpose.TASKS, iteration=iteration)
        return self.env.sample_tasks(self.config.meta_batch_size, rng)

    def parameters(self) -> np.ndarray:
        """The policy's meta-parameters as a vector (P,) float64."""
        return flatten(self.policy.params(), self.names)

    def with_policy(self, path: str | Path) -> Blueprint:
        """The same with the weights of a ``policy.th`` in place of random ones, those that are not trained among them.

        Raises
        ------
        RunFolderError
            In one line, if the file is missing, damaged or another policy's.
        """
        return self.with_params(load_policy(path, self.policy.params()))

    def with_params(self, params: Params) -> Blueprint:
        """The same with these weights, those that are not trained among them."""
        policy = make_policy(self.worker.policy)
        policy.load_state_dict(params)
        return replace(self, policy=policy, worker=replace(self.worker, frozen=_frozen(policy, self.names)))

    def state_dict(self, parameters: np.ndarray) -> dict[str, Any]:
        """The policy's state with these meta-parameters (P,), under its own names."""
        own = self.policy.params()
        return {**own, **unflatten(parameters, own, self.names)}

    def trust_region(self) -> TrustRegion:
        """Settings of the outer step."""
        c = self.config
        return TrustRegion(c.max_kl, c.cg_iters, c.cg_damping, c.ls_max_steps, c.ls_backtrack_ratio)

    def learner(self, backend: Backend, parameters: np.ndarray) -> MAMLTRPO | RL2 | RL2Ensemble:
        """The learner the configuration asks for, at these meta-parameters (P,)."""
        if self.config.algorithm == "rl2":
            return RL2(backend, parameters, _rl2_settings(self.config), self.trust_region())
        return MAMLTRPO(backend, parameters, self.trust_region())


@dataclass(frozen=True)
class EnsembleBlueprint(Blueprint):
    """Of a configuration with several agents; vectors are those of all agents, one behind the other (A * P,).

    Attributes
    ----------
    agents
        The blueprint of each agent alone. What this one is beside them belongs to the first.
    """

    agents: tuple[Blueprint, ...]

    @property
    def num_agents(self) -> int:
        """See `Blueprint`."""
        return len(self.agents)

    @property
    def worker_spec(self) -> WorkerSpec:
        """See `Blueprint`."""
        workers = tuple(cast(RL2WorkerSpec, agent.worker) for agent in self.agents)
        return EnsembleWorkerSpec(workers, _rl2_settings(self.config), self.trust_region())

    @property
    def num_shares(self) -> int:
        """See `Blueprint`."""
        return len(self.agents)

    def with_seed(self, seed: int) -> EnsembleBlueprint:
        """See `Blueprint`."""
        return replace(self, agents=tuple(agent.with_seed(seed) for agent in self.agents))

    def sample_tasks(self, iteration: int) -> list[Task]:
        """Tasks of each agent, one agent's behind the other's (A * M)."""
        return [task for agent in self.agents for task in agent.sample_tasks(iteration)]

    def parameters(self) -> np.ndarray:
        """See `Blueprint`."""
        return np.concatenate([agent.parameters() for agent in self.agents])

    def with_policy(self, path: str | Path) -> EnsembleBlueprint:
        """See `Blueprint`; the file holds the weights of as many agents."""
        params = load_policy(path, self.state_dict(self.parameters()))
        return replace(
            self,
            agents=tuple(
                agent.with_params({name: value[i] for name, value in params.items()})
                for i, agent in enumerate(self.agents)
            ),
        )

    def state_dict(self, parameters: np.ndarray) -> dict[str, Any]:
        """Tensors (A, ...) of all agents, under the policy's own names."""
        parts = parameters.reshape(len(self.agents), -1)
        own = [agent.state_dict(part) for agent, part in zip(self.agents, parts, strict=True)]
        return {name: torch.stack([one[name] for one in own]) for name in own[0]}

    def learner(self, backend: Backend, parameters: np.ndarray) -> RL2Ensemble:
        """See `Blueprint`."""
        return RL2Ensemble(backend, parameters, len(self.agents))


def draw_up(config: Config, *, device: str = "cpu") -> Blueprint:
    """Make environment, policy and worker specification of a configuration.

    Raises
    ------
    ValueError, ImportError
        In one line, if the environment is unknown, its arguments are wrong or a package is missing.
    """
    env = make_meta_env(config.env_name, 2, config.env_kwargs)  # of one alone an array could be any one's
    rehearse(env)
    if config.algorithm == "rl2":
        env = MetaEpisodeVectorEnv(
            env, config.fast_batch_size, show_progress=config.show_progress, reward_clip=config.reward_clip
        )
    if config.num_agents == 1:
        return _draw_up_one(config, env, device)
    agents = tuple(
        _draw_up_one(config.model_copy(update={"seed": config.seed + i, "num_agents": 1}), env, device)
        for i in range(config.num_agents)
    )
    first = agents[0]
    return EnsembleBlueprint(config, env, first.policy, first.names, first.worker, agents)


def _draw_up_one(config: Config, env: MetaVectorEnv, device: str) -> Blueprint:
    """The blueprint of one agent of the environment."""
    own_space, options = _own_observation_space(env), policy_kind(config.policy).options
    spec = PolicySpec.for_spaces(
        env.single_observation_space,
        env.single_action_space,
        name=config.policy,
        hidden_sizes=config.hidden_sizes,
        nonlinearity=config.nonlinearity,
        options=options(**{name: getattr(config, name) for name in options.model_fields}),
        encoder=_encoder(config, own_space),
        encoder_channels=config.encoder_channels,
        observation_shape=tuple(own_space.shape or ()),
        with_value=config.algorithm == "rl2",
    )
    policy = make_policy(spec)
    policy.initialise(generator(config.seed, Purpose.INITIAL_PARAMETERS))
    names = tuple(policy.named_meta_parameters(config.train_recurrent))
    common: dict[str, Any] = {
        "env_name": config.env_name,
        "env_kwargs": config.env_kwargs,
        "policy": spec,
        "names": names,
        "frozen": _frozen(policy, names),
        "fast_batch_size": config.fast_batch_size,
        "gamma": config.gamma,
        "reward_clip": config.reward_clip,
        "seed": config.seed,
        "device": device,
    }
    worker: MAMLWorkerSpec | RL2WorkerSpec
    if config.algorithm == "rl2":
        worker = RL2WorkerSpec(**common, show_progress=config.show_progress, backprop_steps=config.backprop_steps)
        return Blueprint(config, env, policy, names, worker)
    worker = MAMLWorkerSpec(
        **common,
        gae_lambda=config.gae_lambda,
        baseline_regularisation=config.baseline_regularisation,
        num_steps=config.num_steps,
        fast_lr=config.fast_lr,
        inner_objective=_inner_objective(config, spec),
        memory_scope=config.memory_scope,
        first_order=config.first_order,
        adapted=tuple(policy.head_parameters()) if config.adapted_layers == "head" else None,
        hessian_steps=config.hessian_steps,
        fisher_steps=config.fisher_steps,
    )
    return Blueprint(config, env, policy, names, worker)


def _frozen(policy: Policy, names: Container[str]) -> dict[str, np.ndarray]:
    """The weights that are not meta-learned."""
    return {k: v.numpy() for k, v in policy.params().items() if k not in names}


def _own_observation_space(env: MetaVectorEnv) -> gym.Space[Any]:
    """Space of what the environment itself shows, without what meta-episodes add."""
    while isinstance(env, MetaEpisodeVectorEnv):
        env = env.env
    return env.single_observation_space


def _encoder(config: Config, space: gym.Space[Any]) -> str:
    shape = tuple(space.shape or ())
    if config.encoder == "ram" and (space.dtype != np.uint8 or len(shape) == _IMAGE_AXES):
        raise InputError(
            f"encoder: got 'ram', expected an environment that shows bytes of a memory, not {shape} of {space.dtype}; "
            "choose another encoder, or observation: ram of a game"
        )
    if config.encoder == "auto":
        return "conv" if len(shape) == _IMAGE_AXES and min(shape[1:]) >= _SMALLEST_IMAGE else "none"
    return config.encoder


def _inner_objective(config: Config, policy: PolicySpec) -> str:
    if config.inner_objective == "auto":
        return "reinforce" if policy.continuous else "lvc"
    return config.inner_objective


def _rl2_settings(c: Config) -> RL2Settings:
    return RL2Settings(
        outer_step="ppo" if c.outer_step == "auto" else c.outer_step,
        num_batches=c.num_batches,
        num_epochs=c.num_epochs,
        num_minibatches=c.num_minibatches,
        clip_range=c.clip_range,
        learning_rate=c.learning_rate,
        learning_rate_end=c.learning_rate if c.learning_rate_end is None else c.learning_rate_end,
        entropy_weight=c.entropy_weight,
        entropy_weight_end=c.entropy_weight if c.entropy_weight_end is None else c.entropy_weight_end,
        value_weight=c.value_weight,
        max_grad_norm=c.max_grad_norm,
        optimiser=c.optimiser,
        gae_lambda=c.gae_lambda,
        gae_lambda_end=c.gae_lambda if c.gae_lambda_end is None else c.gae_lambda_end,
        seed=c.seed,
    )
