"""Tables of the two-step task: read from a file, written to one."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.people.arm_codes import ArmBase, arm_code
from maml_rl.analysis.people.bandit_tables import notes_on
from maml_rl.analysis.people.table_files import SubjectTable, TableFormat, padded, read_rows, sessions_of
from maml_rl.analysis.two_step_choices import TwoStepChoices
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import write_atomically

COLUMNS = ("subject", "episode", "trial", "choice", "state", "second_choice", "reward")
"""Columns of a file of the two-step task."""
_LEAST_CONTRAST = 0.1
"""Difference from one half of the commoner transition's frequency, below which it is not told which one it is."""

Trial = tuple[int, int, int, float]
"""First choice, second state, second choice, reward."""


class TwoStepTable(SubjectTable[TwoStepChoices]):
    """Trials of all subjects of a file of the two-step task."""


def read_two_step(
    path: str | Path, *, reward_scale: float = 1.0, form: TableFormat | None = None, arm_base: ArmBase = "auto"
) -> TwoStepTable:
    """Read a file of one row per trial of the two-step task (Daw et al. 2011).

    Columns, in any order and under any name: ``subject``, ``episode`` and ``trial`` as in
    `maml_rl.analysis.people.bandit_tables.read_choices`; ``choice``, the choice of stage one; ``state``, the second
    state; ``second_choice``, the choice there (``columns={"second_choice": ""}``: there is none to make); ``reward``.
    Each of the three has two values, numbers or names. A trial in which a choice or the state is missing counts as
    missed. Of each subject the second state that a choice commonly led to is found by counting.

    Parameters
    ----------
    path, reward_scale, form, arm_base
        As in `read_choices`.

    Raises
    ------
    InputError
        In one line, naming the file's line where there is one.
    """
    if not (reward_scale > 0 and np.isfinite(reward_scale)):
        raise InputError(f"reward_scale: got {reward_scale}, expected a finite number > 0")
    form = form or TableFormat()
    rows = read_rows(path, form, ("choice", "state", "second_choice", "reward"), optional=("second_choice",))
    names = [name for name in ("choice", "state", "second_choice") if name in rows[0].cells]
    whole = [row for row in rows if not any(form.is_missing(row.cells[name]) for name in names)]
    if not whole:
        raise InputError(f"{str(path)!r}: got no trial with all of {', '.join(names)}, expected at least one")
    codes = {
        name: arm_code(name, [(row, row.cells[name]) for row in whole], base=_base(name, arm_base), num_arms=2)
        for name in names
    }
    codes["state"] = replace(codes["state"], detected=arm_base == "auto")
    parts = [[codes[name].arm(row.cells[name]) for row in whole] for name in names]
    rewards = [row.reward() / reward_scale for row in whole]
    seconds = parts[2] if len(parts) > 2 else [0] * len(whole)
    made = {
        id(row): (first, state, second, reward)
        for row, first, state, second, reward in zip(whole, parts[0], parts[1], seconds, rewards, strict=True)
    }
    subjects, missed, left_out, lengths, frequencies = {}, 0, 0, set(), []
    for subject, episodes in sessions_of(rows).items():
        trials = [[made.get(id(row), (MISSED, 0, 0, 0.0)) for row in episode] for episode in episodes]
        missed += sum(trial[0] == MISSED for episode in trials for trial in episode)
        left_out += sum(row is None for episode in episodes for row in episode)
        lengths |= {len(episode) for episode in trials}
        subjects[subject], frequency = _arrays(path, subject, trials, len(names) > 2)
        frequencies.append(frequency)
    notes = tuple(code.note(name) for name, code in codes.items())
    common = f"transitions taken for the common ones: {min(frequencies):.0%} to {max(frequencies):.0%} of a subject's"
    return TwoStepTable(subjects, (*notes, *notes_on(subjects, missed, left_out, lengths), common))


def _base(name: str, arm_base: ArmBase) -> ArmBase:
    """States may be numbered on from stage one, such as 2 and 3, so they are names where nobody says otherwise."""
    return "names" if name == "state" and arm_base == "auto" else arm_base


def _arrays(
    path: str | Path, subject: str, trials: Sequence[Sequence[Trial]], second: bool
) -> tuple[TwoStepChoices, float]:
    """Trials with states named by the choice that commonly leads there, and the frequency of that."""
    choices, states, actions, rewards = (
        padded([[trial[part] for trial in episode] for episode in trials], filling)
        for part, filling in enumerate((MISSED, 0, 0, 0.0))
    )
    made = choices != MISSED
    same = float((choices == states)[made].mean()) if made.any() else 1.0
    if abs(same - 0.5) < _LEAST_CONTRAST:
        raise InputError(
            f"{str(path)!r}: choices of subject {subject!r} led to one second state as often as to the other "
            f"({same:.0%}), expected a common and a rare transition; look at the columns choice and state"
        )
    states = states if same > 0.5 else np.where(made, 1 - states, 0)
    return TwoStepChoices(choices, states, actions if second else None, rewards), max(same, 1.0 - same)


def write_two_step(path: str | Path, subjects: Mapping[str, TwoStepChoices]) -> None:
    """Write trials of some subjects as a table that `read_two_step` reads.

    Without choices at stage two the column ``second_choice`` is left out.
    """
    second = all(data.second_choices is not None for data in subjects.values())

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([name for name in COLUMNS if second or name != "second_choice"])
            for subject, data in subjects.items():
                for index in np.ndindex(data.choices.shape):
                    cells: list[Any] = ["", ""] + [""] * second + [""]
                    if data.choices[index] != MISSED:
                        actions = [int(data.second_choices[index])] if data.second_choices is not None else []
                        cells = [int(data.choices[index]), int(data.seconds[index]), *actions[:second]]
                        cells += [f"{data.rewards[index]:.10g}"]
                    writer.writerow([subject, index[0] + 1, index[1] + 1, *cells])

    write_atomically(Path(path), write)
