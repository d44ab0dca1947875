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


PARTS = ("ih.weight", "hh.weight", "ih.bias", "hh.bias")
"""Names of the parameters of `AffineGates`, behind that of the layer."""


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

    def augmented_weight(self, params: Params) -> Tensor:
        """Weights (..., G * H, 1 + I + H) by which a 1, the input and the last output enter the gates."""
        bias = params[f"{self.name}.ih.bias"] + params[f"{self.name}.hh.bias"]
        return torch.cat([bias.unsqueeze(-1), params[f"{self.name}.ih.weight"], params[f"{self.name}.hh.weight"]], -1)

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
        outputs = ElmanSequence.apply(inputs, self.augmented_weight(params), *state)
        return outputs[1:], (outputs[-1],)


def _orthogonal(size: int, rng: np.random.Generator) -> np.ndarray:
    """A random orthogonal matrix (size, size), uniform over rotations and reflections (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((size, size)))
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float64)
