"""Sections of every configuration: run, tasks, policy, and returns for those who learn from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from maml_rl.settings.base import Count, Settings, Width


class RunSettings(Settings):
    """Sizes and beginning of a run."""

    algorithm: str = Field(
        default="maml",
        description=(
            "What is meta-learned, and how: 'maml' initial weights that gradient steps adapt; 'rl2' all weights of an "
            "agent whose memory adapts; 'evolution' all weights of any agent, without a gradient."
        ),
    )
    seed: int = Field(default=0, ge=0, description="Seed from which every random number of the run derives.")
    num_batches: Count = Field(default=500, description="Iterations of the outer loop.")
    meta_batch_size: Count = Field(default=40, description="Tasks per outer iteration.")
    num_shards: Count | None = Field(
        default=None,
        description=(
            "Parts of an iteration's tasks (evolution: of the population); workers serve as many as fall to them, and "
            "results do not depend on who serves which. null: one for each worker that the run starts with."
        ),
    )
    initial_policy: str | None = Field(
        default=None,
        min_length=1,
        examples=["zoo/ant-vel/policy.th"],
        description=(
            "File policy.th whose weights the run starts from, those that are not trained among them; null: random "
            "weights."
        ),
    )
    initial_shuffle: tuple[str, ...] = Field(
        default=(),
        examples=["[encoder]"],
        description=(
            "Beginnings of names of parameters whose entries, once they have been read from initial-policy, change "
            "places within each at random: a control that keeps their sizes and loses what they had learned."
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
            "Kind of network: 'mlp' has no memory, and so cannot learn by it (rl2); 'rnn', 'lstm', 'gru' and 'linear' "
            "have recurrent hidden layers; 'attention' attends to all that was seen; 'delta' stores it in fast "
            "weights; 'geometric' has a recurrent controller with a memory of slots on a sphere; 'episodic' an LSTM "
            "with a dictionary of past episodes; 'plastic' weights that a rule changes. The output fits the action "
            "space."
        ),
    )
    hidden_sizes: tuple[Width, ...] = Field(
        default=(64, 64), description="Units of each hidden layer; an empty list gives a linear policy."
    )
    nonlinearity: Literal["elu", "gelu", "relu", "sigmoid", "silu", "tanh"] = Field(
        default="tanh", description="Activation after each hidden layer."
    )
    encoder: Literal["auto", "none", "ram", "conv", "standard"] = Field(
        default="auto",
        description=(
            "What stands before the first layer: 'conv' convolutions over an image (channels, height, width), 'ram' "
            "bits of a console's memory beside its bytes, 'standard' numbers less a centre, in deviations, 'none' "
            "nothing; 'auto' is conv for images of 20 x 20 or more."
        ),
    )
    encoder_channels: tuple[Width, ...] = Field(
        default=(16, 32), description="Output channels of each convolution of the encoder (conv)."
    )
    encoder_gain: float = Field(
        default=1.0,
        gt=0,
        le=1000,
        description=(
            "Factor by which images are seen larger than 0 to 1 (conv). Of dark ones with little in them, as games "
            "have, a fresh network hardly notices anything at their own size."
        ),
    )
    encoder_centre: tuple[float, ...] = Field(
        default=(),
        description="What is subtracted from the numbers of an observation (standard), one for each; empty: nothing.",
    )
    encoder_deviation: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(),
        description="What the numbers of an observation are divided by then (standard), one for each; empty: nothing.",
    )
    initial_std: float = Field(
        default=1.0,
        ge=0.001,
        le=1000,
        description=(
            "Standard deviation of continuous actions before training, without initial-policy. It is learned, slowly: "
            "where actions are bounded by 1, less than 1 is noise that need not be unlearned."
        ),
    )
    train_recurrent: bool = Field(
        default=True,
        description=(
            "Whether hidden-to-hidden weights and biases are adapted and meta-learned; if not, they keep their random "
            "initial values. Nothing to choose without memory."
        ),
    )
