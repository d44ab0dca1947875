"""Policy with a recurrent controller and a geometric memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from maml_rl.policies.distributions import Categorical
from maml_rl.policies.memory.geometric_memory import NUM_AXES, GeometricMemory, MemoryCommand, MemoryState
from maml_rl.policies.mlp_policy import linear_layers
from maml_rl.policies.params import Params, affine
from maml_rl.policies.policy import NONLINEARITIES, Interface, Policy
from maml_rl.policies.recurrence import CellState, Order
from maml_rl.policies.recurrent_cells import RNNCell
from maml_rl.settings import Settings, Width

_TURN = 2.0 * math.pi / 125
"""Radians in a turn of length one. Small, because a head adds up the turns of an episode: an inner step that changed
every turn by as much as it changes other things would lose the way to whatever has been written."""

READ_GAIN = 30.0
"""Factor by which layers after the memory see what was read larger, before discrete actions. A single step writes but a
small fraction of a slot; at its own size it would drown in the controller's state, and adaptation could not find what
it says about the task. Before continuous actions it is 1: there thirty did harm."""

GeometricState = tuple[CellState, MemoryState]


class GeometricOptions(Settings):
    """Options of policy ``geometric``."""

    memory_slots: Width = Field(default=16, description="Slots of the geometric memory.")
    memory_width: Width = Field(default=16, description="Values in each slot of the geometric memory.")
    memory_read_gain: float | None = Field(
        default=None,
        gt=0,
        le=1000,
        description=(
            "Factor by which what is read from the geometric memory is enlarged; null: 30 before discrete actions, "
            "1 before continuous ones."
        ),
    )


class GeometricPolicy(Policy):
    """An Elman controller that turns the heads of a `GeometricMemory`, writes to it and reads from it.

    From the controller's hidden state follow the turns of both heads, the gate and the value to write; the head over
    actions sees the hidden state and what was just read, after layers without memory if there is more than one
    hidden size. What was read does not go back to the controller, so that a whole sequence of commands is known
    before the memory is asked.

    Parameters
    ----------
    interface
        See `Policy`.
    hidden_sizes
        Units of the controller, then of the layers between it and the head.
    nonlinearity
        A key of `NONLINEARITIES`.
    options
        Slots S of the memory and values V of a slot.
    """

    has_memory = True
    command: nn.Linear

    def __init__(
        self, interface: Interface, hidden_sizes: Sequence[int], *, nonlinearity: str, options: GeometricOptions
    ) -> None:
        width, function = options.memory_width, NONLINEARITIES[nonlinearity]
        controller = RNNCell("layer1", hidden_sizes[0], function)
        slots = GeometricMemory("memory", options.memory_slots, width)
        sizes = (hidden_sizes[0] + width, *hidden_sizes[1:])
        behind = linear_layers(sizes, first=2)
        layers = {
            controller.name: controller.make_layers(interface.num_inputs),
            slots.name: slots.make_layers(),
            "command": nn.Linear(hidden_sizes[0], 2 * NUM_AXES + 1 + width),
            **behind,
        }
        super().__init__(interface, layers, sizes[-1])
        self.nonlinearity, self.controller, self.slots, self.layers = function, controller, slots, tuple(behind)
        usual = READ_GAIN if self.distribution is Categorical else 1.0
        self.read_gain = options.memory_read_gain or usual

    def initial_state(
        self, params: Params, batch_shape: tuple[int, ...], noise: Tensor | None = None
    ) -> GeometricState:
        """See `Policy.initial_state`: contents and heads of the memory are meta-learned."""
        return self.controller.initial_state(params, batch_shape), self.slots.initial_state(params, batch_shape)

    def remembered(self, state: GeometricState) -> Tensor:
        """See `Policy.remembered`: the contents of all slots."""
        return state[1].contents.flatten(-2)

    def advance(self, params: Params, inputs: Tensor, state: GeometricState) -> tuple[Tensor, GeometricState]:
        """See `Policy.advance`."""
        controller = self.controller.advance(params, inputs, state[0])
        read, memory = self.slots.advance(params, self._command(params, controller[0]), state[1])
        return self._combine(params, controller[0], read), (controller, memory)

    def features(
        self, params: Params, observations: Tensor, started: Tensor | None, state: GeometricState, *, order: Order = 2
    ) -> tuple[Tensor, GeometricState]:
        """See `Policy.features`."""
        hidden, controller = self.controller.unroll(params, self.encode(params, observations), state[0], order=order)
        read, memory = self.slots.unroll(params, self._command(params, hidden), state[1])
        return self._combine(params, hidden, read), (controller, memory)

    def initialise(self, rng: np.random.Generator) -> None:
        """See `Policy.initialise`; the write head drifts, the read head stays, no action is preferred.

        So what happens at different times goes to different slots, and the beginning of an episode, where the read head
        rests, is out of reach of what comes later until the drift has come full circle, after 125 steps. Behind logits
        of zero the first inner step moves nothing but their layer: it learns what the memory says before it changes
        what the memory does. Means of continuous actions start as in other policies: who stands still learns nothing.
        """
        super().initialise(rng)
        self.controller.initialise(self, rng)
        self.slots.initialise(self)
        start = self.get_parameter("memory.write_head").detach()
        axis = torch.linalg.cross(start, start.new_tensor([0.0, 0.0, 1.0]))
        with torch.no_grad():
            self.command.weight[: 2 * NUM_AXES] *= 0.4
            self.command.bias[NUM_AXES : 2 * NUM_AXES] = axis / axis.norm()
            self.command.bias[2 * NUM_AXES] = -2.0
            self.command.weight[2 * NUM_AXES + 1 :] *= 3.0
            if self.layers:  # a saturated layer would pass nothing on
                self.get_parameter(f"{self.layers[0]}.weight")[:, self.controller.hidden_size :] /= self.read_gain
            if self.distribution is Categorical:
                self.get_parameter(f"{self.head.layer}.weight").zero_()

    def _command(self, params: Params, hidden: Tensor) -> MemoryCommand:
        """Command to the memory of the controller's hidden state (..., H)."""
        wish = affine(params, "command", hidden)
        turns, rest = _TURN * wish[..., : 2 * NUM_AXES], wish[..., 2 * NUM_AXES :]
        return MemoryCommand(
            turns[..., :NUM_AXES], turns[..., NUM_AXES:], torch.sigmoid(rest[..., :1]), 0.5 * torch.tanh(rest[..., 1:])
        )

    def _combine(self, params: Params, hidden: Tensor, read: Tensor) -> Tensor:
        """Features that heads see: of the controller's state (..., H) and of what was read (..., V)."""
        features = torch.cat([hidden, self.read_gain * read], -1)
        for name in self.layers:
            features = self.nonlinearity(affine(params, name, features))
        return features
