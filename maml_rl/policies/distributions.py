"""Action distributions as tuples of tensors, so that they pass through vmap, jvp and vjp."""

from __future__ import annotations

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor


class Normal(NamedTuple):
    """Diagonal Gaussian over actions (..., A).

    `torch.distributions.Normal` is not a pytree and validates data-dependently, so `vmap` and
    `linearize` reject it; hence this one.

    Attributes
    ----------
    loc
        Means (..., A).
    log_scale
        Logarithms of the standard deviations (..., A).
    """

    loc: Tensor
    log_scale: Tensor

    @staticmethod
    def draw_noise(rng: np.random.Generator, shape: tuple[int, ...], num_outputs: int) -> np.ndarray:
        """Standard normal float32 noise (*shape, A), what `sample` needs."""
        return rng.standard_normal((*shape, num_outputs), dtype=np.float32)

    def sample(self, noise: Tensor) -> Tensor:
        """Actions (..., A): ``loc + scale * noise``."""
        return self.loc + self.log_scale.exp() * noise

    def mode(self) -> Tensor:
        """The most probable actions (..., A)."""
        return self.loc

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log density (...) of actions (..., A)."""
        standardised = (actions - self.loc) * torch.exp(-self.log_scale)
        per_dimension = -0.5 * standardised.square() - self.log_scale - 0.5 * math.log(2.0 * math.pi)
        return per_dimension.sum(-1)

    def kl(self, other: Normal) -> Tensor:
        """``KL(self || other)`` (...), in nats."""
        variance_ratio = torch.exp(2.0 * (self.log_scale - other.log_scale))
        shift = ((self.loc - other.loc) * torch.exp(-other.log_scale)).square()
        return 0.5 * (variance_ratio + shift - 1.0).sum(-1) - (self.log_scale - other.log_scale).sum(-1)

    def entropy(self) -> Tensor:
        """Differential entropy (...), in nats."""
        return (self.log_scale + 0.5 * math.log(2.0 * math.pi * math.e)).sum(-1)


class Categorical(NamedTuple):
    """Distribution over A discrete actions.

    Attributes
    ----------
    logits
        Unnormalised log probabilities (..., A).
    """

    logits: Tensor

    @staticmethod
    def draw_noise(rng: np.random.Generator, shape: tuple[int, ...], num_outputs: int) -> np.ndarray:
        """Uniform float32 noise (*shape), what `sample` needs."""
        return rng.random(shape, dtype=np.float32)

    def sample(self, noise: Tensor) -> Tensor:
        """Action indices (..., B) int64, by inversion of the cumulative distribution at `noise` (..., B)."""
        cumulative = torch.softmax(self.logits, -1).cumsum(-1)
        indices = (cumulative < noise.unsqueeze(-1)).sum(-1)
        return indices.clamp(max=self.logits.shape[-1] - 1)

    def mode(self) -> Tensor:
        """The most probable actions (...) int64."""
        return self.logits.argmax(-1)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log probability (..., B) of actions (..., B), indices."""
        log_probabilities = torch.log_softmax(self.logits, -1)
        return log_probabilities.gather(-1, actions.long().unsqueeze(-1))[..., 0]

    def kl(self, other: Categorical) -> Tensor:
        """``KL(self || other)`` (...), in nats."""
        log_p, log_q = torch.log_softmax(self.logits, -1), torch.log_softmax(other.logits, -1)
        return (log_p.exp() * (log_p - log_q)).sum(-1)

    def entropy(self) -> Tensor:
        """Entropy (...), in nats."""
        log_p = torch.log_softmax(self.logits, -1)
        return -(log_p.exp() * log_p).sum(-1)


Distribution: TypeAlias = Normal | Categorical
