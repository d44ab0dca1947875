"""Policies without memory: hidden layers and a head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from maml_rl.policies.heads import Head
from maml_rl.policies.params import Params, affine
from maml_rl.policies.policy import NONLINEARITIES, Policy


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
        super().__init__(input_size, head)
        self.nonlinearity = NONLINEARITIES[nonlinearity]
        self.layers = tuple(f"layer{index}" for index in range(1, len(hidden_sizes) + 1))
        sizes = (input_size, *hidden_sizes)
        for name, inputs, outputs in zip(self.layers, sizes[:-1], sizes[1:], strict=True):
            self.add_module(name, nn.Linear(inputs, outputs))
        self.add_head(sizes[-1])

    def advance(self, params: Params, observation: Tensor, state: Any) -> tuple[Tensor, Any]:
        """See `Policy.advance`."""
        hidden = observation
        for name in self.layers:
            hidden = self.nonlinearity(affine(params, name, hidden))
        return hidden, state

    def features(
        self, params: Params, observations: Tensor, masks: Tensor, state: Any, *, once: bool = False
    ) -> tuple[Tensor, Any]:
        """See `Policy.features`."""
        return self.advance(params, observations, state)
