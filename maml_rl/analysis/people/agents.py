"""Choices of agents, from the results of an evaluation, in the form of people's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.two_step import two_step_trials
from maml_rl.analysis.two_step_choices import TwoStepChoices
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import DamagedFileError, read_npz

_KEYS = ("observations", "actions", "rewards", "mask")


def bandit_choices_of_agents(path: str | Path, *, num_arms: int | None = None) -> dict[str, Choices]:
    """Choices of every agent of a ``results.npz`` on bandits; an episode is a task.

    Every step is a choice; of families with a fixation before it, observed as (1, 0) and (0, 1), every second one, and
    an action that is no arm there is a missed trial.

    Parameters
    ----------
    path
        Results of algorithm rl2, as `test.py` writes them.
    num_arms
        Arms K, >= 2; ``None``: the number of different actions, with a fixation one less than the largest action that
        fixates tells.

    Raises
    ------
    InputError
        In one line, if the file holds no such choices.
    """
    observations, actions, rewards, mask = _episodes(path)
    found = {}
    fixates = _has_fixation(observations)
    if fixates:  # whoever fixates does so with the last action
        num_arms = num_arms or int(actions[..., 0::2].max())
        actions, rewards, mask = (part[..., 1::2] for part in (actions, rewards, mask))
    num_arms = num_arms or max(2, int(actions.max()) + 1)
    for number, (acted, obtained, valid) in enumerate(zip(actions, rewards, mask, strict=True)):
        made = valid & (acted < num_arms)
        found[f"agent {number + 1}"] = Choices(np.where(made, acted, MISSED), np.where(made, obtained, 0.0), num_arms)
    return found


def two_step_choices_of_agents(path: str | Path) -> dict[str, TwoStepChoices]:
    """Trials of every agent of a ``results.npz`` of `TwoStep-v0`, where there is no choice at stage two.

    See `bandit_choices_of_agents`.
    """
    observations, actions, rewards, _ = _episodes(path)
    found = {}
    for number, episode in enumerate(zip(observations, actions, rewards, strict=True)):
        try:
            choices, _, common = two_step_trials(*episode)
        except ValueError as error:
            raise InputError(f"{str(path)!r}: not of the two-step task: {error}") from None
        seconds = np.where(common, choices, 1 - choices)
        found[f"agent {number + 1}"] = TwoStepChoices(choices, seconds, None, episode[2][:, 1::2])
    return found


def _episodes(path: str | Path) -> tuple[np.ndarray, ...]:
    """Observations (P, N, T, O), actions, rewards and mask (P, N, T) of P agents."""
    try:
        arrays: dict[str, Any] = read_npz(Path(path), lambda names: [key for key in _KEYS if key in names])
    except (OSError, DamagedFileError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is no archive of plain arrays"
        raise InputError(f"cannot read {str(path)!r}: {why}, expected a results.npz that test.py wrote") from None
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise InputError(
            f"{str(path)!r}: got no {missing[0]}, expected results of algorithm rl2, which keep what agents did"
        )
    if arrays["actions"].dtype.kind not in "iu" or arrays["actions"].ndim not in (2, 3):
        raise InputError(
            f"{str(path)!r}: got actions {arrays['actions'].dtype} of shape {arrays['actions'].shape}, expected "
            "choices among a few actions"
        )
    if arrays["actions"].ndim == 2:
        arrays = {key: part[np.newaxis] for key, part in arrays.items()}
    return (*(arrays[key] for key in _KEYS[:3]), arrays["mask"].astype(bool))


def _has_fixation(observations: np.ndarray) -> bool:
    """True if observations (..., T, O) are (1, 0) and (0, 1) in turn."""
    if observations.shape[-1] != 2 or observations.shape[-2] % 2:
        return False
    turns = np.tile(np.eye(2), (observations.shape[-2] // 2, 1))  # (T, 2)
    return bool((observations == turns).all())
