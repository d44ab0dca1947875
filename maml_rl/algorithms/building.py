"""Policy and environment of a configuration, as most algorithms need them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from maml_rl.config import Config
from maml_rl.envs import MetaEpisodeVectorEnv, MetaVectorEnv, dry_run, make_meta_env
from maml_rl.policies import Policy, PolicySpec, make_policy
from maml_rl.settings import PolicySettings
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator

_IMAGE_AXES, _SMALLEST_IMAGE = 3, 20
"""Channels, height and width, and the least of the latter that the default encoder needs."""


def tried_env(config: Config) -> MetaVectorEnv:
    """One environment of the configuration's family that has made its first steps.

    Raises
    ------
    InputError
        In one line, if it is unknown, its arguments are wrong or a package is missing.
    """
    env = make_meta_env(config.task.env_name, 2, config.task.env_kwargs)  # of one alone an array could be any one's
    dry_run(env)
    return env


def policy_spec(config: Config, env: MetaVectorEnv, dtype: str, *, with_value: bool = False) -> PolicySpec:
    """Specification of the configuration's policy for the spaces of an environment, in this float type."""
    own_space = _own_observation_space(env)
    settings = config.section(PolicySettings)
    return PolicySpec.for_spaces(
        env.single_observation_space,
        env.single_action_space,
        name=settings.policy,
        hidden_sizes=settings.hidden_sizes,
        nonlinearity=settings.nonlinearity,
        options=config.policy_options,
        encoder=_encoder(settings.encoder, own_space),
        encoder_channels=settings.encoder_channels,
        encoder_gain=settings.encoder_gain,
        encoder_centre=settings.encoder_centre,
        encoder_deviation=settings.encoder_deviation,
        initial_std=settings.initial_std,
        observation_shape=tuple(own_space.shape or (1,)),  # an index is one number
        with_value=with_value,
        dtype=dtype,
    )


def initial_policy(spec: PolicySpec, seed: int) -> Policy:
    """The policy with the weights that a seed draws."""
    policy = make_policy(spec)
    policy.initialise(generator(seed, Purpose.INITIAL_PARAMETERS))
    return policy


def _own_observation_space(env: MetaVectorEnv) -> gym.Space[Any]:
    """Space of the environment's own observations, without what meta-episodes add."""
    while isinstance(env, MetaEpisodeVectorEnv):
        env = env.env
    return env.single_observation_space


def _encoder(name: str, space: gym.Space[Any]) -> str:
    shape = tuple(space.shape or ())
    if name == "ram" and (space.dtype != np.uint8 or len(shape) == _IMAGE_AXES):
        raise InputError(
            f"encoder: got 'ram', expected an environment that shows bytes of a memory, not {shape} of {space.dtype}; "
            "choose another encoder, or observation: ram of a game"
        )
    if name == "auto":
        return "conv" if len(shape) == _IMAGE_AXES and min(shape[1:]) >= _SMALLEST_IMAGE else "none"
    return name
