"""A model of choices on a bandit by a sample of the past, beside `maml_rl.analysis.value_models.TDModel`.

Both models choose arm a with ``p(a) ~ exp(beta * v_a + kappa * [a was chosen last])``, inverse temperature beta,
perseveration kappa. They differ in the value v_a (Bornstein, Khaw, Shohamy & Daw 2017, *Nature Communications*
8:15958, methods):

- the TD model: ``Q_a``, which moves by ``alpha * (r - Q_a)`` whenever arm a gives reward r;
- `SamplingModel`: one of the rewards the arm has given, drawn anew for every choice, with probability
  ``alpha * (1 - alpha)^age``; what the weights lack to 1 falls on the value before the first choice. With ``age``
  counted in later choices of the same arm (the default) the draw's mean is the TD model's value, so that the models
  differ by the averaging alone. With ``age="trials"`` every trial that passes counts, and the weights are divided
  by their sum.

The sampling model's choice probability is a softmax averaged over all combinations of draws, one per arm. Their number
grows as T^K, but ``1 / x = int_0^inf exp(-s x) ds`` makes of the softmax's denominator a product over arms, whose
average is the product of averages, for draws of different arms are independent:

    p(a) = int_0^inf E[x_a exp(-s x_a)] prod_{b != a} E[exp(-s x_b)] ds,   x_b = exp(beta * v_b + kappa * [b last]).

With ``s = exp(u)`` the integrand is analytic and falls off at both ends, and equally spaced nodes are exact to a
relative error of about ``exp(-pi^2 / spacing)``. One-arm averages follow from those of the trial before: the cost is
trials times arms times nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.choice_kernels import sampling_probabilities
from maml_rl.analysis.choice_models import (
    FORGETTING,
    INVERSE_TEMPERATURE,
    LEARNING_RATE,
    PERSEVERATION,
    ParameterRange,
    check_initial_value,
    checked_parameters,
    simulate_softmax,
)
from maml_rl.analysis.choices import Choices

_LARGEST = 7.0
"""Logarithm of an exponent x beyond which ``exp(-x)`` and ``x exp(-x)`` are 0."""


@dataclass(frozen=True)
class SamplingModel:
    """Memory sampling: the value of an arm is one of the rewards it has given, drawn anew for every choice.

    Attributes
    ----------
    initial_value
        Of every arm before its first choice, in units of reward.
    age
        What makes a reward older: "choices", later choices of its arm, or "trials", all of them.
    spacing
        Distance of the integral's nodes in log s: 0.33 for 11 digits of a probability, 0.5 for 7, 0.7 for 5.
    """

    initial_value: float = 1.0
    age: Literal["choices", "trials"] = "choices"
    spacing: float = 0.33
    ranges: ClassVar[tuple[ParameterRange, ...]] = (LEARNING_RATE, INVERSE_TEMPERATURE, PERSEVERATION)

    def __post_init__(self) -> None:
        check_initial_value(self.initial_value)
        if self.age not in ("choices", "trials"):
            raise ValueError(f"age: got {self.age!r}, expected 'choices' or 'trials'")
        if not 0.05 <= self.spacing <= 1.0:
            raise ValueError(f"spacing: got {self.spacing}, expected 0.05 to 1")

    def trial_log_likelihoods(self, data: Choices, parameters: np.ndarray) -> np.ndarray:
        """Log probability (E, T) of each choice given what came before it, with parameters (Q,): alpha, beta, kappa."""
        alpha, beta, kappa, *rest = checked_parameters(self, parameters)
        nodes = self._nodes(data, beta, kappa)  # (S,), log s
        # exp(-s x) of every reward for an arm that was chosen last (1) or not (0), and x s exp(-s x).
        logs = beta * np.concatenate([np.full((len(data), 1), self.initial_value), data.rewards], axis=1)
        exponents = np.exp(
            np.minimum((logs[..., None] + [0.0, kappa])[..., None] + nodes, _LARGEST)
        )  # (E, 1 + T, 2, S)
        decays = np.exp(-exponents)
        by_trials = self.age == "trials"
        slopes, phi = exponents * decays, rest[0] if rest else 0.0
        sums = sampling_probabilities(data.choices, decays, slopes, data.num_arms, alpha, by_trials, phi)
        logs = np.log(np.maximum(self.spacing * sums, np.finfo(np.float64).tiny))
        return np.asarray(logs * (data.choices != MISSED))

    def simulate(
        self, means: np.ndarray, parameters: np.ndarray, noise: float | None, rng: np.random.Generator
    ) -> Choices:
        """See `ChoiceModel.simulate`: `means` (E, T, K), `parameters` (Q,)."""
        alpha, beta, kappa, *rest = checked_parameters(self, parameters)
        phi = rest[0] if rest else 0.0

        def values(choices: np.ndarray, rewards: np.ndarray) -> np.ndarray:
            return self._draw_values(choices, rewards, means.shape[2], (alpha, phi), rng)

        return simulate_softmax(values, beta, kappa, means, noise, rng)

    def _nodes(self, data: Choices, beta: float, kappa: float) -> np.ndarray:
        """Nodes (S,) of log s between which the integrand is not negligible for any combination of draws."""
        digits = np.pi**2 / self.spacing  # in nats
        values = beta * np.append(data.rewards, self.initial_value)
        smallest, largest = values.min() + min(kappa, 0.0), values.max() + max(kappa, 0.0)  # summands
        sums = np.log(data.num_arms) + np.array([smallest, largest])
        return np.arange(-sums[1] - digits, -sums[0] + np.log(digits), self.spacing)

    def _draw_values(
        self,
        choices: np.ndarray,
        rewards: np.ndarray,
        num_arms: int,
        rates: tuple[float, float],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """One past reward (E, K) of every arm; `rates` alpha and phi."""
        (alpha, phi), (num_episodes, num_trials) = rates, choices.shape
        values = np.full((num_episodes, num_arms), float(self.initial_value))
        for arm in range(num_arms):
            own = choices == arm  # (E, T)
            age = own[:, ::-1].cumsum(1)[:, ::-1] - 1 if self.age == "choices" else np.arange(num_trials)[::-1]
            if self.age == "trials":  # only ratios count: from the arm's latest choice on
                age = age - np.where(own, age, num_trials).min(axis=1, keepdims=True, initial=num_trials)
            weights = np.where(own, alpha * (1.0 - alpha) ** np.maximum(age, 0), 0.0)
            if phi:
                idle = (~own)[:, ::-1].cumsum(axis=1)[:, ::-1]  # trials since in which another arm was chosen
                weights = weights * (1.0 - phi) ** idle
            if self.age == "trials":
                weights = weights / np.maximum(weights.sum(1, keepdims=True), np.finfo(np.float64).tiny)
            position = (weights.cumsum(1) <= rng.random((num_episodes, 1))).sum(1)  # T: none of them
            drawn = position < num_trials
            values[drawn, arm] = rewards[drawn, position[drawn]]
        return values


@dataclass(frozen=True)
class ForgettingSamplingModel(SamplingModel):
    """`SamplingModel` whose arms, when not chosen, lose a fraction phi of their rewards' weights to the initial value.

    The draw's mean is the value of `maml_rl.analysis.value_models.ForgettingModel`, so that the two differ by the
    averaging alone. Parameters: alpha, beta, kappa, phi; age in choices.
    """

    ranges: ClassVar[tuple[ParameterRange, ...]] = (LEARNING_RATE, INVERSE_TEMPERATURE, PERSEVERATION, FORGETTING)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.age != "choices":
            raise ValueError(f"age: got {self.age!r}, expected 'choices' where weights are forgotten")
