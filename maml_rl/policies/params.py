"""Parameters as plain dicts of tensors, and the arithmetic of a layer on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from maml_rl.utils.errors import InputError

Params = dict[str, Tensor]
_VARIANCE_FLOOR = 1e-5


def dtype_of(params: Params) -> torch.dtype:
    """The float type of the parameters, in which all that depends on them is computed."""
    return next(iter(params.values())).dtype


def shuffled(params: Params, beginnings: Sequence[str], rng: np.random.Generator) -> Params:
    """The same parameters, the entries of each whose name begins with one of `beginnings` in another order.

    Raises
    ------
    InputError
        In one line, if no name begins with one of them.
    """
    for beginning in beginnings:
        if not any(name.startswith(beginning) for name in params):
            raise InputError(
                f"initial-shuffle: got {beginning!r}, expected the beginning of a parameter's name, such as "
                f"{', '.join(sorted({name.split('.')[0] for name in params}))}"
            )
    found = dict(params)
    for name in sorted(params):
        if name.startswith(tuple(beginnings)):
            order = torch.from_numpy(rng.permutation(params[name].numel()))
            found[name] = params[name].reshape(-1)[order].reshape(params[name].shape)
    return found


def affine(params: Params, layer: str, inputs: Tensor) -> Tensor:
    """``inputs @ weight^T + bias`` of a named layer, inputs (..., B, I) or, with one layer per task, (M, B, I).

    Written out because `vmap` over `torch.nn.functional.linear` with one weight per task copies more and
    takes a third longer.
    """
    return add_product(params[f"{layer}.bias"].unsqueeze(-2), inputs, params[f"{layer}.weight"])


def add_product(addend: Tensor, inputs: Tensor, weight: Tensor) -> Tensor:
    """``addend + inputs @ weight^T``: weight (O, I) and inputs (..., I), or weight (M, O, I) and inputs (M, B, I)."""
    if weight.dim() == 3:
        return torch.baddbmm(addend, inputs, weight.mT)
    return addend + inputs @ weight.mT


def layer_norm(params: Params, layer: str, inputs: Tensor, *, fused: bool = False) -> Tensor:
    """Inputs (..., B, I) with mean 0 and variance 1 over the last dimension, then scaled and shifted by a named layer.

    With one layer per task inputs are (M, B, I) (Ba et al. 2016, equation 4).

    PyTorch's own kernel, `fused`, is right where it is differentiated once: derivatives of ``vmap(grad(...))`` through
    it were wrong in PyTorch 2.13.
    """
    weight, bias = params[f"{layer}.weight"], params[f"{layer}.bias"]
    if fused and weight.dim() == 1:
        return torch.nn.functional.layer_norm(inputs, inputs.shape[-1:], weight, bias, _VARIANCE_FLOOR)
    centred = inputs - inputs.mean(-1, keepdim=True)
    normalised = centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + _VARIANCE_FLOOR)
    return normalised * weight.unsqueeze(-2) + bias.unsqueeze(-2)
