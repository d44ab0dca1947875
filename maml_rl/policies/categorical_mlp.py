"""Multi-layer perceptron with a categorical head, for discrete actions."""

from __future__ import annotations

from collections.abc import Sequence

from maml_rl.policies.heads import CategoricalHead
from maml_rl.policies.mlp_policy import MLPPolicy
from maml_rl.policies.policy import Interface


class CategoricalMLPPolicy(MLPPolicy):
    """Logits over A actions; parameters ``layer1.weight``, ..., the last layer giving the logits.

    The names are pytorch-maml-rl's, so its ``policy.th`` files load.

    Parameters
    ----------
    input_size, output_size
        Length O of an observation, number A of actions.
    hidden_sizes, nonlinearity
        See `MLPPolicy`.
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_sizes: Sequence[int] = (64, 64),
        *,
        nonlinearity: str = "relu",
    ) -> None:
        head = CategoricalHead(output_size, layer=f"layer{len(hidden_sizes) + 1}")
        super().__init__(Interface(input_size, head), hidden_sizes, nonlinearity=nonlinearity)
