"""Hebbian learning with coefficients for each synapse."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.learning_rules.rule import Activity, LearningRule, spread
from maml_rl.policies.params import Params


class HebbianABCD(LearningRule):
    """``w' = clip(w + rate (A x_j y_i + B x_j + C y_i + D), -limit, limit)`` (Najarro and Risi 2020, equation 2).

    Coefficients are a synapse's own; the learning rate of the paper is part of them. Reward has no part in it: what a
    life teaches comes from observations alone.

    Parameters
    ----------
    sizes
        See `LearningRule`.
    rate, limit
        As in `SynapseGRU`.
    """

    def __init__(self, sizes: Sequence[int], *, rate: float, limit: float) -> None:
        super().__init__(sizes)
        self.rate, self.limit = rate, limit
        for index, shape in enumerate(self.shapes):
            self.register_parameter(f"abcd{index}", nn.Parameter(torch.zeros(4, *shape)))
        self.log_level = nn.Parameter(torch.zeros(len(self.shapes)))

    def initialise(self, rng: np.random.Generator) -> None:
        """See `LearningRule.initialise`."""
        with torch.no_grad():
            for value in self.parameters():
                value.copy_(torch.from_numpy(0.1 * rng.standard_normal(value.shape)))
            self.log_level.fill_(-2.0)

    def initial_state(self, params: Params, weights: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """See `LearningRule.initial_state`: the weights."""
        return tuple(weights)

    def weights(self, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `LearningRule.weights`."""
        return state

    def levels(self, params: Params, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `LearningRule.levels`."""
        return spread(params["rule.log_level"], state[0][..., 0, :], 1).clamp(-4.0, 1.0).exp().split(1, -1)

    def update(self, params: Params, activity: Activity, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """See `LearningRule.update`."""
        changed = []
        for index, weight in enumerate(state):
            coefficients = params[f"rule.abcd{index}"]
            both, inputs, outputs, always = coefficients.unbind(coefficients.dim() - 3)
            carried, said = activity.inputs[index][..., None, :], activity.outputs[index][..., None]
            both, inputs, outputs, always = (spread(c, weight, 2) for c in (both, inputs, outputs, always))
            change = carried * (both * said + inputs) + outputs * said + always
            changed.append((weight + self.rate * change).clamp(-self.limit, self.limit))
        return tuple(changed)
