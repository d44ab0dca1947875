"""Models of choices in the two-step task: model-based and model-free values, mixed or alone (Daw et al. 2011)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.choice_kernels import softmax_log_likelihoods, two_step_step, two_step_walk
from maml_rl.analysis.choice_models import (
    INVERSE_TEMPERATURE,
    LEARNING_RATE,
    PERSEVERATION,
    LikelihoodModel,
    ParameterRange,
    check_initial_value,
    checked_parameters,
    was_last,
)
from maml_rl.analysis.two_step_choices import TwoStepChoices
from maml_rl.utils.checks import check_probabilities

_COOL = INVERSE_TEMPERATURE._replace(start=(0.5, 10.0))
HYBRID_RANGES = (
    LEARNING_RATE._replace(name="alpha1, learning rate of stage one"),
    LEARNING_RATE._replace(name="alpha2, learning rate of stage two"),
    _COOL._replace(name="beta1, inverse temperature of stage one"),
    _COOL._replace(name="beta2, inverse temperature of stage two"),
    ParameterRange("lambda, eligibility trace", 0.0, 1.0, (0.1, 0.9), (0.0, 1.0)),
    ParameterRange("w, weight of model-based values", 0.0, 1.0, (0.1, 0.9), (0.0, 1.0)),
    ParameterRange("p, perseveration", -5.0, 5.0, (-0.2, 0.5)),
)
"""Ranges of the hybrid's parameters."""
_RESTRICTIONS: dict[str, dict[int, float]] = {
    "hybrid": {},
    "model-based": {0: 0.5, 4: 0.0, 5: 1.0},  # what stage one learns by itself does not matter
    "model-free": {5: 0.0},
}
"""Parameters that a kind has no use for, by their place among the hybrid's, with the values they have."""
_BETA2 = 3


class TwoStepModel(LikelihoodModel[TwoStepChoices], Protocol):
    """A model of choices in the two-step task, which it can also make."""

    def simulate(
        self, reward_probabilities: np.ndarray, parameters: np.ndarray, common: float, rng: np.random.Generator
    ) -> TwoStepChoices:
        """Trials of the model with parameters (Q,).

        `reward_probabilities` (E, T, 2, A) are those of a reward of 1, else 0, in each second state by each of A
        actions, A of 1 or 2; a transition is the common one with probability `common`.
        """


@dataclass(frozen=True)
class TwoStepLogits:
    """A model at work in E episodes.

    Attributes
    ----------
    first
        Logits (E, 2) of stage one, given the choices (E, t) there so far.
    second
        Logits (E, A) of stage two, in the states (E,).
    learn
        Changes the model by trials (3, E), choice, state and second choice, and their rewards (E,).
    """

    first: Callable[[np.ndarray], np.ndarray]
    second: Callable[[np.ndarray], np.ndarray]
    learn: Callable[[np.ndarray, np.ndarray], None]


def simulate_two_step(
    logits: TwoStepLogits, reward_probabilities: np.ndarray, common: float, rng: np.random.Generator
) -> TwoStepChoices:
    """Trials of a model at work; `reward_probabilities` (E, T, 2, A) and `common` as in `TwoStepModel.simulate`."""
    num_episodes, num_trials, _, num_actions = reward_probabilities.shape
    rows = np.arange(num_episodes)
    trials = np.empty((3, num_episodes, num_trials), dtype=np.int64)
    rewards = np.empty((num_episodes, num_trials))
    for number in range(num_trials):
        first = logits.first(trials[0, :, :number])
        choice = (first + rng.gumbel(size=first.shape)).argmax(axis=1)
        state = np.where(rng.random(num_episodes) < common, choice, 1 - choice)
        second = logits.second(state)
        action = (second + rng.gumbel(size=second.shape)).argmax(axis=1)
        trial = np.stack([choice, state, action])
        rewards[:, number] = rng.random(num_episodes) < reward_probabilities[rows, number, state, action]
        trials[:, :, number] = trial
        logits.learn(trial, rewards[:, number])
    return TwoStepChoices(trials[0], trials[1], trials[2] if num_actions > 1 else None, rewards)


@dataclass(frozen=True)
class HybridModel:
    """Model-based and model-free reinforcement learning side by side (Daw et al. 2011, supplement).

    Model-free values, SARSA(lambda): with ``d1 = Q2(s, a2) - Q1(a1)`` and ``d2 = r - Q2(s, a2)``, Q1(a1) grows by
    ``alpha1 * (d1 + lambda * d2)``, Q2(s, a2) by ``alpha2 * d2``. Model-based:
    ``QM(a) = sum_s P(s | a) max_b Q2(s, b)`` with known transition probabilities. At stage one
    ``p(a) ~ exp(beta1 * (w * QM(a) + (1 - w) * Q1(a) + p * [a was chosen last]))``, at stage two
    ``p(b) ~ exp(beta2 * Q2(s, b))``. Values start anew in every episode.

    Parameters: alpha1, alpha2, beta1, beta2, lambda, w, p. Purely model-based is ``w = 1``, which leaves alpha2,
    beta1, beta2 and p; purely model-free ``w = 0``, which leaves all but w. Without a choice at stage two there is no
    beta2.

    Attributes
    ----------
    kind
        The hybrid, or one of its restrictions.
    choice_at_stage_two
        Whether there are two actions at stage two, or none to choose from.
    common_probability
        Probability of the common transition that the model-based values are computed with, in [0, 1].
    initial_value
        Of everything, at first.
    """

    kind: Literal["hybrid", "model-based", "model-free"] = "hybrid"
    choice_at_stage_two: bool = True
    common_probability: float = 0.7
    initial_value: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in _RESTRICTIONS:
            raise ValueError(f"kind: got {self.kind!r}, expected one of {', '.join(_RESTRICTIONS)}")
        check_probabilities(common_probability=self.common_probability)
        check_initial_value(self.initial_value)

    @property
    def ranges(self) -> tuple[ParameterRange, ...]:
        """Ranges of the parameters that there are."""
        fixed = self._fixed()
        return tuple(part for index, part in enumerate(HYBRID_RANGES) if index not in fixed)

    def trial_log_likelihoods(self, data: TwoStepChoices, parameters: np.ndarray) -> np.ndarray:
        """Log probability (E, T), in nats, of the choices of each trial given what came before it; parameters (Q,).

        Raises `ValueError` if the data have a choice at stage two and the model has none, or the other way round.
        """
        if (data.second_choices is not None) != self.choice_at_stage_two:
            raise ValueError(
                f"second_choices: got {'none' if data.second_choices is None else 'some'}, expected "
                f"{'some' if self.choice_at_stage_two else 'none'}; set choice_at_stage_two"
            )
        numbers = self._all(parameters)
        alpha1, alpha2, beta1, beta2, trace, _, perseveration = numbers
        second = data.second_choices if data.second_choices is not None else np.zeros_like(data.choices)
        trials, rates = np.stack([data.choices, data.seconds, second]), np.array([alpha1, alpha2, trace])
        free, lower = two_step_walk(trials, data.rewards, self._num_actions(), rates, float(self.initial_value))
        values = self._mixed(free, lower, numbers)
        logs = softmax_log_likelihoods(values, data.choices, beta1, beta1 * perseveration)
        if data.second_choices is not None:
            reached = np.take_along_axis(lower, data.seconds[..., None, None], axis=2)[..., 0, :]  # (E, T, A)
            made = np.where(data.choices == MISSED, MISSED, second)
            logs = logs + softmax_log_likelihoods(reached, made, beta2, 0.0)
        return np.asarray(logs)

    def simulate(
        self, reward_probabilities: np.ndarray, parameters: np.ndarray, common: float, rng: np.random.Generator
    ) -> TwoStepChoices:
        """See `TwoStepModel.simulate`: `reward_probabilities` (E, T, 2, A), `parameters` (Q,)."""
        numbers = self._all(parameters)
        alpha1, alpha2, beta1, beta2, trace, _, perseveration = numbers
        num_episodes, rates = len(reward_probabilities), np.array([alpha1, alpha2, trace])
        free = np.full((num_episodes, 2), float(self.initial_value))
        lower = np.full((num_episodes, 2, self._num_actions()), float(self.initial_value))

        def first(choices: np.ndarray) -> np.ndarray:
            return beta1 * (self._mixed(free, lower, numbers) + perseveration * was_last(choices, 2))

        def second(states: np.ndarray) -> np.ndarray:
            return beta2 * lower[np.arange(num_episodes), states]

        def learn(trial: np.ndarray, rewards: np.ndarray) -> None:
            two_step_step(free, lower, trial, rewards, rates)

        return simulate_two_step(TwoStepLogits(first, second, learn), reward_probabilities, common, rng)

    def _fixed(self) -> dict[int, float]:
        return _RESTRICTIONS[self.kind] | ({} if self.choice_at_stage_two else {_BETA2: 0.0})

    def _all(self, parameters: np.ndarray) -> tuple[float, ...]:
        """The seven parameters of the hybrid."""
        own, fixed = iter(checked_parameters(self, parameters)), self._fixed()
        return tuple(fixed[index] if index in fixed else next(own) for index in range(len(HYBRID_RANGES)))

    def _num_actions(self) -> int:
        return 2 if self.choice_at_stage_two else 1

    def _mixed(self, free: np.ndarray, lower: np.ndarray, parameters: tuple[float, ...]) -> np.ndarray:
        """Values (..., 2) of stage one, of model-free ones (..., 2) and those of stage two (..., 2, A)."""
        best, weight, common = lower.max(axis=-1), parameters[5], self.common_probability
        planned = common * best + (1.0 - common) * best[..., ::-1]
        return np.asarray(weight * planned + (1.0 - weight) * free)


@dataclass(frozen=True)
class RepeatModel:
    """Choices without values: the last one of its stage and state again, or not; a baseline.

    At both stages ``p(a) ~ exp(kappa * [a was chosen last here])``. Parameters: kappa of stage one, of stage two, where
    there is a choice; both 0 are choices at random.
    """

    choice_at_stage_two: bool = True

    @property
    def ranges(self) -> tuple[ParameterRange, ...]:
        """Ranges of one or two parameters."""
        stages = ("one", "two") if self.choice_at_stage_two else ("one",)
        return tuple(PERSEVERATION._replace(name=f"perseveration of stage {stage}") for stage in stages)

    def trial_log_likelihoods(self, data: TwoStepChoices, parameters: np.ndarray) -> np.ndarray:
        """Log probability (E, T), in nats, of the choices of each trial given what came before it; parameters (Q,)."""
        kappas = checked_parameters(self, parameters)
        empty = np.zeros((*data.choices.shape, 2))
        logs = softmax_log_likelihoods(empty, data.choices, 0.0, kappas[0])
        if data.second_choices is not None:
            for state in (0, 1):
                made = (data.choices != MISSED) & (data.seconds == state)
                own = np.where(made, data.second_choices, MISSED)
                logs = logs + softmax_log_likelihoods(empty, own, 0.0, kappas[1])
        return np.asarray(logs)

    def simulate(
        self, reward_probabilities: np.ndarray, parameters: np.ndarray, common: float, rng: np.random.Generator
    ) -> TwoStepChoices:
        """See `TwoStepModel.simulate`: `reward_probabilities` (E, T, 2, A), `parameters` (Q,)."""
        kappas = checked_parameters(self, parameters)
        num_episodes, num_actions = len(reward_probabilities), reward_probabilities.shape[-1]
        rows, last = np.arange(num_episodes), np.zeros((num_episodes, 2, num_actions))

        def first(choices: np.ndarray) -> np.ndarray:
            return kappas[0] * was_last(choices, 2)

        def second(states: np.ndarray) -> np.ndarray:
            return kappas[-1] * last[rows, states]

        def learn(trial: np.ndarray, rewards: np.ndarray) -> None:
            last[rows, trial[1]] = 0.0
            last[rows, trial[1], trial[2]] = 1.0

        return simulate_two_step(TwoStepLogits(first, second, learn), reward_probabilities, common, rng)
