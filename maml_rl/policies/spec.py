"""Specification of a policy, from which every process builds its own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from maml_rl.policies.encoders import ENCODERS, make_encoder
from maml_rl.policies.heads import CategoricalHead, Head, NormalHead
from maml_rl.policies.policy import Interface
from maml_rl.settings import Settings
from maml_rl.utils.errors import InputError

DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""Float types a policy may be computed in, by name."""


@dataclass(frozen=True)
class PolicySpec:
    """Everything a policy is built from; picklable, so that workers build their own.

    Attributes
    ----------
    name
        A registered policy, e.g. ``"mlp"``.
    input_size, output_size
        Length O of an observation; length A of an action or number of actions.
    continuous
        Whether actions are real vectors (`Normal`) or indices (`Categorical`).
    hidden_sizes, nonlinearity
        See the policy classes.
    options
        Options of this kind of policy, as registered with it; ``None``: their defaults.
    with_value
        Whether the policy also values states, see `Policy.unroll_with_values`.
    encoder, encoder_channels, encoder_gain, encoder_centre, encoder_deviation
        What stands before the first layer, one of `ENCODERS`, the channels of its layers, how much larger it sees
        images, and what it subtracts from numbers and divides them by.
    initial_std
        Standard deviation of continuous actions before training, > 0; 1 with discrete ones, which have none.
    observation_shape
        Shape of an observation before it was made flat; what may follow it is not counted. ``()``: (O,).
    dtype
        Float type of the parameters, and so of episodes and all that is learnt from them: one of `DTYPES`.
    """

    name: str
    input_size: int
    output_size: int
    continuous: bool
    hidden_sizes: tuple[int, ...]
    nonlinearity: str
    options: Settings | None = None
    with_value: bool = False
    encoder: str = "none"
    encoder_channels: tuple[int, ...] = (16, 32)
    encoder_gain: float = 1.0
    encoder_centre: tuple[float, ...] = ()
    encoder_deviation: tuple[float, ...] = ()
    initial_std: float = 1.0
    observation_shape: tuple[int, ...] = ()
    dtype: str = "float32"

    @classmethod
    def for_spaces(
        cls,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        name: str,
        **settings: Any,
    ) -> PolicySpec:
        """Return the spec of a policy between these single-environment spaces; `settings` are the other fields.

        Raises
        ------
        ValueError
            If the action space is neither a one-dimensional `Box` nor `Discrete`.
        """
        continuous = isinstance(action_space, gym.spaces.Box)
        if isinstance(action_space, gym.spaces.Box):
            output_size = int(np.prod(action_space.shape))
        elif isinstance(action_space, gym.spaces.Discrete):
            output_size = int(action_space.n)
        else:
            raise InputError(f"action space: got {action_space}, expected Box or Discrete")
        input_size = int(np.prod(observation_space.shape or (1,)))
        return cls(name, input_size, output_size, continuous, **settings)

    @property
    def num_observed(self) -> int:
        """Numbers of the environment's own observation, before what a meta-episode adds.

        Raises
        ------
        InputError
            If observations are not those of a meta-episode.
        """
        beside = self.output_size + 2  # previous action, reward and done
        own = math.prod(self.observation_shape) if self.observation_shape else self.input_size - beside
        if own < 1 or self.input_size < own + beside:
            raise InputError(
                f"policy: got {self.name!r} where neither previous action nor reward are observed, expected algorithm "
                "rl2 or evolution, or env-name MetaEpisode-v0; choose one of them"
            )
        return own

    def interface(self, *, logits: str = "logits") -> Interface:
        """Both ends of the policy; `logits` names the layer of a head over discrete actions.

        Raises
        ------
        ValueError
            If the encoder is unknown or does not fit the observations.
        """
        if self.encoder not in ENCODERS:
            raise ValueError(f"encoder: got {self.encoder!r}, expected one of {list(ENCODERS)}")
        if not self.continuous and self.initial_std != 1.0:
            raise InputError(f"initial-std: got {self.initial_std}, expected none with discrete actions; leave it out")
        head: Head = CategoricalHead(self.output_size, layer=logits)
        if self.continuous:
            head = NormalHead(self.output_size, initial_std=self.initial_std)
        shape = self.observation_shape or (self.input_size,)
        encoder = make_encoder(
            self.encoder,
            shape,
            self.input_size,
            channels=self.encoder_channels,
            gain=self.encoder_gain,
            centre=self.encoder_centre,
            deviation=self.encoder_deviation,
        )
        return Interface(self.input_size, head, encoder, self.with_value)
