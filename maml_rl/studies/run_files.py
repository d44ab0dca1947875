"""Files that a run leaves behind, as a study reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from maml_rl.config import ConfigError
from maml_rl.utils.files import DamagedFileError, read_npz


def read_arrays(
    path: Path, kind: str, cure: str, wanted: Callable[[Iterable[str]], Iterable[str]] = list
) -> dict[str, np.ndarray] | None:
    """Arrays of a file by name, those that `wanted` takes of all names; ``None`` if there is no file.

    Raises
    ------
    ConfigError
        In one line, with what kind of file was expected and the cure, if it cannot be read.
    """
    if not path.exists():
        return None
    try:
        return read_npz(path, wanted)
    except (OSError, DamagedFileError) as error:
        raise ConfigError(f"{str(path)!r}: got a file that is no {kind}; {cure}") from error


_COUNTS = ("iteration", "env_steps", "seconds")
"""Columns of ``metrics.csv`` that are numbers in all rows."""


def digest_of(results: Mapping[str, np.ndarray]) -> str:
    """Name of an evaluation, for what is computed of it, by its `results`: ``actions`` and ``rewards`` (N, T, ...)."""
    parts = (np.ascontiguousarray(results[key]).tobytes() for key in ("actions", "rewards"))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def to_seven_digits(values: np.ndarray) -> np.ndarray:
    """The `values` (..., N) in float64, to seven digits: in a file they take half as much.

    Whole ones, and those beyond the range of float32, stay as they are.
    """
    with np.errstate(over="ignore", under="ignore"):
        short = values.astype(np.float32).astype(np.float64)
    is_normal = (np.abs(short) >= np.finfo(np.float32).tiny) & np.isfinite(short)
    return np.where(is_normal & (values != np.rint(values)), short, values)


def read_evaluation(path: Path) -> dict[str, np.ndarray] | None:
    """Arrays of an evaluation, ``returns`` (S, N, B) among them; ``None`` before it. Errors: see `read_arrays`."""
    kind, cure = "evaluation", "remove it, and the study evaluates again"
    results = read_arrays(path, kind, cure)
    if results is not None and ("returns" not in results or results["returns"].ndim != 3):
        raise ConfigError(f"{str(path)!r}: got a file that is no {kind}; {cure}")
    return results


def has_metrics(path: Path) -> bool:
    """True if there is a whole row of metrics; no more than that is read."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        return file.readline().endswith(b"\n") and file.readline().endswith(b"\n")


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Whole rows of ``metrics.csv``; none before there is one.

    Raises
    ------
    ConfigError
        In one line, if a row does not hold numbers.
    """
    if not path.exists():
        return []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last line's end is torn
        header, *rows = [line.split(",") for line in lines] or [[]]
        if rows and len(rows[-1]) != len(header):
            rows.pop()
        found = [{k: float(v) for k, v in zip(header, row, strict=True)} for row in rows]
        if not np.isfinite([row.get(key, 0.0) for row in found for key in _COUNTS]).all():
            raise ValueError("counts")
        return found
    except ValueError as error:
        raise ConfigError(
            f"{str(path)!r}: got rows that are no numbers; move its folder away, and the study trains anew"
        ) from error
