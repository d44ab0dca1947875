"""Choices and rewards of an agent or a subject on bandits, from arrays or from a table in a file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maml_rl.analysis.arms import MISSED, check_choices
from maml_rl.utils.checks import check_at_least
from maml_rl.utils.errors import InputError

_NO_CHOICE = ("", "na", "nan", "-1", "-1.0")
COLUMNS = ("subject", "episode", "trial", "choice", "reward")
"""Columns of a file of choices."""


@dataclass(frozen=True)
class Choices:
    """Choices and rewards of one agent or subject in E episodes of T trials.

    Attributes
    ----------
    choices
        (E, T), arms from 0 to K - 1; -1 in trials without a choice, from which nothing is learned.
    rewards
        (E, T), finite; of the order of 1.
    num_arms
        Arms K, >= 2.
    """

    choices: np.ndarray
    rewards: np.ndarray
    num_arms: int

    def __post_init__(self) -> None:
        check_at_least(2, num_arms=self.num_arms)
        choices = np.atleast_2d(np.asarray(self.choices))
        check_choices(np.where(choices == MISSED, 0, choices), self.num_arms)
        rewards = np.atleast_2d(np.asarray(self.rewards, dtype=np.float64))
        if choices.ndim != 2 or rewards.shape != choices.shape:
            raise ValueError(
                f"rewards: got shape {rewards.shape} with choices {choices.shape}, expected (E, T) for both"
            )
        if not np.isfinite(rewards).all():
            raise ValueError("rewards: got NaN or infinity, expected finite numbers")
        object.__setattr__(self, "choices", choices)
        object.__setattr__(self, "rewards", rewards)

    @property
    def num_choices(self) -> int:
        """Number of trials with a choice."""
        return int((self.choices != MISSED).sum())

    def __len__(self) -> int:
        return len(self.choices)

    def episodes(self, which: Sequence[int]) -> Choices:
        """Some of the episodes."""
        return Choices(self.choices[list(which)], self.rewards[list(which)], self.num_arms)


def read_choices(path: str | Path, *, num_arms: int, reward_scale: float = 1.0) -> dict[str, Choices]:
    """Read a CSV file of one row per trial: choices and rewards by subject.

    Columns, in any order, separated by commas: ``subject`` and ``episode`` (any names), ``trial`` (whole numbers, each
    one more than the one before it in the episode), ``choice`` (0 to `num_arms` - 1; empty, NA, NaN or -1 in a missed
    trial) and ``reward`` (a number; what stands there in a missed trial does not count). All episodes of a subject have
    as many trials. Whole numbers may be written 2.0. Other columns are left alone.

    Parameters
    ----------
    path
        The file, in UTF-8, with a header.
    num_arms
        Arms K, >= 2.
    reward_scale
        Rewards are divided by it, > 0: 50 for the points of Daw et al. 2006.

    Raises
    ------
    InputError
        In one line, naming the file's line where there is one.
    """
    if not (reward_scale > 0 and np.isfinite(reward_scale)):
        raise InputError(f"reward_scale: got {reward_scale}, expected a finite number > 0")
    if num_arms < 2:
        raise InputError(f"num_arms: got {num_arms}, expected at least 2")
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from None
    reader = csv.DictReader(text.splitlines())
    header = [str(name) for name in reader.fieldnames or ()]
    for name in COLUMNS:
        if header.count(name) != 1:
            raise InputError(
                f"{str(path)!r}: got {header.count(name) or 'no'} column {name!r} among {', '.join(header) or 'none'}; "
                f"expected columns {', '.join(COLUMNS)}, separated by commas"
            )
    subjects: dict[str, dict[str, list[tuple[int, int, float]]]] = {}
    for row in _rows(reader, path):
        where = f"{str(path)!r}, line {reader.line_num}"
        trial, choice, reward = _trial(row, where, num_arms)
        trials = subjects.setdefault(row["subject"], {}).setdefault(row["episode"], [])
        if trials and trial != trials[-1][0] + 1:
            raise InputError(
                f"{where}: got trial {trial} after trial {trials[-1][0]} of the episode, expected the next one; give a "
                "missed trial a row with an empty choice"
            )
        trials.append((trial, choice, reward))
    if not subjects:
        raise InputError(f"{str(path)!r}: got no rows, expected one per trial")
    return {name: _as_arrays(path, name, episodes, num_arms, reward_scale) for name, episodes in subjects.items()}


def _trial(row: Mapping[str | None, Any], where: str, num_arms: int) -> tuple[int, int, float]:
    """Number, choice and reward of a row's trial."""
    if None in row:
        raise InputError(
            f"{where}: got {len(row[None])} fields more than columns; separate with commas, write decimals with points"
        )
    empty = [
        name for name in COLUMNS if row[name] is None or (name in ("subject", "episode") and not row[name].strip())
    ]
    if empty:
        raise InputError(f"{where}: got no {empty[0]}, expected one field for each column")
    trial = _whole(row["trial"])
    if trial is None:
        raise InputError(f"{where}: trial: got {row['trial']!r}, expected a whole number; count trials")
    if row["choice"].strip().lower() in _NO_CHOICE:
        return trial, MISSED, 0.0
    choice = _whole(row["choice"])
    if choice is None or not 0 <= choice < num_arms:
        raise InputError(
            f"{where}: choice: got {row['choice']!r}, expected a whole number from 0 to {num_arms - 1}; count arms "
            "from 0, and leave missed trials empty"
        )
    try:
        reward = float(row["reward"])
    except ValueError:
        reward = np.nan
    if not np.isfinite(reward):
        raise InputError(f"{where}: reward: got {row['reward']!r}, expected a finite number such as 0.5")
    return trial, choice, reward


def _whole(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if np.isfinite(number) and number == int(number) else None


def _rows(reader: csv.DictReader[str], path: str | Path) -> Iterator[dict[str | Any, str | Any]]:
    try:
        yield from reader
    except csv.Error as error:
        raise InputError(f"{str(path)!r}, after line {reader.line_num}: {error}; expected short fields") from None


def _as_arrays(
    path: str | Path,
    subject: str,
    episodes: dict[str, list[tuple[int, int, float]]],
    num_arms: int,
    reward_scale: float,
) -> Choices:
    lengths = {len(trials) for trials in episodes.values()}
    if len(lengths) > 1:
        raise InputError(
            f"{str(path)!r}: episodes of subject {subject!r} have {sorted(lengths)} trials; expected one length, "
            "cut them or name them as subjects of their own"
        )
    choices = np.array([[choice for _, choice, _ in trials] for trials in episodes.values()])
    rewards = np.array([[reward for _, _, reward in trials] for trials in episodes.values()]) / reward_scale
    return Choices(choices, rewards, num_arms)
