"""Passes over a linear recurrence's sequence that are compiled: gates opened, cotangents back, and forth again.

Arrays are (G, T, n, ...): n rows of T steps of G groups.
"""

# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np

from maml_rl.policies.joined_steps import of_group
from maml_rl.policies.learning_rules.lanes import sigmoid, tanh
from maml_rl.utils.kernels import compiled

_ONE, _TWO = np.float32(1.0), np.float32(2.0)


@compiled
def open_gates(gates, outputs, contents):
    """Open gates (G, T, n, 3 H) in place, and write outputs (G, T, n, H) and contents (G, 1 + T, n, H).

    The first contents are there.
    """
    size = outputs.shape[3]
    for group in range(gates.shape[0]):
        for step in range(gates.shape[1]):
            for n in range(gates.shape[2]):
                row, output = gates[group, step, n], outputs[group, step, n]
                f, g, o = row[:size], row[size : 2 * size], row[2 * size :]
                before, after = contents[group, step, n], contents[group, step + 1, n]
                for v in range(size):
                    f[v] = sigmoid(f[v])
                    o[v] = sigmoid(o[v])
                    after[v] = g[v] + f[v] * (before[v] - g[v])
                    output[v] = o[v] * tanh(after[v])


@compiled
def carry_back(gates, contents, given, found, inside, first):
    """See `maml_rl.policies.linear_derivatives._Cotangents`.

    `gates` (G, T, n, 3 H), `contents` (G, 1 + T, n, H); `given`: cotangents of gates, outputs (G, T, n, H) and
    contents, any of them maybe of one group for all. Written are `found`, l (G, T, n, 3 H), `inside`, k (G, T, n, H),
    and `first`, the cotangent of the first contents (G, 1, n, H).
    """
    for_gates, for_outputs, for_contents = given
    size = contents.shape[3]
    for group in range(contents.shape[0]):
        of_y, of_h, of_c = of_group(for_gates, group), of_group(for_outputs, group), of_group(for_contents, group)
        first[group, 0] = _ONE - _ONE
        for step in range(found.shape[1] - 1, -1, -1):
            for n in range(found.shape[2]):
                row, e, written = gates[group, step, n], of_y[step, n], found[group, step, n]
                f, g, o = row[:size], row[size : 2 * size], row[2 * size :]
                e_f, e_g, e_o = e[:size], e[size : 2 * size], e[2 * size :]
                l_f, l_g, l_o = written[:size], written[size : 2 * size], written[2 * size :]
                before, after = contents[group, step, n], contents[group, step + 1, n]
                m, of_after = of_h[step, n], of_c[step + 1, n]
                later, to_k = first[group, 0, n], inside[group, step, n]
                for v in range(size):
                    shown = tanh(after[v])
                    k = later[v] + of_after[v] + m[v] * o[v] * (_ONE - shown * shown)
                    l_f[v] = (e_f[v] + k * (before[v] - g[v])) * f[v] * (_ONE - f[v])
                    l_g[v] = e_g[v] + k * (_ONE - f[v])
                    l_o[v] = (e_o[v] + m[v] * shown) * o[v] * (_ONE - o[v])
                    to_k[v] = k
                    later[v] = k * f[v]
        first[group, 0] += of_c[0]


@compiled
def carry_forth(gates, contents, inside, given, results, carried):
    """See `maml_rl.policies.linear_derivatives._Curvature`.

    `gates`, `contents` and k as above; `given`: cotangents of gates and outputs, and those of l, any of them maybe of
    one group for all. Written are `results`, cotangents of gates, contents, which are zeros till then, and of the
    cotangents of gates and outputs; and, behind the first, which is there, `carried`, that of the cotangents of
    contents (G, 1 + T, n, H).
    """
    for_gates, for_outputs, for_found = given
    to_gates, to_contents, to_given, to_outputs = results
    size = contents.shape[3]
    for group in range(contents.shape[0]):
        of_y, of_h, along = of_group(for_gates, group), of_group(for_outputs, group), of_group(for_found, group)
        for step in range(inside.shape[1]):
            for n in range(inside.shape[2]):
                row, e, a = gates[group, step, n], of_y[step, n], along[step, n]
                y, z = to_gates[group, step, n], to_given[group, step, n]
                f, g, o = row[:size], row[size : 2 * size], row[2 * size :]
                e_f, e_o = e[:size], e[2 * size :]
                a_f, a_g, a_o = a[:size], a[size : 2 * size], a[2 * size :]
                y_f, y_g, y_o = y[:size], y[size : 2 * size], y[2 * size :]
                z_f, z_g, z_o = z[:size], z[size : 2 * size], z[2 * size :]
                before, after = contents[group, step, n], contents[group, step + 1, n]
                to_before, to_after = to_contents[group, step, n], to_contents[group, step + 1, n]
                last, total = carried[group, step, n], carried[group, step + 1, n]
                m, to_m, of_k = of_h[step, n], to_outputs[group, step, n], inside[group, step, n]
                for v in range(size):
                    shown, k, drive = tanh(after[v]), of_k[v], before[v] - g[v]
                    d = _ONE - shown * shown
                    b_f, b_o = a_f[v] * f[v] * (_ONE - f[v]), a_o[v] * o[v] * (_ONE - o[v])
                    sum_k = b_f * drive + a_g[v] * (_ONE - f[v]) + f[v] * last[v]
                    y_f[v] = a_f[v] * (_ONE - _TWO * f[v]) * (e_f[v] + k * drive) + k * (last[v] - a_g[v])
                    y_g[v] = -b_f * k
                    y_o[v] = a_o[v] * (_ONE - _TWO * o[v]) * (e_o[v] + m[v] * shown) + sum_k * m[v] * d
                    z_f[v], z_g[v], z_o[v] = b_f, a_g[v], b_o
                    to_m[v] = sum_k * o[v] * d + b_o * shown
                    to_before[v] += b_f * k
                    to_after[v] += m[v] * d * (b_o - _TWO * sum_k * o[v] * shown)
                    total[v] = sum_k
