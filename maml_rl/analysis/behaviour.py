"""What an agent's choices look like from outside: regret, staying, autocorrelation."""

from __future__ import annotations

import numpy as np

from maml_rl.analysis.arms import MISSED, check_arms_or_missed, check_choices
from maml_rl.analysis.statistics import Interval, mean_interval


def cumulative_regret(choices: np.ndarray, arm_means: np.ndarray) -> np.ndarray:
    """What was lost so far by not pulling the best arm: ``R_t = sum_{s <= t} (max_a mu_{s,a} - mu_{s,c_s})``.

    Means, not rewards, are compared, so that luck is left out (Wang et al. 2016, section 3.1).

    Parameters
    ----------
    choices
        (..., T), the arms pulled: whole numbers from 0 to k - 1.
    arm_means
        (..., T, k), what each arm paid on average at each pull; (..., 1, k) where arms stay as they are.

    Returns
    -------
    (..., T), never falling.

    Raises
    ------
    ValueError
        If the shapes do not fit or a choice is no arm.

    Examples
    --------
    >>> cumulative_regret(np.array([0, 1, 1]), np.array([[0.25, 0.75]])).tolist()
    [0.5, 0.5, 0.5]
    """
    arm_means = np.asarray(arm_means, dtype=np.float64)
    if arm_means.ndim < 2:
        raise ValueError(f"arm_means: got shape {arm_means.shape}, expected (..., T, k) or (..., 1, k)")
    choices = check_choices(choices, arm_means.shape[-1])
    try:
        arm_means = np.broadcast_to(arm_means, (*choices.shape, arm_means.shape[-1]))
    except ValueError:
        raise ValueError(
            f"arm_means: got shape {arm_means.shape}, expected (..., T, k) or (..., 1, k) with choices {choices.shape}"
        ) from None
    chosen = np.take_along_axis(arm_means, choices[..., None], axis=-1)[..., 0]
    return np.cumsum(arm_means.max(axis=-1) - chosen, axis=-1)


def two_step_trials(
    observations: np.ndarray, actions: np.ndarray, rewards: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `stay_frequencies` needs of episodes of `TwoStep-v0`.

    Parameters
    ----------
    observations
        (..., 2 T, 3), of T trials: stage one and one of the second states in turn, one-hot.
    actions, rewards
        (..., 2 T).

    Returns
    -------
    choices, rewarded, common
        (..., T) each: the stage-one choice, whether the trial paid, whether its transition was the common one.

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
    """How often the first choice of a two-step trial is made again in the next one (Daw et al. 2011, figure 2).

    Parameters
    ----------
    choices
        (..., T), the stage-one choice of each trial, T >= 2; -1 in a trial without one. A missed trial belongs to no
        pair of trials: neither the trial before it nor the trial itself is counted.
    rewarded
        (..., T), whether the trial paid; what stands in a missed trial does not count, here and below.
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
    frequencies = np.empty((*choices.shape[:-1], 2, 2))
    for row, paid in enumerate((rewarded, ~rewarded)):
        for column, moved in enumerate((common, ~common)):
            trials = paid & moved & counted  # (..., T - 1)
            with np.errstate(invalid="ignore"):  # 0 / 0: no such trial
                frequencies[..., row, column] = (stays & trials).sum(axis=-1) / trials.sum(axis=-1)
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
    cells = [frequencies[:, row, column] for row in (0, 1) for column in (0, 1)]
    known = [cell[~np.isnan(cell)] for cell in cells]
    intervals = [mean_interval(cell if len(cell) else np.array([np.nan]), confidence=confidence) for cell in known]
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
        If the last two axes are not (2, 2), or a number is no probability.

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
    """Main effect of reward: ``(RC + RU) - (UC + UU)``, in [-2, 2]; large for an agent that repeats what paid.

    Parameters and errors are those of `model_based_index`, its companion.
    """
    stay = _table(stay)
    return (stay[..., 0, 0] + stay[..., 0, 1]) - (stay[..., 1, 0] + stay[..., 1, 1])


def choice_autocorrelation(choices: np.ndarray, max_lag: int) -> np.ndarray:
    """How much choices l trials apart agree beyond chance, for l = 1 ... `max_lag`.

    ``sum_a mean_t (x_{t,a} - m_a) (x_{t+l,a} - m_a) / sum_a m_a (1 - m_a)`` with ``x_{t,a} = 1`` where arm a was
    chosen, else 0, and m_a its mean over the episode: for two arms the usual autocorrelation of a series of zeros and
    ones, for more arms its average weighted by their variances. Means go over trials and pairs of trials without a
    missed one.

    Parameters
    ----------
    choices
        (..., T), arms from 0 on; -1 in a trial without a choice.
    max_lag
        Largest lag, 1 to T - 1.

    Returns
    -------
    (..., max_lag), 1 for choices that repeat with this period; NaN for an episode with one arm only, and at a lag
    without a pair of choices.

    Raises
    ------
    ValueError
        If there are too few trials for `max_lag`, or a choice is neither an arm nor -1.

    Examples
    --------
    >>> choice_autocorrelation(np.array([0, 1, 0, 1, 0, 1]), 2).tolist()
    [-1.0, 1.0]
    """
    choices = check_arms_or_missed(choices)
    num_trials = choices.shape[-1] if choices.ndim else 0
    if not 1 <= max_lag < num_trials:
        raise ValueError(f"max_lag: got {max_lag}, expected 1 to {num_trials - 1} with {num_trials} trials")
    made = choices != MISSED  # (..., T)
    chosen = (choices[..., None] == np.unique(choices[made])).astype(np.float64)  # (..., T, k)
    with np.errstate(invalid="ignore"):  # 0 / 0: no choice, no pair of choices, one arm only
        means = chosen.sum(axis=-2, keepdims=True) / made.sum(axis=-1)[..., None, None]
        deviations = np.where(made[..., None], chosen - means, 0.0)
        variances = (means * (1.0 - means)).sum(axis=(-2, -1))
        products = [
            (deviations[..., :-lag, :] * deviations[..., lag:, :]).sum(axis=(-2, -1))
            / (made[..., :-lag] & made[..., lag:]).sum(axis=-1)
            for lag in range(1, max_lag + 1)
        ]
        return np.stack(products, axis=-1) / variances[..., None]


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
