"""Which policy a configuration names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from maml_rl.policies.categorical_mlp import CategoricalMLPPolicy
from maml_rl.policies.encoders import ENCODERS, make_encoder
from maml_rl.policies.geometric_policy import GeometricOptions, GeometricPolicy
from maml_rl.policies.heads import CategoricalHead, Head, NormalHead
from maml_rl.policies.lstm_policy import LSTMOptions, LSTMPolicy
from maml_rl.policies.normal_mlp import NormalMLPPolicy
from maml_rl.policies.policy import Policy
from maml_rl.policies.rnn_policy import RNNPolicy
from maml_rl.settings import Settings
from maml_rl.utils.errors import InputError


@dataclass(frozen=True)
class PolicySpec:
    """What a policy is built from; picklable, so that workers build their own.

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
    memory_slots, memory_width
        Slots and values of a slot of a policy with an external memory.
    memory_horizon
        Steps over which an LSTM remembers at first, see `LSTMCell`.
    with_value
        Whether the policy also values states, see `Policy.unroll_with_values`.
    encoder, encoder_channels
        What stands before the first layer, one of `ENCODERS`, and the channels of its layers.
    observation_shape
        Shape of an observation before it was made flat; what may follow it is not counted. ``()``: (O,).
    dtype
        Of parameters, and so of episodes and all that is learnt from them: one of `DTYPES`.
    """

    name: str
    input_size: int
    output_size: int
    continuous: bool
    hidden_sizes: tuple[int, ...]
    nonlinearity: str
    memory_slots: int = 16
    memory_width: int = 16
    memory_horizon: int | None = None
    with_value: bool = False
    encoder: str = "none"
    encoder_channels: tuple[int, ...] = (16, 32)
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
        options = settings.pop("options", None)
        settings |= {} if options is None else options.model_dump()
        continuous = isinstance(action_space, gym.spaces.Box)
        if isinstance(action_space, gym.spaces.Box):
            output_size = int(np.prod(action_space.shape))
        elif isinstance(action_space, gym.spaces.Discrete):
            output_size = int(action_space.n)
        else:
            raise InputError(f"action space: got {action_space}, expected Box or Discrete")
        input_size = int(np.prod(observation_space.shape or (1,)))
        return cls(name, input_size, output_size, continuous, **settings)


def _make_mlp(spec: PolicySpec) -> Policy:
    policy_class = NormalMLPPolicy if spec.continuous else CategoricalMLPPolicy
    return policy_class(spec.input_size, spec.output_size, spec.hidden_sizes, nonlinearity=spec.nonlinearity)


def _head(spec: PolicySpec) -> Head:
    return NormalHead(spec.output_size) if spec.continuous else CategoricalHead(spec.output_size)


def _make_rnn(spec: PolicySpec) -> Policy:
    return RNNPolicy(spec.input_size, _head(spec), spec.hidden_sizes, nonlinearity=spec.nonlinearity)


def _make_lstm(spec: PolicySpec) -> Policy:
    return LSTMPolicy(spec.input_size, _head(spec), spec.hidden_sizes, horizon=spec.memory_horizon)


def _make_geometric(spec: PolicySpec) -> Policy:
    return GeometricPolicy(
        spec.input_size,
        _head(spec),
        spec.hidden_sizes,
        nonlinearity=spec.nonlinearity,
        num_slots=spec.memory_slots,
        width=spec.memory_width,
    )


DTYPES = {"float32": torch.float32, "float64": torch.float64}
"""Float types a policy may be computed in, by name."""


@dataclass(frozen=True)
class PolicyKind:
    """One kind of policy.

    Attributes
    ----------
    factory
        Makes it from its specification.
    has_memory
        Whether it has a memory, and so hidden layers that hold it.
    options
        Section of settings that only this kind has; their names are fields of `PolicySpec`.
    """

    factory: Callable[[PolicySpec], Policy]
    has_memory: bool
    options: type[Settings] | None = None


_KINDS = {
    "mlp": PolicyKind(_make_mlp, has_memory=False),
    "rnn": PolicyKind(_make_rnn, has_memory=True),
    "lstm": PolicyKind(_make_lstm, has_memory=True, options=LSTMOptions),
    "geometric": PolicyKind(_make_geometric, has_memory=True, options=GeometricOptions),
}


def policy_kinds() -> Mapping[str, PolicyKind]:
    """Every registered kind of policy, by name."""
    return _KINDS


def registered_policies() -> list[str]:
    """Names a configuration's ``policy`` key may have."""
    return sorted(_KINDS)


def make_policy(spec: PolicySpec) -> Policy:
    """Build the policy `spec` describes; call its `initialise` to draw the weights.

    Raises
    ------
    ValueError
        If no policy of that name is registered, or one with memory has no hidden layer to hold it.
    """
    if spec.dtype not in DTYPES:
        raise InputError(f"dtype: got {spec.dtype!r}, expected one of {list(DTYPES)}")
    if spec.name not in _KINDS:
        raise ValueError(f"policy: got {spec.name!r}, expected one of {registered_policies()}")
    if _KINDS[spec.name].has_memory and not spec.hidden_sizes:
        raise InputError(
            f"hidden-sizes: got [], expected at least one layer for policy {spec.name!r}; give one, such as [64]"
        )
    if spec.encoder not in ENCODERS:
        raise ValueError(f"encoder: got {spec.encoder!r}, expected one of {list(ENCODERS)}")
    shape = spec.observation_shape or (spec.input_size,)
    encoder = make_encoder(spec.encoder, shape, spec.input_size, spec.encoder_channels)
    policy = _KINDS[spec.name].factory(spec if encoder is None else replace(spec, input_size=encoder.output_size))
    if encoder is not None:
        policy.add_encoder(encoder)
    if spec.with_value:
        policy.add_value()
    return policy.to(DTYPES[spec.dtype])
