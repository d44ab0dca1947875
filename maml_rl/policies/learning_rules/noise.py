"""Noise of neurons as a function of a key and a time: whoever replays a life meets it again."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MASK = 0xFFFFFFFF
GOLDEN = 0x9E3779B9
FACTORS = ((16, 0x7FEB352D), (15, 0x2C1B3C6D))
"""Shifts and factors that mix the bits."""


def neuron_noise(key: Tensor, age: Tensor, count: int) -> Tensor:
    """Uniform numbers (..., count) of mean 0 and variance 1 for lives of this key (...) int64 at this age (...).

    A counter-based generator: bits of (key, age, neuron) are mixed by multiplications and shifts (the finaliser of
    Steele et al. 2014, section 4, on 32 bits).

    Parameters
    ----------
    key
        >= 0.
    age
        Steps lived, of any float type.
    count
        Neurons.
    """
    neurons = torch.arange(count, device=key.device)
    bits = (key + GOLDEN * (age.long() * count)).unsqueeze(-1) + GOLDEN * neurons
    bits = bits & MASK
    for shift, factor in FACTORS:
        bits = ((bits ^ (bits >> shift)) * factor) & MASK
    bits = bits ^ (bits >> 16)
    return (bits.to(age.dtype) * 2.0**-32 - 0.5) * math.sqrt(12.0)
