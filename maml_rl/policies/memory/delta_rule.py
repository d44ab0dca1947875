"""Fast weights that the gated delta rule changes, step by step or in chunks by products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 16
"""Steps whose changes are computed together."""


def delta_step(
    query: Tensor, key: Tensor, value: Tensor, log_decay: Tensor, rate: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """One step of the gated delta rule (Yang, Kautz & Hatamizadeh 2025, equation 10; Schlag et al. 2021, equation 24).

    ``S' = a (I - b k k^T) S + b k v^T``, of which ``q S'`` is read: what the decayed weights give for a key moves
    by the fraction b towards a value.

    Parameters
    ----------
    query, key
        (..., K); keys of length 1 at most.
    value
        (..., V).
    log_decay
        Logarithm (...) of a, <= 0.
    rate
        b (...), in [0, 1].
    weights
        S (..., K, V).

    Returns
    -------
    What was read (..., V), and the next weights.
    """
    weights = torch.exp(log_decay)[..., None, None] * weights
    error = value - (key.unsqueeze(-2) @ weights)[..., 0, :]
    weights = weights + key.unsqueeze(-1) * (rate.unsqueeze(-1) * error).unsqueeze(-2)
    return (query.unsqueeze(-2) @ weights)[..., 0, :], weights


def delta_steps(
    queries: Tensor, keys: Tensor, values: Tensor, log_decays: Tensor, rates: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """`delta_step` along T steps, chunk after chunk (Yang et al. 2024, section 3.2).

    With g_t the product of a chunk's decays up to step t, weights are ``S_t = g_t S_0 + sum_i (g_t / g_i) k_i u_i^T``,
    i <= t, where errors times rates, the rows of U, solve the triangular system

        (I + L) U = diag(b) (V - diag(g) K S_0),   L_ti = b_t (g_t / g_i) k_t . k_i  for i < t

    so that all but S_0 is known of every chunk at once.

    Parameters
    ----------
    queries, keys
        (..., T, K).
    values
        (..., T, V).
    log_decays, rates
        (..., T).
    weights
        Before the first step, (..., K, V).

    Returns
    -------
    What was read (..., T, V), and the last weights (..., K, V).
    """
    num_steps = queries.shape[-2]
    queries, keys, values = (_chunked(part, num_steps) for part in (queries, keys, values))  # (..., N, C, K or V)
    log_decays, rates = (_chunked(part.unsqueeze(-1), num_steps) for part in (log_decays, rates))  # (..., N, C, 1)
    total = log_decays.cumsum(-2)  # log g
    ratios = torch.exp((total - total.mT).tril())  # g_t / g_i for i <= t
    system = (rates * ratios * (keys @ keys.mT)).tril(-1)
    sides = torch.cat([rates * values, rates * torch.exp(total) * keys], -1)
    solved = torch.linalg.solve_triangular(system, sides, upper=False, unitriangular=True)
    for_values, for_weights = solved.split([values.shape[-1], keys.shape[-1]], -1)
    among = (ratios * (queries @ keys.mT)).tril()
    whole = total[..., -1:, :]
    parts = (
        for_values,
        for_weights,
        torch.exp(total) * queries,
        among,
        (torch.exp(whole - total) * keys).mT,
        whole.exp(),
    )
    read = []
    for value, by_weights, query, inside, to_last, decay in zip(*(part.unbind(-3) for part in parts), strict=True):
        changes = value - by_weights @ weights
        read.append(query @ weights + inside @ changes)
        weights = decay * weights + to_last @ changes
    return torch.cat(read, -2)[..., :num_steps, :], weights


def _chunked(part: Tensor, num_steps: int) -> Tensor:
    """Steps (..., T, n) in chunks (..., N, C, n); steps of zeros at the end change nothing."""
    return functional.pad(part, (0, 0, 0, -num_steps % CHUNK)).unflatten(-2, (-1, CHUNK))
