"""The notebooks run from what is committed, and define nothing."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 180


NOTEBOOKS = ("Testing_Notebook.ipynb", "docs/fitting-people.ipynb")


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / "Testing_Notebook.ipynb", as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_the_notebook_defines_nothing(path):
    for cell in nbformat.read(ROOT / path, as_version=4).cells:
        if cell.cell_type == "code":
            nodes = list(ast.walk(ast.parse(cell.source)))
            assert not [n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef | ast.Lambda)], cell.source


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own messages
def test_the_notebook_runs_within_three_minutes_and_shows_every_comparison(notebook, monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    begin = time.monotonic()
    client = nbclient.NotebookClient(notebook, timeout=LIMIT_SECONDS, resources={"metadata": {"path": str(ROOT)}})
    client.execute()
    assert time.monotonic() - begin < LIMIT_SECONDS
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 5
    written = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "after 3 gradient steps" in written


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own messages
def test_the_notebook_of_people_goes_from_a_table_to_figures_and_agents_the_same_way(monkeypatch):
    pytest.importorskip("mujoco")
    path = ROOT / "docs" / "fitting-people.ipynb"
    people = nbformat.read(path, as_version=4)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    nbclient.NotebookClient(people, timeout=LIMIT_SECONDS, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [output for cell in people.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    written = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "best summed evidence: bonus" in written
    assert written.count("Of the one subject") == 2
    assert "Weight of model-based values" in written
    assert path.stat().st_size < 150_000
