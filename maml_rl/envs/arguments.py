"""Keyword arguments of task families, checked against their constructors."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

import pydantic
from pydantic.fields import FieldInfo

from maml_rl.envs.errors import EnvironmentArgumentError
from maml_rl.envs.task_family import TaskFamily
from maml_rl.utils.field_words import did_you_mean, expected, shown

# What stands in a constructor's signature but not in a configuration's env-kwargs.
_NOT_KEYWORDS = {"num_envs", "num_individuals", "num_lives", "device", "dtype"}
_LARGEST = 1e9
"""Size that no number of a task needs; squares and long sums of larger ones end at infinity in float32."""
_WORDS: dict[Any, str] = {
    list[int]: "a list of whole numbers",
    tuple[float, float]: "two numbers [low, high]",
    Mapping: "a mapping from names to values",
}


def missing_keywords(family_class: type[TaskFamily], given: Mapping[str, Any]) -> list[str]:
    """Keywords that the constructor must be given and is not."""
    return [
        name
        for name, parameter in inspect.signature(family_class).parameters.items()
        if name not in _NOT_KEYWORDS
        and parameter.default is parameter.empty
        and name not in given
        and parameter.kind is parameter.KEYWORD_ONLY
    ]


def check_keywords(family_class: type[TaskFamily], given: Mapping[str, Any]) -> None:
    """Refuse keywords that the constructor does not have."""
    parameters = inspect.signature(family_class).parameters
    legal = sorted(parameters.keys() - _NOT_KEYWORDS)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in given:
        if name not in legal and not takes_any:
            raise EnvironmentArgumentError(
                f"env-kwargs: unknown keyword {name!r} for {family_class.__name__}"
                f"; legal keywords: {', '.join(legal)}{did_you_mean(name, legal)}"
            )


def check_types(family_class: type[TaskFamily], given: Mapping[str, Any]) -> None:
    """Refuse values that the constructor's annotations do not allow; true is not a number here, nor is text."""
    hints = typing.get_type_hints(family_class.__init__)
    for name, value in given.items():
        hint = hints.get(name, Any)
        try:
            pydantic.TypeAdapter(hint).validate_python(value, strict=isinstance(value, bool | int | float | str))
            fits = True
        except pydantic.ValidationError:
            fits = False
        bound = _exceeded(value) if fits else None
        if not fits or bound is not None:
            within = (
                "" if bound is None else f"{'' if hint in (int, float) else ', numbers'} in [-{bound:g}, {bound:g}]"
            )
            raise EnvironmentArgumentError(f"env-kwargs.{name}: got {shown(value)}, expected {_words(hint)}{within}")


def _exceeded(value: Any) -> float | None:
    """Bound of a number, here or within lists and mappings, that is too large or not one; whole ones have 64 bits."""
    if isinstance(value, Mapping | list | tuple):
        parts = value.values() if isinstance(value, Mapping) else value
        return next((bound for part in parts if (bound := _exceeded(part)) is not None), None)
    largest = _LARGEST if isinstance(value, float) else 2.0**64
    return largest if isinstance(value, float | int) and not abs(value) <= largest else None


def _words(hint: Any) -> str:
    """Values that an annotation accepts, in words."""
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    for kind, words in _WORDS.items():
        if kind in (*choices, *map(typing.get_origin, choices)):
            return words + (", or null" if type(None) in choices else "")
    known = typing.get_origin(hint) is typing.Literal or set(choices) <= {int, float, bool, str, type(None)}
    return expected(FieldInfo.from_annotation(hint)) if known else str(hint)
