"""Policy whose hidden layers are LSTM cells."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from maml_rl.policies.distributions import Categorical
from maml_rl.policies.lstm_cell import REACTIVE_RANGE, LSTMCell
from maml_rl.policies.policy import Interface
from maml_rl.policies.rnn_policy import RecurrentPolicy
from maml_rl.settings import Settings


class LSTMOptions(Settings):
    """Options of policy ``lstm``."""

    memory_horizon: int | None = Field(
        default=None,
        ge=3,
        description=(
            "Steps over which the units of a fresh LSTM remember, evenly spread from 2 on (chrono initialisation); "
            "null: about four steps, or one and a half before continuous actions. Something like the length of what is "
            "to be remembered."
        ),
    )


class LSTMPolicy(RecurrentPolicy):
    """Every hidden layer is an LSTM cell.

    Before continuous actions cells are reactive, and their outputs are scaled to the range of an Elman unit, [-1, 1].
    At the common start features are small and hardly vary within an episode: an inner step of MAML goes along the
    features that a head sees, and would change the mean posture and not what is done when.

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
        reactive = interface.head.distribution is not Categorical
        cells = [
            LSTMCell(f"layer{i}", size, horizon=horizon, reactive=reactive) for i, size in enumerate(hidden_sizes, 1)
        ]
        super().__init__(interface, cells, gain=1.0 / REACTIVE_RANGE if reactive else 1.0)
