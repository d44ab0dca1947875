"""Sections of a configuration: what they have in common."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from maml_rl.utils.config_files import to_kebab

LARGEST_COUNT = 1_000_000
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
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

    for_memoryless: ClassVar[bool] = False
    """True if policies with memory have no use for the keys."""

    used_with: ClassVar[Mapping[str, Mapping[str, tuple[str, ...]]]] = {}
    """Keys that only some choices have a use for, ``"*"`` all of the section: by the key that chooses its values."""

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
