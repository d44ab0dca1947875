"""Figures in the tables of docs/results.md and of the README's "Measured" are in results/, or it is said why not.

`docs/figures.yaml` names the files that a section's, or a row's, figures come from. A figure is found if one of these
files holds a number that is the same when rounded as the figure is. Numbers of a file are many, so that a wrong figure
may be found by chance: `test_most_wrong_figures_are_found_out` measures how often.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from maml_rl.tests.documents import ROOT, tables
from maml_rl.tests.figures import Figure, agree, beside_first, figures, groups, holds, intervals_of, numbers_of
from maml_rl.utils.random import Purpose, generator

REGISTRY = ROOT / "docs" / "figures.yaml"
pytestmark = pytest.mark.skipif(not REGISTRY.exists(), reason="the documentation is not installed with the package")
LARGEST_CHANCE = 0.27


@dataclass(frozen=True)
class Claim:
    """Figures of a section (of a row, in the README), in groups that belong together, and what they shall be among."""

    where: str
    groups: tuple[tuple[Figure, ...], ...]
    numbers: tuple[float, ...]
    intervals: frozenset[tuple[float, ...]]
    absent: frozenset[str]

    def has(self, group: tuple[Figure, ...]) -> bool:
        """Whether an estimate stands in the data with its interval, or a single figure among the numbers."""
        if len(group) == 3 and self.intervals:
            return any(agree(values, group) for values in self.intervals)
        return all(holds(self.numbers, figure) for figure in group)

    def lost(self) -> list[str]:
        """Figures that are not found."""
        return [figure.text for group in self.groups if not self.has(group) for figure in group]

    def size(self) -> int:
        """Number of figures."""
        return sum(len(group) for group in self.groups)


@functools.cache
def registry() -> dict[str, Any]:
    """The file, as it is."""
    loaded: dict[str, Any] = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
    return loaded


@functools.cache
def _numbers(name: str) -> tuple[float, ...]:
    return tuple(numbers_of(ROOT / name))


@functools.cache
def _intervals(name: str) -> frozenset[tuple[float, ...]]:
    return frozenset(intervals_of(ROOT / name))


def _claim(where: str, text: str, entry: dict[str, Any]) -> Claim:
    numbers = [number for name in entry.get("from", []) for number in _numbers(name)]
    numbers += [number for name in entry.get("beside_first", []) for number in beside_first(ROOT / name)]
    intervals = [one for name in entry.get("from", []) for one in _intervals(name)]
    absent = {word for words in entry.get("absent", {}) for word in words.split()}
    return Claim(where, tuple(groups(text)), tuple(sorted(numbers)), frozenset(intervals), frozenset(absent))


def _sections() -> Iterator[Claim]:
    for heading, rows in _joined(tables((ROOT / "docs/results.md").read_text(encoding="utf-8"))):
        entry = registry()["docs/results.md"].get(heading, {})
        yield _claim(f"docs/results.md, {heading}", "\n".join(" | ".join(row[1:]) for row in rows), entry)


def _joined(found: list[tuple[str, list[list[str]]]]) -> list[tuple[str, list[list[str]]]]:
    """Rows below the heads of all tables under each heading; headings that come again are numbered."""
    joined: dict[str, list[list[str]]] = {}
    for heading, rows in found:
        joined.setdefault(heading, []).extend(rows[1:])
    return list(joined.items())


def measured_rows() -> list[list[str]]:
    """Rows of the README's table of what was measured."""
    every = tables((ROOT / "README.md").read_text(encoding="utf-8"))
    return [row for heading, rows in every if heading == "Measured" for row in rows[1:]]


@functools.cache
def claims() -> tuple[Claim, ...]:
    """Every claim of both pages."""
    entries = registry()["README.md"]
    rows = [_claim(f"README.md, {row[0]}", row[1], entries.get(row[0], {})) for row in measured_rows()]
    return (*_sections(), *rows)


def test_every_figure_is_in_the_results_or_known_to_be_absent():
    unexplained = {claim.where: [text for text in claim.lost() if text not in claim.absent] for claim in claims()}
    assert {where: texts for where, texts in unexplained.items() if texts} == {}


def test_what_is_known_to_be_absent_is_absent_and_stands_there():
    assert {
        claim.where: claim.absent - set(claim.lost()) for claim in claims() if claim.absent - set(claim.lost())
    } == {}


def test_the_registry_names_rows_and_sections_that_exist_and_gives_reasons():
    pages = ("docs/results.md", "README.md")
    named = {f"{page}, {key}": entry for page in pages for key, entry in registry()[page].items()}
    assert sorted(set(named) - {claim.where for claim in claims()}) == []
    assert sorted({claim.where for claim in claims() if claim.groups} - set(named)) == []
    assert all(reason for entry in named.values() for reason in entry.get("absent", {}).values())


@pytest.mark.parametrize("page", ["docs/results.md", "README.md"])
def test_no_fewer_figures_are_found_than_before(page):
    own = [claim for claim in claims() if claim.where.startswith(page)]
    found = sum(claim.size() - len(claim.lost()) for claim in own)
    assert found >= registry()["found"][page], f"{found} of {sum(claim.size() for claim in own)}"


def test_most_wrong_figures_are_found_out():
    """One figure of a group that is found is changed by one to nine units of its last digit."""
    rng = generator(0, Purpose.STATISTICS)
    unnoticed = []
    for claim in claims():
        for group in (group for group in claim.groups if claim.has(group)):
            for place, one in enumerate(group):
                off = float(rng.choice([-1, 1]) * rng.integers(1, 10)) * 10.0**-one.decimals
                wrong = Figure("", one.value + off, one.decimals)
                unnoticed.append(claim.has((*group[:place], wrong, *group[place + 1 :])))
    assert sum(unnoticed) / len(unnoticed) < LARGEST_CHANCE


def test_a_changed_figure_is_missed(tmp_path):
    page = tmp_path / "table.md"
    page.write_text("| a | 0.83 [0.82, 0.85] |\n")
    assert [holds(numbers_of(page), figure) for figure in figures("0.83, 0.84, 0.8, .85, 83")] == [
        True,
        False,
        True,
        True,
        False,
    ]


def test_the_page_and_the_data_are_where_the_registry_says():
    names = [
        name
        for page in ("docs/results.md", "README.md")
        for e in registry()[page].values()
        for name in e.get("from", [])
    ]
    assert [name for name in names if not Path(ROOT / name).is_file()] == []
