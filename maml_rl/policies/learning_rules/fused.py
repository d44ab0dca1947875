"""The choice between kernels and tensors."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_POPULATION_DIM = 3
"""Dimensions of a matrix of parameters of each of P individuals; without P there are two."""

LANES = 32
"""Lives that kernels compute side by side, see `maml_rl.policies.learning_rules.lanes`."""


def has_kernel(parameter: Tensor, activity: Tensor) -> bool:
    """Whether a kernel computes a rule with matrices of parameters (P, F, K) for activity (P, L, I, F).

    It does for populations on the CPU in float32 where no derivative is asked and numba is installed.
    """
    return (
        importlib.util.find_spec("numba") is not None
        and activity.dtype == torch.float32
        and activity.device.type == "cpu"
        and parameter.dim() == _POPULATION_DIM
        and activity.dim() == _POPULATION_DIM + 1
        and not torch.compiler.is_compiling()
        and not (torch.is_grad_enabled() and (parameter.requires_grad or activity.requires_grad))
    )


def has_lanes(parameter: Tensor, activity: Tensor) -> bool:
    """Whether a kernel over lanes computes it: as `has_kernel`, of at least `LANES` lives in all."""
    return has_kernel(parameter, activity) and activity.shape[0] * activity.shape[1] >= LANES


def as_arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """The same tensors as contiguous arrays."""
    return tuple(np.ascontiguousarray(tensor.detach().numpy()) for tensor in tensors)


def as_lanes(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Tensors (P, L, ...) as contiguous arrays (..., N) of the lives n = (p, l); those of `from_lanes` without copy."""
    arrays = (tensor.detach().numpy() for tensor in tensors)
    turned = (array.transpose(*range(2, array.ndim), 0, 1) for array in arrays)
    flat = (array.reshape(*array.shape[:-2], math.prod(array.shape[-2:])) for array in turned)
    return tuple(np.ascontiguousarray(array) for array in flat)


def from_lanes(lives: Sequence[int], *arrays: np.ndarray) -> tuple[Tensor, ...]:
    """Arrays (..., N) as tensors (P, L, ...) of lives (P, L)."""
    whole = (array.reshape(*array.shape[:-1], *lives) for array in arrays)
    return tuple(torch.from_numpy(array.transpose(-2, -1, *range(array.ndim - 2))) for array in whole)
