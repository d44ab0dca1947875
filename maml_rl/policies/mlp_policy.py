"""Policies without memory: hidden layers and a head."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from maml_rl.policies.params import Params, affine
from maml_rl.policies.policy import NONLINEARITIES, Interface, Policy
from maml_rl.policies.recurrence import Order


def linear_layers(sizes: Sequence[int], first: int = 1) -> dict[str, nn.Module]:
    """Linear layers ``layer{first}``, ... between these sizes."""
    pairs = enumerate(pairwise(sizes), first)
    return {f"layer{index}": nn.Linear(inputs, outputs) for index, (inputs, outputs) in pairs}


class MLPPolicy(Policy):
    """Layers ``layer1``, ``layer2``, ... and a head.

    Parameters
    ----------
    interface
        See `Policy`.
    hidden_sizes
        Units of each hidden layer.
    nonlinearity
        A key of `NONLINEARITIES`, applied after each hidden layer.
    """

    def __init__(self, interface: Interface, hidden_sizes: Sequence[int], *, nonlinearity: str) -> None:
        sizes = (interface.num_inputs, *hidden_sizes)
        layers = linear_layers(sizes)
        super().__init__(interface, layers, sizes[-1])
        self.nonlinearity = NONLINEARITIES[nonlinearity]
        self.layers = tuple(layers)

    def advance(self, params: Params, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """See `Policy.advance`."""
        for name in self.layers:
            inputs = self.nonlinearity(affine(params, name, inputs))
        return inputs, state

    def features(
        self, params: Params, observations: Tensor, started: Tensor | None, state: Any, *, order: Order = 2
    ) -> tuple[Tensor, Any]:
        """See `Policy.features`."""
        return self.advance(params, self.encode(params, observations), state)
