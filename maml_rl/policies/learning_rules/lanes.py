"""Arithmetic on lanes: numbers of many lives side by side, in loops that numba makes vector instructions.

A lane is one life of one individual. `LANES` of them are computed together, each with its own individual's parameters:
so one life each and many lives each cost the same. Rows are as long as `LANES` and stand behind one another in flat
arrays of float32, row r from ``r * LANES`` on; functions take arrays that begin with the row that is meant.

The functions are inlined, and to be called with constants for sizes. Then the compiler unrolls all loops but those over
lanes, and sums stay in registers. No index is computed from variables but by slices, for the compiler takes others to
be negative perhaps, and writes no vector instructions.
"""

# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from maml_rl.policies.learning_rules.fused import LANES
from maml_rl.utils.kernels import compiled

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


@intrinsic
def _prefetch(context, address):
    """Ask for the cache line of 64 bytes at an address."""

    def generate(context, builder, signature, arguments):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [builder.inttoptr(arguments[0], byte), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.intp), generate


@numba.njit(inline="always", fastmath=True)
def prefetch(address, num_rows, step):
    """Ask for rows of lanes, from an address on and `step` numbers apart: the processor does not foresee such steps."""
    for row in range(num_rows):
        for line in range(LANES // 16):
            _prefetch(address + 4 * (row * step + 16 * line))


@numba.njit(inline="always", fastmath=True)
def fill(row, value):
    """Set a row to one value."""
    for v in range(LANES):
        row[v] = value


@numba.njit(inline="always", fastmath=True)
def copy(row, other):
    """Set a row to another, or to numbers (LANES,)."""
    for v in range(LANES):
        row[v] = other[v]


@compiled
def load_parameters(rows, parameters, first, num_lives):
    """Parameters (P, D) of the individuals in lanes from `first` on, as D rows."""
    for v in range(LANES):
        own = parameters[(first + v) // num_lives]
        for d in range(own.shape[0]):
            rows[d * LANES + v] = own[d]


@numba.njit(inline="always", fastmath=True)
def transform(out, weights, seen, num_seen, num_out):
    """``out[k] += sum over f of weights[f, k] * seen[f]``: rows of F numbers seen, F * K weights and K numbers out."""
    for k in range(num_out):
        for v in range(LANES):
            total = out[k * LANES + v]
            for f in range(num_seen):
                total += weights[(f * num_out + k) * LANES + v] * seen[f * LANES + v]
            out[k * LANES + v] = total


@numba.njit(inline="always", fastmath=True)
def run_network(out, inside, outside, seen, hidden, num_seen, units, num_out):
    """``out = outside . (tanh(hidden + inside . seen), 1)``; `hidden`, what the units receive beside, is written."""
    for k in range(units):
        for v in range(LANES):
            total = hidden[k * LANES + v]
            for f in range(num_seen):
                total += inside[(f * units + k) * LANES + v] * seen[f * LANES + v]
            hidden[k * LANES + v] = tanh(total)
    for o in range(num_out):
        for v in range(LANES):
            total = outside[(units * num_out + o) * LANES + v]
            for k in range(units):
                total += outside[(k * num_out + o) * LANES + v] * hidden[k * LANES + v]
            out[o * LANES + v] = total


@numba.njit(inline="always", fastmath=True)
def change(after, before, amount, rate, low, high):
    """``after = clip(before + rate * amount, low, high)``, rows."""
    for v in range(LANES):
        after[v] = min(max(before[v] + rate * amount[v], low), high)


@numba.njit(inline="always", fastmath=True)
def follow(after, before, leak, target):
    """``after = before + leak * (tanh(target) - before)``, rows."""
    for v in range(LANES):
        after[v] = before[v] + leak[v] * (tanh(target[v]) - before[v])
