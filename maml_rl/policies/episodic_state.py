"""Options and state of an episodic LSTM."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field
from torch import Tensor

from maml_rl.policies.memory.dictionary import Entries, Kernel
from maml_rl.settings import Settings
from maml_rl.settings.base import Count, Width


class EpisodicOptions(Settings):
    """Options of policy ``episodic``."""

    dictionary_retrieval: Literal["reinstate", "input", "none"] = Field(
        default="reinstate",
        description=(
            "Way of what was read into the LSTM: through its reinstatement gate into the cell, as a further input, or "
            "not at all (incremental learning only)."
        ),
    )
    dictionary_capacity: Count = Field(default=100, description="Entries of the dictionary; the oldest is replaced.")
    dictionary_kernel: Kernel = Field(
        default="cosine", description="Kernel between keys: cosine, euclidean or inverse-distance."
    )
    dictionary_neighbours: Count = Field(default=1, description="Nearest entries that a reading averages.")
    dictionary_sharpness: float = Field(
        default=10.0, gt=0, description="Factor of cosine or distance in the weights of several neighbours."
    )
    dictionary_reach: float | None = Field(
        default=None,
        ge=0,
        description="Largest distance of a key from the query, as a fraction of the query's length, at which an entry "
        "is read; below 0.01: the same key alone; null: any distance. With cosine both have length 1.",
    )
    dictionary_key: Literal["observation", "embedding"] = Field(
        default="observation",
        description="What entries are found by: a part of the observation (or of what its encoder makes of it), or a "
        "learned linear map of it, which needs several neighbours to learn.",
    )
    dictionary_key_range: tuple[int, ...] = Field(
        default=(), description="Place of that part's first number and the place behind its last; []: all numbers."
    )
    dictionary_key_enters: bool = Field(
        default=True,
        description="Whether that part of the observation enters the LSTM too. If not, no task can be memorised "
        "by its keys, and working memory serves all of them alike.",
    )
    dictionary_key_size: Width = Field(default=16, description="Numbers of a learned key.")
    dictionary_resets: bool = Field(
        default=True, description="Whether working memory begins anew with every episode of a meta-episode."
    )
    dictionary_detach: bool = Field(
        default=True,
        description="Whether entries are constants to a learner; false: gradients reach the episodes that wrote them.",
    )
    reinstatement_bias: float = Field(default=0.0, description="Bias that the reinstatement gate begins with.")


class Working(NamedTuple):
    """Working memory.

    Attributes
    ----------
    output, cell
        Of the LSTM (..., H).
    seen
        Encoded own observation (..., E) of the last step: what a closing observation, whose own part is already the
        next episode's, does not tell of.
    recalled
        What was read (..., H) with its key.
    same
        Place (...,) of the entry with the same key, -1 if none has.
    """

    output: Tensor
    cell: Tensor
    seen: Tensor
    recalled: Tensor
    same: Tensor


class EpisodicState(NamedTuple):
    """Working memory, which lasts for an episode, and entries, which last for a meta-episode."""

    working: Working
    entries: Entries
