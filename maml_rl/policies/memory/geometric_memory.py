"""A memory of slots on a sphere, found by the angle to a head that turns."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.memory.slot_derivatives import SlotSequence
from maml_rl.policies.params import Params
from maml_rl.policies.scan import linear_recurrence, matrix_recurrence

NUM_AXES = 3
"""Heads and addresses live on the unit sphere of ordinary space, where a rotation has three numbers."""


class MemoryState(NamedTuple):
    """Contents and heads of the memory at one time.

    Attributes
    ----------
    contents
        (..., S, V), every value in [-1/2, 1/2].
    read_head, write_head
        Unit vectors (..., 3).
    """

    contents: Tensor
    read_head: Tensor
    write_head: Tensor


class MemoryCommand(NamedTuple):
    """Request of a controller to the memory in one step.

    Attributes
    ----------
    read_turn, write_turn
        Rotation vectors (..., 3) of the heads: axis times angle in radians.
    gate
        How much is written (..., 1), in [0, 1].
    value
        What is written (..., V), in [-1/2, 1/2].
    """

    read_turn: Tensor
    write_turn: Tensor
    gate: Tensor
    value: Tensor


class GeometricMemory:
    """S slots with meta-learned addresses and initial contents; two heads that rotations move.

    A head at u attends to the slot with address a by ``w = softmax(sharpness * cos(angle(a, u)))``. Writing
    moves a slot by ``gate * w * (value - content)``: with values in [-1/2, 1/2], a slot attended by w < e
    changes by less than e. A turn by minus a rotation vector undoes the turn by it, so a head finds its way
    back.

    Rotations of heads follow Lie-access memory (Yang & Rush 2017), the gated write the neural Turing
    machine (Graves et al. 2014).

    Parameters
    ----------
    name
        Prefix of the parameters: ``NAME.addresses`` (S, 3), ``NAME.contents`` (S, V), ``NAME.read_head``
        and ``NAME.write_head`` (3,), all before they are brought to the sphere or into range, and
        ``NAME.log_sharpness``.
    num_slots
        S, >= 1.
    width
        V, >= 1.
    """

    def __init__(self, name: str, num_slots: int, width: int) -> None:
        self.name = name
        self.num_slots = num_slots
        self.width = width
        self.shapes: dict[str, tuple[int, ...]] = {
            "addresses": (num_slots, NUM_AXES),
            "contents": (num_slots, width),
            "read_head": (NUM_AXES,),
            "write_head": (NUM_AXES,),
            "log_sharpness": (),
        }

    def make_layers(self) -> nn.Module:
        """A module with the parameters."""
        return nn.ParameterDict({key: nn.Parameter(torch.zeros(shape)) for key, shape in self.shapes.items()})

    def initialise(self, policy: nn.Module) -> None:
        """Spread the addresses evenly, empty the slots, point both heads at the first one."""
        values = {key: policy.get_parameter(f"{self.name}.{key}") for key in self.shapes}
        addresses = torch.from_numpy(fibonacci_sphere(self.num_slots))
        with torch.no_grad():
            values["addresses"].copy_(addresses)
            values["contents"].zero_()
            for head in ("read_head", "write_head"):
                values[head].copy_(addresses[0])
            values["log_sharpness"].fill_(math.log(10.0))

    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> MemoryState:
        """The meta-learned contents and heads, for every episode."""

        def every(key: str, value: Tensor) -> Tensor:
            inner = len(self.shapes[key])
            lead, own = value.shape[: value.dim() - inner], value.shape[value.dim() - inner :]
            ones = [1] * (len(batch_shape) - len(lead))
            return value.reshape(*lead, *ones, *own).expand(*batch_shape, *own)

        return MemoryState(
            every("contents", 0.5 * torch.tanh(params[f"{self.name}.contents"])),
            every("read_head", unit(params[f"{self.name}.read_head"])),
            every("write_head", unit(params[f"{self.name}.write_head"])),
        )

    def attention(self, params: Params, head: Tensor) -> Tensor:
        """Weights (..., S) that a head (..., 3) gives the slots; they sum to 1."""
        cosines = head @ unit(params[f"{self.name}.addresses"]).mT
        sharpness = torch.exp(params[f"{self.name}.log_sharpness"])[..., None, None]
        return torch.softmax(sharpness * cosines, -1)

    def advance(self, params: Params, command: MemoryCommand, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """Turn the heads, write, then read: the value read (..., V) and the next state."""
        write_head = rotate(state.write_head, command.write_turn)
        read_head = rotate(state.read_head, command.read_turn)
        forget_gate, written = self._write(params, command, write_head)
        contents = forget_gate * state.contents + written
        return self._read(params, contents, read_head), MemoryState(contents, read_head, write_head)

    def unroll(self, params: Params, commands: MemoryCommand, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """Values (T, ..., V) that `advance` gives along commands (T, ..., n) from a state (..., n), and the last state.

        All rotations and all attentions are computed at once; only heads and contents wait for the step before, in
        compiled passes where there are some.
        """
        write_heads = turn_heads(state.write_head, commands.write_turn)
        read_heads = turn_heads(state.read_head, commands.read_turn)
        if self.compiles(commands.value):
            writes, reads = commands.gate * self.attention(params, write_heads), self.attention(params, read_heads)
            found, along = SlotSequence.apply(0, writes, commands.value, reads, state.contents.flatten(-2))
            last = along[-1].unflatten(-1, (self.num_slots, self.width))
        else:
            forget_gate, written = self._write(params, commands, write_heads)
            contents = linear_recurrence(forget_gate, written, state.contents)
            found, last = self._read(params, contents, read_heads), contents[-1]
        return found, MemoryState(last, read_heads[-1], write_heads[-1])

    def compiles(self, value: Tensor) -> bool:
        """True if there are compiled loops for a value (T, ..., V) that is written: float32 or 64 on the CPU."""
        return value.device.type == "cpu" and value.dtype in (torch.float32, torch.float64)

    def _write(self, params: Params, command: MemoryCommand, head: Tensor) -> tuple[Tensor, Tensor]:
        """Forget gate of a slot (..., S, 1) and what is written to it (..., S, V)."""
        input_gate = (command.gate * self.attention(params, head)).unsqueeze(-1)
        return 1.0 - input_gate, input_gate * command.value.unsqueeze(-2)

    def _read(self, params: Params, contents: Tensor, head: Tensor) -> Tensor:
        return (self.attention(params, head).unsqueeze(-2) @ contents)[..., 0, :]


def unit(vectors: Tensor) -> Tensor:
    """The vectors (..., B, 3) scaled to length 1."""
    return vectors * torch.rsqrt(vectors.square().sum(-1, keepdim=True) + 1e-12)


def rotations(turns: Tensor) -> Tensor:
    """Rotation matrices (..., B, 3, 3) of turns (..., B, 3), smooth also at no turn (Rodrigues).

    ``cos t I + sin(t)/t [w] + (1 - cos t)/t^2 w w^T`` with t the length of w and [w] its cross product's matrix.
    """
    angle = torch.sqrt(turns.square().sum(-1, keepdim=True) + 1e-12)
    sine = torch.sin(angle) / angle * turns
    half = torch.sin(0.5 * angle) / angle * turns
    cosine = torch.cos(angle)[..., 0]
    x, y, z = sine.unbind(-1)
    rows = [cosine, -z, y, z, cosine, -x, -y, x, cosine]
    return torch.stack(rows, -1).unflatten(-1, (3, 3)) + 2.0 * half.unsqueeze(-1) * half.unsqueeze(-2)


def rotate(heads: Tensor, turns: Tensor) -> Tensor:
    """Turn heads (..., B, 3) by turns (..., B, 3); scaled to length 1, so that rounding does not add up."""
    return unit((rotations(turns) @ heads.unsqueeze(-1))[..., 0])


def turn_heads(head: Tensor, turns: Tensor) -> Tensor:
    """Heads (T, ..., 3) to which `rotate` takes a head (..., 3) step by step along turns (T, ..., 3)."""
    return unit(matrix_recurrence(rotations(turns), head))


def fibonacci_sphere(num_points: int) -> np.ndarray:
    """`num_points` unit vectors (S, 3) spread evenly over the sphere."""
    index = np.arange(num_points) + 0.5
    height = 1.0 - 2.0 * index / num_points
    radius = np.sqrt(1.0 - height**2)
    longitude = math.pi * (3.0 - math.sqrt(5.0)) * index
    return np.stack([radius * np.cos(longitude), radius * np.sin(longitude), height], axis=1)
