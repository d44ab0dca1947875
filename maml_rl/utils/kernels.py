"""Functions that numba compiles."""

# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function, and keep it on disk: where ``NUMBA_CACHE_DIR`` says, or beside its file, or in ``~/.cache``.

    Numbers are taken to be finite, and sums are reordered. Where nothing can be written every process compiles it.
    """
    return _compile(function, fastmath=True)


def compiled_exactly(function: Callable[..., Any]) -> Callable[..., Any]:
    """As `compiled`, with arithmetic in the order that is written, and infinite numbers."""
    return _compile(function, fastmath=False)


def _compile(function: Callable[..., Any], *, fastmath: bool) -> Callable[..., Any]:
    options: dict[str, Any] = {"fastmath": fastmath, "nogil": True, "error_model": "numpy"}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # "no locator available"
        return numba.njit(**options)(function)
