"""Sections of a configuration: the settings that workers, learners and policies hold as they are."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from maml_rl.utils.config_files import to_kebab

Count = Annotated[int, Field(ge=1, le=1_000_000)]
Width = Annotated[int, Field(ge=1, le=10_000)]


class Settings(BaseModel):
    """One section: immutable, strict, its keys kebab-case in files and snake_case in Python."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        alias_generator=to_kebab,
        validate_by_alias=True,
        validate_by_name=True,
    )
