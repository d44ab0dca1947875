"""Arms as a file writes them: whole numbers from 0 or from 1 on, or names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from maml_rl.analysis.people.table_files import Row, whole
from maml_rl.utils.errors import InputError

ArmBase = Literal["auto", "0", "1", "names"]
ARM_BASES: tuple[ArmBase, ...] = ("auto", "0", "1", "names")
"""The number of the first arm, or names of arms in place of numbers; auto: found from the file."""


@dataclass(frozen=True)
class ArmCode:
    """Translation of a file's arms.

    Attributes
    ----------
    names
        Texts of the arms; arm a here is the a-th.
    base
        As which the file counts the first arm: "0", "1", or "names".
    detected
        True if nobody has said so.
    """

    names: tuple[str, ...]
    base: ArmBase
    detected: bool

    def arm(self, text: str) -> int:
        """Number of the arm, from 0 on."""
        return self.names.index(text if self.base == "names" else str(whole(text)))

    def note(self, column: str) -> str:
        """One line about how `column` was read."""
        how = "found from the file" if self.detected else "as given"
        if self.base == "names":
            return f"{column}: {len(self.names)} arms by name, in the order {', '.join(self.names)} ({how})"
        return f"{column}: {len(self.names)} arms, counted from {self.base} ({how})"


def arm_code(
    column: str, cells: Sequence[tuple[Row, str]], *, base: ArmBase = "auto", num_arms: int | None = None
) -> ArmCode:
    """Find out how a file writes its arms.

    Parameters
    ----------
    column
        The column's name, for error lines.
    cells
        Rows with the text of their arm; none is missing.
    base
        What is known of it.
    num_arms
        Number of arms K; ``None``: as many as the file has, at least 2.

    Raises
    ------
    InputError
        In one line, naming the file's line, if a cell is none of the arms.
    """
    if base not in ARM_BASES:
        raise InputError(f"arm base: got {base!r}, expected one of {', '.join(ARM_BASES)}")
    numbers = [whole(text) for _, text in cells]
    if base == "names" or (base == "auto" and all(value is None for value in numbers) and _are_words(cells)):
        return _named(column, cells, base, num_arms)
    lowest, highest = (int(base), None) if base in ("0", "1") else _ends(numbers, num_arms)
    if highest is None:
        highest = lowest + num_arms - 1 if num_arms is not None else max([lowest + 1, *(n for n in numbers if n)])
    for (row, text), value in zip(cells, numbers, strict=True):
        if value is None or not lowest <= value <= highest:
            raise row.error(
                column,
                text,
                f"a whole number from {lowest} to {highest}; say how arms are counted, or how many there are, leave "
                "missed trials empty",
            )
    names = tuple(str(value) for value in range(lowest, highest + 1))
    return ArmCode(names, "1" if lowest == 1 else "0", base == "auto")


def _are_words(cells: Sequence[tuple[Row, str]]) -> bool:
    """True if no cell is a number, so that none is a mistyped whole number."""
    for _, text in cells:
        try:
            float(text)
        except ValueError:
            continue
        return False
    return bool(cells)


def _named(column: str, cells: Sequence[tuple[Row, str]], base: ArmBase, num_arms: int | None) -> ArmCode:
    names = sorted({text for _, text in cells})
    if num_arms is not None and len(names) > num_arms:
        row, text = next((row, text) for row, text in cells if text == names[num_arms])
        raise row.error(column, text, f"{num_arms} names of arms, got {len(names)}: {', '.join(names)}")
    names += [f"(never chosen {index})" for index in range(1, (num_arms or 2) - len(names) + 1)]
    return ArmCode(tuple(names), "names", base == "auto")


def _ends(numbers: Sequence[int | None], num_arms: int | None) -> tuple[int, int | None]:
    """Lowest arm, and the highest if it follows: from 1 where 0 never occurs and 1 to K does."""
    found = {value for value in numbers if value is not None}
    if 0 in found or not found:
        return 0, None
    if num_arms is None or max(found) >= num_arms:
        return 1, None
    return 0, None  # it may be either, which no model can tell: arms are alike to it
