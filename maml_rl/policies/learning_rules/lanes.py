"""Arithmetic on lanes: numbers of many lives side by side, in loops that numba makes vector instructions.

A lane is one life of one individual. `LANES` of them are computed together, each with its own individual's parameters:
so one life each and many lives each cost the same. Rows are float32 and of length `LANES`; where fewer lives are left,
the other lanes compute with whatever they hold, and nobody reads them.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import numba
import numpy as np

COMPILED: dict[str, Any] = {"fastmath": True, "cache": True, "nogil": True, "error_model": "numpy"}
LANES = 64
_BOUND = np.float32(7.9)
_A1, _A3, _A5 = np.float32(4.89352455891786e-03), np.float32(6.37261928875436e-04), np.float32(1.48572235717979e-05)
_A7, _A9 = np.float32(5.12229709037114e-08), np.float32(-8.60467152213735e-11)
_A11, _A13 = np.float32(2.00018790482477e-13), np.float32(-2.76076847742355e-16)
_B0, _B2 = np.float32(4.89352518554385e-03), np.float32(2.26843463243900e-03)
_B4, _B6 = np.float32(1.18534705686654e-04), np.float32(1.19825839466702e-06)
_HALF = np.float32(0.5)


@numba.njit(inline="always", fastmath=True)
def tanh(x):
    """tanh as a quotient of polynomials, within 4e-7: sums and products alone, so that loops become vector code."""
    y = min(max(x, -_BOUND), _BOUND)
    s = y * y
    over = (((((_A13 * s + _A11) * s + _A9) * s + _A7) * s + _A5) * s + _A3) * s + _A1
    return y * over / (((_B6 * s + _B4) * s + _B2) * s + _B0)


@numba.njit(inline="always", fastmath=True)
def sigmoid(x):
    """The logistic function, by `tanh`."""
    return _HALF + _HALF * tanh(_HALF * x)


@numba.njit(**COMPILED)
def load(row, numbers, first, width):
    """Numbers (N,) of lanes from `first` on."""
    for v in range(width):
        row[v] = numbers[first + v]


@numba.njit(**COMPILED)
def load_column(row, numbers, column, first, width):
    """Numbers (N, F) of lanes from `first` on, of one column."""
    for v in range(width):
        row[v] = numbers[first + v, column]


@numba.njit(**COMPILED)
def load_parameters(rows, parameter, first, width, num_lives):
    """Parameters (P, F, K) of the individuals in lanes from `first` on, as rows (F, K, LANES)."""
    for v in range(width):
        own = parameter[(first + v) // num_lives]
        for f in range(own.shape[0]):
            for k in range(own.shape[1]):
                rows[f, k, v] = own[f, k]


@numba.njit(**COMPILED)
def add_products(row, weights, column, seen):
    """``row += sum over f of weights[f, column] * seen[f]``: weights (F, K, LANES), seen (F, LANES), four at a time."""
    count, f = seen.shape[0], 0
    while f + 4 <= count:
        a, b, c, d = weights[f, column], weights[f + 1, column], weights[f + 2, column], weights[f + 3, column]
        p, q, r, s = seen[f], seen[f + 1], seen[f + 2], seen[f + 3]
        for v in range(LANES):
            row[v] += a[v] * p[v] + b[v] * q[v] + c[v] * r[v] + d[v] * s[v]
        f += 4
    while f < count:
        a, p = weights[f, column], seen[f]
        for v in range(LANES):
            row[v] += a[v] * p[v]
        f += 1


@numba.njit(**COMPILED)
def run_network(inside, outside, seen, hidden, out):
    """``out = outside . (tanh(hidden + inside . seen), 1)``; `hidden` (K, LANES), what units receive, is written."""
    units = hidden.shape[0]
    for k in range(units):
        row = hidden[k]
        add_products(row, inside, k, seen)
        for v in range(LANES):
            row[v] = tanh(row[v])
    for o in range(out.shape[0]):
        row, bias = out[o], outside[units, o]
        for v in range(LANES):
            row[v] = bias[v]
        add_products(row, outside, o, hidden)


@numba.njit(**COMPILED)
def change(after, before, amount, rate, low, high, first, width):
    """``after = clip(before + rate * amount, low, high)``: numbers (N,) of these lanes, and a row `amount`."""
    for v in range(width):
        after[first + v] = min(max(before[first + v] + rate * amount[v], low), high)


@numba.njit(**COMPILED)
def follow(after, before, leak, target, first, width):
    """``after = before + leak * (tanh(target) - before)``: numbers (S, N) of these lanes, and rows (S, LANES)."""
    for s in range(after.shape[0]):
        new, old, fraction, goal = after[s], before[s], leak[s], target[s]
        for v in range(width):
            new[first + v] = old[first + v] + fraction[v] * (tanh(goal[v]) - old[first + v])
