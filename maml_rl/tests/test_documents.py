"""What the pages say of files, keys, families and columns is so; where only the package is installed there are none."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import gymnasium as gym
import pytest

from maml_rl.config_sections import all_sections, keys_of
from maml_rl.envs.family_modules import load_family
from maml_rl.metalearners import RL2
from maml_rl.metalearners.evolution import Evolution
from maml_rl.metalearners.learner import Report
from maml_rl.metalearners.maml_trpo import MAMLTRPO
from maml_rl.policies import registered_policies
from maml_rl.tests.documents import ROOT, anchors, commands, links, name_of, pages, tables, text_and_blocks

PAGES = pages()
pytestmark = pytest.mark.skipif(not PAGES, reason="the documentation is not installed with the package")
FAMILIES = [
    name
    for name, spec in gym.registry.items()
    if spec.vector_entry_point == "maml_rl.envs.registration:make_family"
    and spec.kwargs["family"].startswith("maml_rl.envs.")  # and not those of tests
]
KEYS = {key for section in all_sections() for key in (*keys_of(section), *section.former_names)}


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def dead_links(page: Path) -> list[str]:
    """Links of a page that lead nowhere, or that are no addresses."""
    own, dead = page.read_text(encoding="utf-8"), []
    for target in links(own):
        parts = urlsplit(target)
        if parts.scheme:
            if parts.scheme not in ("http", "https", "mailto") or not (parts.netloc or parts.path) or "." not in target:
                dead.append(target)
            continue
        file = page.parent / unquote(parts.path) if parts.path else page
        has_anchor = bool(parts.fragment) and file.suffix == ".md"
        if not file.exists() or (has_anchor and parts.fragment not in anchors(file.read_text(encoding="utf-8"))):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_no_link_is_dead(page):
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# One\n# One\n[a](#one-1) [b](#two) [c](missing.md) [d](page.md#one) `[e](code.md)` [f](http://) "
        "[g](https://example.org/x)\n```\n[h](block.md)\n```\n"
    )
    assert dead_links(page) == ["#two", "missing.md", "http://"]


def test_every_page_can_be_reached_from_the_list_of_pages():
    named = {(ROOT / "docs" / target.split("#")[0]).resolve() for target in links(read("docs/README.md"))}
    kept = {path for path in PAGES if path.parent in (ROOT / "docs", ROOT / "docs/algorithms", ROOT / "docs/design")}
    own = {ROOT / "docs" / name for name in ("README.md", "index.md", "tables.md", "agents.md")}
    later = {
        path for path in kept if path.stem in ("python", "command-line", "people")
    }  # theirs are lines of their own
    assert sorted(map(name_of, kept - own - later - named)) == []


def test_every_registered_family_stands_on_the_page_of_environments():
    cells = [row[0] for _, rows in tables(read("docs/environments.md")) for row in rows]
    named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    assert named == set(FAMILIES)


def test_every_keyword_of_a_family_stands_in_its_row_on_the_page_of_environments():
    shared = {"num_individuals", "num_lives", "device", "dtype", "render_mode", "num_envs"}
    hidden = {"permutations", "switch_probability", "switch_range"}
    rows = [row for _, rows in tables(read("docs/environments.md")) for row in rows[1:]]
    keywords: list[str] = []
    for row in rows:
        keywords = keywords if row[3] == "the same" else re.findall(r"`(\w+)", row[3])
        for name in re.findall(r"`([^`]+)`", row[0]):
            kwargs = gym.registry[name].kwargs
            family = load_family(kwargs["family"], kwargs.get("package"))
            taken = set(inspect.signature(family).parameters) - shared
            assert set(keywords) == (taken - hidden if hidden <= taken else taken), name


def test_every_registered_policy_stands_on_the_page_of_policies():
    named = {row[0].strip("`") for _, rows in tables(read("docs/policies.md"))[:1] for row in rows[1:]}
    assert named == set(registered_policies())


@pytest.mark.parametrize(
    ("page", "learner"),
    [
        ("docs/algorithms/maml.md", MAMLTRPO),
        ("docs/algorithms/rl2.md", RL2),
        ("docs/algorithms/evolution.md", Evolution),
    ],
)
def test_every_column_of_metrics_is_explained_on_the_page_of_its_algorithm(page, learner):
    written = ["iteration", "env_steps", "seconds", *Report.names(learner.details), "workers_replaced"]
    (rows,) = (rows for heading, rows in tables(read(page)) if heading == "Columns of `metrics.csv`")
    assert sorted(row[0].strip("`") for row in rows[1:]) == sorted(written)


def test_keys_that_pages_set_on_command_lines_are_keys():
    named = {
        (str(command), words[i + 1].split("=")[0].split(".")[0])
        for page in PAGES
        for command in commands(page)
        for words in [command.words]
        for i in range(len(words) - 1)
        if words[i] == "--set"
    }
    assert [one for one in sorted(named) if one[1] not in KEYS and not one[1].isupper()] == []


def python_blocks(page: Path) -> list[str]:
    _, blocks = text_and_blocks(page.read_text(encoding="utf-8"))
    return [content for _, language, content in blocks if language == "python"]


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=name_of)
def test_examples_in_python_are_python(page):
    for source in python_blocks(page):
        compile(source, name_of(page), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["docs/environments.md", "docs/training.md"])
def test_examples_in_python_run(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    for source in python_blocks(ROOT / name):
        exec(source, {})
