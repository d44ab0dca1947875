"""A memory of slots on a sphere, found by the angle to a head that turns."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.policy import Params

NUM_AXES = 3
"""Heads and addresses live on the unit sphere of ordinary space, where a rotation has three numbers."""


class MemoryState(NamedTuple):
    """What an episode has made of the memory.

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
    """What a controller asks of the memory in one step.

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

    def add_to(self, policy: nn.Module) -> None:
        """Give `policy` the parameters."""
        values = {key: nn.Parameter(torch.zeros(shape)) for key, shape in self.shapes.items()}
        policy.add_module(self.name, nn.ParameterDict(values))

    def initialise(self, policy: nn.Module, rng: np.random.Generator) -> None:
        """Spread the addresses evenly, draw small contents, point both heads at the first slot."""
        values = {key: policy.get_parameter(f"{self.name}.{key}") for key in self.shapes}
        addresses = torch.from_numpy(fibonacci_sphere(self.num_slots))
        with torch.no_grad():
            values["addresses"].copy_(addresses)
            values["contents"].copy_(torch.from_numpy(rng.normal(0.0, 0.1, (self.num_slots, self.width))))
            for head in ("read_head", "write_head"):
                values[head].copy_(addresses[0])
            values["log_sharpness"].fill_(math.log(10.0))

    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> MemoryState:
        """The meta-learned contents and heads, for every episode."""

        def every(value: Tensor) -> Tensor:
            return value.expand(*batch_shape, *value.shape)

        return MemoryState(
            every(0.5 * torch.tanh(params[f"{self.name}.contents"])),
            every(unit(params[f"{self.name}.read_head"])),
            every(unit(params[f"{self.name}.write_head"])),
        )

    def attention(self, params: Params, head: Tensor) -> Tensor:
        """Weights (..., S) that a head (..., 3) gives the slots; they sum to 1."""
        cosines = head @ unit(params[f"{self.name}.addresses"]).T
        return torch.softmax(torch.exp(params[f"{self.name}.log_sharpness"]) * cosines, -1)

    def advance(self, params: Params, command: MemoryCommand, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """Turn the heads, write, then read: the value read (..., V) and the next state."""
        write_head = rotate(state.write_head, command.write_turn)
        read_head = rotate(state.read_head, command.read_turn)
        written = (command.gate * self.attention(params, write_head)).unsqueeze(-1)  # (..., S, 1)
        contents = state.contents + written * (command.value.unsqueeze(-2) - state.contents)
        weights = self.attention(params, read_head).unsqueeze(-2)  # (..., 1, S)
        return (weights @ contents)[..., 0, :], MemoryState(contents, read_head, write_head)


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., 3) scaled to length 1."""
    return vectors * torch.rsqrt(vectors.square().sum(-1, keepdim=True) + 1e-12)


def rotate(vectors: Tensor, turns: Tensor) -> Tensor:
    """Rotate unit vectors (..., 3) by rotation vectors (..., 3), smoothly also at no turn (Rodrigues).

    ``u cos t + (w x u) sin(t)/t + w (w . u) (1 - cos t)/t^2`` with t the length of w; then scaled to length 1, so that
    rounding does not add up over an episode.
    """
    squared = turns.square().sum(-1, keepdim=True)
    angle = torch.sqrt(squared + 1e-12)
    sine = torch.sin(angle) / angle
    half = torch.sin(0.5 * angle) / angle
    along = (turns * vectors).sum(-1, keepdim=True)
    return unit(vectors * torch.cos(angle) + cross(turns, vectors) * sine + turns * (2.0 * half * half * along))


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross product of vectors (..., 3); unlike `torch.linalg.cross` made of two products of whole arrays."""
    return (a.roll(-1, -1) * b.roll(1, -1)) - (a.roll(1, -1) * b.roll(-1, -1))


def fibonacci_sphere(num_points: int) -> np.ndarray:
    """`num_points` unit vectors (S, 3) spread evenly over the sphere."""
    index = np.arange(num_points) + 0.5
    height = 1.0 - 2.0 * index / num_points
    radius = np.sqrt(1.0 - height**2)
    longitude = math.pi * (3.0 - math.sqrt(5.0)) * index
    return np.stack([radius * np.cos(longitude), radius * np.sin(longitude), height], axis=1)
