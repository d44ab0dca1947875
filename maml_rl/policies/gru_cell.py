"""Gated recurrent unit as pure functions."""

from __future__ import annotations

import torch
from torch import Tensor

from maml_rl.policies import recurrence
from maml_rl.policies.params import Params, add_product
from maml_rl.policies.recurrence import CellState, Order
from maml_rl.policies.recurrent_cells import PARTS, GatedCell


class GRUCell(GatedCell):
    """Gated recurrent unit whose reset gate acts behind the recurrent weights (Cho et al. 2014; Chung et al. 2014).

    ``r, u = s(W x + U h + b)``, ``n = tanh(W_n x + b_n + r (U_n h + c_n))``, ``h' = (1 - u) n + u h``: with the reset
    gate there, as in cuDNN, all of a step's products are of the last output itself.

    Both parts of n are gates of their own, of which the recurrent weights reach only the second one; the state holds h
    twice, as output and as what the pointwise part mixes in.

    Parameters
    ----------
    name, hidden_size
        See `Cell`.
    """

    num_gates = 3
    num_states = 2

    @property
    def num_parts(self) -> int:
        """See `AffineGates.num_parts`: r, u and both parts of n."""
        return 4

    def project(self, params: Params, inputs: Tensor) -> Tensor:
        """See `AffineGates.project`: (..., 4 H)."""
        own, bias = params[f"{self.name}.ih.bias"].unsqueeze(-2), params[f"{self.name}.hh.bias"].unsqueeze(-2)
        gates, size = add_product(own, inputs, params[f"{self.name}.ih.weight"]), 2 * self.hidden_size
        behind = bias[..., size:].expand(*gates.shape[:-1], self.hidden_size)
        return torch.cat([gates[..., :size] + bias[..., :size], gates[..., size:], behind], -1)

    def recurrent_weight(self, params: Params) -> Tensor:
        """See `AffineGates.recurrent_weight`: (..., 4 H, H), zeros for the input's part of n."""
        weight = params[f"{self.name}.hh.weight"]
        logistic, candidate = weight.split([2 * self.hidden_size, self.hidden_size], -2)
        return torch.cat([logistic, torch.zeros_like(candidate), candidate], -2)

    def pointwise(self, gates: Tensor, *contents: Tensor) -> CellState:
        """See `GatedCell.pointwise`."""
        _, update_gate, candidate, _ = self._open(gates)
        output = candidate + update_gate * (contents[0] - candidate)
        return output, output

    def jacobian(self, gates: Tensor, *contents: Tensor) -> Tensor:
        """See `GatedCell.jacobian`."""
        reset_gate, update_gate, candidate, behind = self._open(gates)
        n = (1.0 - update_gate) * (1.0 - candidate * candidate)
        r = n * behind * reset_gate * (1.0 - reset_gate)
        u = (contents[0] - candidate) * update_gate * (1.0 - update_gate)
        row = torch.stack([r, u, n, n * reset_gate, update_gate], -2)
        return torch.stack([row, row], -3)

    def unroll(self, params: Params, inputs: Tensor, state: CellState, *, order: Order = 2) -> tuple[Tensor, CellState]:
        """See `Cell.unroll`; where first derivatives are enough, compiled on the CPU, or else PyTorch's fused GRU."""
        if order == 2 or inputs.dim() != 3:
            return super().unroll(params, inputs, state)
        if recurrence.compiles(inputs):
            from maml_rl.policies.gru_kernel import GRUSteps  # numba takes 100 MB, which nobody else need pay

            weight, own, bias = (params[f"{self.name}.{part}"] for part in ("ih.weight", "ih.bias", "hh.bias"))
            size = 2 * self.hidden_size
            whole_weight = torch.cat([weight, torch.zeros_like(weight[size:])])
            whole_bias = torch.cat([own[:size] + bias[:size], own[size:], bias[size:]])
            outputs = GRUSteps.apply(inputs, whole_weight, whole_bias, self.recurrent_weight(params), state[0])
            return outputs, (outputs[-1], outputs[-1])
        weights = [params[f"{self.name}.{part}"] for part in PARTS]
        outputs, last = torch.gru(inputs, state[0].unsqueeze(0), weights, True, 1, 0.0, True, False, False)
        return outputs, (last[0], last[0])

    def _open(self, gates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reset and update gate, candidate and the recurrent part of its drive, (..., H) each."""
        logistic, drive, behind = gates.split_with_sizes((2 * self.hidden_size, self.hidden_size, self.hidden_size), -1)
        reset_gate, update_gate = torch.sigmoid(logistic).chunk(2, -1)
        return reset_gate, update_gate, torch.tanh(drive + reset_gate * behind), behind
