"""Passes over a memory of slots that are compiled: write and read, cotangents carried back, and carried forth again.

Arrays are (G, T, n, ...): n rows of T steps of G groups; contents have their slots one behind another, S V numbers.
"""

# mypy: disable-error-code="no-untyped-def, call-arg"

from __future__ import annotations

from maml_rl.policies.joined_steps import of_group
from maml_rl.utils.kernels import compiled


@compiled
def write_and_read(commands, contents, found):
    """Write contents (G, 1 + T, n, S V) behind the first, and what is `found` in them (G, T, n, V).

    `commands` are writes (G, T, n, S), values (G, T, n, V) and reads (G, T, n, S), any of them maybe of one group for
    all.
    """
    writes, values, reads = commands
    width, slots = values.shape[3], writes.shape[3]
    for group in range(found.shape[0]):
        of_w, of_v, of_a = of_group(writes, group), of_group(values, group), of_group(reads, group)
        for step in range(found.shape[1]):
            for n in range(found.shape[2]):
                v, out = of_v[step, n], found[group, step, n]
                before, after = contents[group, step, n], contents[group, step + 1, n]
                out[:] = 0.0
                for s in range(slots):
                    w, a = of_w[step, n, s], of_a[step, n, s]
                    y, x = after[s * width : (s + 1) * width], before[s * width : (s + 1) * width]
                    for j in range(width):
                        y[j] = x[j] + w * (v[j] - x[j])
                        out[j] += a * y[j]


@compiled
def carry_back(commands, contents, given, results, first):
    """See `maml_rl.policies.memory.slot_derivatives._Cotangents`.

    `commands` and `contents` as above; `given`: cotangents of findings (G, T, n, V) and of contents (G, 1 + T, n, S V),
    any of them maybe of one group for all. Written are `results`, cotangents of writes,
    values and reads, and what arrives at contents (G, T, n, S V), and `first`, which is those of the first contents
    (G, 1, n, S V).
    """
    (writes, values, reads), (for_found, for_contents) = commands, given
    for_writes, for_values, for_reads, arrived = results
    steps, slots, width = writes.shape[1], writes.shape[3], values.shape[3]
    for group in range(contents.shape[0]):
        of_w, of_v, of_a = of_group(writes, group), of_group(values, group), of_group(reads, group)
        own_found, own_contents = of_group(for_found, group), of_group(for_contents, group)
        first[group, 0] = 0.0
        for step in range(steps - 1, -1, -1):
            for n in range(writes.shape[2]):
                v, e, to_v = of_v[step, n], own_found[step, n], for_values[group, step, n]
                before, after = contents[group, step, n], contents[group, step + 1, n]
                to_v[:] = 0.0
                for s in range(slots):
                    start, stop = s * width, (s + 1) * width
                    w, a = of_w[step, n, s], of_a[step, n, s]
                    x, y, of_y = before[start:stop], after[start:stop], own_contents[step + 1, n, start:stop]
                    later, m = first[group, 0, n, start:stop], arrived[group, step, n, start:stop]
                    to_w, to_a = a - a, a - a  # zeros of that type
                    for j in range(width):
                        m[j] = later[j] + of_y[j] + a * e[j]
                        to_a += e[j] * y[j]
                        to_w += m[j] * (v[j] - x[j])
                        to_v[j] += w * m[j]
                        later[j] = m[j] - w * m[j]
                    for_writes[group, step, n, s], for_reads[group, step, n, s] = to_w, to_a
        first[group, 0] += own_contents[0]


@compiled
def carry_forth(commands, contents, arrived, given, results, carried_on):
    """See `maml_rl.policies.memory.slot_derivatives._Curvature`.

    `commands` and `contents` as above; `arrived` at contents (G, T, n, S V); `given`: cotangents of findings, and those
    of the cotangents of writes, values and reads, any of them maybe of one group for all. Written are `results`,
    cotangents of writes, values, reads, contents, which are zeros till then, and of the cotangents of findings; and,
    behind the first, which is there, `carried_on`, those of the cotangents of contents (G, 1 + T, n, S V).
    """
    (writes, values, reads), (for_found, for_writes, for_values, for_reads) = commands, given
    to_writes, to_values, to_reads, to_contents, to_found = results
    slots, width = writes.shape[3], values.shape[3]
    for group in range(contents.shape[0]):
        of_w, of_v, of_a = of_group(writes, group), of_group(values, group), of_group(reads, group)
        along_writes, along_values = of_group(for_writes, group), of_group(for_values, group)
        along_reads, own_found = of_group(for_reads, group), of_group(for_found, group)
        for step in range(writes.shape[1]):
            for n in range(writes.shape[2]):
                v, e, u_v = of_v[step, n], own_found[step, n], along_values[step, n]
                to_v, to_e = to_values[group, step, n], to_found[group, step, n]
                to_v[:], to_e[:] = 0.0, 0.0
                for s in range(slots):
                    start, stop = s * width, (s + 1) * width
                    w, a = of_w[step, n, s], of_a[step, n, s]
                    u_w, u_a = along_writes[step, n, s], along_reads[step, n, s]
                    x, y = contents[group, step, n, start:stop], contents[group, step + 1, n, start:stop]
                    to_x, to_y = to_contents[group, step, n, start:stop], to_contents[group, step + 1, n, start:stop]
                    last, p = carried_on[group, step, n, start:stop], carried_on[group, step + 1, n, start:stop]
                    m = arrived[group, step, n, start:stop]
                    to_w, to_a = a - a, a - a  # zeros of that type
                    for j in range(width):
                        p[j] = last[j] + w * (u_v[j] - last[j]) + u_w * (v[j] - x[j])
                        to_e[j] += u_a * y[j] + a * p[j]
                        to_a += e[j] * p[j]
                        to_w += m[j] * (u_v[j] - last[j])
                        to_v[j] += u_w * m[j]
                        to_y[j] += u_a * e[j]
                        to_x[j] -= u_w * m[j]
                    to_writes[group, step, n, s], to_reads[group, step, n, s] = to_w, to_a
