"""Long short-term memory as pure functions."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies import recurrence
from maml_rl.policies.lstm_derivatives import LSTMSequence
from maml_rl.policies.params import Params
from maml_rl.policies.recurrence import CellState, Order
from maml_rl.policies.recurrent_cells import PARTS, GatedCell

REACTIVE_RANGE = math.tanh(1.0) / (1.0 + math.exp(-1.0))
"""Largest output of a fresh reactive `LSTMCell` whose gates stand at their biases: 0.56, where an Elman unit has 1."""


class LSTMCell(GatedCell):
    """Long short-term memory with a forget gate (Hochreiter & Schmidhuber 1997, Gers et al. 2000).

    ``c' = s(f) * c + s(i) * tanh(g)``, ``h' = s(o) * tanh(c')``, s the logistic function, gates in the order
    i, f, o, g. The forget gate's bias starts at 1 (Jozefowicz et al. 2015), or with a horizon of T steps at
    ``log U(1, T - 1)``, the input gate's at minus that, so that units remember for 2 to T steps (Tallec & Ollivier
    2018, equation 16).

    A reactive cell begins close to an Elman unit: without a horizon its forget gate's bias is -1, the input gate's is
    minus that as well, and the output gate's is 1. Its content is then an average ``f c + (1 - f) tanh(g)`` of
    candidates, so that its output stays within ``s(1) tanh(1)``, see `REACTIVE_RANGE`.

    Parameters
    ----------
    name, hidden_size
        See `Cell`.
    horizon
        Steps T over which units remember at first, >= 3.
    reactive
        Whether fresh units follow the present input more than earlier ones.
    """

    num_gates = 4
    num_states = 2

    def __init__(self, name: str, hidden_size: int, *, horizon: int | None = None, reactive: bool = False) -> None:
        super().__init__(name, hidden_size)
        self.horizon = horizon
        self.reactive = reactive

    def initialise(self, policy: nn.Module, rng: np.random.Generator) -> None:
        """See `GatedCell.initialise`; sets the biases of the gates."""
        super().initialise(policy, rng)
        biases = policy.get_parameter(f"{self.name}.ih.bias").detach().chunk(self.num_gates)
        input_gate, forget_gate, output_gate, _ = biases
        if self.horizon is not None:
            forget_gate.copy_(torch.from_numpy(np.log(rng.uniform(1.0, self.horizon - 1.0, self.hidden_size))))
        else:
            forget_gate.fill_(-1.0 if self.reactive else 1.0)
        if self.horizon is not None or self.reactive:
            input_gate.copy_(-forget_gate)
        if self.reactive:
            output_gate.fill_(1.0)

    def pointwise(self, gates: Tensor, *contents: Tensor) -> CellState:
        """See `GatedCell.pointwise`."""
        (content,) = contents
        input_gate, forget_gate, output_gate, candidate = self._open(gates)
        content = forget_gate * content + input_gate * candidate
        return output_gate * torch.tanh(content), content

    def jacobian(self, gates: Tensor, *contents: Tensor) -> Tensor:
        """See `GatedCell.jacobian`."""
        (content,) = contents
        input_gate, forget_gate, output_gate, candidate = self._open(gates)
        shown = torch.tanh(forget_gate * content + input_gate * candidate)
        slope = output_gate * (1.0 - shown * shown)
        i = candidate * input_gate * (1.0 - input_gate)
        f = content * forget_gate * (1.0 - forget_gate)
        o = shown * output_gate * (1.0 - output_gate)
        g = input_gate * (1.0 - candidate * candidate)
        output = [slope * i, slope * f, o, slope * g, slope * forget_gate]
        content_after = [i, f, torch.zeros_like(o), g, forget_gate]
        return torch.stack(output + content_after, -2).unflatten(-2, (2, 5))

    def unroll(self, params: Params, inputs: Tensor, state: CellState, *, order: Order = 2) -> tuple[Tensor, CellState]:
        """See `Cell.unroll`: compiled on the CPU; else, where first derivatives are enough, PyTorch's fused LSTM."""
        if order == 2 and recurrence.compiles(inputs):
            _, outputs, contents = LSTMSequence.apply(inputs, self.augmented_weight(params), *state)
            return outputs[1:], (outputs[-1], contents[-1])
        if order == 2 or inputs.dim() != 3:
            return super().unroll(params, inputs, state)
        if recurrence.compiles(inputs):
            from maml_rl.policies.lstm_kernel import LSTMSteps  # numba takes 100 MB, which nobody else need pay

            weight, recurrent, *biases = (params[f"{self.name}.{part}"] for part in PARTS)
            outputs, contents = LSTMSteps.apply(inputs, weight, biases[0] + biases[1], recurrent, *state)
            return outputs, (outputs[-1], contents[-1])
        weights = [self._reordered(params[f"{self.name}.{part}"]) for part in PARTS]
        outputs, *after = torch.lstm(
            inputs, [part.unsqueeze(0) for part in state], weights, True, 1, 0.0, True, False, False
        )
        return outputs, tuple(part[0] for part in after)

    def _reordered(self, part: Tensor) -> Tensor:
        """Rows (4 H, ...) in the order i, f, g, o."""
        input_gate, forget_gate, output_gate, candidate = part.chunk(self.num_gates)
        return torch.cat([input_gate, forget_gate, candidate, output_gate])

    def _open(self, gates: Tensor) -> tuple[Tensor, ...]:
        """Input, forget and output gate and the candidate, (..., H) each."""
        logistic, candidate = gates.split_with_sizes((3 * self.hidden_size, self.hidden_size), -1)
        return (*torch.sigmoid(logistic).chunk(3, -1), torch.tanh(candidate))
