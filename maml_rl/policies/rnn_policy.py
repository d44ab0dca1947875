"""Policies whose hidden layers are recurrent cells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from maml_rl.policies.heads import Head
from maml_rl.policies.params import Params
from maml_rl.policies.policy import NONLINEARITIES, Policy
from maml_rl.policies.recurrence import CellState
from maml_rl.policies.recurrent_cells import Cell, RNNCell

State = tuple[CellState, ...]


class RecurrentPolicy(Policy):
    """A stack of recurrent cells and a head; the state is the tuple of the cells' states.

    Parameters
    ----------
    input_size
        Length O of an observation.
    cells
        The layers, first one first.
    head
        What follows the last one.
    """

    has_memory = True

    def __init__(self, input_size: int, cells: Sequence[Cell], head: Head) -> None:
        super().__init__(input_size, head)
        self.cells = tuple(cells)
        for cell in self.cells:
            cell.add_to(self, input_size)
            input_size = cell.hidden_size
        self.add_head(input_size)

    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> State:
        """See `Policy.initial_state`."""
        return tuple(cell.initial_state(params, batch_shape) for cell in self.cells)

    def remembered(self, state: State) -> Tensor:
        """See `Policy.remembered`: of the last layer."""
        return state[-1][-1]

    def advance(self, params: Params, observation: Tensor, state: State) -> tuple[Tensor, State]:
        """See `Policy.advance`."""
        hidden, new_state = observation, []
        for cell, cell_state in zip(self.cells, state, strict=True):
            new_state.append(cell.advance(params, cell.project(params, hidden), cell_state))
            hidden = new_state[-1][0]
        return hidden, tuple(new_state)

    def features(
        self, params: Params, observations: Tensor, masks: Tensor, state: State, *, once: bool = False
    ) -> tuple[Tensor, State]:
        """See `Policy.features`."""
        hidden, new_state = observations, []
        for cell, cell_state in zip(self.cells, state, strict=True):
            hidden, after = cell.unroll(params, hidden, cell_state, once=once)
            new_state.append(after)
        return hidden, tuple(new_state)

    def initialise(self, rng: np.random.Generator) -> None:
        """See `Policy.initialise`; recurrent weights are orthogonal."""
        super().initialise(rng)
        for cell in self.cells:
            cell.initialise(self, rng)


class RNNPolicy(RecurrentPolicy):
    """Every hidden layer is an Elman cell ``h' = f(W_ih x + b_ih + W_hh h + b_hh)``.

    Parameters
    ----------
    input_size
        Length O of an observation.
    head
        Head over the actions.
    hidden_sizes
        Units of each hidden layer.
    nonlinearity
        A key of `NONLINEARITIES`, the function f.
    """

    def __init__(
        self, input_size: int, head: Head, hidden_sizes: Sequence[int] = (64, 64), *, nonlinearity: str = "tanh"
    ) -> None:
        function = NONLINEARITIES[nonlinearity]
        cells = [RNNCell(f"layer{i}", size, function) for i, size in enumerate(hidden_sizes, 1)]
        super().__init__(input_size, cells, head)
