"""Sections of a configuration: the settings that workers, learners and policies hold as they are."""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from maml_rl.utils.config_files import to_kebab

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=10_000)]


class Settings(BaseModel):
    """One section: immutable, strict, its keys kebab-case in files and snake_case in Python.

    A key belongs to one section and has one default. A section of an algorithm or a policy from outside the package
    derives from this class and is registered with it.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=to_kebab,
        validate_by_alias=True,
        validate_by_name=True,
    )

    former_names: ClassVar[Mapping[str, str]] = {}
    """Keys that files of earlier versions have, and what they are called now; read silently."""

    @property
    def follows_num_batches(self) -> bool:
        """True if something here changes on a schedule that ends with the last iteration."""
        return False

    @field_validator("*", mode="before")
    @classmethod
    def _read_words_and_lists(cls, value: Any, info: Any) -> Any:
        """Lists become tuples, and words of a choice lower case."""
        annotation = cls.model_fields[info.field_name].annotation
        if isinstance(value, list) and typing.get_origin(annotation) is tuple:
            return tuple(value)
        is_choice = typing.get_origin(annotation) is Literal or info.field_name in ("algorithm", "policy")
        return value.lower() if is_choice and isinstance(value, str) else value


class RunSettings(Settings):
    """Sizes and beginning of a run."""

    algorithm: str = Field(
        default="maml",
        description=(
            "What is meta-learned, and how: 'maml' initial weights that gradient steps adapt; 'rl2' all weights of an "
            "agent whose memory adapts."
        ),
    )
    seed: int = Field(default=0, ge=0, description="Seed from which every random number of the run derives.")
    num_batches: Count = Field(default=500, description="Iterations of the outer loop.")
    meta_batch_size: Count = Field(default=40, description="Tasks per outer iteration.")
    initial_policy: str | None = Field(
        default=None,
        min_length=1,
        examples=["zoo/ant-vel/policy.th"],
        description=(
            "File policy.th whose weights the run starts from, those that are not trained among them; null: random "
            "weights."
        ),
    )
    allow_module: tuple[str, ...] = Field(
        default=(),
        examples=["[my_package.my_policy]"],
        description=(
            "Modules from outside the package that register what the run uses. Written by the flag --allow-module, and "
            "imported only where that flag is given."
        ),
    )
    worker_timeout: float = Field(
        default=30.0, gt=0, description="Seconds without a sign of life after which a worker counts as lost."
    )


class TaskSettings(Settings):
    """Tasks, and how much of each is rolled out."""

    env_name: str = Field(
        min_length=1, examples=["HalfCheetahDir-v2"], description="Id of the task family, as registered."
    )
    env_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        examples=["{low: 0.0, high: 2.0}"],
        description="Arguments of the environment's constructor, such as the range tasks are drawn from.",
    )
    fast_batch_size: Count = Field(
        default=20,
        description=(
            "Episodes of each task: per inner step, and again after adaptation (maml); in a meta-episode (rl2)."
        ),
    )

    @field_validator("env_kwargs", mode="before")
    @classmethod
    def _nothing_is_no_arguments(cls, value: Any) -> Any:
        return {} if value is None else value  # `env-kwargs:` with nothing behind it


class ReturnSettings(Settings):
    """Estimation of returns and advantages by learners that use them."""

    gamma: float = Field(default=0.99, ge=0, le=1, description="Discount of the rewards, per environment step.")
    gae_lambda: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Generalised advantage estimation: 1 is return minus baseline, 0 the one-step error.",
    )
    reward_clip: float | None = Field(
        default=None,
        gt=0,
        le=1e30,
        description=(
            "Absolute value at which rewards are clipped for what learns from them and for what an agent sees of them "
            "(rl2); returns in metrics and scores stay whole. 1 leaves points their sign; null: no limit."
        ),
    )


class PolicySettings(Settings):
    """Kind and size of the network."""

    policy: str = Field(
        default="mlp",
        description=(
            "Kind of network: 'mlp' has no memory, and so cannot learn by it (rl2); 'rnn' and 'lstm' have recurrent "
            "hidden layers; 'geometric' has a recurrent controller with a memory of slots on a sphere. The output fits "
            "the action space."
        ),
    )
    hidden_sizes: tuple[Width, ...] = Field(
        default=(64, 64), description="Units of each hidden layer; an empty list gives a linear policy."
    )
    nonlinearity: Literal["elu", "gelu", "relu", "sigmoid", "silu", "tanh"] = Field(
        default="tanh", description="Activation after each hidden layer."
    )
    encoder: Literal["auto", "none", "ram", "conv"] = Field(
        default="auto",
        description=(
            "What stands before the first layer: 'conv' convolutions over an image (channels, height, width), 'ram' "
            "bits of a console's memory beside its bytes, 'none' nothing; 'auto' is conv for images of 20 x 20 or more."
        ),
    )
    encoder_channels: tuple[Width, ...] = Field(
        default=(16, 32), description="Output channels of each convolution of the encoder (conv)."
    )
    train_recurrent: bool = Field(
        default=True,
        description=(
            "Whether hidden-to-hidden weights and biases are adapted and meta-learned; if not, they keep their random "
            "initial values. Nothing to choose without memory."
        ),
    )


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
    hessian_steps: Count | None = Field(
        default=500,
        description=(
            "Environment steps of each task from which curvature products estimate the Hessians of the inner loop; "
            "null uses all. The meta-gradient always uses all."
        ),
    )
    fisher_steps: Count | None = Field(
        default=160,
        description=(
            "Environment steps of each task from which curvature products estimate the Fisher information of the "
            "adapted policy; null uses all. Loss and KL of the line search always use all."
        ),
    )


class RL2Settings(Settings):
    """Outer step of RL², on whole meta-episodes."""

    former_names: ClassVar[Mapping[str, str]] = {
        "show-progress": "observe-episode-fraction",
        "value-weight": "value-coef",
        "entropy-weight": "entropy-coef",
        "entropy-weight-end": "entropy-coef-end",
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


@dataclass(frozen=True)
class AlgorithmSettings:
    """Settings that an algorithm takes beside those of run, task and policy.

    Attributes
    ----------
    sections
        Its sections.
    needs_memory
        Whether it can only train policies with memory.
    """

    sections: tuple[type[Settings], ...]
    needs_memory: bool = False


_ALGORITHMS = {
    "maml": AlgorithmSettings((ReturnSettings, MAMLSettings, TrustRegion)),
    "rl2": AlgorithmSettings((ReturnSettings, RL2Settings, TrustRegion), needs_memory=True),
}


def register_algorithm_settings(name: str, sections: Sequence[type[Settings]], *, needs_memory: bool = False) -> None:
    """Make the keys of these sections known wherever a configuration names this algorithm."""
    _ALGORITHMS[name] = AlgorithmSettings(tuple(sections), needs_memory)


def algorithm_settings() -> Mapping[str, AlgorithmSettings]:
    """Settings of every registered algorithm, by name."""
    return _ALGORITHMS
