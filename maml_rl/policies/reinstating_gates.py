"""Gates of an LSTM into which what a dictionary holds is reinstated."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies import recurrence
from maml_rl.policies.params import Params
from maml_rl.policies.recurrence import CellState, Order
from maml_rl.policies.recurrent_cells import AffineGates
from maml_rl.policies.reinstating_kernel import ReinstatingSteps

GATES = ("input", "forget", "output", "reinstatement")
"""Names of the gates i, f, o, r."""


class ReinstatingGates(AffineGates):
    """``c' = f c + i tanh(g) + r m``, ``h' = s(o) tanh(c')``; gates in the order i, f, o, r, g (Ritter et al. 2018).

    The forget gate's bias starts at 1, the reinstatement gate's at `bias`. What is reinstated, m, stands behind the
    gates where a `maml_rl.policies.recurrence.Layer` has them: a sixth one, which no weight reaches.

    Parameters
    ----------
    name, hidden_size
        See `AffineGates`.
    bias
        Of the reinstatement gate.
    """

    num_gates = 5

    def __init__(self, name: str, hidden_size: int, bias: float) -> None:
        super().__init__(name, hidden_size)
        self.bias = bias

    def initialise(self, policy: nn.Module, rng: np.random.Generator) -> None:
        """See `AffineGates.initialise`."""
        super().initialise(policy, rng)
        _, forget, _, reinstate, _ = policy.get_parameter(f"{self.name}.ih.bias").detach().chunk(self.num_gates)
        forget.fill_(1.0)
        reinstate.fill_(self.bias)

    def unroll(
        self, params: Params, projected: Tensor, memory: Tensor, state: CellState, *, order: Order = 2
    ) -> CellState:
        """Outputs and cells (T, ..., H) along a sequence.

        `projected` are gates without the recurrent part (T, ..., 5 H), `memory` is m (T, ..., H), `state` output and
        cell (..., H) before.
        """
        weight = params[f"{self.name}.hh.weight"]
        if order == 1 and projected.dim() == 3 and projected.dtype == torch.float32 and projected.device.type == "cpu":
            return ReinstatingSteps.apply(projected, memory, weight, *state)
        weight = torch.cat([weight, weight.new_zeros((*weight.shape[:-2], self.hidden_size, self.hidden_size))], -2)
        return recurrence.all_states(self, torch.cat([projected, memory], -1), weight, state)

    def pointwise(self, gates: Tensor, *contents: Tensor) -> CellState:
        """See `maml_rl.policies.recurrence.Layer`: gates (..., 6 H), the cell (..., H)."""
        (cell,) = contents
        i, f, o, r, g, memory = self.open(gates)
        cell = torch.addcmul(torch.addcmul(f * cell, i, g), r, memory)
        return o * torch.tanh(cell), cell

    def jacobian(self, gates: Tensor, *contents: Tensor) -> Tensor:
        """See `maml_rl.policies.recurrence.Layer`."""
        (cell,) = contents
        i, f, o, r, g, memory = self.open(gates)
        shown = torch.tanh(f * cell + i * g + r * memory)
        of_cell = [
            g * i * (1.0 - i),
            cell * f * (1.0 - f),
            torch.zeros_like(cell),
            memory * r * (1.0 - r),
            i * (1.0 - g * g),
            r,
            f,
        ]
        slope = o * (1.0 - shown * shown)
        of_output = [slope * part for part in of_cell]
        of_output[2] = shown * o * (1.0 - o)
        return torch.stack(of_output + of_cell, -2).unflatten(-2, (2, len(of_cell)))

    def open(self, gates: Tensor) -> tuple[Tensor, ...]:
        """Opened gates i, f, o, r, the candidate and m, (..., H) each, from gates and m (..., 6 H)."""
        size = self.hidden_size
        logistic, g, memory = gates.split_with_sizes((4 * size, size, size), -1)
        return (*torch.sigmoid(logistic).chunk(4, -1), torch.tanh(g), memory)
