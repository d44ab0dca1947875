"""Links of the pages to files of the repository that are no pages.

A link to a folder goes to the page that stands for it, if there is one, to the repository, if its address is known (the
environment variable REPOSITORY_URL, such as https://github.com/OWNER/NAME/tree/main), and is plain text otherwise.
A link to a module whose source the site shows goes there; other files are downloads. A link that is called by the name
of a page's file is called by its title.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

PAGES_FOR = {
    "docs/README.md": "docs/index.md",
    "docs": "docs/index.md",
    "docs/design": "docs/design/foundation.md",
    "maml_rl/settings": "docs/configuration.md",
    "studies": "docs/studies.md",
    "zoo": "zoo/README.md",
    "results": "docs/tables.md",
}
"""Pages for files and folders that are none."""
_LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\(([^()\s#]+)(#[^()\s]*)?\)")


def redirect_folders(app: Sphinx, docname: str, content: list[str]) -> None:
    """Rewrite links of a page (one string in `content`) to folders, and to files that pages stand for."""
    root, folder = Path(app.srcdir), PurePosixPath(docname).parent

    def rewritten(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        if ":" in target:
            return match[0]
        place = posixpath.normpath(posixpath.join(folder.as_posix(), target))
        if place in PAGES_FOR:
            return f"[{text}]({posixpath.relpath(PAGES_FOR[place], folder.as_posix())}{anchor})"
        if not (root / place).is_dir():
            return match[0]
        address = os.environ.get("REPOSITORY_URL", "")
        return f"[{text}]({address.rstrip('/')}/{place})" if address else text

    content[0] = _LINK.sub(rewritten, content[0])


def read_sources(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Turn downloads of modules into links to their highlighted source."""
    shown = {name for name, entry in getattr(app.env, "_viewcode_modules", {}).items() if entry}
    for node in list(doctree.findall(addnodes.download_reference)):
        place = posixpath.normpath(posixpath.join(PurePosixPath(docname).parent.as_posix(), node["reftarget"]))
        if place.removesuffix(".py").replace("/", ".") in shown:
            uri = app.builder.get_relative_uri(docname, f"_modules/{place.removesuffix('.py')}")
            node.replace_self(nodes.reference("", "", *node.children, refuri=uri, internal=True))


def show_titles(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Give links whose text is the name of a page's file that page's title."""
    for node in list(doctree.findall(nodes.reference)):
        text, uri = node.astext(), node.get("refuri", "")
        if not text.endswith(".md") or ":" in uri:
            continue
        place = posixpath.normpath(posixpath.join(PurePosixPath(docname).parent.as_posix(), uri.partition("#")[0]))
        title = app.env.titles.get(place.removesuffix(".html"))
        if title is not None:
            node.children = [nodes.Text(title.astext())]


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", redirect_folders)
    app.connect("doctree-resolved", read_sources)
    app.connect("doctree-resolved", show_titles, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
