"""A policy whose memory is a decaying trace of what it has seen."""

from __future__ import annotations

from typing import cast

import torch
from pydantic import Field
from torch import Tensor, nn

from maml_rl.policies import Params, Policy, PolicySpec, register_policy
from maml_rl.policies.params import affine
from maml_rl.policies.policy import Interface
from maml_rl.settings import Settings


class TraceOptions(Settings):
    """Options of policy ``trace``."""

    trace_decay: float = Field(default=0.9, ge=0, le=1, description="Fraction of the trace that is left a step later.")


class TracePolicy(Policy):
    """``h' = decay h + tanh(W x + b)``; the state is h (..., H), a lone tensor."""

    has_memory = True

    def __init__(self, interface: Interface, num_features: int, decay: float) -> None:
        super().__init__(interface, {"input": nn.Linear(interface.num_inputs, num_features)}, num_features)
        self.num_features = num_features
        self.decay = decay

    def initial_state(self, params: Params, batch_shape: tuple[int, ...], noise: Tensor | None = None) -> Tensor:
        """See `Policy.initial_state`."""
        return params["input.bias"].new_zeros((*batch_shape, self.num_features))

    def remembered(self, state: Tensor) -> Tensor:
        """See `Policy.remembered`."""
        return state

    def advance(self, params: Params, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Policy.advance`."""
        trace = self.decay * state + torch.tanh(affine(params, "input", inputs))
        return trace, trace


def make_trace(spec: PolicySpec) -> Policy:
    """The policy that a specification describes."""
    return TracePolicy(spec.interface(), spec.hidden_sizes[0], cast(TraceOptions, spec.options).trace_decay)


register_policy("trace", make_trace, options=TraceOptions)
