"""Choices in the contextual two-step task: the trials, recent or recalled, and the learners that explain them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from maml_rl.analysis.logistic_regression import LogisticFit, fit_logistic
from maml_rl.analysis.two_step import frequencies_by_kind, two_step_trials

Pairing = Literal["uncued-incremental", "cued-incremental", "cued-episodic"]
"""Trials that are explained, and by which: uncued ones by the trial before; cued ones by that, or by the recalled."""
PAIRINGS: tuple[Pairing, ...] = ("uncued-incremental", "cued-incremental", "cued-episodic")
STAY_TERMS = ("intercept", "reward", "transition", "reward x transition")
"""Coefficients of `regress_stays`, in their order."""
_NUM_STATES = 3
_NONE = -1


@dataclass(frozen=True)
class ContextualTrials:
    """Trials of meta-episodes of the contextual two-step task.

    Attributes
    ----------
    choices
        (..., T), the stage-one choice, 0 or 1.
    rewarded
        (..., T) bool.
    seconds
        (..., T), the second state reached, 0 or 1; choice a commonly leads to second state a.
    recalled
        (..., T), index of the trial whose context was the cue; -1 in an uncued trial.
    """

    choices: np.ndarray
    rewarded: np.ndarray
    seconds: np.ndarray
    recalled: np.ndarray


@dataclass(frozen=True)
class TrialPairs:
    """Pairs of a trial and an earlier one that may explain its choice, n of them.

    Attributes
    ----------
    choices
        (n,), choices to be explained, 0 or 1.
    earlier_choices, rewarded, seconds
        (n,) each, choice, reward and second state of the earlier trial.
    """

    choices: np.ndarray
    earlier_choices: np.ndarray
    rewarded: np.ndarray
    seconds: np.ndarray


def contextual_two_step_trials(observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray) -> ContextualTrials:
    """Trials of meta-episodes, read off what was observed.

    Parameters
    ----------
    observations
        (..., 2 T, 3 + bits), of T trials from the first on: stage one with the cue, stage two with the trial's context.
        Zeros stand for none.
    actions, rewards
        (..., 2 T).

    Raises
    ------
    ValueError
        If the shapes do not fit, stages do not alternate, or a cue is no context of an earlier trial.
    """
    observations = np.asarray(observations)
    choices, rewarded, common = two_step_trials(observations[..., :_NUM_STATES], actions, rewards)
    cues, contexts = observations[..., 0::2, _NUM_STATES:], observations[..., 1::2, _NUM_STATES:]  # (..., T, bits)
    cued = cues.any(axis=-1)
    # Codes of -1 and 1 are equal if their product is their length.
    same = np.einsum("...tb,...sb->...ts", cues.astype(np.float32), contexts.astype(np.float32)) == cues.shape[-1]
    earlier = same & np.tri(choices.shape[-1], k=-1, dtype=bool)  # (..., T, T)
    if not earlier.any(axis=-1)[cued].all():
        raise ValueError(
            "observations: got a cue that is no context of an earlier trial; give trials from the first on"
        )
    last = choices.shape[-1] - 1 - earlier[..., ::-1].argmax(axis=-1)
    return ContextualTrials(choices, rewarded, np.where(common, choices, 1 - choices), np.where(cued, last, _NONE))


def trial_pairs(trials: ContextualTrials, pairing: Pairing) -> TrialPairs:
    """Pairs of all meta-episodes one after another, a pair for each trial that there is one for.

    The pairs of ``"cued-incremental"`` and ``"cued-episodic"`` explain the same choices in the same order.
    """
    if pairing not in PAIRINGS:
        raise ValueError(f"pairing: got {pairing!r}, expected one of {', '.join(PAIRINGS)}")
    before = np.broadcast_to(np.arange(trials.choices.shape[-1]) - 1, trials.choices.shape)  # (..., T), -1: none
    earlier = trials.recalled if pairing == "cued-episodic" else before
    counted = (trials.recalled < 0 if pairing == "uncued-incremental" else trials.recalled >= 0) & (earlier >= 0)
    known = (trials.choices, trials.rewarded, trials.seconds)
    past = [np.take_along_axis(part, np.maximum(earlier, 0), axis=-1)[counted] for part in known]
    return TrialPairs(trials.choices[counted], *past)


def with_substitutes(trials: ContextualTrials, rng: np.random.Generator) -> ContextualTrials:
    """The same trials (..., T), each cue recalling another trial that it could as well have recalled: a control.

    An agent that has learned which state was rich in a quarter of the trials, but recalls none of them, makes choices
    that agree with any trial of that quarter. To it the recalled trial and every other one of the quarter that has not
    been recalled yet are alike, for the task draws from them uniformly. So what a recalled trial explains beyond what a
    substitute explains is memory of that trial.

    A substitute is drawn uniformly from those other trials. The last cued trial of a quarter, which could recall no
    other, keeps its own.

    Raises
    ------
    ValueError
        If meta-episodes differ in how many trials are uncued.
    """
    recalled = trials.recalled.reshape(-1, trials.recalled.shape[-1])  # (..., T) -> (N, T)
    (num_uncued, *others) = np.unique((recalled < 0).sum(axis=1))
    if others:
        raise ValueError("trials: got different numbers of uncued trials, expected one for all; analyse them apart")
    places, found = np.arange(num_uncued), np.full_like(recalled, _NONE)
    left, first_quarter = np.ones((len(recalled), num_uncued), dtype=bool), places < num_uncued // 2
    for trial, own in enumerate(recalled.T):
        rows = np.flatnonzero(own >= 0)
        if not len(rows):
            continue
        others_left = left[rows] & (first_quarter == first_quarter[own[rows], np.newaxis])  # (n, H)
        scores = others_left * (1.0 - rng.random(others_left.shape))
        scores[np.arange(len(rows)), own[rows]] = np.finfo(np.float64).tiny  # where no other is left
        found[rows, trial] = scores.argmax(axis=1)
        left[rows, own[rows]] = False
    return replace(trials, recalled=found.reshape(trials.recalled.shape))


def stay_table(pairs: TrialPairs) -> np.ndarray:
    """Frequency (2, 2) with which the earlier trial's choice was made again.

    Rows: after reward, without; columns: after a common, an uncommon transition, as in
    `maml_rl.analysis.two_step.stay_frequencies`. NaN where there is no such pair.
    """
    repeated, common = pairs.choices == pairs.earlier_choices, pairs.seconds == pairs.earlier_choices
    return frequencies_by_kind(repeated, pairs.rewarded, common, np.ones(len(repeated), dtype=bool))


def regress_stays(pairs: TrialPairs) -> LogisticFit:
    """Logistic regression of repeating the earlier choice on its reward, its transition and their product.

    Terms are `STAY_TERMS`, each 1 or -1: reward or none, common or uncommon. A model-free learner has a positive
    effect of reward alone; a model-based one a positive product, the interaction. It looks at one earlier trial:
    since the rich state lasts, a choice made for other trials' sake looks a little as if made for this one's, see
    `regress_choices` and `with_substitutes`.

    Raises
    ------
    ValueError
        If there is no pair.
    """
    reward, transition = _signs(pairs.rewarded), _signs(pairs.seconds == pairs.earlier_choices)
    features = np.stack([np.ones_like(reward), reward, transition, reward * transition], axis=1)  # (n, 4)
    return fit_logistic(features, pairs.choices == pairs.earlier_choices)


def regress_choices(trials: ContextualTrials, *, cued: bool) -> dict[str, tuple[float, float]]:
    """Logistic regression of choices on what model-free and model-based learners would make of earlier trials.

    Of each earlier trial there are three regressors, positive where they speak for choice 1:

    - model-free: reward (1, or -1 for none) credited to the earlier choice;
    - model-based: reward credited to the choice that commonly leads to the second state reached then;
    - repeat: the earlier choice, whatever came of it.

    Uncued choices are explained by the trial before (incremental), cued ones by that and by the recalled one
    (episodic) together, so that each effect is given the others. A constant preference is among the regressors. One
    trial before is not all that an agent may have learned: weights of recalled trials count beyond those of
    `with_substitutes`.

    Parameters
    ----------
    trials
        Of one agent.
    cued
        Explain cued choices, else uncued ones.

    Returns
    -------
    Coefficient and its standard error, in log odds, by name, such as ``"episodic model-based"``.

    Raises
    ------
    ValueError
        If there is no such choice with a trial before it.
    """
    pairings: dict[str, Pairing] = (
        {"episodic": "cued-episodic", "incremental": "cued-incremental"}
        if cued
        else {"incremental": "uncued-incremental"}
    )
    columns: dict[str, np.ndarray] = {}
    for name, pairing in pairings.items():
        pairs = trial_pairs(trials, pairing)
        reward = _signs(pairs.rewarded)
        columns[f"{name} model-based"] = reward * _signs(pairs.seconds)
        columns[f"{name} model-free"] = reward * _signs(pairs.earlier_choices)
        columns[f"{name} repeat"] = _signs(pairs.earlier_choices)
    columns["preference"] = np.ones(len(pairs.choices))
    fit = fit_logistic(np.stack(list(columns.values()), axis=1), pairs.choices)
    return {
        name: (float(coefficient), float(error))
        for name, coefficient, error in zip(columns, fit.coefficients, fit.errors, strict=True)
    }


def _signs(flags: np.ndarray) -> np.ndarray:
    """1.0 for true or 1, -1.0 for false or 0."""
    return np.where(flags, 1.0, -1.0)
