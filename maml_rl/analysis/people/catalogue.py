"""Models of choices by name, with what they assume of rewards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.choice_models import ChoiceModel
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.drifting_bandits import DriftingArms
from maml_rl.analysis.kalman_models import KalmanModel, ThompsonModel
from maml_rl.analysis.sampling_model import SamplingModel
from maml_rl.analysis.two_step_models import HybridModel, RepeatModel, TwoStepModel
from maml_rl.analysis.value_models import BonusModel, ForgettingModel, TDModel, TwoRatesModel
from maml_rl.analysis.win_stay_model import WinStayModel

BANDIT_MODELS = (
    "td",
    "two-rates",
    "forgetting",
    "bonus",
    "kalman-ucb",
    "kalman-thompson",
    "sampling",
    "win-stay-lose-shift",
)
"""Names of models of bandits."""
TWO_STEP_MODELS = ("hybrid", "model-based", "model-free", "repeat")
"""Names of models of the two-step task."""


@dataclass(frozen=True)
class RewardAssumptions:
    """Knowledge of rewards that models bring along, in the units of the file.

    Attributes
    ----------
    scale
        Rewards are divided by it, so that they are of the order of 1; > 0.
    initial_value
        Expected of an arm before its first choice; more than it counts as a win.
    arms
        How a Kalman filter takes arms to drift.
    first_deviation
        Standard deviation of its belief about an arm never chosen, > 0.
    note
        One line that says all this.
    """

    scale: float = 50.0
    initial_value: float = 50.0
    arms: DriftingArms = field(default_factory=DriftingArms)
    first_deviation: float = 100.0 / float(np.sqrt(12.0))
    note: str = "rewards: those of Daw et al. 2006"


def assume(
    subjects: Mapping[str, Choices],
    *,
    scale: float | None = None,
    initial_value: float | None = None,
    arms: DriftingArms | None = None,
) -> RewardAssumptions:
    """Assumptions about the rewards of a file, which `subjects` hold unscaled; those given stand as they are.

    Rewards of 0 and 1 alone: scale 1, initial value 1/2, arms that stay as they are. Others: the scale is their mean
    size, to one digit, the initial value the middle of their range, for whoever chooses well has a mean above what
    arms give, and arms drift as those of Daw et al. 2006 do relative to the scale.
    """
    rewards = np.concatenate([data.rewards[data.choices != MISSED] for data in subjects.values()])
    binary = bool(np.isin(rewards, (0.0, 1.0)).all())
    found = RewardAssumptions(1.0, 0.5, DriftingArms(1.0, 0.5, 0.0, 0.5), float(np.sqrt(1.0 / 12.0)))
    if not binary:
        size = scale or float(f"{np.abs(rewards).mean():.0e}")
        unit, usual = size / 50.0, DriftingArms()
        centre = 0.5 * float(rewards.min() + rewards.max())
        drift = DriftingArms(usual.decay, centre, usual.drift_deviation * unit, usual.payoff_deviation * unit)
        found = RewardAssumptions(size, centre, drift, RewardAssumptions().first_deviation * unit)
    value = found.initial_value if initial_value is None else initial_value
    own = arms or replace(found.arms, centre=value)
    found = replace(found, scale=scale or found.scale, initial_value=value, arms=own)
    return replace(found, note=_note(found, "0 and 1" if binary else "numbers", arms is not None))


def _note(found: RewardAssumptions, kind: str, given: bool) -> str:
    own, source = found.arms, "as given" if given else "by default"
    return (
        f"rewards: {kind}, divided by {found.scale:.3g}; an arm is expected to give {found.initial_value:.3g} before "
        f"its first choice, and more than that is a win; Kalman filters assume ({source}) decay {own.decay:.4g}, "
        f"centre {own.centre:.3g}, drift {own.drift_deviation:.3g}, noise {own.payoff_deviation:.3g}"
    )


def scaled(subjects: Mapping[str, Choices], scale: float) -> dict[str, Choices]:
    """Choices with rewards divided by `scale`."""
    return {name: replace(data, rewards=data.rewards / scale) for name, data in subjects.items()}


def bandit_models(assumptions: RewardAssumptions | None = None) -> dict[str, ChoiceModel]:
    """The models named `BANDIT_MODELS`, for rewards that were divided by the scale of the `assumptions`."""
    own = assumptions or RewardAssumptions()
    initial = own.initial_value / own.scale
    models: tuple[ChoiceModel, ...] = (
        TDModel(initial),
        TwoRatesModel(initial),
        ForgettingModel(initial),
        BonusModel(initial),
        KalmanModel(own.arms, own.scale, own.first_deviation),
        ThompsonModel(own.arms, own.scale, own.first_deviation),
        SamplingModel(initial, spacing=0.7),
        WinStayModel(initial),
    )
    return dict(zip(BANDIT_MODELS, models, strict=True))


def two_step_models(*, choice_at_stage_two: bool = True, common_probability: float = 0.7) -> dict[str, TwoStepModel]:
    """The models named `TWO_STEP_MODELS`; the arguments are those of `HybridModel`."""
    models: tuple[TwoStepModel, ...] = (
        HybridModel("hybrid", choice_at_stage_two, common_probability),
        HybridModel("model-based", choice_at_stage_two, common_probability),
        HybridModel("model-free", choice_at_stage_two, common_probability),
        RepeatModel(choice_at_stage_two),
    )
    return dict(zip(TWO_STEP_MODELS, models, strict=True))
