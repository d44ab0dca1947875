"""Kernels of models of choices: what a trial teaches, what is known before every trial, how likely choices are.

E episodes, T trials, K arms, A actions at stage two. A choice of -1 is a trial without one: nothing is learned from it,
but time goes on.
"""

from __future__ import annotations

import math

import numpy as np

from maml_rl.utils.kernels import compiled, compiled_exactly

_SQRT_HALF = math.sqrt(0.5)
_TINY = 1e-300
_REACH = 7.0
"""Standard deviations of an arm's draw beyond which nothing of it is counted."""


@compiled_exactly
def _copy(values: np.ndarray, found: np.ndarray, trial: int) -> None:
    """Write values (E, K) into their place of `found` (E, T, K)."""
    for episode in range(values.shape[0]):
        for arm in range(values.shape[1]):
            found[episode, trial, arm] = values[episode, arm]


@compiled_exactly
def delta_step(values: np.ndarray, arms: np.ndarray, rewards: np.ndarray, rule: np.ndarray) -> None:
    """Change values (E, K) by a trial's `arms` and `rewards` (E,).

    The `rule` (4,): learning rates of positive and of negative prediction errors, forgetting of arms not chosen, the
    value that they fall back to.
    """
    for episode in range(values.shape[0]):
        for arm in range(values.shape[1]):
            if arm == arms[episode]:
                error = rewards[episode] - values[episode, arm]
                values[episode, arm] += (rule[0] if error > 0.0 else rule[1]) * error
            else:
                values[episode, arm] += rule[2] * (rule[3] - values[episode, arm])


@compiled_exactly
def delta_walk(choices: np.ndarray, rewards: np.ndarray, num_arms: int, rule: np.ndarray) -> np.ndarray:
    """Values (E, T, K) before each of the `choices` with `rewards` (E, T); the `rule` (4,) as in `delta_step`."""
    found = np.empty((*choices.shape, num_arms))
    values = np.full((choices.shape[0], num_arms), rule[3])
    for trial in range(choices.shape[1]):
        _copy(values, found, trial)
        delta_step(values, choices[:, trial], rewards[:, trial], rule)
    return found


@compiled_exactly
def age_step(ages: np.ndarray, arms: np.ndarray) -> None:
    """Change ages (E, K), trials since an arm's last choice, by a trial's `arms` (E,)."""
    for episode in range(ages.shape[0]):
        for arm in range(ages.shape[1]):
            ages[episode, arm] = 0.0 if arm == arms[episode] else ages[episode, arm] + 1.0


@compiled_exactly
def age_walk(choices: np.ndarray, num_arms: int) -> np.ndarray:
    """Ages (E, T, K) before each of the `choices` (E, T)."""
    found = np.empty((*choices.shape, num_arms))
    ages = np.zeros((choices.shape[0], num_arms))
    for trial in range(choices.shape[1]):
        _copy(ages, found, trial)
        age_step(ages, choices[:, trial])
    return found


@compiled_exactly
def kalman_step(
    means: np.ndarray, variances: np.ndarray, arms: np.ndarray, rewards: np.ndarray, drift: np.ndarray
) -> None:
    """Change beliefs, `means` and `variances` (E, K), by a trial's `arms` and `rewards` (E,), then by the arms' drift.

    The `drift` (4,): decay towards the centre, the centre, variances of a step and of a payoff.
    """
    for episode in range(means.shape[0]):
        for arm in range(means.shape[1]):
            mean, variance = means[episode, arm], variances[episode, arm]
            if arm == arms[episode]:
                gain = variance / (variance + drift[3])
                mean += gain * (rewards[episode] - mean)
                variance *= 1.0 - gain
            means[episode, arm] = drift[1] + drift[0] * (mean - drift[1])
            variances[episode, arm] = drift[0] ** 2 * variance + drift[2]


@compiled_exactly
def kalman_walk(
    choices: np.ndarray, rewards: np.ndarray, num_arms: int, drift: np.ndarray, first_variance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances (E, T, K) before each of the `choices` with `rewards` (E, T); `drift` (4,) as above."""
    found_means, found_variances = np.empty((*choices.shape, num_arms)), np.empty((*choices.shape, num_arms))
    means = np.full((choices.shape[0], num_arms), drift[1])
    variances = np.full((choices.shape[0], num_arms), first_variance)
    for trial in range(choices.shape[1]):
        _copy(means, found_means, trial)
        _copy(variances, found_variances, trial)
        kalman_step(means, variances, choices[:, trial], rewards[:, trial], drift)
    return found_means, found_variances


@compiled_exactly
def softmax_log_likelihoods(values: np.ndarray, choices: np.ndarray, beta: float, kappa: float) -> np.ndarray:
    """Log probabilities (E, T) of `choices` (E, T) by a softmax of `values` (E, T, K) and of what was chosen last."""
    found = np.zeros(choices.shape)
    logits = np.empty(values.shape[2])
    for episode in range(choices.shape[0]):
        last = -1
        for trial in range(choices.shape[1]):
            chosen = choices[episode, trial]
            if chosen < 0:
                continue
            for arm in range(len(logits)):
                logits[arm] = beta * values[episode, trial, arm] + (kappa if arm == last else 0.0)
            largest, total = logits[0], 0.0
            for arm in range(1, len(logits)):
                largest = max(largest, logits[arm])
            for arm in range(len(logits)):
                total += math.exp(logits[arm] - largest)
            found[episode, trial] = logits[chosen] - largest - math.log(total)
            last = chosen
    return found


@compiled_exactly
def largest_draw_probability(means: np.ndarray, deviations: np.ndarray, chosen: int) -> float:
    """Probability that the chosen of independent normal draws, `means` and `deviations` (K,), is the largest.

    ``p(a) = int phi(z) prod_{b != a} Phi((m_a + s_a z - m_b) / s_b) dz``, by equally spaced nodes, 0.6 of the smallest
    deviation apart: the error falls off geometrically, here to about 1e-6.
    """
    mean, deviation = means[chosen], deviations[chosen]
    narrowest = deviation
    for arm in range(len(deviations)):
        narrowest = min(narrowest, deviations[arm])
    spacing = 0.6 * narrowest / deviation
    num_nodes = math.ceil(2.0 * _REACH / spacing) + 1
    total = 0.0
    for node in range(num_nodes):
        z = -_REACH + node * spacing
        term = math.exp(-0.5 * z * z)
        for arm in range(len(means)):
            if arm != chosen:
                term *= 0.5 * math.erfc(-_SQRT_HALF * (mean + deviation * z - means[arm]) / deviations[arm])
        total += term
    return spacing * total / math.sqrt(2.0 * math.pi)


@compiled_exactly
def probit_log_likelihoods(values: np.ndarray, deviations: np.ndarray, choices: np.ndarray, kappa: float) -> np.ndarray:
    """Log probabilities (E, T) of `choices` (E, T) by the largest of normal draws.

    The draws have means `values` (E, T, K), plus `kappa` for what was chosen last, and `deviations` (E, T, K).
    """
    found = np.zeros(choices.shape)
    means = np.empty(values.shape[2])
    for episode in range(choices.shape[0]):
        last = -1
        for trial in range(choices.shape[1]):
            chosen = choices[episode, trial]
            if chosen < 0:
                continue
            for arm in range(len(means)):
                means[arm] = values[episode, trial, arm] + (kappa if arm == last else 0.0)
            probability = largest_draw_probability(means, deviations[episode, trial], chosen)
            found[episode, trial] = math.log(max(_TINY, probability))
            last = chosen
    return found


@compiled
def _forget(averages: np.ndarray, initial: np.ndarray, chosen: int, forgetting: float) -> None:
    """Move averages (K, 2, S) of arms other than the chosen one towards those of the `initial` value (2, S)."""
    for arm in range(averages.shape[0]):
        if arm != chosen:
            for was in range(2):
                for node in range(averages.shape[2]):
                    averages[arm, was, node] += forgetting * (initial[was, node] - averages[arm, was, node])


@compiled
def sampling_probabilities(
    choices: np.ndarray,
    decays: np.ndarray,
    slopes: np.ndarray,
    num_arms: int,
    alpha: float,
    by_trials: bool,
    forgetting: float,
) -> np.ndarray:
    """Sums over nodes (E, T) of the sampling model's integrand, see `maml_rl.analysis.sampling_model`.

    `decays` and `slopes` (E, 1 + T, 2, S): ``exp(-s x)`` and ``s x exp(-s x)`` of the initial value and of every
    trial's reward, of an arm that was not (0) or was (1) chosen last, at S nodes; `choices` (E, T). Arms that are not
    chosen lose a fraction `forgetting` of their rewards' weights to the initial value.
    """
    num_nodes = decays.shape[3]
    found = np.zeros(choices.shape)
    mean_decay, mean_slope = np.empty((num_arms, 2, num_nodes)), np.empty((num_arms, 2, num_nodes))
    weight = np.empty(num_arms)
    for episode in range(choices.shape[0]):
        last = -1
        for arm in range(num_arms):
            weight[arm] = 0.0
            for was in range(2):
                for node in range(num_nodes):
                    mean_decay[arm, was, node] = decays[episode, 0, was, node]
                    mean_slope[arm, was, node] = slopes[episode, 0, was, node]
        for trial in range(choices.shape[1]):
            chosen = choices[episode, trial]
            for arm in range(num_arms):
                weight[arm] *= 1.0 - alpha
            if forgetting > 0.0 and chosen < 0:
                _forget(mean_decay, decays[episode, 0], chosen, forgetting)
                _forget(mean_slope, slopes[episode, 0], chosen, forgetting)
            if chosen < 0:
                continue
            total = 0.0
            for node in range(num_nodes):
                factor = mean_slope[chosen, 1 if chosen == last else 0, node]
                for arm in range(num_arms):
                    if arm != chosen:
                        factor *= mean_decay[arm, 1 if arm == last else 0, node]
                total += factor
            found[episode, trial] = total
            weight[chosen] += alpha
            rate = alpha / max(weight[chosen], _TINY) if by_trials else alpha
            for was in range(2):
                for node in range(num_nodes):
                    mean_decay[chosen, was, node] *= 1.0 - rate
                    mean_decay[chosen, was, node] += rate * decays[episode, trial + 1, was, node]
                    mean_slope[chosen, was, node] *= 1.0 - rate
                    mean_slope[chosen, was, node] += rate * slopes[episode, trial + 1, was, node]
            if forgetting > 0.0:
                _forget(mean_decay, decays[episode, 0], chosen, forgetting)
                _forget(mean_slope, slopes[episode, 0], chosen, forgetting)
            last = chosen
    return found


@compiled_exactly
def two_step_step(
    first: np.ndarray, second: np.ndarray, trial: np.ndarray, rewards: np.ndarray, rates: np.ndarray
) -> None:
    """Change model-free values of stage one, `first` (E, 2), and of stage two, `second` (E, 2, A), by a trial.

    `trial` (3, E): the first choice, the second state, the second choice; -1 for a missed trial. `rewards` (E,);
    `rates` (3,): learning rates of the two stages and the eligibility trace's decay.
    """
    for episode in range(first.shape[0]):
        choice, state, action = trial[0, episode], trial[1, episode], trial[2, episode]
        if choice < 0:
            continue
        value = second[episode, state, action]
        error = rewards[episode] - value
        first[episode, choice] += rates[0] * (value - first[episode, choice] + rates[2] * error)
        second[episode, state, action] = value + rates[1] * error


@compiled_exactly
def two_step_walk(
    trials: np.ndarray, rewards: np.ndarray, num_actions: int, rates: np.ndarray, initial: float
) -> tuple[np.ndarray, np.ndarray]:
    """Values (E, T, 2), (E, T, 2, A) before each of the `trials` (3, E, T) with `rewards` (E, T), by `rates` (3,)."""
    num_episodes, num_trials = rewards.shape
    firsts = np.empty((num_episodes, num_trials, 2))
    seconds = np.empty((num_episodes, num_trials, 2, num_actions))
    first, second = np.full((num_episodes, 2), initial), np.full((num_episodes, 2, num_actions), initial)
    for trial in range(num_trials):
        _copy(first, firsts, trial)
        for episode in range(num_episodes):
            for state in range(2):
                for action in range(num_actions):
                    seconds[episode, trial, state, action] = second[episode, state, action]
        two_step_step(first, second, trials[:, :, trial], rewards[:, trial], rates)
    return firsts, seconds
