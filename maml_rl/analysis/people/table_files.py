"""Tables of trials in text files: separator, columns by the names that a file gives them, sessions of trials."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean, shown

Data = TypeVar("Data")

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
"""Separators of columns, in words."""
MISSING = frozenset({"", "na", "nan", "none", "null", "-1", "-1.0"})
"""What stands for no choice, in lower case."""
LONGEST_GAP = 1000
"""Trials that may be left out of a file at once; more of them are a mistake."""


@dataclass(frozen=True)
class SubjectTable(Mapping[str, Data]):
    """Data of all subjects of a file: a mapping from their names.

    Attributes
    ----------
    subjects
        By name, in the order of the file.
    notes
        How the file was read, a line each.
    """

    subjects: Mapping[str, Data]
    notes: tuple[str, ...]

    def __getitem__(self, subject: str) -> Data:
        return self.subjects[subject]

    def __iter__(self) -> Iterator[str]:
        return iter(self.subjects)

    def __len__(self) -> int:
        return len(self.subjects)


@dataclass(frozen=True)
class TableFormat:
    """Form of a file of trials.

    Attributes
    ----------
    columns
        Names that the file gives to the columns, by the name that they have here, such as ``{"subject": "ID"}``; the
        empty name: there is no such column. Columns that are not mentioned have the name that they have here.
    separator
        Of columns: "auto", or one of comma, semicolon, tab, bar and space, as a character.
    missing
        Further words that stand for no choice.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    separator: str = "auto"
    missing: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.separator != "auto" and self.separator not in SEPARATORS:
            raise InputError(
                f"separator: got {shown(self.separator)}, expected auto or one of "
                + ", ".join(f"{key!r}" for key in SEPARATORS)
            )

    def is_missing(self, text: str) -> bool:
        """True of what stands for no choice."""
        return text.lower() in MISSING or text in self.missing


@dataclass(frozen=True)
class Row:
    """A trial's row.

    Attributes
    ----------
    where
        File and line, for error lines.
    session
        Subject and episode.
    trial
        Its number; ``None``: the file does not say.
    cells
        Texts of the other columns, by the name that they have here.
    decimal_comma
        Whether numbers may be written with a comma.
    """

    where: str
    session: tuple[str, str]
    trial: int | None
    cells: Mapping[str, str]
    decimal_comma: bool

    def error(self, column: str, text: str, expected: str) -> InputError:
        """Error about what stands in a column."""
        return InputError(f"{self.where}: {column}: got {shown(text)}, expected {expected}")

    def reward(self) -> float:
        """Number in the column of rewards."""
        found = number(self.cells["reward"], decimal_comma=self.decimal_comma)
        if found is None:
            raise self.error("reward", self.cells["reward"], "a finite number such as 0.5")
        return found


def read_rows(path: str | Path, form: TableFormat, names: Sequence[str], optional: Sequence[str] = ()) -> list[Row]:
    """Rows of a file of trials, in UTF-8 and with a header; columns that nobody asked for are left alone.

    Parameters
    ----------
    path
        The file.
    form
        How it is written.
    names
        Columns beside subject, episode and trial.
    optional
        Those of all columns that the file may lack where `form` maps them to the empty name.

    Raises
    ------
    InputError
        In one line, naming the file's line where there is one.
    """
    wanted = ("subject", "episode", "trial", *names)
    sources = _sources(form, wanted, ("subject", "episode", "trial", *optional))
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"cannot read {str(path)!r}: {error.strerror}, expected a table with a row per trial"
        ) from None
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read {str(path)!r}: {error}; save the table as text in UTF-8") from None
    lines = text.splitlines()
    if not lines:
        raise InputError(f"{str(path)!r}: got an empty file, expected a line of column names and a row per trial")
    separator = _separator(lines[0] if lines else "", form, sources.values())
    reader = csv.DictReader(lines, delimiter=separator, skipinitialspace=True)
    _check_header(path, [str(name).strip() for name in reader.fieldnames or ()], sources, separator)
    reader.fieldnames = [str(name).strip() for name in reader.fieldnames or ()]
    rows = [_row(row, f"{str(path)!r}, line {line}", sources, separator) for line, row in _records(reader, path)]
    if not rows:
        raise InputError(f"{str(path)!r}: got no rows, expected one per trial")
    return rows


def sessions_of(rows: Sequence[Row]) -> dict[str, list[list[Row | None]]]:
    """Rows by subject and episode, in the order of the file; ``None``: a trial that the file leaves out.

    Raises
    ------
    InputError
        In one line, if an episode's trials do not follow one another.
    """
    found: dict[str, dict[str, list[Row | None]]] = {}
    for row in rows:
        subject, episode = row.session
        trials = found.setdefault(subject, {}).setdefault(episode, [])
        if trials and row.trial is not None:
            last = trials[-1]
            assert last is not None
            assert last.trial is not None
            gap = row.trial - last.trial - 1
            if not 0 <= gap <= LONGEST_GAP:
                raise InputError(
                    f"{row.where}: got trial {row.trial} after trial {last.trial} of the episode, expected the next "
                    "one; sort the trials, or map the column that names episodes"
                )
            trials.extend([None] * gap)
        trials.append(row)
    return {subject: list(episodes.values()) for subject, episodes in found.items()}


def padded(values: Sequence[Sequence[Any]], filling: Any) -> np.ndarray:
    """Array (E, T) of rows of different lengths, with `filling` at the end of shorter ones."""
    longest = max(len(row) for row in values)
    return np.array([[*row, *[filling] * (longest - len(row))] for row in values])


def number(text: str, *, decimal_comma: bool = False) -> float | None:
    """The finite number that a text is, else ``None``."""
    try:
        found = float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return None
    return found if np.isfinite(found) else None


def whole(text: str) -> int | None:
    """The whole number that a text is, 2.0 too, else ``None``."""
    found = number(text)
    return int(found) if found is not None and found == int(found) else None


def _sources(form: TableFormat, wanted: Sequence[str], optional: Sequence[str]) -> dict[str, str]:
    """Names of columns in the file by their names here, without those that the file lacks."""
    for name, source in form.columns.items():
        if name not in wanted:
            raise InputError(
                f"columns: got {shown(name)}, expected some of {', '.join(wanted)}{did_you_mean(name, wanted)}"
            )
        if not source and name not in optional:
            raise InputError(f"columns: got no name for {name!r}, expected one; every table needs this column")
    return {name: form.columns.get(name, name) for name in wanted if form.columns.get(name, name)}


def _separator(header: str, form: TableFormat, wanted: Any) -> str:
    """The separator given, or the one that finds most of the columns `wanted`, then most columns."""
    if form.separator != "auto":
        return form.separator

    def columns_found(separator: str) -> tuple[int, int]:
        names = [name.strip() for name in next(csv.reader([header], delimiter=separator, skipinitialspace=True), [])]
        return len(set(wanted) & set(names)), len(names)

    return max(SEPARATORS, key=columns_found)


def _check_header(path: str | Path, header: list[str], sources: Mapping[str, str], separator: str) -> None:
    for name, source in sources.items():
        count = header.count(source)
        if count != 1:
            raise InputError(
                f"{str(path)!r}: got {count or 'no'} column {source!r} among {', '.join(header) or 'none'} (separated "
                f"by {SEPARATORS[separator]}), expected columns {', '.join(sources.values())}; name yours by --columns "
                f"{name}=NAME{did_you_mean(source, header)}"
            )


def _records(reader: csv.DictReader[str], path: str | Path) -> Iterator[tuple[int, dict[str | Any, str | Any]]]:
    try:
        for record in reader:
            yield reader.line_num, record
    except csv.Error as error:
        raise InputError(f"{str(path)!r}, after line {reader.line_num}: {error}; expected short fields") from None


def _row(record: Mapping[str | Any, Any], where: str, sources: Mapping[str, str], separator: str) -> Row:
    if None in record:
        raise InputError(
            f"{where}: got {len(record[None])} fields more than columns, expected as many; separate with "
            f"{SEPARATORS[separator]}, write decimals with points"
        )
    cells = {name: record[source] for name, source in sources.items()}
    for name, text in cells.items():
        if text is None or (name in ("subject", "episode") and not text.strip()):
            raise InputError(f"{where}: got no {sources[name]}, expected one field for each column")
    cells = {name: text.strip() for name, text in cells.items()}
    trial = cells.pop("trial", None)
    row = Row(
        where,
        (cells.pop("subject", "all"), cells.pop("episode", "1")),
        None if trial is None else whole(trial),
        cells,
        separator != ",",
    )
    if trial is not None and row.trial is None:
        raise row.error("trial", trial, "a whole number; count trials")
    return row
