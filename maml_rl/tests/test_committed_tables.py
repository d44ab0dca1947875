"""Tables in results/ are what the reports of their studies make of the archives there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from maml_rl.studies.__main__ import main
from maml_rl.studies.archive import ARCHIVE

ROOT = Path(__file__).parents[2]
WITHOUT_EVALUATIONS = {"rl2-mdp", "rl2-mdp-attention", "rl2-bandits"}
"""Studies whose archives hold less than their tables: evaluations made before archives kept them."""
STUDIES = sorted(path.parent.name for path in (ROOT / "results").glob(f"*/{ARCHIVE}"))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in STUDIES if name not in WITHOUT_EVALUATIONS])
def test_a_committed_table_is_the_report_of_its_archive(name, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    shutil.copytree(ROOT / "results" / name, tmp_path / name)
    kept = {path.stem for path in (tmp_path / name / "figures").glob("*.png")}
    assert main(["report", f"studies/{name}.yaml", "--results", str(tmp_path)]) == 0
    committed = (ROOT / "results" / name / "table.md").read_text(encoding="utf-8")
    made = (tmp_path / name / "table.md").read_text(encoding="utf-8")
    assert made.replace(str(tmp_path), "results") == committed
    assert set(re.findall(r"\(figures/(.+)\.png\)", committed)) <= kept
