"""Typed, validated configuration of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from maml_rl.settings import Count, Settings, Width
from maml_rl.utils.config_files import ConfigError, apply_override, read_mapping, to_kebab
from maml_rl.utils.field_words import cure, did_you_mean, expected, shown

__all__ = ["Config", "ConfigError", "load_config"]

_MAX_DEPTH = 20


class Config(Settings):
    """Everything that decides the result of a run; immutable.

    Files use kebab-case keys (``fast-lr``), Python snake_case attributes (``config.fast_lr``). The
    number of workers, the device and the output folder are not here: they change the speed of a run,
    not its result.

    Examples
    --------
    >>> config = Config(env_name="2DNavigation-v0", fast_lr=0.2)
    >>> config.to_json_dict()["fast-lr"]
    0.2
    """

    algorithm: Literal["maml", "rl2"] = Field(
        default="maml",
        description=(
            "Family of the learner: 'maml' meta-learns initial weights that gradient steps adapt; 'rl2' meta-learns "
            "all weights of an agent whose memory adapts. Keys of the other family may stay and have no effect."
        ),
    )
    seed: int = Field(default=0, ge=0, description="Seed from which every random number of the run derives.")
    num_agents: Count = Field(
        default=1,
        description=(
            "Independent agents trained side by side (rl2): agent i is what seed + i makes alone. Meta-batch and "
            "everything else are each agent's own."
        ),
    )

    env_name: str = Field(
        min_length=1, examples=["HalfCheetahDir-v2"], description="Id of the task family, as registered."
    )
    env_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        examples=["{low: 0.0, high: 2.0}"],
        description="Arguments of the environment's constructor, such as the range tasks are drawn from.",
    )
    gamma: float = Field(default=0.99, ge=0, le=1, description="Discount of the rewards, per environment step.")
    gae_lambda: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Generalised advantage estimation: 1 is return minus baseline, 0 the one-step error.",
    )
    gae_lambda_end: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description=(
            "The same after the last iteration, approached evenly (rl2); null: the same. Small at first and large in "
            "the end learns fast, and then without the bias of wrong values."
        ),
    )

    baseline_regularisation: float = Field(
        default=1e-5,
        gt=0,
        description=(
            "Ridge of the linear baseline that is fitted to a task's episodes (maml). Large where observations are "
            "long and episodes few: a baseline that knows the returns by heart leaves advantages of noise."
        ),
    )
    reward_clip: float | None = Field(
        default=None,
        gt=0,
        le=1e30,
        description=(
            "Size to which larger rewards, of either sign, are cut for what learns from them and for what an agent "
            "sees of them (rl2); returns in metrics and scores stay whole. 1 leaves points their sign; null: no limit."
        ),
    )

    policy: Literal["mlp", "rnn", "lstm", "geometric"] = Field(
        default="mlp",
        validate_default=True,
        description=(
            "Kind of network: 'mlp' has no memory, and so cannot learn by it (rl2); 'rnn' and 'lstm' have recurrent "
            "hidden layers; 'geometric' has a "
            "recurrent controller with a memory of slots on a sphere. The output fits the action space."
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
    initial_policy: str | None = Field(
        default=None,
        min_length=1,
        examples=["results/foundation/ant-vel/seed-1/policy.th"],
        description=(
            "File policy.th whose weights the run starts from, those that are not trained among them; null: random "
            "weights."
        ),
    )
    memory_scope: Literal["episode", "task"] = Field(
        default="episode",
        description=(
            "What ends the memory (maml): 'episode', or 'task', where it lasts from the episodes before an inner step "
            "into those after it. Nothing to choose without memory; with rl2 the memory always lasts for the task."
        ),
    )
    memory_horizon: int | None = Field(
        default=None,
        ge=3,
        description=(
            "Steps over which the units of a fresh LSTM remember, evenly spread from 2 on; null: about four steps. "
            "Something like the length of what is to be remembered."
        ),
    )
    memory_slots: Width = Field(default=16, description="Slots of the geometric memory.")
    memory_width: Width = Field(default=16, description="Values in each slot of the geometric memory.")

    fast_batch_size: Count = Field(
        default=20,
        description=(
            "Episodes of each task: per inner step, and again after adaptation (maml); in a meta-episode (rl2)."
        ),
    )
    show_progress: bool = Field(
        default=False,
        description="Whether an agent sees the share of the meta-episode's episodes that are over (rl2).",
    )
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
            "that other weights would have played other episodes, at the price of noise; 'reinforce' is "
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
            "What the inner loop changes: 'all' meta-parameters, or only the 'head', the last layer over actions, "
            "while the outer loop learns all (maml)."
        ),
    )

    num_batches: Count = Field(default=500, description="Iterations of the outer loop.")
    meta_batch_size: Count = Field(default=40, description="Tasks per outer iteration.")
    outer_step: Literal["auto", "trpo", "ppo", "a2c"] = Field(
        default="auto",
        description="How the learner improves the weights; 'auto': trpo for maml, which has no other, ppo for rl2.",
    )
    learning_rate: float = Field(default=1e-3, gt=0, description="Step size of the optimiser (ppo, a2c).")
    learning_rate_end: float | None = Field(
        default=None, ge=0, description="Step size after the last iteration, approached evenly; null: the same."
    )
    optimiser: Literal["adam", "rmsprop"] = Field(default="adam", description="Optimiser of the weights (ppo, a2c).")
    max_grad_norm: float = Field(
        default=1.0, gt=0, description="Length to which longer gradients are shortened (ppo, a2c)."
    )
    num_epochs: Count = Field(default=4, description="Passes over the meta-batch in an iteration (ppo).")
    num_minibatches: Count = Field(default=4, description="Parts the meta-batch's tasks are divided into (ppo).")
    clip_range: float = Field(
        default=0.2, gt=0, lt=1, description="How far a probability ratio may leave 1 before its gain ends (ppo)."
    )
    value_weight: float = Field(
        default=0.5, ge=0, description="Weight of the values' loss, in units of their targets' variance (rl2)."
    )
    entropy_weight: float = Field(default=0.01, ge=0, description="Weight of the policy's entropy, in nats (rl2).")
    entropy_weight_end: float | None = Field(
        default=None, ge=0, description="That weight after the last iteration, approached evenly; null: the same."
    )
    backprop_steps: Count | None = Field(
        default=None,
        description=(
            "Environment steps after which back-propagation through time is cut (rl2; trpo's curvature is never cut); "
            "null: nowhere."
        ),
    )
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

    worker_timeout: float = Field(
        default=30.0, gt=0, description="Seconds without a sign of life after which a worker counts as lost."
    )

    @field_validator("policy")
    @classmethod
    def _check_policy(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("algorithm") == "rl2" and value == "mlp":
            raise _refusal("policy", repr(value), "one with memory for algorithm rl2: rnn, lstm or geometric")
        return value

    @field_validator("num_agents")
    @classmethod
    def _check_num_agents(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("algorithm") == "maml" and value != 1:
            raise _refusal("num-agents", repr(value), "1 with algorithm maml; set algorithm: rl2 or leave it out")
        return value

    @field_validator("outer_step")
    @classmethod
    def _check_outer_step(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("algorithm") == "maml" and value not in ("auto", "trpo"):
            raise _refusal("outer-step", repr(value), "'trpo' with algorithm maml; set algorithm: rl2 or leave it out")
        return value

    @field_validator("hidden_sizes", "encoder_channels", mode="before")
    @classmethod
    def _freeze_sizes(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @field_validator("algorithm", "policy", "encoder", "nonlinearity", "outer_step", "optimiser", mode="before")
    @classmethod
    def _lower(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("env_kwargs", mode="before")
    @classmethod
    def _check_env_kwargs(cls, value: Any) -> Any:
        if value is None:  # `env-kwargs:` with nothing behind it
            return {}
        if isinstance(value, dict):
            _check_plain(value, "env-kwargs")
        return value

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, source: str | Mapping[str, str]) -> Config:
        """Return the configuration that kebab-case `values` describe.

        Parameters
        ----------
        values
            One entry per key; keys left out take their default.
        source
            Where the values come from, for the error line; a mapping gives a source for each key, with
            ``""`` for the rest.

        Raises
        ------
        ConfigError
            For an unknown key, a wrong type or an impossible value.
        """
        sources = {"": source} if isinstance(source, str) else dict(source)
        fields = {to_kebab(name): field for name, field in cls.model_fields.items()}
        for key in values:
            if key not in fields:
                where = sources.get(key, sources[""])
                raise ConfigError(f"unknown key {key!r} in {where}{did_you_mean(key, fields)}")
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            key = str(first["loc"][0])
            where = sources.get(key, sources[""])
            raise ConfigError(_error_line(key, where, fields[key], values, first)) from error

    def changeable_keys(self) -> frozenset[str]:
        """Keys that may differ between a run and its resumption: they do not change the curve so far.

        The number of iterations is one of them unless something changes evenly until the last.
        """
        ends = {
            self.gae_lambda_end,
            self.entropy_weight_end,
            None if self.outer_step == "trpo" else self.learning_rate_end,
        }
        scheduled = self.algorithm == "rl2" and ends != {None}
        always = {"initial-policy", "worker-timeout"}  # a file may be moved once its weights have been taken
        return frozenset(always if scheduled else {"num-batches", *always})

    def to_json_dict(self) -> dict[str, Any]:
        """Return a copy with kebab-case keys, made of what JSON can hold; `load_config` reads it back."""
        return self.model_dump(mode="json", by_alias=True)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file.

    Parameters
    ----------
    path
        A ``.yaml`` or ``.yml`` file, or the ``config.json`` of a run folder, also of one that
        pytorch-maml-rl wrote.
    overrides
        ``"key=value"`` strings that replace what the file says, the last one winning. The value is
        read as YAML; ``env-kwargs.low=-1`` replaces one entry of ``env-kwargs``.

    Raises
    ------
    ConfigError
        In one line, for whatever is wrong with the file, its values or an override.
    """
    path = Path(path)
    values = read_mapping(path)
    sources = {"": str(path)}
    for override in overrides:
        key = apply_override(values, override)
        sources[key] = f"--set {override}"
    return Config.from_mapping(values, source=sources)


def _check_plain(value: Any, path: str, depth: int = 0) -> None:
    """Refuse what JSON cannot hold, so that config.json says exactly what ran."""
    if depth > _MAX_DEPTH:  # a YAML alias can make a mapping hold itself
        raise _refusal("env-kwargs", "a value inside itself or too deep", f"at most {_MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise _refusal(path, f"the key {shown(key)}", "names as keys")
            _check_plain(item, f"{path}.{key}", depth + 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _check_plain(item, f"{path}[{index}]", depth + 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise _refusal(path, str(value), "a finite number")
    elif value is not None and not isinstance(value, bool | int | float | str):
        raise _refusal(path, shown(value), "text, a number, true, false, a list or a mapping")


def _refusal(path: str, got: str, expected: str) -> PydanticCustomError:
    return PydanticCustomError(
        "refused", "{path}: got {got}, expected {expected}", {"path": path, "got": got, "expected": expected}
    )


def _error_line(key: str, source: str, field: FieldInfo, values: Mapping[str, Any], error: Mapping[str, Any]) -> str:
    if error["type"] == "refused":
        context = error["ctx"]
        return f"{context['path']} in {source}: got {context['got']}, expected {context['expected']}"
    value = values.get(key)
    return f"{key} in {source}: got {shown(value)}, expected {expected(field)}{cure(field, value)}"
