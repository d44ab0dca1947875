"""Inner loop and outer steps of MAML."""

from __future__ import annotations

from collections.abc import Mapping
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
    fast_lr_later_factor: float = Field(
        default=1.0,
        ge=0,
        le=1000,
        description="Factor of the step size from the second inner step on; Finn et al. (2017) test with 0.5.",
    )
    fast_lr_learned: Literal["none", "layer", "parameter"] = Field(
        default="none",
        description=(
            "Whether the step size of the inner loop is meta-learned too, from fast-lr on: 'layer' one number for each "
            "weight matrix and bias, 'parameter' one for each of their entries (Meta-SGD, Li et al. 2017)."
        ),
    )
    inner_objective: Literal["auto", "lvc", "reinforce", "dice"] = Field(
        default="auto",
        description=(
            "What adaptation descends: the same gradient whichever, but only with 'lvc' does the meta-gradient know "
            "that other weights would have obtained other episodes, at the price of noise, and with 'dice' without "
            "bias, at the price of more (for short episodes; Foerster et al. 2018); 'reinforce' is pytorch-maml-rl's; "
            "'auto' is lvc for discrete actions and with promp, and reinforce for continuous ones."
        ),
    )
    maml_outer_step: Literal["trpo", "promp", "reptile"] = Field(
        default="trpo",
        description=(
            "How the initial weights improve: 'trpo' by trust-region steps on the meta-gradient; 'promp' by several "
            "steps of Adam on a clipped surrogate (Rothfuss et al. 2019); 'reptile' towards the mean of the adapted "
            "weights, without a meta-gradient (Nichol et al. 2018)."
        ),
    )
    exploration_credit: float = Field(
        default=0.0,
        ge=0,
        description=(
            "Coefficient of the credit that episodes before adaptation get for the returns after it (E-MAML, Stadie et "
            "al. 2018; trpo): their mean log probability, times the task's return standardised over the meta-batch. 0: "
            "none. The sum over steps of the paper is larger by their number."
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
    used_with: ClassVar[Mapping[str, Mapping[str, tuple[str, ...]]]] = {"*": {"maml-outer-step": ("trpo",)}}

    hessian_steps: Count | None = Field(
        default=500,
        description=(
            "Environment steps of each task from which curvature products estimate the Hessians of the inner loop; "
            "null uses all, as policies with memory and 'dice' always do. The meta-gradient always uses all."
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

    used_with: ClassVar[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
        "*": {"maml-outer-step": ("trpo",), "outer-step": ("trpo",)}
    }

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


class ProMPSettings(Settings):
    """Outer step of ProMP."""

    used_with: ClassVar[Mapping[str, Mapping[str, tuple[str, ...]]]] = {"*": {"maml-outer-step": ("promp",)}}

    promp_learning_rate: float = Field(default=1e-3, gt=0, description="Step size of Adam (promp).")
    promp_num_steps: Count = Field(
        default=5, description="Passes through an iteration's episodes, each of a step of Adam or several (promp)."
    )
    promp_num_minibatches: Count = Field(
        default=1,
        description=(
            "Groups that tasks are divided into at random for the steps of Adam of a pass (promp); 1: one step on all, "
            "as in the paper. More take more steps with the same episodes and the same arithmetic."
        ),
    )
    promp_entropy_coef: float = Field(
        default=0.0,
        ge=0,
        description=(
            "Coefficient of the entropy, in nats, of the policies after adaptation, subtracted from the loss (promp). "
            "0: none, as in the paper."
        ),
    )
    promp_clip_range: float = Field(
        default=0.3, gt=0, lt=1, description="Clip range of the probability ratio after adaptation (promp)."
    )
    promp_inner_kl_coef: float = Field(
        default=5e-4,
        ge=0,
        description=(
            "Coefficient of the KL divergence, in nats, of the policies before adaptation from those that rolled out "
            "(promp); the one at the start where it adapts."
        ),
    )
    promp_inner_kl_target: float | None = Field(
        default=None,
        gt=0,
        description=(
            "That divergence, in nats, which its coefficient adapts to: halved after an iteration that stays below two "
            "thirds of it, doubled after one beyond one and a half (promp); null: the coefficient is constant."
        ),
    )


class ReptileSettings(Settings):
    """Outer step of Reptile."""

    used_with: ClassVar[Mapping[str, Mapping[str, tuple[str, ...]]]] = {"*": {"maml-outer-step": ("reptile",)}}

    reptile_step_size: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Fraction of the way to the mean of the adapted weights that an iteration goes (reptile).",
    )
    reptile_step_size_end: float | None = Field(
        default=None, ge=0, le=1, description="Linear schedule of that fraction to this value; null: constant."
    )

    @property
    def follows_num_batches(self) -> bool:
        """See `Settings.follows_num_batches`."""
        return self.reptile_step_size_end is not None
