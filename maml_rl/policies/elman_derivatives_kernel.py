"""Passes over an Elman layer's sequence that are compiled.

Arrays are (T, G, n, H): n rows of G groups, each group with recurrent weights of its own.
"""

# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

import numpy as np

from maml_rl.policies.joined_steps import multiply
from maml_rl.policies.learning_rules.lanes import tanh
from maml_rl.utils.kernels import compiled

_ONE, _TWO = np.float32(1.0), np.float32(2.0)


@compiled
def run(outputs, weight):
    """Turn inputs into outputs (1 + T, G, n, H), behind the first one, in place. `weight` (G, H, H)."""
    recurrent = np.empty(outputs.shape[2:], outputs.dtype)
    for step in range(1, outputs.shape[0]):
        for group in range(outputs.shape[1]):
            multiply(outputs[step - 1, group], weight[group], recurrent)
            for n in range(outputs.shape[2]):
                own, given = outputs[step, group, n], recurrent[n]
                for v in range(own.shape[0]):
                    own[v] = tanh(own[v] + given[v])


@compiled
def carry_back(outputs, for_outputs, weight, found, arrived, before):
    """See `maml_rl.policies.elman_derivatives._Cotangents`; the last three are results, `before` (1, G, n, H) zeros."""
    for step in range(found.shape[0] - 1, -1, -1):
        for group in range(outputs.shape[1]):
            later = before[0, group]
            for n in range(outputs.shape[2]):
                h, given = outputs[step + 1, group, n], for_outputs[step + 1, group, n]
                m, z, carried = arrived[step, group, n], found[step, group, n], later[n]
                for v in range(h.shape[0]):
                    m[v] = given[v] + carried[v]
                    z[v] = m[v] * (_ONE - h[v] * h[v])
            multiply(found[step, group], weight[group], later)
    before[0] += for_outputs[0]


@compiled
def carry_forth(outputs, arrived, along, weight, to_outputs, carried):
    """See `maml_rl.policies.elman_derivatives._Curvature`; the last two are results, the first of each is there."""
    recurrent = np.empty(outputs.shape[2:], outputs.dtype)
    for step in range(along.shape[0]):
        for group in range(outputs.shape[1]):
            multiply(carried[step, group], weight[group], recurrent)
            for n in range(outputs.shape[2]):
                h, m, u = outputs[step + 1, group, n], arrived[step, group, n], along[step, group, n]
                p, to_h, given = carried[step + 1, group, n], to_outputs[step + 1, group, n], recurrent[n]
                for v in range(h.shape[0]):
                    a = u[v] + given[v]
                    p[v] = a * (_ONE - h[v] * h[v])
                    to_h[v] = -_TWO * h[v] * a * m[v]
