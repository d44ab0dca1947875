"""Values one parameter of a task family takes: a range or a list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Sweep:
    """Either a range, drawn uniformly, or values, chosen with equal probability.

    Attributes
    ----------
    bounds
        ``(low, high)``; ``None`` if the parameter has a list of values.
    values
        The values to choose from; empty if the parameter has a range.
    """

    bounds: tuple[float, float] | None
    values: tuple[Any, ...]

    def sample(self, rng: np.random.Generator) -> Any:
        """Draw a value."""
        if self.bounds is None:
            return self.values[int(rng.integers(len(self.values)))]
        return float(rng.uniform(*self.bounds))

    @property
    def size(self) -> int | None:
        """Number of different values; ``None`` for a range that is wider than a point."""
        if self.bounds is not None:
            return 1 if self.bounds[0] == self.bounds[1] else None
        return len({repr(value) for value in self.values})

    @property
    def middle(self) -> Any:
        """The middle of the range, or the first value."""
        return self.values[0] if self.bounds is None else 0.5 * (self.bounds[0] + self.bounds[1])


def parse_sweeps(field: str, written: Mapping[str, Any] | None) -> dict[str, Sweep]:
    """Read sweeps as a configuration writes them.

    Parameters
    ----------
    field
        Name of the configuration field, for error messages.
    written
        For every parameter ``(low, high)``, ``{"low": low, "high": high}`` or a list of values.

    Examples
    --------
    >>> parse_sweeps("attributes", {"gravity": {"low": 5, "high": 20}})["gravity"].bounds
    (5.0, 20.0)
    >>> parse_sweeps("attributes", {"gravity": [5.0, 9.8]})["gravity"].values
    (5.0, 9.8)
    """
    return {name: _parse(f"{field}[{name!r}]", value) for name, value in (written or {}).items()}


def _parse(field: str, written: Any) -> Sweep:
    if isinstance(written, list):
        if not written:
            raise ValueError(f"{field}: got an empty list, expected at least one value")
        return Sweep(None, tuple(written))
    if isinstance(written, Mapping) and written.keys() == {"low", "high"}:
        written = (written["low"], written["high"])
    if not (
        isinstance(written, tuple)
        and len(written) == 2
        and all(isinstance(bound, int | float | np.number) for bound in written)
    ):
        raise ValueError(f"{field}: got {written!r}, expected (low, high), {{low: ..., high: ...}} or a list")
    low, high = float(written[0]), float(written[1])
    if not (np.isfinite([low, high]).all() and low <= high):
        raise ValueError(f"{field}: got low = {low}, high = {high}, expected finite low <= high")
    return Sweep((low, high), ())
