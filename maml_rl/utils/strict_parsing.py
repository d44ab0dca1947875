"""YAML and JSON readers that refuse what the plain ones let pass, each in one line that names the place."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

_MOST_VALUES = 100_000
"""Values that a text may hold once its aliases are written out; merges of aliases are written out on reading."""
_DEEPEST = 50
"""Lists and mappings within one another."""
LARGEST_FILE = 1_000_000
"""Bytes of a file of values; nothing that people write comes near."""


def read_text(path: Path) -> str:
    """Text of a file of values, of at most `LARGEST_FILE` bytes.

    Raises
    ------
    ValueError
        If there are more, or they are not UTF-8.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"got a file of more than {LARGEST_FILE:,} bytes, expected fewer; shorten it")
    return data.decode("utf-8")


class _TooDeepError(ValueError):
    """Values within one another beyond `_DEEPEST`."""

    def __init__(self) -> None:
        super().__init__(f"nested more than {_DEEPEST} deep; write the values out")


class _StrictLoader(yaml.SafeLoader):
    """Safe loader that refuses duplicate keys and endless aliases, and reads ``1e-2`` as a number."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and (count := _written_out(node, {})) > _MOST_VALUES:
            got = f"{count:,}" if count < 10**12 else "more than a million millions of"
            raise yaml.MarkedYAMLError(
                problem=f"got {got} values once aliases (*name) are written out, expected at most {_MOST_VALUES:,}; "
                "use fewer of them"
            )
        return node

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._depth = getattr(self, "_depth", 0) + 1
        if self._depth > _DEEPEST:
            raise _TooDeepError
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen: set[tuple[Hashable, Hashable]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                problem = f"duplicate key {key.value!r}; keep one of the two"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add((key.tag, key.value))
        return node


def _written_out(node: yaml.Node, counted: dict[int, int]) -> int:
    """Number of values of a node and all below it, those of an alias at each of its places."""
    if id(node) not in counted:
        counted[id(node)] = 1  # also what a node within itself counts there
        if isinstance(node, yaml.SequenceNode):
            counted[id(node)] += sum(_written_out(item, counted) for item in node.value)
        elif isinstance(node, yaml.MappingNode):
            counted[id(node)] += sum(_written_out(item, counted) for pair in node.value for item in pair)
    return counted[id(node)]


# YAML 1.1 wants a dot and a signed exponent in a float (1.0e-2); YAML 1.2, JSON and people do not.
_StrictLoader.add_implicit_resolver(  # type: ignore[no-untyped-call, unused-ignore]
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def parse_yaml(text: str) -> Any:
    """Return what `text` holds, made of plain Python objects only.

    Differs from `yaml.safe_load` in four ways: a key that stands twice in one mapping is an error, so are aliases
    that multiply to more than 100,000 values, ``1e-2`` is a number, and every failure is a `ValueError` of one line.

    Raises
    ------
    ValueError
        "line 3: ..." when `text` is not YAML, or holds a value that cannot be built.

    Examples
    --------
    >>> parse_yaml("{max-kl: 1e-2, hidden-sizes: [64, 64]}")
    {'max-kl': 0.01, 'hidden-sizes': [64, 64]}
    >>> parse_yaml("gamma: 1\\ngamma: 2")
    Traceback (most recent call last):
    ...
    ValueError: line 2: duplicate key 'gamma'; keep one of the two
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # a SafeLoader: builds plain objects only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}: " if mark is not None else ""
        message = " ".join(str(error.problem or error.context).split())
        raise ValueError(place + message) from error
    except _TooDeepError:
        raise
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        # PyYAML lets its constructors' slips through: `!!bool maybe` is a KeyError.
        raise ValueError(f"cannot be understood: {' '.join(str(error).split())}") from error


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"duplicate key {key!r}; keep one of the two")
        mapping[key] = value
    return mapping


def parse_json(text: str) -> Any:
    """Return what `text` holds; a key that stands twice in one object is an error.

    Raises
    ------
    ValueError
        In one line; with the line's number where `text` is not JSON.

    Examples
    --------
    >>> parse_json('{"gamma": 0.9}')
    {'gamma': 0.9}
    """
    try:
        values = json.loads(text, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from error
    except RecursionError as error:
        raise _TooDeepError from error
    _check_depth(values)
    return values


def _check_depth(values: Any, depth: int = 1) -> None:
    if depth > _DEEPEST:
        raise _TooDeepError
    if isinstance(values, dict | list):
        for value in values.values() if isinstance(values, dict) else values:
            _check_depth(value, depth + 1)
