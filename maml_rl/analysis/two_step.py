"""Choices in the two-step task: probabilities of staying, and the planning they tell of."""

from __future__ import annotations

import numpy as np

from maml_rl.analysis.arms import MISSED, check_arms_or_missed
from maml_rl.analysis.intervals import Interval, mean_interval


def two_step_trials(
    observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Trials of the two-step task, read off its episodes: arguments of `stay_frequencies`.

    Parameters
    ----------
    observations
        (..., 2 T, 3), of T trials: stage one and one of the second states in turn, one-hot.
    actions, rewards
        (..., 2 T).

    Returns
    -------
    choices, rewarded, common
        (..., T) each: the stage-one choice, whether the trial was rewarded, whether its transition was the common one.

    Raises
    ------
    ValueError
        If the shapes do not fit, stages do not alternate, or a reward is not a finite number.
    """
    observations, actions, rewards = (np.asarray(part) for part in (observations, actions, rewards))
    if observations.shape != (*actions.shape, 3) or actions.shape != rewards.shape or actions.shape[-1] % 2:
        raise ValueError(
            f"observations, actions, rewards: got shapes {observations.shape}, {actions.shape}, {rewards.shape}, "
            "expected (..., 2 T, 3), (..., 2 T), (..., 2 T)"
        )
    states = observations.argmax(axis=-1)
    if states[..., 0::2].any() or not states[..., 1::2].all():
        raise ValueError("observations: stage one and a second state do not alternate")
    if rewards.dtype.kind not in "biuf" or not np.isfinite(rewards).all():
        raise ValueError("rewards: got NaN, infinity or text, expected finite numbers; mend or leave out such episodes")
    choices = actions[..., 0::2]
    return choices, rewards[..., 1::2] > 0, states[..., 1::2] - 1 == choices


def stay_frequencies(
    choices: np.ndarray, rewarded: np.ndarray, common: np.ndarray, *, among: np.ndarray | None = None
) -> np.ndarray:
    """Frequency with which a two-step trial's first choice is made again in the next one (Daw et al. 2011, figure 2).

    Parameters
    ----------
    choices
        (..., T), the stage-one choice of each trial, T >= 2; -1 in a trial without one. A missed trial belongs to no
        pair of trials: neither the trial before it nor the trial itself is counted.
    rewarded
        (..., T), whether the trial was rewarded; what stands in a missed trial does not count, here and below.
    common
        (..., T), whether its transition was the common one.
    among
        (..., T), the trials after which staying is counted, such as those with the better choice; all if not given.

    Returns
    -------
    (..., 2, 2): ``[..., 0, :]`` after reward, ``[..., 1, :]`` without; ``[..., 0]`` after a common transition,
    ``[..., 1]`` after an uncommon one. NaN where an episode has no such trial.

    Raises
    ------
    ValueError
        If the shapes differ, there are fewer than two trials, a choice is neither an arm nor -1, or a flag is neither
        0 nor 1.
    """
    choices = check_arms_or_missed(choices)
    made = choices != MISSED
    rewarded, common = _flags("rewarded", rewarded, made), _flags("common", common, made)
    counted = made if among is None else _flags("among", among, made) & made
    if choices.ndim == 0 or choices.shape[-1] < 2:
        raise ValueError(f"choices: got shape {choices.shape}, expected at least two trials along the last axis")
    stays = choices[..., 1:] == choices[..., :-1]
    rewarded, common, counted = rewarded[..., :-1], common[..., :-1], counted[..., :-1] & made[..., 1:]
    return frequencies_by_kind(stays, rewarded, common, counted)


def frequencies_by_kind(
    repeated: np.ndarray, rewarded: np.ndarray, common: np.ndarray, counted: np.ndarray
) -> np.ndarray:
    """Frequency (..., 2, 2) with which a choice was `repeated`: rewarded or not by common or uncommon, as above.

    Of pairs of trials: the second repeated the first's choice, the first was rewarded, its transition was the common
    one, and the pair counts: `repeated` (..., T), `rewarded` (..., T), `common` (..., T) and `counted` (..., T) bool.
    """
    frequencies = np.empty((*repeated.shape[:-1], 2, 2))
    for row, outcome in enumerate((rewarded, ~rewarded)):
        for column, moved in enumerate((common, ~common)):
            pairs = outcome & moved & counted  # (..., T)
            with np.errstate(invalid="ignore"):  # 0 / 0: no such pair
                frequencies[..., row, column] = (repeated & pairs).sum(axis=-1) / pairs.sum(axis=-1)
    return frequencies


def stay_probabilities(
    choices: np.ndarray,
    rewarded: np.ndarray,
    common: np.ndarray,
    *,
    among: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Means of `stay_frequencies` over episodes, with Student's t intervals.

    The interval is that of one agent over its episodes; agents trained with several seeds are compared by their
    means, one number per seed. An episode without trials of a kind is left out of that kind's mean.

    Parameters
    ----------
    choices, rewarded, common, among
        (E, T), as in `stay_frequencies`; E episodes.
    confidence
        In (0, 1).

    Returns
    -------
    Three arrays (2, 2): reward or not by common or uncommon. NaN where no episode has such a trial.

    Raises
    ------
    ValueError
        As `stay_frequencies`, or if there is not one axis of episodes and one of trials.
    """
    frequencies = stay_frequencies(choices, rewarded, common, among=among)
    if frequencies.ndim != 3:
        raise ValueError(f"choices: got shape {np.shape(choices)}, expected (episodes, trials)")
    kinds = [frequencies[:, row, column] for row in (0, 1) for column in (0, 1)]
    known = [kind[~np.isnan(kind)] for kind in kinds]
    intervals = [mean_interval(kind if len(kind) else np.array([np.nan]), confidence=confidence) for kind in known]
    return Interval(*(np.array([getattr(i, end) for i in intervals]).reshape(2, 2) for end in ("mean", "low", "high")))


def model_based_index(stay: np.ndarray) -> np.ndarray:
    """Interaction of reward and transition: ``(RC - RU) - (UC - UU)``, in [-2, 2].

    RC is the probability of staying after a rewarded trial with a common transition; RU, UC and UU stand for rewarded
    uncommon, unrewarded common and unrewarded uncommon.

    It is the contrast by which Daw et al. 2011, figure 2, tell a model-based learner (large: an uncommon transition
    turns round what a reward recommends) from a model-free one (0), on probabilities instead of the log odds of a
    logistic regression, so that probabilities of 0 and 1 do no harm.

    It looks one trial back only. Where the better choice lasts for many trials, as in `TwoStep-v0`, a trial's kind
    also tells how good its choice was, and a model-free agent's index is clearly above 0 (Akam, Costa & Dayan 2015,
    who add the better choice to the regression). Their cure without one: take the index ``among`` the trials with
    the better choice, then among the others; the mean of the two is about 0 for a model-free agent.

    Parameters
    ----------
    stay
        (..., 2, 2), as `stay_frequencies` returns them; the index is NaN where one of the four is.

    Raises
    ------
    ValueError
        If the last two axes are not (2, 2), or a number is not a probability.

    Examples
    --------
    Meta-learned behaviour, read off a figure of Wang et al. 2016:

    >>> stay = np.array([[0.99, 0.635], [0.62, 0.99]])
    >>> round(float(model_based_index(stay)), 3), round(float(model_free_index(stay)), 3)
    (0.725, 0.015)
    """
    stay = _table(stay)
    return (stay[..., 0, 0] - stay[..., 0, 1]) - (stay[..., 1, 0] - stay[..., 1, 1])


def model_free_index(stay: np.ndarray) -> np.ndarray:
    """Main effect of reward: ``(RC + RU) - (UC + UU)``, in [-2, 2]; large for an agent that repeats what was rewarded.

    The table stay (..., 2, 2) and errors are those of `model_based_index`, its companion.
    """
    stay = _table(stay)
    return (stay[..., 0, 0] + stay[..., 0, 1]) - (stay[..., 1, 0] + stay[..., 1, 1])


def _flags(name: str, values: np.ndarray, made: np.ndarray) -> np.ndarray:
    """Return `values` as booleans; raise `ValueError` unless they are 0 or 1 wherever a choice was made."""
    values = np.asarray(values)
    if values.shape != made.shape:
        raise ValueError(f"{name}: got shape {values.shape}, expected {made.shape}, that of choices")
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{name}: got values of type {values.dtype}, expected 0 or 1; convert them to numbers")
    if not np.isin(values[made], (0, 1)).all():
        raise ValueError(f"{name}: got {np.unique(values[made])[:5].tolist()}, expected 0 or 1")
    return values == 1


def _table(stay: np.ndarray) -> np.ndarray:
    stay = np.asarray(stay)
    if stay.dtype.kind not in "biuf":
        raise ValueError(f"stay: got values of type {stay.dtype}, expected probabilities; see stay_frequencies")
    stay = stay.astype(np.float64)
    if stay.shape[-2:] != (2, 2):
        raise ValueError(f"stay: got shape {stay.shape}, expected (..., 2, 2)")
    outside = (stay < 0.0) | (stay > 1.0)  # NaN stands for a kind of trial that did not occur
    if outside.any():
        raise ValueError(f"stay: got {stay[outside][0]:g}, expected probabilities in [0, 1]; see stay_frequencies")
    return stay
