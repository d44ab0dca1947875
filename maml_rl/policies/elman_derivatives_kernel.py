"""Passes over an Elman layer's sequence that are compiled.

Arrays are (G, T, n, H): n rows of T steps of G groups, each group with recurrent weights of its own.
"""

# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np

from maml_rl.policies.joined_steps import multiply, of_group
from maml_rl.policies.learning_rules.lanes import tanh
from maml_rl.utils.kernels import compiled

_ONE, _TWO = np.float32(1.0), np.float32(2.0)


@compiled
def run(outputs, weight):
    """Turn inputs into outputs (G, 1 + T, n, H), behind the first one, in place. `weight` (G, H, H)."""
    recurrent = np.empty(outputs.shape[2:], outputs.dtype)
    for group in range(outputs.shape[0]):
        for step in range(1, outputs.shape[1]):
            multiply(outputs[group, step - 1], weight[group], recurrent)
            for n in range(outputs.shape[2]):
                own, given = outputs[group, step, n], recurrent[n]
                for v in range(own.shape[0]):
                    own[v] = tanh(own[v] + given[v])


@compiled
def carry_back(outputs, for_outputs, weight, found, arrived, before):
    """See `maml_rl.policies.elman_derivatives._Cotangents`; the last three are results, `before` (G, 1, n, H) zeros.

    Cotangents `for_outputs` may be those of one group for all.
    """
    for group in range(outputs.shape[0]):
        own = of_group(for_outputs, group)
        for step in range(found.shape[1] - 1, -1, -1):
            later = before[group, 0]
            for n in range(outputs.shape[2]):
                h, given = outputs[group, step + 1, n], own[step + 1, n]
                m, z, carried = arrived[group, step, n], found[group, step, n], later[n]
                for v in range(h.shape[0]):
                    m[v] = given[v] + carried[v]
                    z[v] = m[v] * (_ONE - h[v] * h[v])
            multiply(found[group, step], weight[group], later)
    before[:, 0] += for_outputs[:, 0]


@compiled
def carry_forth(outputs, arrived, along, weight, to_outputs, carried):
    """See `maml_rl.policies.elman_derivatives._Curvature`; the last two are results, the first of each is there.

    What arrives, `along`, may be that of one group for all.
    """
    recurrent = np.empty(outputs.shape[2:], outputs.dtype)
    for group in range(outputs.shape[0]):
        own = of_group(along, group)
        for step in range(along.shape[1]):
            multiply(carried[group, step], weight[group], recurrent)
            for n in range(outputs.shape[2]):
                h, m, u = outputs[group, step + 1, n], arrived[group, step, n], own[step, n]
                p, to_h, given = carried[group, step + 1, n], to_outputs[group, step + 1, n], recurrent[n]
                for v in range(h.shape[0]):
                    a = u[v] + given[v]
                    p[v] = a * (_ONE - h[v] * h[v])
                    to_h[v] = -_TWO * h[v] * a * m[v]
