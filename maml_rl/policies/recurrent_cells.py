"""Recurrent cells as pure functions: the same arithmetic for one step and for a whole sequence."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies import recurrence
from maml_rl.policies.elman_derivatives import ElmanSequence
from maml_rl.policies.lstm_derivatives import LSTMSequence
from maml_rl.policies.params import Params, add_product
from maml_rl.policies.recurrence import CellState, Order


class Cell(abc.ABC):
    """One recurrent layer: names its parameters and steps its state.

    Parameters
    ----------
    name
        Prefix of the parameters.
    hidden_size
        Units H.
    """

    def __init__(self, name: str, hidden_size: int) -> None:
        self.name = name
        self.hidden_size = hidden_size

    @abc.abstractmethod
    def make_layers(self, input_size: int) -> nn.Module:
        """A module with the parameters of a cell that has inputs of length I."""

    @abc.abstractmethod
    def initialise(self, policy: nn.Module, rng: np.random.Generator) -> None:
        """Change what is special of the weights that `policy` has drawn for all its layers."""

    @abc.abstractmethod
    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> CellState:
        """State before the first step, tensors (*batch_shape, ...)."""

    @abc.abstractmethod
    def advance(self, params: Params, inputs: Tensor, state: CellState) -> CellState:
        """Next state after inputs (..., I); its first part is the output (..., H)."""

    @abc.abstractmethod
    def unroll(self, params: Params, inputs: Tensor, state: CellState, *, order: Order = 2) -> tuple[Tensor, CellState]:
        """Outputs (T, ..., H) that `advance` gives along inputs (T, ..., I), and the state after the last one."""


class AffineGates:
    """Gates that are affine in a layer's input and in its last output.

    The input's part (``NAME.ih``) is one affine map that `project` computes for a whole sequence at once; the
    recurrent part (``NAME.hh``) is the only thing that has to wait for the step before.

    Parameters
    ----------
    name, hidden_size
        See `Cell`.
    """

    num_gates = 1
    """Gates that the layers ``ih`` and ``hh`` have."""

    @property
    def num_parts(self) -> int:
        """Parts G of H numbers in what `project` and `gates` give: those gates, or more."""
        return self.num_gates

    def __init__(self, name: str, hidden_size: int) -> None:
        self.name = name
        self.hidden_size = hidden_size

    def make_layers(self, input_size: int) -> nn.Module:
        """See `Cell.make_layers`: the linear layers ``ih`` and ``hh``."""
        outputs = self.num_gates * self.hidden_size
        return nn.ModuleDict({"ih": nn.Linear(input_size, outputs), "hh": nn.Linear(self.hidden_size, outputs)})

    def initialise(self, policy: nn.Module, rng: np.random.Generator) -> None:
        """Make the recurrent weights of every gate orthogonal: they neither blow up nor damp the state.

        Input weights, drawn for one layer of all gates, are widened to what they are for one of a single gate.
        """
        gates = [_orthogonal(self.hidden_size, rng) for _ in range(self.num_gates)]
        inputs = policy.get_parameter(f"{self.name}.ih.weight")
        num_inputs = inputs.shape[1]
        with torch.no_grad():
            inputs.mul_(math.sqrt((num_inputs + len(inputs)) / (num_inputs + self.hidden_size)))
            policy.get_parameter(f"{self.name}.hh.weight").copy_(torch.from_numpy(np.concatenate(gates)))
            policy.get_parameter(f"{self.name}.hh.bias").zero_()

    def project(self, params: Params, inputs: Tensor) -> Tensor:
        """All of the gates that does not wait for the state: inputs (..., I) -> (..., G * H)."""
        bias = params[f"{self.name}.ih.bias"] + params[f"{self.name}.hh.bias"]
        return add_product(bias.unsqueeze(-2), inputs, params[f"{self.name}.ih.weight"])

    def gates(self, params: Params, projected: Tensor, output: Tensor) -> Tensor:
        """Gates (..., G * H) from what is `projected` (..., G * H), see `project`, and the last output (..., H)."""
        return add_product(projected, output, self.recurrent_weight(params))

    def recurrent_weight(self, params: Params) -> Tensor:
        """Weights (..., G * H, H) by which the last output enters the gates."""
        return params[f"{self.name}.hh.weight"]


class GatedCell(AffineGates, Cell):
    """A cell whose gates are affine in input and output, and whose state follows from them unit by unit."""

    num_states = 1

    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> CellState:
        """See `Cell.initial_state`: zeros (*batch_shape, H) of the parameters' type."""
        like = params[f"{self.name}.hh.weight"]
        return tuple(like.new_zeros((*batch_shape, self.hidden_size)) for _ in range(self.num_states))

    @abc.abstractmethod
    def pointwise(self, gates: Tensor, *contents: Tensor) -> CellState:
        """Next state from gates (..., G * H) and contents (..., H), the state's parts beside the output."""

    @abc.abstractmethod
    def jacobian(self, gates: Tensor, *contents: Tensor) -> Tensor:
        """Derivatives (..., 1 + S, G + S, H) of `pointwise` in its gates (..., G * H) and S contents (..., H)."""

    def advance(self, params: Params, inputs: Tensor, state: CellState) -> CellState:
        """See `Cell.advance`."""
        return self.pointwise(self.gates(params, self.project(params, inputs), state[0]), *state[1:])

    def unroll(self, params: Params, inputs: Tensor, state: CellState, *, order: Order = 2) -> tuple[Tensor, CellState]:
        """See `Cell.unroll`."""
        projected = self.project(params, inputs)
        return recurrence.unroll(self, projected, self.recurrent_weight(params), state)


class RNNCell(GatedCell):
    """``h' = f(W_ih x + b_ih + W_hh h + b_hh)`` (Elman 1990).

    Parameters
    ----------
    name, hidden_size
        See `Cell`.
    nonlinearity
        The function f.
    """

    def __init__(self, name: str, hidden_size: int, nonlinearity: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__(name, hidden_size)
        self.nonlinearity = nonlinearity

    def pointwise(self, gates: Tensor, *contents: Tensor) -> CellState:
        """See `GatedCell.pointwise`."""
        return (self.nonlinearity(gates),)

    def jacobian(self, gates: Tensor, *contents: Tensor) -> Tensor:
        """See `GatedCell.jacobian`."""
        outputs, pull = torch.func.vjp(self.nonlinearity, gates)  # type: ignore[misc]
        (slope,) = pull(torch.ones_like(outputs))
        return slope.unsqueeze(-2).unsqueeze(-2)

    def unroll(self, params: Params, inputs: Tensor, state: CellState, *, order: Order = 2) -> tuple[Tensor, CellState]:
        """See `Cell.unroll`; with tanh compiled on the CPU."""
        if self.nonlinearity is not torch.tanh or not recurrence.compiles(inputs):
            return super().unroll(params, inputs, state, order=order)
        outputs = ElmanSequence.apply(self.project(params, inputs), self.recurrent_weight(params), *state)
        return outputs[1:], (outputs[-1],)


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
        """See `Cell.unroll`; where first derivatives are enough, compiled on the CPU, or else PyTorch's fused LSTM."""
        if order == 2 and recurrence.compiles(inputs):
            weight = self.recurrent_weight(params)
            _, outputs, contents = LSTMSequence.apply(self.project(params, inputs), weight, *state)
            return outputs[1:], (outputs[-1], contents[-1])
        if order == 2 or inputs.dim() != 3:
            return super().unroll(params, inputs, state)
        if recurrence.compiles(inputs):
            from maml_rl.policies.lstm_kernel import LSTMSteps  # numba takes 100 MB, which nobody else need pay

            weight, recurrent, *biases = (params[f"{self.name}.{part}"] for part in _PARTS)
            outputs, contents = LSTMSteps.apply(inputs, weight, biases[0] + biases[1], recurrent, *state)
            return outputs, (outputs[-1], contents[-1])
        weights = [self._reordered(params[f"{self.name}.{part}"]) for part in _PARTS]
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
        weights = [params[f"{self.name}.{part}"] for part in _PARTS]
        outputs, last = torch.gru(inputs, state[0].unsqueeze(0), weights, True, 1, 0.0, True, False, False)
        return outputs, (last[0], last[0])

    def _open(self, gates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reset and update gate, candidate and the recurrent part of its drive, (..., H) each."""
        logistic, drive, behind = gates.split_with_sizes((2 * self.hidden_size, self.hidden_size, self.hidden_size), -1)
        reset_gate, update_gate = torch.sigmoid(logistic).chunk(2, -1)
        return reset_gate, update_gate, torch.tanh(drive + reset_gate * behind), behind


_PARTS = ("ih.weight", "hh.weight", "ih.bias", "hh.bias")


def _orthogonal(size: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix (size, size), uniform over rotations and reflections (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float64)
