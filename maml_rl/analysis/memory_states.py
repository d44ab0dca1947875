"""Contents of an agent's memory: decoding of past choices, and similarity of states. Decoding needs scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from maml_rl.analysis.arms import MISSED, check_arms_or_missed
from maml_rl.utils.checks import check_at_least
from maml_rl.utils.errors import InputError


def decode_choices(
    states: np.ndarray, choices: np.ndarray, max_lag: int, *, num_components: int = 10, num_folds: int = 5
) -> np.ndarray:
    """Accuracy of reading the choice l trials ago from a memory, for l = 1 ... `max_lag`.

    The memory's principal components and a multinomial logistic regression, fitted to the episodes of all folds but one
    and asked about the episodes of that one (episode e belongs to fold ``e % num_folds``).

    Parameters
    ----------
    states
        Memory (E, T, H) at each choice, before it is made.
    choices
        (E, T), arms from 0 on; -1 in a trial without a choice, which is neither learned nor asked about.
    max_lag
        Largest lag, 1 to T - 1.
    num_components
        Principal components, of the H there are, >= 1.
    num_folds
        2 to E.

    Returns
    -------
    Fraction of choices decoded, (max_lag,); to be seen beside the fraction of the commonest choice, `commonest_choice`.
    NaN at a lag without a choice.

    Raises
    ------
    InputError
        If scikit-learn is missing.
    ValueError
        If the shapes do not fit or a number is out of range.
    """
    states, choices = _checked(states, choices, max_lag)
    fractions = np.empty(max_lag)
    for lag in range(1, max_lag + 1):
        hits, made = _decoded(states, choices, lag, num_components, num_folds)
        fractions[lag - 1] = hits[made].mean() if made.any() else np.nan
    return fractions


def decode_episodes(
    states: np.ndarray, choices: np.ndarray, lags: Sequence[int], *, num_components: int = 10, num_folds: int = 5
) -> np.ndarray:
    """Accuracy within each episode, (E, L), of reading the choice l trials ago, for each of the L `lags`, 1 to T - 1.

    As `decode_choices`, with states (E, T, H) and choices (E, T): every episode is asked about by a decoder that was
    fitted to others. NaN where an episode has no choice at a lag.
    """
    fractions = np.empty((len(choices), len(lags)))
    for column, lag in enumerate(lags):
        states, choices = _checked(states, choices, lag)
        hits, made = _decoded(states, choices, lag, num_components, num_folds)
        with np.errstate(invalid="ignore"):  # 0 / 0
            fractions[:, column] = np.where(made, hits, False).sum(axis=1) / made.sum(axis=1)
    return fractions


def _decoded(
    states: np.ndarray, choices: np.ndarray, lag: int, num_components: int, num_folds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choices `lag` trials ago that were decoded, and those that were made: both (E, T - lag) bool."""
    make_decoder = _decoder_factory()
    num_episodes, _, width = states.shape
    if not 2 <= num_folds <= num_episodes:
        raise ValueError(f"num_folds: got {num_folds} with {num_episodes} episodes, expected 2 to {num_episodes}")
    check_at_least(1, num_components=num_components)
    folds = np.arange(num_episodes) % num_folds
    made, recalled, before = choices[:, :-lag] != MISSED, states[:, lag:], choices[:, :-lag]  # (E, T - lag, ...)
    hits = np.zeros(made.shape, dtype=bool)
    for fold in range(num_folds):
        train, test = made & (folds != fold)[:, np.newaxis], made & (folds == fold)[:, np.newaxis]
        targets, answers = before[train], before[test]
        if len(np.unique(targets)) <= 1 or not len(answers):
            hits[test] = np.isin(answers, targets)
            continue
        decoder = make_decoder(min(num_components, width, len(targets)))
        decoder.fit(recalled[train], targets)
        hits[test] = decoder.predict(recalled[test]) == answers
    return hits, made


def commonest_choice(choices: np.ndarray) -> float:
    """Fraction of the most frequent choice among all `choices` (E, T) made: what can be decoded from nothing.

    Raises `ValueError` if none was made, or one is neither an arm nor -1, a missed trial.
    """
    choices = check_arms_or_missed(choices)
    made = choices[choices != MISSED]
    if not len(made):
        raise ValueError("choices: got no choice at all, expected at least one")
    return float(np.unique(made, return_counts=True)[1].max() / len(made))


def state_similarity(states: np.ndarray, max_lag: int) -> np.ndarray:
    """Mean correlation between memory states l trials apart, for l = 1 ... `max_lag`.

    Units are centred by their means over all states first, so that what never changes counts for nothing.

    Parameters
    ----------
    states
        Memory (E, T, H) at each choice.
    max_lag
        Largest lag, 1 to T - 1.

    Returns
    -------
    (max_lag,), in [-1, 1]; NaN where a memory never changes.

    Raises
    ------
    ValueError
        If the shapes do not fit.
    """
    states, _ = _checked(states, np.zeros(np.shape(states)[:2], dtype=np.int64), max_lag)
    centred = states - states.mean(axis=(0, 1))
    centred = centred - centred.mean(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # 0 / 0
        unit = centred / np.sqrt((centred**2).sum(axis=-1, keepdims=True))
    return np.array([(unit[:, :-lag] * unit[:, lag:]).sum(axis=-1).mean() for lag in range(1, max_lag + 1)])


def check_decoder() -> None:
    """Raise `InputError` if scikit-learn is missing."""
    _decoder_factory()


def _decoder_factory() -> Any:
    try:
        from sklearn.decomposition import PCA
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise InputError(
            "decoding: scikit-learn is missing; install it with pip install 'maml_rl[analysis]'"
        ) from error

    def make(num_components: int) -> Any:
        pca = PCA(num_components, svd_solver="full")  # the other solvers draw
        return make_pipeline(pca, StandardScaler(), LogisticRegression(max_iter=1000))

    return make


def _checked(states: np.ndarray, choices: np.ndarray, max_lag: int) -> tuple[np.ndarray, np.ndarray]:
    states, choices = np.asarray(states, dtype=np.float64), check_arms_or_missed(choices)
    if states.ndim != 3 or choices.shape != states.shape[:2]:
        raise ValueError(
            f"states: got shape {states.shape} with choices {choices.shape}, expected (E, T, H) and (E, T)"
        )
    if not np.isfinite(states).all():
        raise ValueError("states: got NaN or infinity, expected finite numbers")
    if not 1 <= max_lag < states.shape[1]:
        raise ValueError(f"max_lag: got {max_lag}, expected 1 to {states.shape[1] - 1}")
    return states, choices
