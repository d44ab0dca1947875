"""Tables of every key of a configuration, made of the classes that check them.

The directive ``settings-tables`` gives one section of the page for each section of settings: those of every
configuration, of each algorithm and of each kind of policy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from docutils import nodes
from pydantic_core import PydanticUndefined
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from maml_rl.config_sections import all_sections
from maml_rl.policies.registry import policy_kinds
from maml_rl.settings import Settings, algorithm_settings
from maml_rl.utils.config_files import to_kebab
from maml_rl.utils.field_words import expected

COLUMNS = ("key", "takes", "default", "meaning")
WIDTHS = (18, 18, 10, 54)
NAMED: dict[str, Callable[[], Iterable[str]]] = {
    "algorithm": lambda: sorted(algorithm_settings()),
    "policy": lambda: sorted(policy_kinds()),
}
"""Fields whose values are registered names."""


def used_by(section: type[Settings]) -> str:
    """Users of a section, in words."""
    policies = [name for name, kind in policy_kinds().items() if kind.options is section]
    if policies:
        return f"policy: {' | '.join(policies)}"
    algorithms = [name for name, known in algorithm_settings().items() if section in known.sections]
    if not algorithms:
        return "every configuration"
    return f"algorithm: {' | '.join(algorithms)}" + ("; policies without memory" if section.for_memoryless else "")


def rows(section: type[Settings]) -> Iterator[tuple[str, str, str, str]]:
    """Key, values it takes, default and meaning of each field."""
    for name, field in section.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "required" if default is PydanticUndefined else json.dumps(_plain(default), ensure_ascii=False)
        takes = f"one of {', '.join(NAMED[name]())}" if name in NAMED else expected(field)
        yield to_kebab(name), takes, shown.strip('"'), field.description or ""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def anchor(key: str) -> str:
    """Anchor of a key on the page."""
    return f"key-{key}"


class SettingsTables(SphinxDirective):
    """The directive; it has no content."""

    def run(self) -> list[nodes.Node]:
        """Return one section of the page for each section of settings that has keys."""
        sections = [section for section in all_sections() if section.model_fields]
        return [self._section(section) for section in sections]

    def _section(self, section: type[Settings]) -> nodes.Node:
        title = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", section.__name__)
        found = nodes.section(ids=[nodes.make_id(title)], names=[nodes.fully_normalize_name(title)])
        found += nodes.title("", title)
        about = (section.__doc__ or "").strip().split("\n\n")[0]
        found += nodes.paragraph(
            "", "", nodes.Text(f"{about} Used by "), nodes.literal("", used_by(section)), nodes.Text(".")
        )
        found += self._table(section)
        former = [(old, new) for old, new in section.former_names.items()]
        if former:
            names = ", ".join(f"{old} ({new})" for old, new in former)
            found += nodes.paragraph("", f"Former names, still read: {names}.")
        return found

    def _table(self, section: type[Settings]) -> nodes.table:
        group = nodes.tgroup(cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=width) for width in WIDTHS]
        head, body = nodes.thead(), nodes.tbody()
        head += self._row([nodes.Text(word) for word in COLUMNS])
        for key, takes, default, meaning in rows(section):
            row = self._row(
                [nodes.literal("", key), nodes.Text(takes), nodes.literal("", default), nodes.Text(meaning)]
            )
            row["ids"].append(anchor(key))
            body += row
        group += [head, body]
        return nodes.table("", group, classes=["settings"])

    @staticmethod
    def _row(cells: list[nodes.Node]) -> nodes.row:
        row = nodes.row()
        row += [nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells]
        return row


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("settings-tables", SettingsTables)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
