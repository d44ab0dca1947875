"""Tasks for simulated subjects: a bandit whose arms drift, the two-step task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from maml_rl.analysis.choice_models import ChoiceModel
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.drifting_bandits import DriftingArms, draw_drifting_means
from maml_rl.analysis.two_step_choices import TwoStepChoices
from maml_rl.analysis.two_step_models import TwoStepModel

_POINTS = 50.0
_WALK = 0.025
_LEAST, _MOST = 0.25, 0.75


class Design(Protocol):
    """A task that a model can be put to."""

    def play(self, model: Any, parameters: np.ndarray, rng: np.random.Generator) -> Any:
        """Choices of one simulated subject with parameters (Q,), on a task drawn anew."""


@dataclass(frozen=True)
class BanditDesign:
    """Arms that drift as in Daw et al. 2006, in units of 50 points.

    Attributes
    ----------
    num_trials, num_arms, num_episodes
        T, K and E of a subject.
    """

    num_trials: int = 150
    num_arms: int = 4
    num_episodes: int = 1

    def play(self, model: ChoiceModel, parameters: np.ndarray, rng: np.random.Generator) -> Choices:
        """See `Design.play`: `parameters` (Q,)."""
        means = draw_drifting_means(self.num_episodes, self.num_trials, self.num_arms, rng)
        return model.simulate(means / _POINTS, parameters, DriftingArms().payoff_deviation / _POINTS, rng)


@dataclass(frozen=True)
class TwoStepDesign:
    """The two-step task of Daw et al. 2011.

    The four probabilities of reward walk by 0.025 a trial, between 0.25 and 0.75, where they turn round.

    Attributes
    ----------
    num_trials, num_episodes
        T and E of a subject.
    common_probability
        Of the common transition, in [0, 1].
    num_actions
        At stage two, 1 or 2.
    """

    num_trials: int = 150
    num_episodes: int = 1
    common_probability: float = 0.7
    num_actions: int = 2

    def play(self, model: TwoStepModel, parameters: np.ndarray, rng: np.random.Generator) -> TwoStepChoices:
        """See `Design.play`: `parameters` (Q,)."""
        shape = (self.num_episodes, self.num_trials, 2, self.num_actions)
        steps = _WALK * rng.standard_normal(shape)
        steps[:, 0] = rng.uniform(0.0, _MOST - _LEAST, (self.num_episodes, 2, self.num_actions))
        width = _MOST - _LEAST
        folded = np.mod(np.cumsum(steps, axis=1), 2.0 * width)  # a walk between two mirrors, unfolded
        probabilities = _LEAST + np.minimum(folded, 2.0 * width - folded)
        return model.simulate(probabilities, parameters, self.common_probability, rng)
