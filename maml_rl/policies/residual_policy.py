"""Policies whose hidden layers are residual blocks: each mixes steps of the past into the present one."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.distributions import Categorical
from maml_rl.policies.params import Params, affine, layer_norm
from maml_rl.policies.policy import NONLINEARITIES, Interface, Policy
from maml_rl.policies.recurrence import Order

_LOGIT_SCALE = 0.1
"""Of initial logits: behind a normalised layer they would prefer some actions from the start."""


class Mixer(abc.ABC):
    """Part of a block that reads what earlier steps have left, of vectors of width W.

    Parameters
    ----------
    name
        Prefix of the parameters.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @abc.abstractmethod
    def make_layers(self) -> nn.Module:
        """A module with the parameters."""

    @abc.abstractmethod
    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> Any:
        """State before the first step, tensors (*batch_shape, ...)."""

    @abc.abstractmethod
    def advance(self, params: Params, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Outputs (..., B, W) of inputs (..., B, W) and of the past, and the next state."""

    @abc.abstractmethod
    def unroll(self, params: Params, inputs: Tensor, state: Any, *, order: Order = 2) -> tuple[Tensor, Any]:
        """Outputs (T, B, W) that `advance` gives along inputs (T, B, W), and the last state."""

    @abc.abstractmethod
    def remembered(self, state: Any) -> Tensor:
        """Lasting part of a state, flat (..., H)."""


class ResidualPolicy(Policy):
    """Vectors of width W that blocks add to, ``x + mix(norm(x))`` and then ``x + mlp(norm(x))``, and a head.

    Layers are normalised before each sum's new part (Xiong et al. 2020, table 1, "pre-LN").

    Parameters
    ----------
    interface
        See `Policy`.
    mixers
        One of each block, first one first.
    width
        W.
    hidden_sizes
        Units of the hidden layers of each block's feed-forward network.
    nonlinearity
        A key of `NONLINEARITIES`, after each of these.
    num_times
        Length K of what `times` gives.
    """

    has_memory = True

    def __init__(
        self,
        interface: Interface,
        mixers: Sequence[Mixer],
        width: int,
        hidden_sizes: Sequence[int],
        *,
        nonlinearity: str,
        num_times: int = 0,
    ) -> None:
        layers: dict[str, nn.Module] = {"embed": nn.Linear(interface.num_inputs + num_times, width)}
        self._mlps: list[list[str]] = []
        for index, mixer in enumerate(mixers, 1):
            layers |= {f"norm{index}": nn.LayerNorm(width), mixer.name: mixer.make_layers()}
            names = [f"mlp{index}_{place}" for place in range(1, len(hidden_sizes) + 2)]
            shapes = pairwise((width, *hidden_sizes, width))
            layers |= {f"mlp{index}_norm": nn.LayerNorm(width)}
            layers |= {name: nn.Linear(*shape) for name, shape in zip(names, shapes, strict=True)}
            self._mlps.append(names)
        layers["norm"] = nn.LayerNorm(width)
        super().__init__(interface, layers, width)
        self.mixers, self.nonlinearity = tuple(mixers), NONLINEARITIES[nonlinearity]

    def initialise(self, rng: np.random.Generator) -> None:
        """See `Policy.initialise`; logits are small, so that no action is preferred."""
        super().initialise(rng)
        if self.distribution is Categorical:
            with torch.no_grad():
                self.get_parameter(f"{self.head.layer}.weight").mul_(_LOGIT_SCALE)

    def initial_state(self, params: Params, batch_shape: tuple[int, ...], noise: Tensor | None = None) -> Any:
        """See `Policy.initial_state`: that of every mixer."""
        return tuple(mixer.initial_state(params, batch_shape) for mixer in self.mixers)

    def times(self, state: Any, num_steps: int | None) -> Tensor | None:
        """Numbers (..., B, K), or along T steps (T, B, K), that tell when it is; by default none."""
        return None

    def remembered(self, state: Any) -> Tensor:
        """See `Policy.remembered`: of the last block."""
        return self.mixers[-1].remembered(state[-1])

    def advance(self, params: Params, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """See `Policy.advance`."""
        fused, hidden, after = not torch.is_grad_enabled(), self._embed(params, inputs, self.times(state, None)), []
        for index, (mixer, own) in enumerate(zip(self.mixers, state, strict=True), 1):
            mixed, own = mixer.advance(params, layer_norm(params, f"norm{index}", hidden, fused=fused), own)
            hidden = self._feed_forward(params, index, hidden + mixed, fused=fused)
            after.append(own)
        return layer_norm(params, "norm", hidden, fused=fused), tuple(after)

    def features(
        self, params: Params, observations: Tensor, started: Tensor | None, state: Any, *, order: Order = 2
    ) -> tuple[Tensor, Any]:
        """See `Policy.features`."""
        inputs, fused, after = self.encode(params, observations), order == 1, []
        hidden = self._embed(params, inputs, self.times(state, len(inputs)))
        for index, (mixer, own) in enumerate(zip(self.mixers, state, strict=True), 1):
            normalised = layer_norm(params, f"norm{index}", hidden, fused=fused)
            mixed, own = mixer.unroll(params, normalised, own, order=order)
            hidden = self._feed_forward(params, index, hidden + mixed, fused=fused)
            after.append(own)
        return layer_norm(params, "norm", hidden, fused=fused), tuple(after)

    def _embed(self, params: Params, inputs: Tensor, times: Tensor | None) -> Tensor:
        """Vectors (..., B, W) of inputs (..., B, I) and what `times` gives (..., B, K)."""
        return affine(params, "embed", inputs if times is None else torch.cat([inputs, times.to(inputs)], -1))

    def _feed_forward(self, params: Params, index: int, hidden: Tensor, *, fused: bool) -> Tensor:
        """Vectors (..., B, W) behind the feed-forward network of block number `index`."""
        *names, last = self._mlps[index - 1]
        inner = layer_norm(params, f"mlp{index}_norm", hidden, fused=fused)
        for name in names:
            inner = self.nonlinearity(affine(params, name, inner))
        return hidden + affine(params, last, inner)
