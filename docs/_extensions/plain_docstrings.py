"""Docstrings as they are written here: shapes such as (..., *A) and absolute values are no markup, and an indented
block of a description is an equation, shown line by line.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

_STARRED = re.compile(r"(?<![\w*`\\])\*(?=\)|[A-Za-z_]+\b(?!\*))")
_BAR = re.compile(r"(?<!\\)\|")
_CODE = re.compile(r"(``.*?``|`.*?`)")


def prepare(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Rewrite the lines of a docstring in place, before its sections are read."""
    end = next((i - 1 for i, line in enumerate(lines) if line.strip() and not line.strip("-")), len(lines))
    description = _with_literal_blocks(lines[:end])
    lines[:] = [*description, *(_escaped(line) for line in lines[end:])]


def _with_literal_blocks(lines: list[str]) -> list[str]:
    """The lines of a description, a double colon before each indented block that is no item of a list or example."""
    found: list[str] = []
    in_block = False
    for index, line in enumerate(lines):
        indented = line.startswith("    ")
        if indented and not in_block and index and not lines[index - 1].strip():
            in_block = True
            found += ["::", ""]
        elif line.strip() and not indented:
            in_block = False
        found.append(line if in_block else _escaped(line))
    return found


def _escaped(line: str) -> str:
    """A line in which, outside of code, nothing is read as emphasis or a substitution."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    parts = _CODE.split(line)
    parts[::2] = [_BAR.sub(r"\\|", _STARRED.sub(r"\\*", part)) for part in parts[::2]]
    return "".join(parts)


def skip_references(app: Sphinx, what: str, name: str, obj: Any, skip: bool, options: Any) -> bool | None:
    """Leave out members whose docstring says no more than that of the contract which they fulfil."""
    text = getattr(getattr(obj, "fget", None) or obj, "__doc__", None)
    return True if isinstance(text, str) and re.match(r"See `[\w.]+`[.:]?", text.strip()) and len(text) < 160 else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", prepare, priority=100)
    app.connect("autodoc-skip-member", skip_references)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
