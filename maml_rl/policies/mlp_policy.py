"""Policies without memory: hidden layers and a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from maml_rl.policies.distributions import Distribution
from maml_rl.policies.heads import Head
from maml_rl.policies.policy import NONLINEARITIES, Params, Policy, affine


class MLPPolicy(Policy):
    """Layers ``layer1``, ``layer2``, ... and a head.

    Parameters
    ----------
    input_size
        Length O of an observation.
    head
        Head over the actions.
    hidden_sizes
        Units of each hidden layer.
    nonlinearity
        A key of `NONLINEARITIES`, applied after each hidden layer.
    """

    def __init__(self, input_size: int, head: Head, hidden_sizes: Sequence[int], *, nonlinearity: str) -> None:
        super().__init__(input_size, head.output_size)
        self.distribution = head.distribution
        self.head = head
        self.nonlinearity = NONLINEARITIES[nonlinearity]
        self.layers = tuple(f"layer{index}" for index in range(1, len(hidden_sizes) + 1))
        sizes = (input_size, *hidden_sizes)
        for name, inputs, outputs in zip(self.layers, sizes[:-1], sizes[1:], strict=True):
            self.add_module(name, nn.Linear(inputs, outputs))
        head.add_to(self, sizes[-1])

    def step(self, params: Params, observation: Tensor, state: Any = ()) -> tuple[Distribution, Any]:
        """See `Policy.step`."""
        hidden = observation
        for name in self.layers:
            hidden = self.nonlinearity(affine(params, name, hidden))
        return self.head(params, hidden), state

    def unroll(self, params: Params, observations: Tensor, masks: Tensor, state: Any = ()) -> Distribution:
        """See `Policy.unroll`."""
        return self.step(params, observations, state)[0]
