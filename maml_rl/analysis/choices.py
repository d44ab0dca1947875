"""Choices and rewards of a player of bandits, from arrays or from a table in a file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maml_rl.analysis.behaviour import check_choices
from maml_rl.utils.errors import InputError

MISSED = -1
"""Stands for the choice in a trial without one."""
COLUMNS = ("subject", "episode", "trial", "choice", "reward")
"""Columns of a file of choices."""


@dataclass(frozen=True)
class Choices:
    """What a player chose and was paid in E episodes of T trials.

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
        if self.num_arms < 2:
            raise ValueError(f"num_arms: got {self.num_arms}, expected at least 2")
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
        """How many trials had a choice."""
        return int((self.choices != MISSED).sum())

    def __len__(self) -> int:
        return len(self.choices)

    def episodes(self, which: Sequence[int]) -> Choices:
        """Some of the episodes."""
        return Choices(self.choices[list(which)], self.rewards[list(which)], self.num_arms)


def read_choices(path: str | Path, *, num_arms: int, reward_scale: float = 1.0) -> dict[str, Choices]:
    """Read a CSV file of one row per trial: by subject, what it chose and was paid.

    Columns, in any order: ``subject`` and ``episode`` (any names), ``trial`` (whole numbers that rise within an
    episode), ``choice`` (0 to `num_arms` - 1, or empty in a missed trial) and ``reward`` (a number, or empty there).
    All episodes of a subject have as many trials.

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
    missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{str(path)!r}: got no column {missing[0]!r}, expected columns {', '.join(COLUMNS)}")
    subjects: dict[str, dict[str, list[tuple[int, int, float]]]] = {}
    for row in _rows(reader, path):
        where = f"{str(path)!r}, line {reader.line_num}"
        try:
            trial, missed = int(row["trial"]), row["choice"] == ""
            choice, reward = (MISSED, 0.0) if missed else (int(row["choice"]), float(row["reward"]))
            if None in (row["subject"], row["episode"]):
                raise ValueError
        except (TypeError, ValueError):
            raise InputError(
                f"{where}: got {row}, expected whole numbers for trial and choice, a number for reward"
            ) from None
        if not (missed or 0 <= choice < num_arms) or not np.isfinite(reward):
            raise InputError(
                f"{where}: got choice {choice}, reward {reward}; expected 0 to {num_arms - 1}, a finite number"
            )
        trials = subjects.setdefault(row["subject"], {}).setdefault(row["episode"], [])
        if trials and trials[-1][0] >= trial:
            raise InputError(f"{where}: got trial {trial} after trial {trials[-1][0]}; expected trials in order")
        trials.append((trial, choice, reward))
    if not subjects:
        raise InputError(f"{str(path)!r}: got no rows, expected one per trial")
    return {name: _as_arrays(path, name, episodes, num_arms, reward_scale) for name, episodes in subjects.items()}


def _rows(reader: csv.DictReader[str], path: str | Path) -> Iterator[dict[str, str]]:
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
