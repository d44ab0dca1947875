"""The contract of a policy: a pure function of (parameters, observations, state)."""

from __future__ import annotations

import abc
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maml_rl.policies.distributions import Distribution
from maml_rl.policies.encoders import Encoder, as_numbers
from maml_rl.policies.heads import Head
from maml_rl.policies.params import Params, affine, dtype_of

NONLINEARITIES = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "elu": nn.functional.elu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "sigmoid": torch.sigmoid,
}


class Policy(nn.Module, abc.ABC):
    """Maps observations (and a hidden state) to a distribution over actions.

    The module owns names, shapes and initial values of the parameters; `step` and `unroll` compute
    with the parameters they are given and never with their own. To act, parameters of M tasks may
    lead with a dimension (M, ...), as observations (M, B, O) and states (M, B, ...) then do: a step is
    short, and half of it would be the entering and leaving of `vmap`. To learn there is no task
    dimension: tasks are batched from outside with `torch.func.vmap`.

    Parameters
    ----------
    input_size
        Numbers the first layer sees: the length O of an observation, or what an encoder makes of it.
    head
        Head over the actions.
    """

    has_memory: bool = False
    """Whether a step depends on the ones before it."""

    def __init__(self, input_size: int, head: Head) -> None:
        super().__init__()
        self.input_size = input_size
        self.head = head
        self.output_size = head.output_size
        self.distribution: type[Any] = head.distribution
        self.num_features = 0
        self.encoder: Encoder | None = None

    def add_encoder(self, encoder: Encoder) -> None:
        """Let `encoder` stand before the first layer."""
        self.encoder = encoder
        encoder.add_to(self)

    def encode(self, params: Params, observations: Tensor) -> Tensor:
        """What the first layer sees of observations (..., B, O)."""
        if observations.dtype == torch.uint8 and dtype_of(params) == torch.float64:  # not float32
            observations = observations.double() / 255.0
        return as_numbers(observations) if self.encoder is None else self.encoder(params, observations)

    def add_head(self, num_features: int) -> None:
        """Let the head follow `num_features` features; for the end of a constructor."""
        self.num_features = num_features
        self.head.add_to(self, num_features)

    def add_value(self) -> None:
        """Give the policy a linear layer ``value`` beside its head, see `unroll_with_values`."""
        self.add_module("value", nn.Linear(self.num_features, 1))

    def initial_state(self, params: Params, batch_shape: tuple[int, ...]) -> Any:
        """State before the first step, tensors of leading shape `batch_shape`; ``()`` without memory.

        It may depend on the parameters: what a memory holds at first can be meta-learned.
        """
        return ()

    def remembered(self, state: Any) -> Tensor:
        """What a state (..., *) holds for long, flat (..., H): an LSTM's cell, a simple unit itself, slots."""
        raise NotImplementedError(f"{type(self).__name__} has no memory")

    @abc.abstractmethod
    def advance(self, params: Params, observation: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Features (..., B, F) that heads see after an encoded observation (..., B, I), and the next state."""

    @abc.abstractmethod
    def features(
        self, params: Params, observations: Tensor, masks: Tensor, state: Any, *, once: bool = False
    ) -> tuple[Tensor, Any]:
        """What `advance` would give along inputs (T, B, I) with masks (T, B): (T, B, F), and the last state.

        With `once` a caller promises to differentiate at most once and outside of `vmap`, which may be faster.
        """

    def step(self, params: Params, observation: Tensor, state: Any = ()) -> tuple[Distribution, Any]:
        """Act: observation (..., B, O) and state give the action distribution (..., B) and the next state."""
        features, state = self.advance(params, self.encode(params, observation), state)
        return self.head(params, features), state

    def unroll(self, params: Params, observations: Tensor, masks: Tensor, state: Any = ()) -> Distribution:
        """Learn: the distributions `step` would give along observations (T, B, O) with masks (T, B)."""
        return self.head(params, self.features(params, self.encode(params, observations), masks, state)[0])

    def unroll_with_values(
        self, params: Params, observations: Tensor, masks: Tensor, state: Any = (), *, once: bool = False
    ) -> tuple[Distribution, Tensor, Any]:
        """As `unroll`, the values (T, B) that the layer ``value`` sees in the same features, and the last state."""
        features, state = self.features(params, self.encode(params, observations), masks, state, once=once)
        return self.head(params, features), affine(params, "value", features)[..., 0], state

    def named_meta_parameters(self, train_recurrent: bool = True) -> list[str]:
        """Names of the parameters that inner and outer loop may change, in the order of flat vectors.

        Without `train_recurrent` the hidden-to-hidden weights and biases (``hh``) are not among them: they
        keep their initial values in inner step, meta-gradient, curvature and line search.
        """
        names = [name for name, _ in self.named_parameters()]
        return [name for name in names if train_recurrent or "hh" not in name.split(".")]

    def head_parameters(self) -> list[str]:
        """Names of the parameters of the head over actions."""
        own = (f"{self.head.layer}.weight", f"{self.head.layer}.bias", "sigma")
        return [name for name, _ in self.named_parameters() if name in own]

    def params(self) -> Params:
        """A detached copy of the module's parameters."""
        return {name: value.detach().clone() for name, value in self.named_parameters()}

    def initialise(self, rng: np.random.Generator) -> None:
        """Draw every layer's weight Xavier-uniformly from `rng`; biases and all of ``value`` become 0."""
        with torch.no_grad():
            for name, module in self.named_modules():
                if isinstance(module, nn.Linear | nn.Conv2d):
                    outputs, inputs, *kernel = module.weight.shape
                    bound = math.sqrt(6.0 / ((inputs + outputs) * math.prod(kernel)))
                    draws = rng.uniform(-bound, bound, size=tuple(module.weight.shape))
                    module.weight.copy_(torch.from_numpy(draws))
                    if module.bias is not None:
                        module.bias.zero_()
                    if name == "value":
                        module.weight.zero_()
