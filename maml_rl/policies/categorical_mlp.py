"""Multi-layer perceptron with a categorical head, for discrete actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from maml_rl.policies.distributions import Categorical
from maml_rl.policies.policy import NONLINEARITIES, Params, Policy, affine


class CategoricalMLPPolicy(Policy):
    """Logits over A actions; parameters ``layer1.weight``, ..., the last layer giving the logits.

    Parameters
    ----------
    input_size, output_size
        Length O of an observation, number A of actions.
    hidden_sizes
        Units of each hidden layer.
    nonlinearity
        A key of `NONLINEARITIES`, applied after each hidden layer.
    """

    distribution = Categorical

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        *,
        nonlinearity: str = "relu",
    ) -> None:
        super().__init__(input_size, output_size)
        self.hidden_sizes = tuple(hidden_sizes)
        self.nonlinearity = NONLINEARITIES[nonlinearity]
        sizes = (input_size, *self.hidden_sizes, output_size)
        self.num_layers = len(sizes) - 1
        for index in range(1, len(sizes)):
            self.add_module(f"layer{index}", nn.Linear(sizes[index - 1], sizes[index]))

    def step(self, params: Params, observation: Tensor, state: Any = ()) -> tuple[Categorical, Any]:
        """See `Policy.step`."""
        hidden = observation
        for index in range(1, self.num_layers + 1):
            hidden = affine(params, f"layer{index}", hidden)
            if index < self.num_layers:
                hidden = self.nonlinearity(hidden)
        return Categorical(hidden), state

    def unroll(self, params: Params, observations: Tensor, masks: Tensor, state: Any = ()) -> Categorical:
        """See `Policy.unroll`."""
        return self.step(params, observations, state)[0]
