"""The contract of a policy: a pure function of (parameters, observations, state)."""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.distributions import Distribution

Params = dict[str, Tensor]

NONLINEARITIES = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "elu": nn.functional.elu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "sigmoid": torch.sigmoid,
}


def affine(params: Params, layer: str, inputs: Tensor) -> Tensor:
    """``inputs @ weight^T + bias`` of a named layer, inputs (..., I).

    Written out because `vmap` over `torch.nn.functional.linear` with one weight per task copies more and
    takes a third longer.
    """
    return inputs @ params[f"{layer}.weight"].T + params[f"{layer}.bias"]


class Policy(nn.Module, abc.ABC):
    """Maps observations (and a hidden state) to a distribution over actions.

    The module owns names, shapes and initial values of the parameters; `step` and `unroll` compute
    with the parameters they are given and never with their own. Inside them there is no task
    dimension: tasks are batched from outside with `torch.func.vmap`.
    """

    distribution: type[Any]
    """`Normal` or `Categorical`."""

    has_memory: bool = False
    """Whether a step depends on the ones before it."""

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        self.input_size = input_size
        self.output_size = output_size

    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> Any:
        """State before the first step, tensors of leading shape `batch_shape`; ``()`` without memory.

        It may depend on the parameters: what a memory holds at first can be meta-learned.
        """
        return ()

    @abc.abstractmethod
    def step(self, params: Params, observation: Tensor, state: Any) -> tuple[Distribution, Any]:
        """Act: observation (..., O) and state give the action distribution (...) and the next state."""

    @abc.abstractmethod
    def unroll(self, params: Params, observations: Tensor, masks: Tensor, state: Any) -> Distribution:
        """Learn: the distributions `step` would give along observations (T, B, O) with masks (T, B)."""

    def named_meta_parameters(self, train_recurrent: bool = True) -> list[str]:
        """Names of the parameters that inner and outer loop may change, in the order of flat vectors.

        Without `train_recurrent` the hidden-to-hidden weights and biases (``hh``) are not among them: they
        keep their initial values in inner step, meta-gradient, curvature and line search.
        """
        names = [name for name, _ in self.named_parameters()]
        return [name for name in names if train_recurrent or "hh" not in name.split(".")]

    def params(self) -> Params:
        """A detached copy of the module's parameters."""
        return {name: value.detach().clone() for name, value in self.named_parameters()}

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw every linear layer's weight Xavier-uniformly from `rng`; biases become 0."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.Linear):
                    bound = math.sqrt(6.0 / (module.in_features + module.out_features))
                    draws = rng.uniform(-bound, bound, size=tuple(module.weight.shape))
                    module.weight.copy_(torch.from_numpy(draws))
                    module.bias.zero_()
