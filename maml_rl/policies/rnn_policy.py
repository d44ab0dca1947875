"""Policies whose hidden layers are recurrent cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from maml_rl.policies.params import Params
from maml_rl.policies.policy import NONLINEARITIES, Interface, Policy
from maml_rl.policies.recurrence import CellState, Order
from maml_rl.policies.recurrent_cells import Cell, RNNCell

State = tuple[CellState, ...]


class RecurrentPolicy(Policy):
    """A stack of recurrent cells and a head; the state is the tuple of the cells' states.

    Parameters
    ----------
    interface
        See `Policy`.
    cells
        The layers, first one first.
    gain
        Factor by which the next layer or the head sees a layer's output larger, > 0.
    """

    has_memory = True

    def __init__(self, interface: Interface, cells: Sequence[Cell], *, gain: float = 1.0) -> None:
        sizes = (interface.num_inputs, *(cell.hidden_size for cell in cells))
        layers = {cell.name: cell.make_layers(size) for cell, size in zip(cells, sizes[:-1], strict=True)}
        super().__init__(interface, layers, sizes[-1])
        self.cells = tuple(cells)
        self.gain = gain

    def initial_state(self, params: Params, batch_shape: tuple[int, ...], noise: Tensor | None = None) -> State:
        """See `Policy.initial_state`."""
        return tuple(cell.initial_state(params, batch_shape) for cell in self.cells)

    def remembered(self, state: State) -> Tensor:
        """See `Policy.remembered`: of the last layer."""
        return state[-1][-1]

    def advance(self, params: Params, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Policy.advance`."""
        hidden, new_state = inputs, []
        for cell, cell_state in zip(self.cells, state, strict=True):
            new_state.append(cell.advance(params, hidden, cell_state))
            hidden = self._enlarged(new_state[-1][0])
        return hidden, tuple(new_state)

    def features(
        self, params: Params, observations: Tensor, started: Tensor | None, state: State, *, order: Order = 2
    ) -> tuple[Tensor, State]:
        """See `Policy.features`."""
        hidden, new_state = self.encode(params, observations), []
        for cell, cell_state in zip(self.cells, state, strict=True):
            hidden, after = cell.unroll(params, hidden, cell_state, order=order)
            hidden = self._enlarged(hidden)
            new_state.append(after)
        return hidden, tuple(new_state)

    def _enlarged(self, output: Tensor) -> Tensor:
        """Output (..., H) of a layer as the next one sees it."""
        return output if self.gain == 1.0 else self.gain * output

    def initialise(self, rng: np.random.Generator) -> None:
        """See `Policy.initialise`; recurrent weights are orthogonal."""
        super().initialise(rng)
        for cell in self.cells:
            cell.initialise(self, rng)


class RNNPolicy(RecurrentPolicy):
    """Every hidden layer is an Elman cell ``h' = f(W_ih x + b_ih + W_hh h + b_hh)``.

    Parameters
    ----------
    interface
        See `Policy`.
    hidden_sizes
        Units of each hidden layer.
    nonlinearity
        A key of `NONLINEARITIES`, the function f.
    """

    def __init__(self, interface: Interface, hidden_sizes: Sequence[int], *, nonlinearity: str = "tanh") -> None:
        function = NONLINEARITIES[nonlinearity]
        super().__init__(interface, [RNNCell(f"layer{i}", size, function) for i, size in enumerate(hidden_sizes, 1)])
