"""The contract of a learning rule: local signals in, changed synapses out."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.params import Params

NUM_SIGNALS = 5
"""Numbers of `Activity.signals`."""

NUM_BASELINES = 3
"""Those of them, from the second on, that are reward less a running mean."""


class Activity(NamedTuple):
    """All that a network's synapses and neurons could see of one step.

    Attributes
    ----------
    inputs
        Of each layer, what its synapses carried (..., J + 1); the last is 1, the bias's input.
    drives
        Of each layer, what its neurons received before noise (..., I).
    outputs
        Of each layer, what its neurons said (..., I).
    noise
        Of each layer, what chance added to its neurons (..., I): in the last layer the action less the expected one.
    signals
        (..., 5): the reward that followed, the same less its means over some 2, 20 and 200 steps, and 1 where an
        episode ended.
    """

    inputs: tuple[Tensor, ...]
    drives: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    noise: tuple[Tensor, ...]
    signals: Tensor


class LearningRule(nn.Module, abc.ABC):
    """Changes the synapses of a layered network after every step; its parameters are what is meta-learned.

    Tensors lead with (B,) lives, or (P, B) when parameters lead with P. A rule's state holds the weights; it is made by
    `initial_state`, read by `weights` and `levels`, and passes through `update`, a pure function.

    Parameters
    ----------
    sizes
        Units of the network from its inputs to its actions.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.shapes = tuple((outputs, inputs + 1) for inputs, outputs in pairwise(sizes))
        """Shape (I, J + 1) of each layer's weights, the bias behind the others."""

    @abc.abstractmethod
    def initialise(self, rng: np.random.Generator) -> None:
        """Draw the rule's parameters."""

    @abc.abstractmethod
    def initial_state(self, params: Params, weights: Sequence[Tensor]) -> Any:
        """State of a network that is born with weights (..., I, J + 1) in each layer."""

    @abc.abstractmethod
    def weights(self, state: Any) -> tuple[Tensor, ...]:
        """Weights (..., I, J + 1) of each layer."""

    @abc.abstractmethod
    def levels(self, params: Params, state: Any) -> tuple[Tensor, ...]:
        """Standard deviation of the noise of each layer's neurons (..., I), or one that broadcasts to it, > 0."""

    @abc.abstractmethod
    def update(self, params: Params, activity: Activity, state: Any) -> Any:
        """State after a step in which the network was active like that."""


def product(weight: Tensor, inputs: Tensor) -> Tensor:
    """``inputs @ weight``: weight (F, K) and inputs (..., F), or weight (P, F, K) and inputs (P, ..., F)."""
    if weight.dim() == 2:
        return inputs @ weight
    flat = inputs.reshape(len(weight), -1, inputs.shape[-1])  # (P, ..., F) -> (P, N, F)
    return torch.bmm(flat, weight).reshape(*inputs.shape[:-1], weight.shape[-1])


def spread(value: Tensor, like: Tensor, num_own: int) -> Tensor:
    """A parameter as it broadcasts against tensors of lives.

    Parameters
    ----------
    value
        (*own) or, of each of P individuals, (P, *own).
    like
        Of the lives, (B, ..., *own) or (P, B, ..., *own); only its rank counts.
    num_own
        Length of own.
    """
    if value.dim() == num_own:
        return value
    return value.reshape(len(value), *[1] * (like.dim() - 1 - num_own), *value.shape[1:])
