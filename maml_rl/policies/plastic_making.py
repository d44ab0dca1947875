"""Plastic networks made from a specification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

from maml_rl.policies.heads import NeuronHead
from maml_rl.policies.learning_rules.hebbian import HebbianABCD
from maml_rl.policies.learning_rules.message_passing import MessagePassing, Repairs
from maml_rl.policies.learning_rules.rule import LearningRule
from maml_rl.policies.learning_rules.synapse_gru import SynapseGRU
from maml_rl.policies.plastic_policy import PlasticOptions, PlasticPolicy
from maml_rl.policies.spec import PolicySpec
from maml_rl.utils.errors import InputError


def _baseline(options: PlasticOptions) -> int:
    return {"fast": 0, "middle": 1, "slow": 2}[options.plastic_baseline]


def _hebbian(sizes: Sequence[int], options: PlasticOptions) -> LearningRule:
    return HebbianABCD(sizes, rate=options.plastic_rate, limit=options.plastic_weight_limit)


def _synapse_gru(sizes: Sequence[int], options: PlasticOptions) -> LearningRule:
    return SynapseGRU(
        sizes,
        state_size=options.plastic_state_size,
        rate=options.plastic_rate,
        limit=options.plastic_weight_limit,
        baseline=_baseline(options),
        trace=options.plastic_trace,
        moves_levels=options.plastic_moves_levels,
    )


def _message_passing(sizes: Sequence[int], options: PlasticOptions) -> LearningRule:
    return MessagePassing(
        sizes,
        state_size=options.plastic_state_size,
        units=options.plastic_units,
        rate=options.plastic_rate,
        limit=options.plastic_weight_limit,
        baseline=_baseline(options),
        trace=options.plastic_trace,
        repairs=Repairs(
            broadcast=options.plastic_broadcast,
            centred=options.plastic_centred,
            summed=options.plastic_summed,
            eligibility=options.plastic_eligibility,
            separate_neurons=options.plastic_separate_neurons,
        ),
    )


RULES: dict[str, Callable[[Sequence[int], PlasticOptions], LearningRule]] = {
    "message-passing": _message_passing,
    "synapse-gru": _synapse_gru,
    "hebbian": _hebbian,
}
"""Makers of rules for networks of some sizes, by the value of ``plastic-rule``."""


def make_plastic(spec: PolicySpec) -> PlasticPolicy:
    """The plastic network of a specification.

    Raises
    ------
    InputError
        If observations are not those of a meta-episode or need an encoder, or noise is to have a size.
    """
    options = cast(PlasticOptions, spec.options)
    num_observed = spec.num_observed
    if spec.encoder != "none":
        raise InputError(f"encoder: got {spec.encoder!r}, expected none for policy 'plastic'; set encoder=none")
    if spec.initial_std != 1.0:
        raise InputError(
            f"initial-std: got {spec.initial_std}, expected none with policy 'plastic', which computes its noise; "
            "leave it out"
        )
    extra = options.plastic_rule == "message-passing" and options.plastic_separate_neurons
    sizes = (num_observed, *spec.hidden_sizes, spec.output_size + extra)
    head = NeuronHead(spec.output_size, discrete=not spec.continuous)
    interface = replace(spec.interface(), head=head)
    rule = RULES[options.plastic_rule](sizes, options)
    return PlasticPolicy(interface, sizes, rule, num_observed=num_observed, options=options)
