"""Kinds of policies by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from maml_rl.policies.attention_policy import AttentionOptions, AttentionPolicy
from maml_rl.policies.delta_policy import DeltaOptions, DeltaPolicy
from maml_rl.policies.episodic_lstm_policy import EpisodicLSTMPolicy
from maml_rl.policies.episodic_state import EpisodicOptions
from maml_rl.policies.geometric_policy import GeometricOptions, GeometricPolicy
from maml_rl.policies.gru_policy import GRUPolicy
from maml_rl.policies.linear_policy import LinearOptions, LinearPolicy
from maml_rl.policies.lstm_policy import LSTMOptions, LSTMPolicy
from maml_rl.policies.mlp_policy import MLPPolicy
from maml_rl.policies.plastic_making import make_plastic
from maml_rl.policies.plastic_policy import PlasticOptions
from maml_rl.policies.policy import Policy
from maml_rl.policies.rnn_policy import RNNPolicy
from maml_rl.policies.spec import DTYPES, PolicySpec
from maml_rl.settings import Settings
from maml_rl.utils.errors import InputError

Factory = Callable[[PolicySpec], Policy]


@dataclass(frozen=True)
class PolicyKind:
    """A registered kind of policy.

    Attributes
    ----------
    factory
        Builds the policy of a specification whose `options` are of the class below.
    options
        Options that only this kind has.
    has_memory
        `Policy.has_memory` of what the factory builds, known before anything is built.
    """

    factory: Factory
    options: type[Settings] = Settings
    has_memory: bool = True


_KINDS: dict[str, PolicyKind] = {}


def register_policy(
    name: str, factory: Factory, *, options: type[Settings] = Settings, has_memory: bool = True
) -> None:
    """Let configurations name a kind of policy; for policies from outside the package too.

    Parameters
    ----------
    name
        Value of the key ``policy``.
    factory, options, has_memory
        See `PolicyKind`.

    Raises
    ------
    ValueError
        If another kind has the name.
    """
    kind = PolicyKind(factory, options, has_memory)
    if _KINDS.setdefault(name, kind) != kind:
        raise ValueError(f"policy: {name!r} is registered already; choose another name")


def registered_policies() -> list[str]:
    """Names a configuration's ``policy`` key may have."""
    return sorted(_KINDS)


def policy_kinds() -> Mapping[str, PolicyKind]:
    """Every registered kind, by name."""
    return _KINDS


def policy_kind(name: str) -> PolicyKind:
    """Return the kind of this name.

    Raises
    ------
    ValueError
        If no policy of that name is registered.
    """
    if name not in _KINDS:
        raise ValueError(f"policy: got {name!r}, expected one of {registered_policies()}")
    return _KINDS[name]


def make_policy(spec: PolicySpec) -> Policy:
    """Build the policy `spec` describes; call its `initialise` to draw the weights.

    Raises
    ------
    ValueError
        If no policy of that name is registered, its options are another kind's, or one with memory has no hidden layer
        to hold it.
    """
    kind = policy_kind(spec.name)
    if spec.dtype not in DTYPES:
        raise InputError(f"dtype: got {spec.dtype!r}, expected one of {list(DTYPES)}")
    options = kind.options() if spec.options is None else spec.options
    if not isinstance(options, kind.options):
        raise ValueError(
            f"options: got {type(options).__name__}, expected {kind.options.__name__} for policy {spec.name!r}"
        )
    if kind.has_memory and not spec.hidden_sizes:
        raise InputError(
            f"hidden-sizes: got [], expected at least one layer for policy {spec.name!r}; give one, such as [64]"
        )
    policy = kind.factory(replace(spec, options=options))
    if policy.has_memory != kind.has_memory:
        raise ValueError(
            f"has_memory: got {kind.has_memory} with policy {spec.name!r}, expected {policy.has_memory} as its class "
            "says; correct register_policy"
        )
    return policy.to(DTYPES[spec.dtype])


def _make_mlp(spec: PolicySpec) -> Policy:
    interface = spec.interface(logits=f"layer{len(spec.hidden_sizes) + 1}")
    return MLPPolicy(interface, spec.hidden_sizes, nonlinearity=spec.nonlinearity)


def _make_rnn(spec: PolicySpec) -> Policy:
    return RNNPolicy(spec.interface(), spec.hidden_sizes, nonlinearity=spec.nonlinearity)


def _make_lstm(spec: PolicySpec) -> Policy:
    return LSTMPolicy(spec.interface(), spec.hidden_sizes, horizon=cast(LSTMOptions, spec.options).memory_horizon)


def _make_gru(spec: PolicySpec) -> Policy:
    return GRUPolicy(spec.interface(), spec.hidden_sizes)


def _make_linear(spec: PolicySpec) -> Policy:
    return LinearPolicy(spec.interface(), spec.hidden_sizes, horizon=cast(LinearOptions, spec.options).linear_horizon)


def _make_delta(spec: PolicySpec) -> Policy:
    options = cast(DeltaOptions, spec.options)
    return DeltaPolicy(spec.interface(), spec.hidden_sizes, nonlinearity=spec.nonlinearity, options=options)


def _make_attention(spec: PolicySpec) -> Policy:
    options = cast(AttentionOptions, spec.options)
    return AttentionPolicy(spec.interface(), spec.hidden_sizes, nonlinearity=spec.nonlinearity, options=options)


def _make_geometric(spec: PolicySpec) -> Policy:
    options = cast(GeometricOptions, spec.options)
    return GeometricPolicy(spec.interface(), spec.hidden_sizes, nonlinearity=spec.nonlinearity, options=options)


def _make_episodic(spec: PolicySpec) -> Policy:
    options = cast(EpisodicOptions, spec.options)
    return EpisodicLSTMPolicy(spec.interface(), spec.hidden_sizes, num_observed=spec.num_observed, options=options)


register_policy("mlp", _make_mlp, has_memory=False)
register_policy("rnn", _make_rnn)
register_policy("lstm", _make_lstm, options=LSTMOptions)
register_policy("gru", _make_gru)
register_policy("linear", _make_linear, options=LinearOptions)
register_policy("geometric", _make_geometric, options=GeometricOptions)
register_policy("plastic", make_plastic, options=PlasticOptions)
register_policy("attention", _make_attention, options=AttentionOptions)
register_policy("delta", _make_delta, options=DeltaOptions)
register_policy("episodic", _make_episodic, options=EpisodicOptions)
