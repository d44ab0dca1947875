"""Inner loop and trust region."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from maml_rl.settings.base import Count, Settings


class MAMLSettings(Settings):
    """Inner loop and meta-gradient of MAML."""

    num_steps: int = Field(
        default=1,
        ge=0,
        le=1_000_000,
        description="Policy-gradient steps in the inner loop; 0: none, which is learning all tasks without adaptation.",
    )
    fast_lr: float = Field(default=0.1, ge=0, description="Step size of the inner loop.")
    inner_objective: Literal["auto", "lvc", "reinforce"] = Field(
        default="auto",
        description=(
            "What adaptation descends: the same gradient either way, but only with 'lvc' does the meta-gradient know "
            "that other weights would have obtained other episodes, at the price of noise; 'reinforce' is "
            "pytorch-maml-rl's; 'auto' is lvc for discrete actions and reinforce for continuous ones."
        ),
    )
    first_order: bool = Field(
        default=False,
        description="Whether the meta-gradient leaves out the second derivatives of the inner loop.",
    )
    adapted_layers: Literal["all", "head"] = Field(
        default="all",
        description=(
            "Parameters that the inner loop changes: 'all' meta-parameters, or only the 'head', the last layer over "
            "actions, while the outer loop learns all (ANIL, Raghu et al. 2020)."
        ),
    )
    memory_scope: Literal["episode", "task"] = Field(
        default="episode",
        description=(
            "End of the memory: 'episode', or 'task', where it lasts from the episodes before an inner step into those "
            "after it. Nothing to choose without memory."
        ),
    )
    baseline_regularisation: float = Field(
        default=1e-5,
        gt=0,
        description=(
            "Ridge of the linear baseline that is fitted to a task's episodes. Large where observations are long and "
            "episodes few: a baseline that overfits the returns leaves advantages of noise."
        ),
    )


class CurvatureSample(Settings):
    """Sample of each task's environment steps that curvature products are estimated from.

    Of policies without memory: a step of one with memory is unrolled from the steps before it, so that leaving some
    out would save next to nothing. Its curvature is exact.
    """

    for_memoryless: ClassVar[bool] = True

    hessian_steps: Count | None = Field(
        default=500,
        description=(
            "Environment steps of each task from which curvature products estimate the Hessians of the inner loop; "
            "null uses all, as policies with memory always do. The meta-gradient always uses all."
        ),
    )
    fisher_steps: Count | None = Field(
        default=160,
        description=(
            "Environment steps of each task from which curvature products estimate the Fisher information of the "
            "adapted policy; null uses all, as policies with memory always do. Loss and KL of the line search always "
            "use all."
        ),
    )


class TrustRegion(Settings):
    """Trust-region step: conjugate gradient and line search."""

    max_kl: float = Field(
        default=1e-2,
        gt=0,
        description="Trust region: largest mean KL divergence, in nats, of the adapted policies per step.",
    )
    cg_iters: Count = Field(default=10, description="Conjugate-gradient iterations for the outer direction.")
    cg_damping: float = Field(default=1e-5, ge=0, description="Multiple of the identity added to the curvature matrix.")
    ls_max_steps: Count = Field(default=15, description="Step sizes the line search tries before it gives up.")
    ls_backtrack_ratio: float = Field(
        default=0.8, gt=0, lt=1, description="Factor between one step size of the line search and the next."
    )
