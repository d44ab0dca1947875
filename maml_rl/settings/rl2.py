"""Outer step of RL²."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field

from maml_rl.settings.base import Count, Settings

_OF_PPO = ("num-epochs", "num-minibatches", "clip-range")
_OF_FIRST_ORDER = ("learning-rate", "learning-rate-end", "optimiser", "max-grad-norm")


class RL2Settings(Settings):
    """Outer step of RL², on whole meta-episodes."""

    former_names: ClassVar[Mapping[str, str]] = {
        "show-progress": "observe-episode-fraction",
        "value-weight": "value-coef",
        "entropy-weight": "entropy-coef",
        "entropy-weight-end": "entropy-coef-end",
    }

    used_with: ClassVar[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
        **{key: {"outer-step": ("ppo", "auto")} for key in _OF_PPO},
        **{key: {"outer-step": ("ppo", "auto", "a2c")} for key in _OF_FIRST_ORDER},
    }

    num_agents: Count = Field(
        default=1,
        description=(
            "Independent agents trained side by side: agent i is what seed + i makes alone. Meta-batch and everything "
            "else are each agent's own."
        ),
    )
    observe_episode_fraction: bool = Field(
        default=False,
        description="Whether an agent observes the fraction of the meta-episode's episodes that are over.",
    )
    observe_previous: bool = Field(
        default=False,
        description=(
            "Whether an agent observes the previous observation beside the previous action and reward. Attention and "
            "fast weights need it to store what an action did in which state."
        ),
    )
    observe_reward_change: float | None = Field(
        default=None,
        ge=1e-6,
        le=1e6,
        description=(
            "Unit in which an agent observes by how much the previous reward differs from the one before it in the "
            "same episode, at most 3 units either way; null: not observed. For rewards that change little from step to "
            "step: a memory would have to find a small difference of large numbers."
        ),
    )
    expected_rewards: bool = Field(
        default=False,
        description=(
            "Whether the learner's returns add the mean reward of each state and action in place of the one that was "
            "drawn, in families that know it; the agent still observes the latter. Less variance, no bias."
        ),
    )
    gae_lambda_end: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description=(
            "Linear schedule of gae-lambda to this value in the last iteration; null: constant. Small at first and "
            "large in the end learns fast, and then without the bias of wrong values."
        ),
    )
    outer_step: Literal["auto", "trpo", "ppo", "a2c"] = Field(
        default="auto", description="How the learner improves the weights; 'auto': ppo."
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Step size of the optimiser (ppo, a2c).")
    learning_rate_end: float | None = Field(
        default=None, ge=0, description="Linear schedule of the step size to this value; null: constant."
    )
    optimiser: Literal["adam", "rmsprop"] = Field(default="adam", description="Optimiser of the weights (ppo, a2c).")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Clip the gradient norm at this value (ppo, a2c).")
    num_epochs: Count = Field(default=4, description="Passes over the meta-batch in an iteration (ppo).")
    num_minibatches: Count = Field(default=4, description="Parts the meta-batch's tasks are divided into (ppo).")
    clip_range: float = Field(default=0.2, gt=0, lt=1, description="PPO clip range of the probability ratio.")
    value_coef: float = Field(
        default=0.5, ge=0, description="Coefficient of the values' loss, in units of their targets' variance."
    )
    entropy_coef: float = Field(default=0.01, ge=0, description="Coefficient of the policy's entropy, in nats.")
    entropy_coef_end: float | None = Field(
        default=None, ge=0, description="Linear schedule of the entropy coefficient to this value; null: constant."
    )
    backprop_steps: Count | None = Field(
        default=None,
        description=(
            "Environment steps after which back-propagation through time is truncated (trpo's curvature is never "
            "truncated); null: nowhere."
        ),
    )

    @property
    def follows_num_batches(self) -> bool:
        """See `Settings.follows_num_batches`."""
        rate = None if self.outer_step == "trpo" else self.learning_rate_end
        return any(end is not None for end in (self.gae_lambda_end, self.entropy_coef_end, rate))
