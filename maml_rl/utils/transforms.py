"""Questions about tensors that may be inside a function transform of PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_batchedtensor, is_functorch_wrapped_tensor


def is_transformed(tensor: Tensor) -> bool:
    """True of a tensor (N, ...) inside a transform such as `torch.func.vmap`, which hides values and some writes."""
    return is_functorch_wrapped_tensor(tensor)


def is_batched(tensor: Tensor) -> bool:
    """True of a tensor (N, ...) that stands for several inside `torch.func.vmap`: its values cannot be read."""
    while is_functorch_wrapped_tensor(tensor):
        if is_batchedtensor(tensor):
            return True
        tensor = get_unwrapped(tensor)
    return False


def array_of(tensor: Tensor) -> np.ndarray:
    """The numbers of a tensor (N, ...) that is not batched, in its own memory if that is contiguous."""
    assert not is_batched(tensor)
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    with torch._C._DisableFuncTorch():
        return tensor.detach().contiguous().numpy()


def any_of_each(flags: Tensor) -> list[bool]:
    """For each row of flags (T, ...) whether any is True; True throughout where `vmap` hides the answer."""
    if is_transformed(flags):
        return [True] * len(flags)
    return [bool(any_true) for any_true in torch.any(flags.flatten(1), 1).tolist()]
