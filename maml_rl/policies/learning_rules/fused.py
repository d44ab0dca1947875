"""The choice between kernels and tensors."""

from __future__ import annotations

import importlib.util

import numpy as np
import torch
from torch import Tensor

_POPULATION_DIM = 3
"""Dimensions of a matrix of parameters of each of P individuals; without P there are two."""


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


def as_arrays(*tensors: Tensor) -> list[np.ndarray]:
    """The same tensors as contiguous arrays."""
    return [tensor.detach().contiguous().numpy() for tensor in tensors]
