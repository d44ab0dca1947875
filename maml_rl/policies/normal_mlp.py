"""Multi-layer perceptron with a Gaussian head, for continuous actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from maml_rl.policies.distributions import Normal
from maml_rl.policies.heads import NormalHead
from maml_rl.policies.policy import NONLINEARITIES, Params, Policy, affine


class NormalMLPPolicy(Policy):
    """``Normal(mu(x), exp(sigma))`` with a state-independent, trainable `sigma`.

    Parameter names are pytorch-maml-rl's (``layer1.weight``, ..., ``mu.weight``, ``mu.bias``,
    ``sigma``), so its ``policy.th`` files load.

    Parameters
    ----------
    input_size, output_size
        Length O of an observation and A of an action.
    hidden_sizes
        Units of each hidden layer.
    nonlinearity
        A key of `NONLINEARITIES`, applied after each hidden layer.
    initial_std
        Standard deviation before training, > 0.
    min_std
        Lower bound of the standard deviation, > 0.
    """

    distribution = Normal

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        *,
        nonlinearity: str = "tanh",
        initial_std: float = 1.0,
        min_std: float = 1e-6,
    ) -> None:
        super().__init__(input_size, output_size)
        self.hidden_sizes = tuple(hidden_sizes)
        self.nonlinearity = NONLINEARITIES[nonlinearity]
        sizes = (input_size, *self.hidden_sizes)
        for index in range(1, len(sizes)):
            self.add_module(f"layer{index}", nn.Linear(sizes[index - 1], sizes[index]))
        self.head = NormalHead(output_size, initial_std=initial_std, min_std=min_std)
        self.head.add_to(self, sizes[-1])

    def step(self, params: Params, observation: Tensor, state: Any = ()) -> tuple[Normal, Any]:
        """See `Policy.step`."""
        hidden = observation
        for index in range(1, len(self.hidden_sizes) + 1):
            hidden = self.nonlinearity(affine(params, f"layer{index}", hidden))
        return self.head(params, hidden), state

    def unroll(self, params: Params, observations: Tensor, masks: Tensor, state: Any = ()) -> Normal:
        """See `Policy.unroll`."""
        return self.step(params, observations, state)[0]
