"""Parameters as plain dicts of tensors, and the arithmetic of a layer on them."""

from __future__ import annotations

from torch import Tensor

Params = dict[str, Tensor]


def affine(params: Params, layer: str, inputs: Tensor) -> Tensor:
    """``inputs @ weight^T + bias`` of a named layer, inputs (..., I).

    Written out because `vmap` over `torch.nn.functional.linear` with one weight per task copies more and
    takes a third longer.
    """
    return inputs @ params[f"{layer}.weight"].T + params[f"{layer}.bias"]
