"""Flat vectors of parameters: what travels between learner and workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor


def flatten(params: Mapping[str, Tensor], names: Sequence[str]) -> np.ndarray:
    """Concatenate `params`, of any shape each, in the order of `names` into one float64 vector (D,)."""
    parts = [params[name].detach().reshape(-1) for name in names]
    if len({(part.dtype, part.device) for part in parts}) == 1:
        return torch.cat(parts).cpu().double().numpy()  # at once
    return np.concatenate([part.cpu().double().numpy() for part in parts])


def dot(first: np.ndarray, second: np.ndarray) -> np.float64:
    """Inner product of a first and a second vector (D,), in one thread.

    BLAS would take more for long ones, and these go on spinning for milliseconds on the cores that workers need.
    """
    return np.float64(np.einsum("i,i->", first, second))


def unflatten(vector: np.ndarray, like: Mapping[str, Tensor], names: Sequence[str]) -> dict[str, Tensor]:
    """Cut a vector (D,) into the named parameters, with shape, dtype and device of `like`.

    Raises
    ------
    ValueError
        If the vector's length is not the number of parameters.
    """
    sizes = [like[name].numel() for name in names]
    if vector.shape != (sum(sizes),):
        raise ValueError(f"vector: got shape {vector.shape}, expected ({sum(sizes)},)")
    whole = torch.from_numpy(vector)
    if len({(like[name].dtype, like[name].device) for name in names}) == 1:
        whole = whole.to(like[names[0]])  # at once
    parts = whole.split(sizes)
    return {name: part.to(like[name]).view(like[name].shape) for name, part in zip(names, parts, strict=True)}
