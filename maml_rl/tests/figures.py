"""Figures of a text, and whether files of results hold them."""

from __future__ import annotations

import bisect
import csv
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_NUMBER = re.compile(r"(?<![\w.])([+-]?)(\d{1,3}(?:,\d{3})+|\d+)?(\.\d+)?(e[+-]?\d+)?(?![\w]|\.\d)")


@dataclass(frozen=True)
class Figure:
    """A number as a text writes it.

    Attributes
    ----------
    text
        As written.
    value
        Its value.
    decimals
        Digits behind the point that are written; negative where an integer of four digits or more ends with zeros.
    """

    text: str
    value: float
    decimals: int


def figures(text: str) -> Iterator[Figure]:
    """Every number of a text that is no part of a word.

    Examples
    --------
    >>> [(f.value, f.decimals) for f in figures("K5: -0.50 [1, 2], 47,070 of 3e-2")]
    [(-0.5, 2), (1.0, 0), (2.0, 0), (47070.0, -1), (0.03, 2)]
    """
    for match in _NUMBER.finditer(text):
        sign, whole, fraction, power = match.groups()
        if not (whole or fraction):
            continue
        digits = (whole or "0").replace(",", "")
        value = float(f"{sign}{digits}{fraction or ''}{power or ''}")
        decimals = len(fraction or ".") - 1 - int((power or "e0")[1:])
        if not fraction and not power and len(digits) >= 4:
            decimals = len(digits.rstrip("0")) - len(digits)
        yield Figure(match[0], value, decimals)


_INTERVAL = re.compile(r"([+-]?[\d.,]*\d) \[([+-]?[\d.,]*\d), ([+-]?[\d.,]*\d)\]")


def groups(text: str) -> Iterator[tuple[Figure, ...]]:
    """Figures of a text that belong together: an estimate with both ends of its interval, or one that stands alone.

    Examples
    --------
    >>> [[f.value for f in group] for group in groups("0.83 [0.82, 0.84] of 1")]
    [[0.83, 0.82, 0.84], [1.0]]
    """
    for match in _INTERVAL.finditer(text):
        yield tuple(one for part in match.groups() for one in figures(part))
    yield from ((one,) for one in figures(_INTERVAL.sub(" ; ", text)))


def intervals_of(path: Path) -> set[tuple[float, ...]]:
    """Every estimate with its interval that a file of results writes, as (estimate, low, high)."""
    if path.suffix != ".md":
        return set()
    found = groups(path.read_text(encoding="utf-8"))
    return {tuple(one.value for one in group) for group in found if len(group) == 3}


def numbers_of(path: Path) -> list[float]:
    """Every number of a file of results, sorted: those written in Markdown and tables, and the leaves of JSON."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return sorted(set(_leaves(json.loads(text))))
    if path.suffix == ".csv":
        return sorted(
            {figure.value for row in csv.reader(text.splitlines()) for cell in row for figure in figures(cell)}
        )
    return sorted({figure.value for figure in figures(text)})


def _leaves(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def holds(numbers: Sequence[float], figure: Figure, scales: Iterable[float] = (1.0,)) -> bool:
    """Whether one of sorted `numbers`, times one of the scales, is the figure when rounded as the figure is."""
    half = 0.5 * 10.0**-figure.decimals * (1.0 + 1e-9)
    for scale in scales:
        at = bisect.bisect_left(numbers, (figure.value - half) / scale)
        if at < len(numbers) and numbers[at] <= (figure.value + half) / scale:
            return True
    return False


def agree(values: Sequence[float], written: Sequence[Figure]) -> bool:
    """Whether each value is the figure in its place, when rounded as that is."""
    return all(holds([value], figure) for value, figure in zip(values, written, strict=True))


def beside_first(path: Path) -> list[float]:
    """Numbers of every entry of a JSON list, divided by those of the first under the same keys."""
    first, *others = json.loads(path.read_text(encoding="utf-8"))
    return [
        entry[key] / value
        for entry in [first, *others]
        for key, value in first.items()
        if isinstance(value, float) and value and isinstance(entry[key], float)
    ]
