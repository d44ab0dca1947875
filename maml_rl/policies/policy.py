"""The contract of a policy: a pure function of (parameters, observations, state)."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from maml_rl.policies.distributions import Distribution
from maml_rl.policies.encoders import Encoder, as_numbers
from maml_rl.policies.heads import Head
from maml_rl.policies.params import Params, affine, dtype_of
from maml_rl.policies.recurrence import Order

NONLINEARITIES = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "elu": nn.functional.elu,
    "gelu": nn.functional.gelu,
    "silu": nn.functional.silu,
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True)
class Interface:
    """Both ends of a policy: observations that enter, and what follows its hidden layers.

    Attributes
    ----------
    input_size
        Length O of an observation.
    head
        Head over the actions.
    encoder
        Stands before the first layer; ``None``: observations enter as they are.
    with_value
        Whether a linear layer ``value`` stands beside the head, see `Policy.unroll_with_values`.
    """

    input_size: int
    head: Head
    encoder: Encoder | None = None
    with_value: bool = False

    @property
    def num_inputs(self) -> int:
        """Numbers I the first layer sees: an observation's, or what the encoder makes of it."""
        return self.input_size if self.encoder is None else self.encoder.output_size


def is_initial(state: Any) -> bool:
    """True of ``()``, which stands for a policy's initial state; a state itself may be a lone tensor."""
    return isinstance(state, tuple) and not state


class Policy(nn.Module, abc.ABC):
    """Maps observations (and a hidden state) to a distribution over actions.

    The module owns names, shapes and initial values of the parameters; `step` and `unroll` compute
    with the parameters they are given and never with their own. To act, parameters of M tasks or P individuals may
    lead with a dimension (M, ...), as observations (M, B, O) and states (M, B, ...) then do: a step is
    short, and half of it would be the entering and leaving of `vmap`. To learn there is no task
    dimension: tasks are batched from outside, `maml_rl.adaptation.for_every_task`.

    A state has one lifetime, from `initial_state` on, unless the policy overrides `begin_episode`: then long-term
    memory lasts, and working memory begins anew with every episode of a meta-episode.

    Subclasses implement `advance`; those with a faster way along a sequence than step by step, `features`.

    Parameters
    ----------
    interface
        Both ends of the policy.
    layers
        Hidden layers by name, in the order of flat vectors. Those of head, encoder and value follow.
    num_features
        Features F that the last of them gives to head and value.
    """

    has_memory: bool = False
    """True if a step depends on the ones before it."""
    tasks_together: int = 1
    """Tasks that are better unrolled together: more than one where a step costs more than what it computes."""

    def __init__(self, interface: Interface, layers: Mapping[str, nn.Module], num_features: int) -> None:
        super().__init__()
        self.input_size = interface.num_inputs
        self.head = interface.head
        self.encoder = interface.encoder
        self.output_size = self.head.output_size
        self.distribution: type[Any] = self.head.distribution
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.head.add_to(self, num_features)
        if self.encoder is not None:
            self.encoder.add_to(self)
        if interface.with_value:
            self.add_module("value", nn.Linear(num_features, 1))

    @property
    def reads_values(self) -> bool:
        """True if long sequences are unrolled faster where values can be read, which `vmap` hides."""
        return False

    def initial_state(self, params: Params, batch_shape: tuple[int, ...], noise: Tensor | None = None) -> Any:
        """State before the first step, tensors of leading shape `batch_shape`, (B,) or (M, B); ``()`` without memory.

        It may depend on the parameters, what a memory holds at first can be meta-learned, and on noise (M, B, ...) if
        `draw_initial_noise` gives any.
        """
        return ()

    def begin_episode(self, params: Params, state: Any, closing: Tensor, started: Tensor) -> Any:
        """State in which the next episode of a meta-episode begins; by default unchanged, the hidden state lasts.

        A policy with two lifetimes lets `closing` enter, writes its long-term memory and then resets its working
        memory, where `started`. It may write into the state it was given, unless gradients are recorded.

        Parameters
        ----------
        state
            After the last step of the episode that is over.
        closing
            Observations (..., O) that end it: with its last action, reward and done, before the first observation of
            the next episode. The step that follows sees them again.
        started
            (...,) bool, where an episode begins; elsewhere the state stays as it is.
        """
        return state

    def keep(self, active: Tensor, after: Any, before: Any) -> Any:
        """States `after` a step where active (M, B), and those `before` it where the episode was over.

        By default tensor by tensor (M, B, ...). A memory of many slots writes only the rows and positions that changed.
        Not called while all episodes run.
        """
        return tree_map(
            lambda new, old: torch.where(active.reshape(*active.shape, *[1] * (new.dim() - active.dim())), new, old),
            after,
            before,
        )

    def draw_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Noise (*shape, ...) for `act`; by default what the distribution over actions needs."""
        return cast(np.ndarray, self.distribution.draw_noise(rng, shape, self.output_size))

    def draw_initial_noise(self, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray | None:
        """Noise (*shape, ...) for `initial_state`; by default none, and nothing is drawn."""
        return None

    def remembered(self, state: Any) -> Tensor:
        """Lasting part of a state (..., *), flat (..., H): an LSTM's cell, a simple unit itself, slots."""
        raise NotImplementedError(f"{type(self).__name__} has no memory")

    def encode(self, params: Params, observations: Tensor) -> Tensor:
        """Inputs (..., B, I) of the first layer for observations (..., B, O)."""
        if observations.dtype == torch.uint8 and dtype_of(params) == torch.float64:  # not float32
            observations = observations.double() / 255.0
        return as_numbers(observations) if self.encoder is None else self.encoder(params, observations)

    @abc.abstractmethod
    def advance(self, params: Params, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Features (..., B, F) that heads see after encoded inputs (..., B, I), and the next state.

        Unless gradients are recorded it may write into the state's tensors what that state does not look at, such as
        the next place of a cache: of two states that follow one and the same, only the later one is then valid.
        """

    def features(
        self, params: Params, observations: Tensor, started: Tensor | None, state: Any, *, order: Order = 2
    ) -> tuple[Tensor, Any]:
        """Features (T, B, F) along observations (T, B, O), and the last state; see `unroll`.

        By default `begin_episode` and `advance` step by step. A policy with one lifetime needs no `started` (T, B).
        """
        features = []
        for index, inputs in enumerate(self.encode(params, observations)):
            if started is not None:
                state = self.begin_episode(params, state, observations[index], started[index])
            now, state = self.advance(params, inputs, state)
            features.append(now)
        return torch.stack(features), state

    def step(self, params: Params, observation: Tensor, state: Any = ()) -> tuple[Distribution, Any]:
        """Distribution over actions (..., B) after an observation (..., B, O) in a state, and the next state."""
        features, state = self.advance(params, self.encode(params, observation), state)
        return self.head(params, features), state

    def act(self, params: Params, observation: Tensor, state: Any, noise: Tensor) -> tuple[Distribution, Tensor, Any]:
        """As `step`, with actions (..., B, A*) between: observation (..., B, O), noise (..., B, *) of `draw_noise`."""
        distribution, state = self.step(params, observation, state)
        return distribution, distribution.sample(noise), state

    def unroll(
        self, params: Params, observations: Tensor, started: Tensor | None = None, state: Any = (), *, order: Order = 2
    ) -> Distribution:
        """Distributions (T, B) that `step` would give along a sequence, to learn from.

        Parameters
        ----------
        observations
            (T, B, O).
        started
            (T, B) bool, where an episode of a meta-episode begins after another: there `begin_episode` comes before
            the step, with the step's own observation as the closing one. ``None``: nowhere.
        state
            Before the first step.
        order
            Derivatives wanted, see `maml_rl.policies.recurrence.Order`.
        """
        return self.head(params, self.features(params, observations, started, state, order=order)[0])

    def unroll_with_values(
        self, params: Params, observations: Tensor, started: Tensor | None = None, state: Any = (), *, order: Order = 2
    ) -> tuple[Distribution, Tensor, Any]:
        """As `unroll` along observations (T, B, O), with values (T, B) of the same features, and the last state.

        `started` is (T, B) or ``None``.
        """
        features, state = self.features(params, observations, started, state, order=order)
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
