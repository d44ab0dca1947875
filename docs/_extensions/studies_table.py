"""A table of the studies, made of their files: the directive ``studies-table``.

It reads what a study asks and how many runs it has, and whether the repository holds its results.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

COLUMNS = ("study", "asks", "runs, with seeds", "results")
WIDTHS = (20, 56, 12, 12)


class StudiesTable(SphinxDirective):
    """The directive; it has no content."""

    def run(self) -> list[nodes.Node]:
        """Return one table with a row for each file of studies/."""
        root = Path(self.env.srcdir)
        group = nodes.tgroup(cols=len(COLUMNS))
        group += [nodes.colspec(colwidth=width) for width in WIDTHS]
        head, body = nodes.thead(), nodes.tbody()
        head += self._row([nodes.Text(word) for word in COLUMNS])
        for path in sorted((root / "studies").glob("*.yaml")):
            self.env.note_dependency(str(path))
            body += self._of_study(root, path)
        group += [head, body]
        return [nodes.table("", group)]

    def _of_study(self, root: Path, path: Path) -> nodes.row:
        study = yaml.safe_load(path.read_text(encoding="utf-8"))
        seeds = sum(len(run["seeds"]) for run in study["runs"].values())
        result: nodes.Node = nodes.Text("not run to the end")
        page = f"results/{study['name']}/table"
        if (root / f"{page}.md").exists():
            uri = "../" * self.env.docname.count("/") + f"{page}.html"
            result = nodes.reference("", "table", refuri=uri, internal=True)
        question = " ".join(study["question"].split())
        cells = [
            nodes.literal("", path.name),
            nodes.Text(question),
            nodes.Text(f"{len(study['runs'])}, {seeds}"),
            result,
        ]
        return self._row(cells)

    @staticmethod
    def _row(cells: list[nodes.Node]) -> nodes.row:
        row = nodes.row()
        row += [nodes.entry("", nodes.paragraph("", "", cell)) for cell in cells]
        return row


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("studies-table", StudiesTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
