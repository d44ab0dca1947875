"""Metrics of a run: a row for each iteration, never more than the checkpoint knows of."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maml_rl.metalearners import Report
from maml_rl.utils.field_words import shown
from maml_rl.utils.files import naming, write_atomically
from maml_rl.utils.tensor_files import RunFolderError

_START_ANEW = "start anew in another folder"
_LATER_COLUMNS = frozenset({"workers_replaced"})
"""Last columns, which runs of earlier versions lack; resumed, these go on without them."""
_MAY_LACK = _LATER_COLUMNS | {"entropy"}
"""Columns that runs of earlier versions may lack: those, and one of ProMP."""
_FIRST_COLUMNS = ("iteration", "env_steps", "seconds")


def metrics_columns(details: Sequence[str]) -> list[str]:
    """Columns of ``metrics.csv`` of a learner whose reports have these details, in order."""
    return [*_FIRST_COLUMNS, *Report.names(details), *sorted(_LATER_COLUMNS)]


class MetricsFile:
    """A ``metrics.csv`` and, if asked for, the same rows as JSON lines beside it.

    JSON lines are made of the text of the CSV, so that both hold the same numbers; NaN and infinity, which JSON has
    not, are ``null`` there.

    Parameters
    ----------
    path
        The CSV file; the other has its name with the ending ``.jsonl``.
    json_lines
        Whether there are JSON lines; if not, and there is such a file, it is continued nevertheless.
    """

    def __init__(self, path: Path, *, json_lines: bool = False) -> None:
        self.path = path
        self.json_path = path.with_suffix(".jsonl")
        self._json_lines = json_lines
        self._digest: Any = None  # SHA-256 of the rows so far, once some were written

    @property
    def paths(self) -> tuple[Path, Path]:
        """The files that there may be."""
        return self.path, self.json_path

    def last_row(self) -> dict[str, float] | None:
        """Numbers of the last row by column, whole ones as `int`; ``None``: there is no row."""
        if not self.path.exists():
            return None
        header, *rows = self.path.read_bytes().split(b"\n")[:-1] or [b""]
        return _numbers(header, rows[-1]) if rows else None

    def append(self, row: Mapping[str, Any]) -> str:
        """Append a row; return the SHA-256 of the CSV file as it is then."""
        columns = list(row)
        is_new = not self.path.exists() or self.path.stat().st_size == 0
        if not is_new:
            with self.path.open(encoding="utf-8") as file:
                header = file.readline().rstrip("\n").split(",")
            self._check_columns(header, columns)
            columns = header
        if is_new or self._digest is None:
            self._digest = hashlib.sha256(b"" if is_new else self.path.read_bytes())
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n", extrasaction="ignore")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
        written = text.getvalue().encode("utf-8")
        with naming(self.path), self.path.open("ab") as file:
            file.write(written)
        self._digest.update(written)
        self._append_json(columns, written)
        return str(self._digest.hexdigest())

    def _append_json(self, columns: Sequence[str], written: bytes) -> None:
        if not self._has_json_lines():
            return
        line = _json_line(",".join(columns).encode(), written.rstrip(b"\n").rpartition(b"\n")[2])
        with naming(self.json_path), self.json_path.open("ab") as file:
            file.write(line)

    def _has_json_lines(self) -> bool:
        return self._json_lines or self.json_path.exists()

    def replace(self, rows: bytes) -> None:
        """Write header and rows that `checked` gave, and their JSON lines, in place of what is there."""
        write_atomically(self.path, lambda file: file.write_bytes(rows))
        self._digest = None
        if self._has_json_lines():
            header, *lines = rows.split(b"\n")[:-1] or [b""]
            text = b"".join(_json_line(header, line) for line in lines)
            write_atomically(self.json_path, lambda file: file.write_bytes(text))

    def _check_columns(self, header: Sequence[str], columns: Sequence[str]) -> None:
        """Refuse a header under which rows of these columns cannot stand."""
        if list(header) != [name for name in columns if name in header or name not in _MAY_LACK]:
            other = sorted(set(header) ^ set(columns)) or header
            raise RunFolderError(
                f"metrics {str(self.path)!r}: got columns of another version, which differ in "
                f"{', '.join(other)}; {_START_ANEW}"
            )

    def num_rows(self) -> int:
        """Complete rows that are there; 0 if there is no file."""
        return max(self.path.read_bytes().count(b"\n") - 1, 0) if self.path.is_file() else 0

    def checked(self, num_iterations: int, columns: Sequence[str], *, digest: str) -> bytes:
        """Header and first rows, each checked; what follows may be torn, and so may a lone header.

        Parameters
        ----------
        num_iterations
            Number of rows, >= 0.
        columns
            Their names.
        digest
            SHA-256 that the rows must have; "" if nobody knows.

        Raises
        ------
        RunFolderError
            In one line, if these are not the rows of the run.
        """
        if num_iterations == 0:
            return b""
        where = f"metrics {str(self.path)!r}"
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except OSError as error:
            raise RunFolderError(f"{where}: cannot read it ({error.strerror}); {_START_ANEW}") from error
        if len(lines) <= num_iterations:
            found = max(len(lines) - 1, 0)
            raise RunFolderError(f"{where}: got {found} complete rows, expected {num_iterations}; {_START_ANEW}")
        lines = lines[: num_iterations + 1]
        header = _entries(lines[0], where=f"{where}: header")
        self._check_columns(header, columns)
        for number, line in enumerate(lines[1:], start=1):
            _check_row(line, header, number - 1, where=f"{where}: row {number}")
        rows = b"\n".join([*lines, b""])
        if digest not in ("", hashlib.sha256(rows).hexdigest()):
            raise RunFolderError(
                f"{where}: got other numbers than those of the checkpoint, expected the file as it was written; bring "
                f"back a copy or {_START_ANEW}"
            )
        return rows


def _entries(line: bytes, *, where: str) -> list[str]:
    """Entries of a line of CSV, at least one."""
    try:
        entries = [] if b"\0" in line else next(csv.reader([line.decode("utf-8")], strict=True))
    except (UnicodeDecodeError, csv.Error):
        entries = []
    if not entries:
        raise RunFolderError(f"{where}: got {shown(line)}, expected columns of text; {_START_ANEW}")
    return entries


def _check_row(line: bytes, header: Sequence[str], iteration: int, *, where: str) -> None:
    """Refuse a row that does not hold the numbers of this iteration."""
    row = _entries(line, where=where)
    if len(row) != len(header):
        raise RunFolderError(f"{where}: got {len(row)} columns, expected {len(header)}; {_START_ANEW}")
    for name, text in zip(header, row, strict=True):
        try:
            number = float(text)  # NaN and infinity are numbers here: the step was refused
        except ValueError:
            raise RunFolderError(f"{where}: {name}: got {shown(text)}, expected a number; {_START_ANEW}") from None
        if name == "iteration" and number != iteration:
            raise RunFolderError(f"{where}: iteration: got {shown(text)}, expected {iteration}; {_START_ANEW}")


def _numbers(header: bytes, line: bytes) -> dict[str, float]:
    """Numbers of a line by column; those that are whole, and written so, as `int`."""
    numbers: dict[str, float] = {}
    for name, text in zip(*csv.reader([header.decode(), line.decode()]), strict=True):
        try:
            numbers[name] = int(text)
        except ValueError:
            numbers[name] = float(text)
    return numbers


def _json_line(header: bytes, line: bytes) -> bytes:
    """One line of JSON of a line of CSV."""
    row = {name: x if math.isfinite(x) else None for name, x in _numbers(header, line).items()}
    return (json.dumps(row, allow_nan=False) + "\n").encode()
