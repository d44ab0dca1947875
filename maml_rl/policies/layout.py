"""Places of a policy's parameters in the flat vectors that travel between learner and workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from maml_rl.policies.params import Params
from maml_rl.policies.policy import Policy
from maml_rl.utils.vectors import flatten, unflatten


@dataclass(frozen=True)
class ParameterLayout:
    """Names, shapes and types of a policy's parameters, and the values of those that are not meta-learned; picklable.

    Attributes
    ----------
    names
        Meta-parameters, in the order of flat vectors (D,).
    values
        An array of every parameter: its shape and type count, and of one that is not in `names` its value.
    device
        Device of the parameters that `params`, `learning` and `frozen` return.
    """

    names: tuple[str, ...]
    values: Mapping[str, np.ndarray]
    device: str = "cpu"

    @classmethod
    def of(cls, policy: Policy, *, train_recurrent: bool = True) -> ParameterLayout:
        """Layout of a policy with its present values."""
        values = {name: value.numpy() for name, value in policy.params().items()}
        return cls(tuple(policy.named_meta_parameters(train_recurrent)), values)

    def on(self, device: str) -> ParameterLayout:
        """The same on another device."""
        return replace(self, device=device)

    @property
    def size(self) -> int:
        """D, length of a flat vector."""
        return sum(self.values[name].size for name in self.names)

    def __reduce__(self) -> tuple[Any, ...]:
        return ParameterLayout, (self.names, self.values, self.device)

    @cached_property
    def _like(self) -> Params:
        return {name: torch.from_numpy(np.array(value)).to(self.device) for name, value in self.values.items()}

    def frozen(self) -> Params:
        """Parameters that are not meta-learned."""
        return {name: value for name, value in self._like.items() if name not in set(self.names)}

    def learning(self, vector: np.ndarray) -> Params:
        """Meta-parameters of a vector (D,), by name."""
        return unflatten(vector, self._like, self.names)

    def params(self, vector: np.ndarray) -> Params:
        """All parameters of a policy with this vector (D,) of meta-parameters, by name."""
        return {**self._like, **self.learning(vector)}

    def stack(self, vectors: np.ndarray) -> Params:
        """Parameters (M, ...) of the M policies that vectors (M, D) describe."""
        count, sizes = len(vectors), [self.values[name].size for name in self.names]
        stacked = {name: value.expand(count, *value.shape) for name, value in self.frozen().items()}
        for name, part in zip(self.names, np.split(vectors, np.cumsum(sizes)[:-1], axis=1), strict=True):
            like = self._like[name]
            stacked[name] = torch.from_numpy(part).to(like).reshape(count, *like.shape)
        return {name: stacked[name] for name in self._like}

    def vector(self, params: Params) -> np.ndarray:
        """Meta-parameters (D,) float64 of named values, each with the shape it has in `values`."""
        return flatten(params, self.names)


def stack_params(each: Sequence[Params]) -> Params:
    """Parameters (M, ...) of M policies whose parameters are (...)."""
    return {name: torch.stack([params[name] for params in each]) for name in each[0]}
