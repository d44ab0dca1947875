"""Loop of a linear recurrence over memory of the CPU."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from maml_rl.utils.kernels import compiled_exactly


@compiled_exactly
def accumulate(factors, total, reverse):
    """``total[t] += factors[t] * total[t - 1]`` in place, or reversed ``total[t] += factors[t + 1] * total[t + 1]``.

    `factors` (T, R, 1) or (T, R, N) and `total` (T, R, N), whose memory is contiguous.
    """
    steps, rows, size = total.shape
    shared = factors.shape[2] == 1
    for index in range(1, steps):
        now = steps - 1 - index if reverse else index
        before = now + 1 if reverse else now - 1
        factor = factors[before if reverse else now]
        for r in range(rows):
            own, last, by = total[now, r], total[before, r], factor[r]
            if shared:
                for v in range(size):
                    own[v] += by[0] * last[v]
            else:
                for v in range(size):
                    own[v] += by[v] * last[v]


@compiled_exactly
def accumulate_products(matrices, total, reverse):
    """``total[t] += A[t] total[t - 1]`` in place, or reversed ``total[t] += A[t + 1]^T total[t + 1]``.

    `matrices` A (T, R, N, N) and `total` (T, R, N), whose memory is contiguous.
    """
    steps, rows, size = total.shape
    for index in range(1, steps):
        now = steps - 1 - index if reverse else index
        before = now + 1 if reverse else now - 1
        for r in range(rows):
            own, last, by = total[now, r], total[before, r], matrices[before if reverse else now, r]
            for i in range(size):
                for j in range(size):
                    own[i] += (by[j, i] if reverse else by[i, j]) * last[j]
