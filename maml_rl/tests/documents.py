"""The project's Markdown, taken apart: pages, headings, links, commands, tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^\s*(```+|~~~+)\s*\{?([\w-]*)\}?")
_LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(\s*<?([^()\s>]+)>?(?:\s+\"[^\"]*\")?\s*\)")
_REFERENCE = re.compile(r"^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
_CODE = re.compile(r"(`+)(.+?)\1")
_HTML_ANCHOR = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
PROMPTS = ("console", "bash", "sh")


@dataclass(frozen=True)
class Command:
    """A command that a page shows.

    Attributes
    ----------
    page
        The page, relative to the repository's root.
    line
        Its line there, from 1.
    words
        The command as a shell would divide it, without comments.
    in_block
        Whether it stands in a block to be copied; if not, within a sentence, where it may be a pattern.
    """

    page: str
    line: int
    words: tuple[str, ...]
    in_block: bool

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {shlex.join(self.words)}"


def pages() -> list[Path]:
    """Every Markdown file that belongs to the repository, in order; none if only the package is installed."""
    if not (ROOT / "docs").is_dir():
        return []
    below = [path for name in ("docs", "zoo", "results") for path in (ROOT / name).rglob("*.md")]
    return sorted([*ROOT.glob("*.md"), *below])


def name_of(path: Path) -> str:
    """A page's name, relative to the repository's root."""
    return path.relative_to(ROOT).as_posix()


def text_and_blocks(text: str) -> tuple[str, list[tuple[int, str, str]]]:
    """The text with fenced blocks blanked, and (line, language, content) of each block; lines count from 1."""
    prose: list[str] = []
    blocks: list[tuple[int, str, str]] = []
    fence, language, begun, content = "", "", 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        found = _FENCE.match(line)
        if not fence and found:
            fence, language, begun, content = found[1], found[2], number, []
        elif fence and line.strip().startswith(fence) and not line.strip().strip(fence[0]):
            blocks.append((begun + 1, language, "\n".join(content)))
            fence = ""
        elif fence:
            content.append(line)
        prose.append("" if fence or (found and not fence) else line)
    return "\n".join(prose), blocks


def links(text: str) -> list[str]:
    """Targets of the links and images of a page, code left out."""
    prose, _ = text_and_blocks(text)
    prose = _CODE.sub("code", prose)
    return [*_LINK.findall(prose), *_REFERENCE.findall(prose)]


def slug(heading: str) -> str:
    """Anchor of a heading, as GitHub makes it.

    Examples
    --------
    >>> slug("What `lvc` costs: 2 x 64, *measured*")
    'what-lvc-costs-2-x-64-measured'
    """
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(text: str) -> set[str]:
    """All anchors of a page: of its headings, those of equal ones numbered, and written ones."""
    prose, _ = text_and_blocks(text)
    found = set(_HTML_ANCHOR.findall(prose))
    for line in prose.splitlines():
        if heading := re.match(r"#{1,6}\s+(.+?)\s*#*$", line):
            name = base = slug(heading[1])
            count = 0
            while name in found:
                count += 1
                name = f"{base}-{count}"
            found.add(name)
    return found


def commands(path: Path) -> list[Command]:
    """Commands of a page: those of its shell blocks, and the Python ones that stand within sentences."""
    prose, blocks = text_and_blocks(path.read_text(encoding="utf-8"))
    page = name_of(path)
    found = [
        Command(page, line, words, in_block=True)
        for start, language, content in blocks
        if language in PROMPTS
        for line, words in _of_block(start, content)
    ]
    for span in re.finditer(r"`([^`]+)`", prose):
        text = " ".join(span[1].split())
        if text.startswith(("python ", "make ", "pytest ")):
            found.append(
                Command(page, prose.count("\n", 0, span.start()) + 1, tuple(shlex.split(text)), in_block=False)
            )
    return sorted(found, key=lambda command: command.line)


def _of_block(start: int, content: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, words) of the commands of a block, continued lines joined."""
    begun, joined = start, ""
    for number, line in enumerate(content.splitlines(), start=start):
        begun = number if not joined else begun
        joined += line.removeprefix("$ ")
        if joined.endswith("\\"):
            joined = joined[:-1]
            continue
        if words := shlex.split(joined, comments=True):
            yield begun, tuple(words)
        joined = ""


def tables(text: str) -> list[tuple[str, list[list[str]]]]:
    """(heading above, rows of cells) of every table of a page; the first row is the head."""
    prose, _ = text_and_blocks(text)
    found: list[tuple[str, list[list[str]]]] = []
    heading, inside = "", False
    for line in prose.splitlines():
        if match := re.match(r"#{1,6}\s+(.+)", line):
            heading = match[1].strip()
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
        if not inside:
            found.append((heading, []))
            inside = True
        if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
            found[-1][1].append(cells)
    return found
