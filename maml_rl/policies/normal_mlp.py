"""Multi-layer perceptron with a Gaussian head, for continuous actions."""

from __future__ import annotations

from collections.abc import Sequence

from maml_rl.policies.heads import NormalHead
from maml_rl.policies.mlp_policy import MLPPolicy
from maml_rl.policies.policy import Interface


class NormalMLPPolicy(MLPPolicy):
    """``Normal(mu(x), exp(sigma))`` with a state-independent, trainable `sigma`.

    Parameter names are pytorch-maml-rl's (``layer1.weight``, ..., ``mu.weight``, ``mu.bias``,
    ``sigma``), so its ``policy.th`` files load.

    Parameters
    ----------
    input_size, output_size
        Length O of an observation and A of an action.
    hidden_sizes, nonlinearity
        See `MLPPolicy`.
    initial_std, min_std
        See `NormalHead`.
    """

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
        head = NormalHead(output_size, initial_std=initial_std, min_std=min_std)
        super().__init__(Interface(input_size, head), hidden_sizes, nonlinearity=nonlinearity)
