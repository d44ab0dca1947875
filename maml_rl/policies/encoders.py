"""Encoders, which stand before a policy's first layer: observations in, features out."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.params import Params
from maml_rl.utils.errors import InputError

NONLINEARITY = torch.relu
_LAYERS = ((8, 4), (4, 2), (3, 1))
"""Width and stride of the kernels, first layer first (Mnih et al. 2015); the last for all that follow.

Widths are multiples of strides."""
_MANY = 256
"""Images that are worth copying to blocks of pixels; with fewer, as in acting, copying costs more than it saves."""


def as_numbers(observations: Tensor) -> Tensor:
    """Numbers for observations (..., B, O): bytes count from 0 to 1, numbers stay as they are."""
    return observations / 255.0 if observations.dtype == torch.uint8 else observations


class Encoder(Protocol):
    """Maps observations (..., B, O) to features (..., B, F), with parameters of one or of M tasks as a policy does.

    Where an observation is followed by more than it is made for (previous action and reward, see
    `maml_rl.envs.MetaEpisodeVectorEnv`), that more goes behind the features as it is.
    """

    output_size: int

    def add_to(self, policy: nn.Module) -> None:
        """Give `policy` the encoder's layers."""

    def __call__(self, params: Params, observations: Tensor) -> Tensor:
        """See `Encoder`."""


class RAMEncoder:
    """The memory of a console: every byte as a number from -1 to 1, and its eight bits, -1 or 1; no parameters.

    For bytes: numbers are taken for bytes divided by 255. What a byte means differs from one to the next: a position,
    whose size matters, or a row of enemies, one in a bit. All is divided by 3, so that nine numbers in place of one
    leave their length as it was.

    Parameters
    ----------
    num_bytes
        Length of the memory.
    input_size
        Length O of an observation, the memory first.
    """

    def __init__(self, num_bytes: int, input_size: int) -> None:
        self.num_bytes = num_bytes
        self.output_size = 9 * num_bytes + input_size - num_bytes

    def add_to(self, policy: nn.Module) -> None:
        """See `Encoder`; nothing."""

    def __call__(self, params: Params, observations: Tensor) -> Tensor:
        """See `Encoder`."""
        memory, rest = observations.tensor_split((self.num_bytes,), -1)
        if memory.dtype != torch.uint8:
            memory = (memory * 255.0).round() % 256.0
        rest = as_numbers(rest)
        codes = nn.functional.embedding(memory.int(), torch.from_numpy(_codes()).to(rest))  # (..., K) -> (..., K, 9)
        return torch.cat([codes.flatten(-2), rest], -1)


@functools.cache
def _codes() -> np.ndarray:
    """Codes (256, 9) float32 that `RAMEncoder` gives the bytes; no tensor, which a transform could hold on to."""
    numbers = np.arange(256)[:, np.newaxis]
    bits = (numbers >> np.arange(8)) & 1
    return ((2.0 * np.concatenate([numbers / 255.0, bits], -1) - 1.0) / 3.0).astype(np.float32)


class StandardEncoder:
    """Numbers less a centre, divided by their deviation; no parameters.

    A gradient step of an inner loop moves what a policy does in proportion to how much its features vary: where
    observations hardly do, as positions of joints beside their velocities, it moves all actions alike.

    Parameters
    ----------
    num_observed
        Length of the observation.
    input_size
        Length O of what is seen, the observation first.
    centre
        What is subtracted: a number for each of the observation, or none, which is 0.
    deviation
        What is divided by: a number > 0 for each of the observation, or none, which is 1.
    """

    def __init__(
        self, num_observed: int, input_size: int, *, centre: Sequence[float] = (), deviation: Sequence[float] = ()
    ) -> None:
        for name, values in (("centre", centre), ("deviation", deviation)):
            if len(values) not in (0, num_observed):
                raise InputError(
                    f"encoder-{name}: got {len(values)} numbers, expected {num_observed}, one for each of an "
                    f"observation, or none; give {num_observed}, or set encoder: none and leave both out"
                )
        self._centre, self._factor = np.zeros(input_size), np.ones(input_size)
        self._centre[: len(centre)] = centre
        self._factor[: len(deviation)] = 1.0 / np.array(deviation, dtype=np.float64)
        self.output_size = input_size

    def add_to(self, policy: nn.Module) -> None:
        """See `Encoder`; nothing."""

    def __call__(self, params: Params, observations: Tensor) -> Tensor:
        """See `Encoder`."""
        numbers = as_numbers(observations)
        centre, factor = (torch.from_numpy(values).to(numbers) for values in (self._centre, self._factor))
        return (numbers - centre) * factor


class ConvEncoder:
    """Convolutions ``encoder1``, ``encoder2``, ... over an image, each followed by a rectifier.

    Kernels are 8 x 8 with stride 4, 4 x 4 with stride 2, then 3 x 3 with stride 1 (Mnih et al. 2015).

    Parameters
    ----------
    shape
        Channels, height and width of an image.
    input_size
        Length O of an observation, the image first.
    channels
        Output channels of each layer.
    gain
        Factor by which images are seen larger, > 0.
    """

    def __init__(
        self, shape: tuple[int, int, int], input_size: int, channels: Sequence[int] = (16, 32), *, gain: float = 1.0
    ) -> None:
        self.shape = shape
        self.gain = gain
        self.channels = tuple(channels)
        self.strides: list[int] = []
        self.kernels: list[int] = []
        height, width = shape[1:]
        for index in range(len(self.channels)):
            kernel, stride = _LAYERS[min(index, len(_LAYERS) - 1)]
            if min(height, width) < kernel:
                raise InputError(
                    f"encoder-channels: got {list(self.channels)}, expected at most {index} layers for images of "
                    f"{shape[1]} x {shape[2]}, channels first; give fewer, larger images, or encoder: none"
                )
            height, width = (height - kernel) // stride + 1, (width - kernel) // stride + 1
            self.kernels.append(kernel)
            self.strides.append(stride)
        self.output_size = (self.channels[-1] if channels else shape[0]) * height * width
        self.output_size += input_size - math.prod(shape)

    def add_to(self, policy: nn.Module) -> None:
        """See `Encoder`."""
        inputs = self.shape[0]
        for index, (outputs, kernel) in enumerate(zip(self.channels, self.kernels, strict=True), 1):
            policy.add_module(f"encoder{index}", nn.Conv2d(inputs, outputs, kernel))
            inputs = outputs

    def __call__(self, params: Params, observations: Tensor) -> Tensor:
        """See `Encoder`."""
        images, rest = observations.tensor_split((math.prod(self.shape),), -1)
        own = {name: value for name, value in params.items() if name.startswith("encoder")}
        if not own:
            features = as_numbers(images) * self.gain
        elif next(iter(own.values())).dim() not in (2, 5):
            features = self._convolve(own, images)
        elif all(value.stride(0) == 0 for value in own.values()):  # all tasks have the same: half the time
            features = self._convolve({name: value[0] for name, value in own.items()}, images)
        else:  # of M tasks: biases (M, C), weights (M, C, ...)
            features = self._convolve_each(own, images)
        return torch.cat([features, as_numbers(rest)], -1) if rest.shape[-1] else features

    def _convolve(self, params: Params, images: Tensor) -> Tensor:
        """Features (..., B, F) of images (..., B, C * H * W)."""
        hidden = images.reshape(-1, *self.shape)
        layers = self._layers if len(hidden) < _MANY else self._layers_of_blocks
        features = layers(self._for_type(params, images), hidden)  # (N, C, H, W)
        return features.reshape(*images.shape[:-1], -1)

    def _convolve_each(self, params: Params, images: Tensor) -> Tensor:
        """Features (M, B, F) of images (M, B, C * H * W), each of M tasks with its own weights; tasks are groups."""
        num_tasks, params = len(images), self._for_type(params, images)
        hidden = images.transpose(0, 1).reshape(-1, num_tasks * self.shape[0], *self.shape[1:])
        hidden = self._layers({name: value.flatten(0, 1) for name, value in params.items()}, hidden, num_tasks)
        return hidden.unflatten(1, (num_tasks, -1)).transpose(0, 1).flatten(2)  # (B, M * C, H, W) -> (M, B, C * H * W)

    def _layers(self, params: Params, hidden: Tensor, groups: int = 1) -> Tensor:
        """Outputs (N, C', H', W') of the layers for images (N, C, H, W); tasks are `groups` of channels."""
        for index, stride in enumerate(self.strides, 1):
            weight, bias = params[f"encoder{index}.weight"], params[f"encoder{index}.bias"]
            hidden = nn.functional.conv2d(hidden.to(weight.dtype), weight, bias, stride=stride, groups=groups)
            hidden = NONLINEARITY(hidden)
        return hidden

    def _layers_of_blocks(self, params: Params, hidden: Tensor) -> Tensor:
        """`_layers` for many images, to learn from: gradients are fast with many channels.

        A block of pixels as wide as the stride is one pixel with as many more channels, and kernels move by one: the
        same sums in another order. A gradient takes half the time, second derivatives a third.
        """
        for index, (stride, kernel) in enumerate(zip(self.strides, self.kernels, strict=True), 1):
            weight, bias = params[f"encoder{index}.weight"], params[f"encoder{index}.bias"]
            blocks = _blocks(hidden, kernel, stride).to(weight.dtype)
            hidden = NONLINEARITY(nn.functional.conv2d(blocks, _of_blocks(weight, stride), bias))
        return hidden

    def _for_type(self, params: Params, images: Tensor) -> Params:
        """Parameters that see bytes as numbers from 0 to the gain: scaled are the weights, since pixels are more."""
        unit = (255.0 if images.dtype == torch.uint8 else 1.0) / self.gain
        return params if unit == 1.0 else {**params, "encoder1.weight": params["encoder1.weight"] / unit}


def _blocks(images: Tensor, kernel: int, stride: int) -> Tensor:
    """Images (N, C, H, W) as (N, S * S * C, H', W') with S the stride, channels last in memory.

    Left out are rows and columns that no kernel reaches.
    """
    height, width = ((size - kernel + stride) // stride for size in images.shape[2:])
    height, width = height + kernel // stride - 1, width + kernel // stride - 1
    rows = images.permute(0, 2, 3, 1).contiguous()[:, : height * stride, : width * stride]
    return (
        rows.unflatten(2, (width, stride)).unflatten(1, (height, stride)).transpose(2, 3).flatten(3).permute(0, 3, 1, 2)
    )


def _of_blocks(weight: Tensor, stride: int) -> Tensor:
    """Kernels (C', C, K, K) for `_blocks`: (C', S * S * C, K / S, K / S)."""
    parts = (weight.shape[-1] // stride, stride)
    return weight.unflatten(3, parts).unflatten(2, parts).permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


ENCODERS = ("none", "ram", "conv", "standard")


def make_encoder(
    name: str,
    shape: tuple[int, ...],
    input_size: int,
    *,
    channels: Sequence[int],
    gain: float,
    centre: Sequence[float],
    deviation: Sequence[float],
) -> Encoder | None:
    """The encoder of this name for observations of this shape, before they were made flat; None for "none".

    See `ConvEncoder` for `channels` and `gain`, `StandardEncoder` for `centre` and `deviation`.

    Raises
    ------
    InputError
        In one line, if it does not fit.
    """
    if name != "standard" and (centre or deviation):
        raise InputError(
            f"encoder-{'centre' if centre else 'deviation'}: got numbers with encoder {name!r}, expected none; remove "
            "them, or set encoder=standard"
        )
    if name == "ram":
        return RAMEncoder(math.prod(shape), input_size)
    if name == "standard":
        return StandardEncoder(math.prod(shape), input_size, centre=centre, deviation=deviation)
    if name == "conv":
        if len(shape) != 3:
            raise InputError(
                f"encoder: got 'conv', expected images (channels, height, width), not observations of shape {shape}; "
                "choose another encoder or an environment that shows images"
            )
        return ConvEncoder((shape[0], shape[1], shape[2]), input_size, channels, gain=gain)
    return None
