"""Passes over an LSTM's sequence that are compiled: gates opened, cotangents carried back, and carried forth again.

Arrays are (G, T, n, ...): n rows of T steps of G groups, each group with recurrent weights of its own.
"""

# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np

from maml_rl.policies.joined_steps import multiply, of_group, split
from maml_rl.policies.learning_rules.lanes import sigmoid, tanh
from maml_rl.utils.kernels import compiled

_ONE, _TWO = np.float32(1.0), np.float32(2.0)


@compiled
def open_gates(gates, outputs, contents, weight):
    """Open gates (G, T, n, 4 H) in place, and write outputs and contents (G, 1 + T, n, H) after every step.

    Gates are given without the part of the last output, by `weight` (G, H, 4 H).
    """
    size = outputs.shape[-1]
    recurrent = np.empty(gates.shape[2:], gates.dtype)
    for group in range(gates.shape[0]):
        for step in range(gates.shape[1]):
            multiply(outputs[group, step], weight[group], recurrent)
            for n in range(gates.shape[2]):
                i, f, o, g = split(gates[group, step, n], size)
                of_i, of_f, of_o, of_g = split(recurrent[n], size)
                before, after = contents[group, step, n], contents[group, step + 1, n]
                output = outputs[group, step + 1, n]
                for v in range(size):
                    i[v] = sigmoid(i[v] + of_i[v])
                    f[v] = sigmoid(f[v] + of_f[v])
                    o[v] = sigmoid(o[v] + of_o[v])
                    g[v] = tanh(g[v] + of_g[v])
                    after[v] = f[v] * before[v] + i[v] * g[v]
                    output[v] = o[v] * tanh(after[v])


@compiled
def carry_back(sequence, given, weight, results, first):
    """See `maml_rl.policies.lstm_derivatives._Cotangents`.

    `sequence`: gates (G, T, n, 4 H) and contents (G, 1 + T, n, H); `given`: cotangents of gates, and of outputs and
    contents, any of them maybe of one group for all; `weight` (G, 4 H, H). Written are `results`, l, m and k
    (G, T, n, ...), and `first`, cotangents of output and content before (G, 1, n, H), zeros till then.
    """
    (gates, contents), (cotangents, for_outputs, for_contents) = sequence, given
    (found, arrived, inside), (for_output, for_content) = results, first
    size = contents.shape[-1]
    for group in range(gates.shape[0]):
        own, own_outputs = of_group(cotangents, group), of_group(for_outputs, group)
        own_contents = of_group(for_contents, group)
        for step in range(gates.shape[1] - 1, -1, -1):
            later, content = for_output[group, 0], for_content[group, 0]
            for n in range(gates.shape[2]):
                i, f, o, g = split(gates[group, step, n], size)
                e_i, e_f, e_o, e_g = split(own[step, n], size)
                l_i, l_f, l_o, l_g = split(found[group, step, n], size)
                before, after = contents[group, step, n], contents[group, step + 1, n]
                of_output, of_content = own_outputs[step + 1, n], own_contents[step + 1, n]
                to_m, to_k = arrived[group, step, n], inside[group, step, n]
                for v in range(size):
                    shown, m = tanh(after[v]), of_output[v] + later[n, v]
                    k = content[n, v] + of_content[v] + m * o[v] * (_ONE - shown * shown)
                    l_i[v] = (e_i[v] + k * g[v]) * i[v] * (_ONE - i[v])
                    l_f[v] = (e_f[v] + k * before[v]) * f[v] * (_ONE - f[v])
                    l_o[v] = (e_o[v] + m * shown) * o[v] * (_ONE - o[v])
                    l_g[v] = (e_g[v] + k * i[v]) * (_ONE - g[v] * g[v])
                    to_m[v] = m
                    to_k[v] = k
                    content[n, v] = k * f[v]
            multiply(found[group, step], weight[group], later)
    for_output[:, 0] += for_outputs[:, 0]
    for_content[:, 0] += for_contents[:, 0]


@compiled
def carry_forth(sequence, given, arriving, weight, results, carried_on):
    """See `maml_rl.policies.lstm_derivatives._Curvature`.

    `sequence`: gates (G, T, n, 4 H) and contents (G, 1 + T, n, H); `given`: cotangents e of gates and what arrives at
    l (G, T, n, 4 H), either maybe of one group for all; `arriving`: m and k (G, T, n, H); `weight` (G, H, 4 H). Written
    are `results`, cotangents of gates, contents, which are zeros till then, and e; and, behind the first of each,
    `carried_on`, p and q (G, 1 + T, n, H).
    """
    (gates, contents), (cotangents, along), (arrived, inside) = sequence, given, arriving
    (for_gates, for_contents, for_cotangents), (outputs, carried) = results, carried_on
    size = contents.shape[-1]
    recurrent = np.empty(gates.shape[2:], gates.dtype)
    for group in range(gates.shape[0]):
        own, own_along = of_group(cotangents, group), of_group(along, group)
        for step in range(gates.shape[1]):
            multiply(outputs[group, step], weight[group], recurrent)
            for n in range(gates.shape[2]):
                i, f, o, g = split(gates[group, step, n], size)
                e_i, e_f, e_o, e_g = split(own[step, n], size)
                u_i, u_f, u_o, u_g = split(own_along[step, n], size)
                r_i, r_f, r_o, r_g = split(recurrent[n], size)
                y_i, y_f, y_o, y_g = split(for_gates[group, step, n], size)
                z_i, z_f, z_o, z_g = split(for_cotangents[group, step, n], size)
                before, after = contents[group, step, n], contents[group, step + 1, n]
                to_before, to_after = for_contents[group, step, n], for_contents[group, step + 1, n]
                last, p, q = carried[group, step, n], outputs[group, step + 1, n], carried[group, step + 1, n]
                of_m, of_k = arrived[group, step, n], inside[group, step, n]
                for v in range(size):
                    shown, m, k = tanh(after[v]), of_m[v], of_k[v]
                    d = _ONE - shown * shown
                    a_i, a_f, a_o, a_g = u_i[v] + r_i[v], u_f[v] + r_f[v], u_o[v] + r_o[v], u_g[v] + r_g[v]
                    z_i[v] = a_i * i[v] * (_ONE - i[v])
                    z_f[v] = a_f * f[v] * (_ONE - f[v])
                    z_o[v] = a_o * o[v] * (_ONE - o[v])
                    z_g[v] = a_g * (_ONE - g[v] * g[v])
                    total = z_i[v] * g[v] + z_f[v] * before[v] + z_g[v] * i[v] + last[v] * f[v]
                    p[v] = total * o[v] * d + z_o[v] * shown
                    q[v] = total
                    y_i[v] = a_i * (_ONE - _TWO * i[v]) * (e_i[v] + k * g[v]) + k * z_g[v]
                    y_f[v] = a_f * (_ONE - _TWO * f[v]) * (e_f[v] + k * before[v]) + k * last[v]
                    y_o[v] = a_o * (_ONE - _TWO * o[v]) * (e_o[v] + m * shown) + total * m * d
                    y_g[v] = k * z_i[v] - _TWO * a_g * g[v] * (e_g[v] + k * i[v])
                    to_before[v] += k * z_f[v]
                    to_after[v] += m * d * (z_o[v] - _TWO * total * o[v] * shown)
