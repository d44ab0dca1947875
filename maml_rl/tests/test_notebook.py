"""The notebook runs from the committed results, and defines nothing."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 180


@pytest.fixture
def notebook():
    return nbformat.read(ROOT / "Testing_Notebook.ipynb", as_version=4)


def test_the_notebook_defines_nothing(notebook):
    for cell in notebook.cells:
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
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
    written = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "after 3 gradient steps" in written
