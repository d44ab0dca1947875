"""Policy whose hidden layers are LSTM cells."""

from __future__ import annotations

from collections.abc import Sequence

from maml_rl.policies.heads import Head
from maml_rl.policies.recurrent_cells import LSTMCell
from maml_rl.policies.rnn_policy import RecurrentPolicy


class LSTMPolicy(RecurrentPolicy):
    """Every hidden layer is an LSTM cell.

    Parameters
    ----------
    input_size
        Length O of an observation.
    head
        Head over the actions.
    hidden_sizes
        Units of each hidden layer.
    """

    def __init__(self, input_size: int, head: Head, hidden_sizes: Sequence[int] = (64, 64)) -> None:
        super().__init__(input_size, [LSTMCell(f"layer{i}", size) for i, size in enumerate(hidden_sizes, 1)], head)
