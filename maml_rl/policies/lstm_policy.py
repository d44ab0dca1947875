"""Policy whose hidden layers are LSTM cells."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from maml_rl.policies.policy import Interface
from maml_rl.policies.recurrent_cells import LSTMCell
from maml_rl.policies.rnn_policy import RecurrentPolicy
from maml_rl.settings import Settings


class LSTMOptions(Settings):
    """Options of policy ``lstm``."""

    memory_horizon: int | None = Field(
        default=None,
        ge=3,
        description=(
            "Steps over which the units of a fresh LSTM remember, evenly spread from 2 on (chrono initialisation); "
            "null: about four steps. Something like the length of what is to be remembered."
        ),
    )


class LSTMPolicy(RecurrentPolicy):
    """Every hidden layer is an LSTM cell.

    Parameters
    ----------
    interface
        See `Policy`.
    hidden_sizes
        Units of each hidden layer.
    horizon
        Steps over which units remember at first, see `LSTMCell`.
    """

    def __init__(self, interface: Interface, hidden_sizes: Sequence[int], *, horizon: int | None = None) -> None:
        cells = [LSTMCell(f"layer{i}", size, horizon=horizon) for i, size in enumerate(hidden_sizes, 1)]
        super().__init__(interface, cells)
