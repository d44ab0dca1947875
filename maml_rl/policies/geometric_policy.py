"""Policy with a recurrent controller and a geometric memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.distributions import Distribution
from maml_rl.policies.heads import Head
from maml_rl.policies.memory.geometric_memory import NUM_AXES, GeometricMemory, MemoryCommand, MemoryState
from maml_rl.policies.policy import NONLINEARITIES, Params, Policy, affine
from maml_rl.policies.recurrent_cells import CellState, RNNCell

GeometricState = tuple[CellState, MemoryState, Tensor]


class GeometricPolicy(Policy):
    """An Elman controller that turns the heads of a `GeometricMemory`, writes to it and reads from it.

    In every step the controller sees the observation and what was read in the step before; from its new
    hidden state follow the turns of both heads, the gate and the value to write; the head over actions sees
    the hidden state and what was just read, after layers without memory if there is more than one hidden
    size.

    Parameters
    ----------
    input_size
        Length O of an observation.
    head
        Head over the actions.
    hidden_sizes
        Units of the controller, then of the layers between it and the head.
    nonlinearity
        A key of `NONLINEARITIES`.
    num_slots, width
        Slots S of the memory and values V of a slot.
    """

    has_memory = True

    def __init__(
        self,
        input_size: int,
        head: Head,
        hidden_sizes: Sequence[int] = (64, 64),
        *,
        nonlinearity: str = "tanh",
        num_slots: int = 16,
        width: int = 16,
    ) -> None:
        super().__init__(input_size, head.output_size)
        self.distribution = head.distribution
        self.head = head
        self.nonlinearity = NONLINEARITIES[nonlinearity]
        self.controller = RNNCell("layer1", hidden_sizes[0], self.nonlinearity)
        self.controller.add_to(self, input_size + width)
        self.slots = GeometricMemory("memory", num_slots, width)
        self.slots.add_to(self)
        self.command = nn.Linear(hidden_sizes[0], 2 * NUM_AXES + 1 + width)
        sizes = (hidden_sizes[0] + width, *hidden_sizes[1:])
        self.layers = tuple(f"layer{i}" for i in range(2, len(sizes) + 1))
        for name, inputs, outputs in zip(self.layers, sizes[:-1], sizes[1:], strict=True):
            self.add_module(name, nn.Linear(inputs, outputs))
        head.add_to(self, sizes[-1])

    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> GeometricState:
        """See `Policy.initial_state`: contents and heads of the memory are meta-learned."""
        hidden = self.controller.initial_state(params, batch_shape)
        read = hidden[0].new_zeros((*batch_shape, self.slots.width))
        return hidden, self.slots.initial_state(params, batch_shape), read

    def step(self, params: Params, observation: Tensor, state: GeometricState) -> tuple[Distribution, GeometricState]:
        """See `Policy.step`."""
        projected = self._project(params, observation)
        state = self._advance(params, projected, state)
        return self._act(params, state[0][0], state[2]), state

    def unroll(self, params: Params, observations: Tensor, masks: Tensor, state: GeometricState) -> Distribution:
        """See `Policy.unroll`."""
        hidden, read = [], []
        for projected in self._project(params, observations).unbind(0):
            state = self._advance(params, projected, state)
            hidden.append(state[0][0])
            read.append(state[2])
        return self._act(params, torch.stack(hidden), torch.stack(read))

    def initialise(self, rng: np.random.Generator) -> None:
        """See `Policy.initialise`; heads hardly turn and little is written until that is learned."""
        super().initialise(rng)
        self.controller.initialise(self, rng)
        self.slots.initialise(self, rng)
        with torch.no_grad():
            self.command.weight[: 2 * NUM_AXES] *= 0.1
            self.command.bias[2 * NUM_AXES] = -5.0

    def _project(self, params: Params, observations: Tensor) -> Tensor:
        """The observation's part of the controller's input; what was read has to wait."""
        name = f"{self.controller.name}.ih"
        weight = params[f"{name}.weight"][:, : self.input_size]
        return observations @ weight.T + params[f"{name}.bias"] + params[f"{self.controller.name}.hh.bias"]

    def _advance(self, params: Params, projected: Tensor, state: GeometricState) -> GeometricState:
        hidden, memory, read = state
        weight = params[f"{self.controller.name}.ih.weight"][:, self.input_size :]
        hidden = self.controller.advance(params, projected + read @ weight.T, hidden)
        wish = affine(params, "command", hidden[0])
        turns, rest = wish[..., : 2 * NUM_AXES], wish[..., 2 * NUM_AXES :]
        command = MemoryCommand(
            turns[..., :NUM_AXES], turns[..., NUM_AXES:], torch.sigmoid(rest[..., :1]), 0.5 * torch.tanh(rest[..., 1:])
        )
        read, memory = self.slots.advance(params, command, memory)
        return hidden, memory, read

    def _act(self, params: Params, hidden: Tensor, read: Tensor) -> Distribution:
        features = torch.cat([hidden, read], -1)
        for name in self.layers:
            features = self.nonlinearity(affine(params, name, features))
        return self.head(params, features)
