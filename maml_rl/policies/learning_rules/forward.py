"""A network of stochastic units, whose weights belong to one life."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from maml_rl.policies.learning_rules.fused import as_lanes, fill_lanes, from_lanes, in_reach
from maml_rl.policies.learning_rules.noise import neuron_noise
from maml_rl.policies.learning_rules.rule import Activity


def run_forward(
    weights: Sequence[Tensor],
    levels: Sequence[Tensor],
    observed: Tensor,
    signals: Tensor,
    *,
    age: Tensor,
    key: Tensor,
    noisy: bool,
) -> Activity:
    """Activity of a network on an observation: tanh units with noise, then linear outputs without.

    Parameters
    ----------
    weights
        (..., I, J + 1) of each layer.
    levels
        Standard deviation of the noise of each layer's neurons (..., I) or (..., 1).
    observed
        (..., O).
    signals
        (..., 5), handed on.
    age, key
        Steps lived (...) and key (...) int64 of a life; hidden noise is a function of both.
    noisy
        Whether hidden neurons have noise.
    """
    if fill_lanes(observed) and in_reach(observed, *weights):
        return _by_kernel(weights, levels, observed, signals, age, key, noisy)
    hidden = [weight.shape[-2] for weight in weights[:-1]]
    drawn = neuron_noise(key, age, sum(hidden)).split(hidden, -1) if noisy and hidden else None
    carried, drives, outputs, noise, unit = [], [], [], [], observed
    for index, weight in enumerate(weights):
        carried.append(torch.nn.functional.pad(unit, (0, 1), value=1.0))
        drive = (weight @ carried[-1][..., None])[..., 0]
        last = index == len(weights) - 1
        random = torch.zeros_like(drive) if last or drawn is None else levels[index] * drawn[index].to(drive.dtype)
        unit = drive if last else torch.tanh(drive + random)
        drives.append(drive)
        outputs.append(unit)
        noise.append(random)
    return Activity(tuple(carried), tuple(drives), tuple(outputs), tuple(noise), signals)


def _by_kernel(
    weights: Sequence[Tensor],
    levels: Sequence[Tensor],
    observed: Tensor,
    signals: Tensor,
    age: Tensor,
    key: Tensor,
    noisy: bool,
) -> Activity:
    """As `run_forward`, for populations (P, L, ...)."""
    from maml_rl.policies.learning_rules.forward_kernel import run_forward as kernel

    lives = observed.shape[:2]
    own, sizes = as_lanes(*weights), as_lanes(*(level.expand(*lives, level.shape[-1]) for level in levels))
    inputs = tuple(np.ones((weight.shape[1], weight.shape[2]), np.float32) for weight in own)
    (inputs[0][:-1],) = as_lanes(observed)
    drives, outputs, noise = (tuple(np.empty((len(one), one.shape[-1]), np.float32) for one in own) for _ in range(3))
    kernel((inputs, drives, outputs, noise), own, sizes, *as_lanes(key, age), noisy)
    carried, received, said, random = (from_lanes(lives, *arrays) for arrays in (inputs, drives, outputs, noise))
    return Activity(carried, received, said, random, signals)
