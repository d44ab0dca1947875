"""Policy whose hidden layers are linear recurrences, of which nothing but a sum waits for the step before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from maml_rl.policies.linear_derivatives import LinearSequence
from maml_rl.policies.params import Params, affine
from maml_rl.policies.policy import Interface
from maml_rl.policies.recurrence import CellState, Order, compiles
from maml_rl.policies.recurrent_cells import Cell
from maml_rl.policies.rnn_policy import RecurrentPolicy
from maml_rl.policies.scan import linear_recurrence
from maml_rl.settings import Settings


class LinearOptions(Settings):
    """Options of policy ``linear``."""

    linear_horizon: int = Field(
        default=100,
        ge=3,
        description=(
            "Steps over which the units of a fresh linear recurrence remember, evenly spread from 2 on (chrono "
            "initialisation). Something like the length of what is to be remembered."
        ),
    )


class LinearRecurrenceCell(Cell):
    """``c' = f c + (1 - f) g``, ``h' = o tanh(c')`` with ``f, o = s(W x + b)`` and g affine in the input x as well.

    Contents c are those of a minGRU (Feng et al. 2024, section 3.1), the output gate that of a quasi-recurrent layer
    (Bradbury et al. 2017, equation 4). Gates see no output, so a sequence is one product and a linear recurrence, whose
    derivatives of all orders are linear recurrences again.

    Parameters
    ----------
    name, hidden_size
        See `Cell`.
    horizon
        Steps T over which units remember at first, >= 3: forget gates begin at ``log U(1, T - 1)`` (Tallec & Ollivier
        2018, equation 16).
    """

    def __init__(self, name: str, hidden_size: int, *, horizon: int) -> None:
        super().__init__(name, hidden_size)
        self.horizon = horizon

    def make_layers(self, input_size: int) -> nn.Module:
        """See `Cell.make_layers`: the linear layer ``ih``, of f, g and o in this order."""
        return nn.ModuleDict({"ih": nn.Linear(input_size, 3 * self.hidden_size)})

    def initialise(self, policy: nn.Module, rng: np.random.Generator) -> None:
        """See `Cell.initialise`; opens the forget gate."""
        forget_gate = policy.get_parameter(f"{self.name}.ih.bias").detach()[: self.hidden_size]
        forget_gate.copy_(torch.from_numpy(np.log(rng.uniform(1.0, self.horizon - 1.0, self.hidden_size))))

    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> CellState:
        """See `Cell.initial_state`: output and contents, zeros (*batch_shape, H)."""
        zeros = params[f"{self.name}.ih.weight"].new_zeros((*batch_shape, self.hidden_size))
        return zeros, zeros

    def advance(self, params: Params, inputs: Tensor, state: CellState) -> CellState:
        """See `Cell.advance`."""
        forget_gate, candidate, output_gate = self._gates(params, inputs)
        contents = forget_gate * state[1] + (1.0 - forget_gate) * candidate
        return output_gate * torch.tanh(contents), contents

    def unroll(self, params: Params, inputs: Tensor, state: CellState, *, order: Order = 2) -> tuple[Tensor, CellState]:
        """See `Cell.unroll`; compiled on the CPU."""
        if order == 1 and inputs.dim() == 3 and compiles(inputs):
            from maml_rl.policies.linear_kernel import LinearSteps  # numba takes 100 MB, which nobody else need pay

            outputs, contents = LinearSteps.apply(affine(params, f"{self.name}.ih", inputs), state[1])
            return outputs, (outputs[-1], contents[-1])
        if order == 2 and compiles(inputs):
            weight, bias = (params[f"{self.name}.ih.{part}"] for part in ("weight", "bias"))
            augmented_weight = torch.cat([bias.unsqueeze(-1), weight], -1)
            _, outputs, along = LinearSequence.apply(inputs, augmented_weight, state[1])
            return outputs, ((outputs[-1] if len(outputs) else state[0]), along[-1])
        forget_gate, candidate, output_gate = self._gates(params, inputs)
        contents = linear_recurrence(forget_gate, (1.0 - forget_gate) * candidate, state[1])
        outputs = output_gate * torch.tanh(contents)
        return outputs, (outputs[-1], contents[-1])

    def _gates(self, params: Params, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Forget gate, candidate and output gate (..., H) of inputs (..., I)."""
        forget_gate, candidate, output_gate = affine(params, f"{self.name}.ih", inputs).chunk(3, -1)
        return torch.sigmoid(forget_gate), candidate, torch.sigmoid(output_gate)


class LinearPolicy(RecurrentPolicy):
    """Every hidden layer is a linear recurrence, see `LinearRecurrenceCell`.

    Parameters
    ----------
    interface
        See `Policy`.
    hidden_sizes
        Units of each hidden layer.
    horizon
        Steps over which units remember at first.
    """

    def __init__(self, interface: Interface, hidden_sizes: Sequence[int], *, horizon: int) -> None:
        cells = [LinearRecurrenceCell(f"layer{i}", size, horizon=horizon) for i, size in enumerate(hidden_sizes, 1)]
        super().__init__(interface, cells)
