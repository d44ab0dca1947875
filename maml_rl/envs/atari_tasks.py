"""Modes and difficulties of Atari games, in splits."""

from __future__ import annotations

from collections.abc import Sequence

from ale_py import ALEInterface

from maml_rl.envs.atari_emulator import is_over_at_once

SPLITS = ("train", "held-out", "all")

Pairs = list[tuple[int, int]]


def pairs_of_splits(
    game: str,
    emulator: ALEInterface,
    modes: Sequence[int] | None,
    difficulties: Sequence[int] | None,
    held_out: Sequence[int],
) -> dict[str, Pairs]:
    """(mode, difficulty) of every task of each split; a split without tasks is left out.

    Parameters
    ----------
    game, emulator
        Name of the game, and a console that has it.
    modes, difficulties
        Those there are tasks of; ``None``: all that the game has.
    held_out
        Modes of "held-out" and not of "train".

    Raises
    ------
    ValueError
        If the game has no such mode or difficulty, or a list is empty.
    """
    legal_modes, legal_difficulties = emulator.getAvailableModes(), emulator.getAvailableDifficulties()
    for name, chosen, legal in (
        ("modes", modes or [], legal_modes),
        ("held_out_modes", held_out, legal_modes),
        ("difficulties", difficulties or [], legal_difficulties),
    ):
        wrong = [value for value in chosen if value not in legal or isinstance(value, bool)]
        if wrong:
            raise ValueError(f"{name}: got {wrong[0]}, expected some of {game}'s own: {list(legal)}; give {name}")
    for name, some in (("modes", modes), ("difficulties", difficulties)):
        if some == []:
            raise ValueError(f"{name}: got [], expected at least one; leave it out for all")
    all_modes = list(dict.fromkeys(legal_modes if modes is None else modes))
    kept = {
        "train": [mode for mode in all_modes if mode not in held_out],
        "held-out": [mode for mode in all_modes if mode in held_out],
        "all": all_modes,
    }
    all_difficulties = legal_difficulties if difficulties is None else difficulties
    return {
        split: [(mode, difficulty) for mode in kept[split] for difficulty in all_difficulties]
        for split in SPLITS
        if kept[split]
    }


def refuse_tasks_over_at_once(game: str, pairs: Pairs) -> None:
    """Raise `ValueError` if ale-py ends one of these tasks before its first step."""
    over = [pair for pair in pairs if is_over_at_once(game, *pair)]
    if over:
        good = sorted({mode for mode, _ in pairs} - {mode for mode, _ in over})
        raise ValueError(f"modes: got {over[0][0]}, which ale-py ends at once in {game}; give modes, some of {good}")
