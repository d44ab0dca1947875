"""Questions about tensors that may be inside a function transform of PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor


def is_transformed(tensor: Tensor) -> bool:
    """True of a tensor (N, ...) inside a transform such as `torch.func.vmap`, which hides values and some writes."""
    return is_functorch_wrapped_tensor(tensor)


def any_of_each(flags: Tensor) -> list[bool]:
    """For each row of flags (T, ...) whether any is True; True throughout where `vmap` hides the answer."""
    if is_transformed(flags):
        return [True] * len(flags)
    return [bool(any_true) for any_true in torch.any(flags.flatten(1), 1).tolist()]
