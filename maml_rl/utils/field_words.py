"""Words about a configuration field, for error lines: what it got, what it expects, how to mend it."""

from __future__ import annotations

import difflib
import math
import reprlib
import typing
from collections.abc import Iterable
from typing import Any, Literal

from pydantic.fields import FieldInfo

_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 60
_LONGEST = 200
"""Characters of a value that a line shows; nested lists are shortened at every level and can still be long."""


def shown(value: Any) -> str:
    """Return `value` as an error line shows it: one line, long values shortened.

    Examples
    --------
    >>> shown(None), shown(1.5), shown("tanh")
    ('nothing', '1.5', "'tanh'")
    """
    text = "nothing" if value is None else " ".join(_repr.repr(value).split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def expected(field: FieldInfo) -> str:
    """Say in words what a field accepts; the words follow from its annotation and bounds."""
    field, optional = _without_none(field)
    return _expected(field) + (", or null" if optional else "")


def _without_none(field: FieldInfo) -> tuple[FieldInfo, bool]:
    """Return the field that ``X | None`` stands for, and whether it is one."""
    choices = typing.get_args(field.annotation)
    if len(choices) != 2 or choices[1] is not type(None):
        return field, False
    inner = FieldInfo.from_annotation(choices[0])
    inner.metadata = [*inner.metadata, *field.metadata]
    return inner, True


def _expected(field: FieldInfo) -> str:
    origin = typing.get_origin(field.annotation)
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(field.annotation))
    if origin is tuple and typing.get_args(field.annotation)[0] is str:
        return f"a list of names, such as {field.examples[0] if field.examples else '[]'}"
    if origin is tuple:
        return "a list of whole numbers in [1, 10000], such as [64, 64]"
    if origin is dict:
        return f"a mapping, such as {field.examples[0] if field.examples else '{}'}"
    if field.annotation is bool:
        return "true or false"
    if field.annotation is str:
        return f"text, such as {field.examples[0]!r}" if field.examples else "text"
    noun = "a whole number" if field.annotation is int else "a number"
    bounds = {
        name: getattr(bound, name)
        for bound in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(bound, name)
    }
    if "le" in bounds or "lt" in bounds:
        low = f"[{bounds['ge']}" if "ge" in bounds else f"({bounds['gt']}"
        high = f"{bounds['le']}]" if "le" in bounds else f"{bounds['lt']})"
        return f"{noun} in {low}, {high}"
    signs = {"ge": ">=", "gt": ">"}
    return noun + "".join(f" {signs[name]} {bound}" for name, bound in bounds.items())


def cure(field: FieldInfo, value: Any) -> str:
    """Return how to mend `value`, ready to be appended to the error line, or ``""``."""
    field, _ = _without_none(field)
    if typing.get_origin(field.annotation) is Literal:
        return did_you_mean(value, typing.get_args(field.annotation))
    if not isinstance(value, str):
        return ""
    is_bool = field.annotation is bool and value.strip().lower() in ("true", "false")
    is_number = field.annotation in (int, float) and _is_number(value)
    return "; write it without quotes" if is_bool or is_number else ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """Return ``"; did you mean '...'?"`` with the nearest known word, or ``""`` when none is near.

    Examples
    --------
    >>> did_you_mean("lenght", ["length", "gravity"])
    "; did you mean 'length'?"
    >>> did_you_mean("zzz", ["length", "gravity"])
    ''
    """
    matches = difflib.get_close_matches(str(word), sorted(set(known)), n=1)
    return f"; did you mean {matches[0]!r}?" if matches else ""
