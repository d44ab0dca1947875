"""The choice between kernels and tensors."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_MATRICES = 3
"""Dimensions of a matrix for each of P individuals."""

LANES = 32
"""Lives that kernels compute side by side, see `maml_rl.policies.learning_rules.lanes`."""


@functools.cache
def _has_numba() -> bool:
    return importlib.util.find_spec("numba") is not None


def in_reach(*tensors: Tensor) -> bool:
    """True if kernels may compute with tensors of any shapes (...): on the CPU in float32, with no derivative asked.

    And if numba is installed.
    """
    return (
        _has_numba()
        and all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
        and not torch.compiler.is_compiling()
        and not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors))
    )


def has_kernel(parameter: Tensor, activity: Tensor) -> bool:
    """True if a kernel computes a rule with matrices of parameters (P, F, K) for activity (P, L, I, F).

    Without P, (F, K) and (L, I, F), none does.
    """
    is_population = parameter.dim() == _MATRICES and activity.dim() == _MATRICES + 1
    return is_population and in_reach(parameter, activity)


def fill_lanes(lives: Tensor) -> bool:
    """True if tensors that lead as (P, L, F) do are of at least `LANES` lives in all: kernels over lanes take no fewer.

    With fewer than these three dimensions there is no population.
    """
    return lives.dim() == _MATRICES and lives.shape[0] * lives.shape[1] >= LANES


def as_arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """The same tensors as contiguous arrays."""
    return tuple(np.ascontiguousarray(tensor.detach().numpy()) for tensor in tensors)


def as_lanes(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Tensors (P, L, ...) as contiguous arrays (..., N) of the lives n = (p, l); those of `from_lanes` without copy."""
    arrays = (tensor.detach().numpy() for tensor in tensors)
    turned = (array.transpose(*range(2, array.ndim), 0, 1) for array in arrays)
    flat = [array.reshape(*array.shape[:-2], math.prod(array.shape[-2:])) for array in turned]
    if any(array.shape[-1] < LANES for array in flat):  # kernels would write beyond the end
        raise ValueError(f"lives: got {min(array.shape[-1] for array in flat)}, expected at least {LANES}")
    return tuple(np.ascontiguousarray(array) for array in flat)


def from_lanes(lives: Sequence[int], *arrays: np.ndarray) -> tuple[Tensor, ...]:
    """Arrays (..., N) as tensors (P, L, ...) of lives (P, L)."""
    whole = (array.reshape(*array.shape[:-1], *lives) for array in arrays)
    return tuple(torch.from_numpy(array.transpose(-2, -1, *range(array.ndim - 2))) for array in whole)
