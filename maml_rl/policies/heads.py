"""The last layer of a policy: features in, a distribution over actions out."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from maml_rl.policies.distributions import Categorical, Normal
from maml_rl.policies.params import Params, affine


class NormalHead:
    """``Normal(mu(x), exp(sigma))`` with a state-independent, trainable `sigma`.

    Parameters
    ----------
    output_size
        Length A of an action.
    initial_std
        Standard deviation before training, > 0.
    min_std
        Lower bound of the standard deviation, > 0.
    """

    distribution: type[Any] = Normal
    layer = "mu"

    def __init__(self, output_size: int, *, initial_std: float = 1.0, min_std: float = 1e-6) -> None:
        self.output_size = output_size
        self.initial_std = initial_std
        self.min_log_std = math.log(min_std)

    def add_to(self, policy: nn.Module, num_features: int) -> None:
        """Give `policy` the parameters ``mu.weight``, ``mu.bias`` and ``sigma``."""
        policy.add_module(self.layer, nn.Linear(num_features, self.output_size))
        sigma = torch.full((self.output_size,), math.log(self.initial_std))
        policy.register_parameter("sigma", nn.Parameter(sigma))

    def __call__(self, params: Params, features: Tensor) -> Normal:
        """Features (..., H) -> distribution over actions (..., A)."""
        loc = affine(params, self.layer, features)
        return Normal(loc, params["sigma"].unsqueeze(-2).clamp(min=self.min_log_std).expand_as(loc))


class CategoricalHead:
    """Logits over A actions from one linear layer.

    Parameters
    ----------
    output_size
        Number A of actions.
    layer
        Name of the layer.
    """

    distribution: type[Any] = Categorical

    def __init__(self, output_size: int, *, layer: str = "logits") -> None:
        self.output_size = output_size
        self.layer = layer

    def add_to(self, policy: nn.Module, num_features: int) -> None:
        """Give `policy` the linear layer."""
        policy.add_module(self.layer, nn.Linear(num_features, self.output_size))

    def __call__(self, params: Params, features: Tensor) -> Categorical:
        """Features (..., H) -> distribution over A actions (...)."""
        return Categorical(affine(params, self.layer, features))


class NeuronHead:
    """Actions read from neurons, which say what is expected and how noisy it is; it has no weights of its own.

    Parameters
    ----------
    output_size
        Length A of an action, or number of actions.
    discrete
        Whether the neurons' outputs are logits of A actions.
    """

    layer = "neurons"

    def __init__(self, output_size: int, *, discrete: bool) -> None:
        self.output_size, self.discrete = output_size, discrete
        self.distribution: type[Any] = Categorical if discrete else Normal

    def add_to(self, policy: nn.Module, num_features: int) -> None:
        """Nothing to add to `policy`."""

    def __call__(self, params: Params, features: Tensor) -> Normal | Categorical:
        """Features (..., >= 2A), outputs and logarithms of their noise -> distribution over actions (..., A)."""
        size = self.output_size
        outputs = features[..., :size]
        return Categorical(outputs) if self.discrete else Normal(outputs, features[..., size : 2 * size])


Head = NormalHead | CategoricalHead | NeuronHead
