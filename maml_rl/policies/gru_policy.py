"""Policy whose hidden layers are GRU cells."""

from __future__ import annotations

from collections.abc import Sequence

from maml_rl.policies.gru_cell import GRUCell
from maml_rl.policies.policy import Interface
from maml_rl.policies.rnn_policy import RecurrentPolicy


class GRUPolicy(RecurrentPolicy):
    """Every hidden layer is a gated recurrent unit, see `GRUCell`.

    Parameters
    ----------
    interface
        See `Policy`.
    hidden_sizes
        Units of each hidden layer.
    """

    def __init__(self, interface: Interface, hidden_sizes: Sequence[int]) -> None:
        super().__init__(interface, [GRUCell(f"layer{i}", size) for i, size in enumerate(hidden_sizes, 1)])
