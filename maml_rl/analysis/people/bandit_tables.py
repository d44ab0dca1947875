"""Tables of choices on bandits: read from a file, written to one."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.choice_models import ChoiceData
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.people.arm_codes import ArmBase, arm_code
from maml_rl.analysis.people.table_files import SubjectTable, TableFormat, padded, read_rows, sessions_of
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import write_atomically

COLUMNS = ("subject", "episode", "trial", "choice", "reward")
"""Columns of a file of choices."""


@dataclass(frozen=True)
class ChoiceTable(SubjectTable[Choices]):
    """Choices of all subjects of a file on a bandit.

    Attributes
    ----------
    subjects, notes
        See `SubjectTable`.
    arms
        Names of the arms in the file.
    """

    arms: tuple[str, ...]


def read_choices(
    path: str | Path,
    *,
    num_arms: int | None = None,
    reward_scale: float = 1.0,
    form: TableFormat | None = None,
    arm_base: ArmBase = "auto",
) -> ChoiceTable:
    """Read a file of one row per trial: choices and rewards by subject.

    Columns, in any order and under any name (see `TableFormat`): ``subject`` and ``episode`` (any names), ``trial``
    (whole numbers that grow by one within an episode; those left out count as missed), ``choice`` (an arm, see
    `arm_base`; empty, NA, NaN or -1 in a missed trial) and ``reward`` (a number; what stands there in a missed trial
    does not count). Subjects may have different numbers of episodes, and episodes of trials. Whole numbers may be
    written 2.0. Other columns are left alone. Without a column of subjects, episodes or trials
    (``columns={"episode": ""}``) all rows belong to one, and trials follow one another.

    Parameters
    ----------
    path
        The file, in UTF-8, with a header.
    num_arms
        Arms K, >= 2; ``None``: as many as were chosen.
    reward_scale
        Rewards are divided by it, > 0: 50 for the points of Daw et al. 2006.
    form
        Separator, names of columns, words for a missed trial.
    arm_base
        "0" or "1": the number of the first arm; "names": arms have names; "auto": from 1 where 0 never occurs,
        which `ChoiceTable.notes` say.

    Raises
    ------
    InputError
        In one line, naming the file's line where there is one.
    """
    if not (reward_scale > 0 and np.isfinite(reward_scale)):
        raise InputError(f"reward_scale: got {reward_scale}, expected a finite number > 0")
    if num_arms is not None and num_arms < 2:
        raise InputError(f"num_arms: got {num_arms}, expected at least 2")
    form = form or TableFormat()
    rows = read_rows(path, form, ("choice", "reward"))
    chosen = [(row, row.cells["choice"]) for row in rows if not form.is_missing(row.cells["choice"])]
    if not chosen:
        raise InputError(f"{str(path)!r}: got no choice at all, expected at least one; look at the column of choices")
    code = arm_code("choice", chosen, base=arm_base, num_arms=num_arms)
    made = {id(row): (code.arm(text), row.reward() / reward_scale) for row, text in chosen}
    subjects, missed, left_out, lengths = {}, 0, 0, set()
    for subject, episodes in sessions_of(rows).items():
        trials = [[made.get(id(row), (MISSED, 0.0)) for row in episode] for episode in episodes]
        missed += sum(trial[0] == MISSED for episode in trials for trial in episode)
        left_out += sum(row is None for episode in episodes for row in episode)
        lengths |= {len(episode) for episode in trials}
        arms, rewards = ([[trial[part] for trial in episode] for episode in trials] for part in (0, 1))
        subjects[subject] = Choices(padded(arms, MISSED), padded(rewards, 0.0), len(code.names))
    notes = (code.note("choice"), *notes_on(subjects, missed, left_out, lengths))
    return ChoiceTable(subjects, notes, code.names)


def notes_on(subjects: Mapping[str, ChoiceData], missed: int, left_out: int, lengths: set[int]) -> tuple[str, ...]:
    """Lines about subjects, episodes and missed trials."""
    counts = sorted({len(data) for data in subjects.values()})
    total = sum(data.num_choices for data in subjects.values())
    span = [f"{min(part)} to {max(part)}" if len(part) > 1 else f"{min(part)}" for part in (counts, lengths)]
    lines = [f"{len(subjects)} subjects, {span[0]} episodes each, of {span[1]} trials; {total} choices in all"]
    if missed:
        rows = f", {left_out} of them without a row" if left_out else ""
        lines.append(f"{missed} trials without a choice{rows}: nothing is learned from them, but time goes on")
    return tuple(lines)


def write_choices(path: str | Path, subjects: Mapping[str, Choices]) -> None:
    """Write choices of some subjects as a table that `read_choices` reads, with arms counted from 0."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for subject, data in subjects.items():
                for episode, trial in np.ndindex(data.choices.shape):
                    chosen, reward = data.choices[episode, trial], data.rewards[episode, trial]
                    cells = ("", "") if chosen == MISSED else (int(chosen), f"{reward:.10g}")
                    writer.writerow((subject, episode + 1, trial + 1, *cells))

    write_atomically(Path(path), write)
