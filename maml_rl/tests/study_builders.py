"""Tiny studies for tests."""

from __future__ import annotations

import re
from pathlib import Path

from maml_rl.studies.__main__ import main
from maml_rl.studies.study import load_study, study_runs
from maml_rl.studies.study_run import StudyRun
from maml_rl.tests.builders import tiny_config, write_config

CONFIG = tiny_config("Bandit-K5-v0", num_batches=3, meta_batch_size=3, hidden_sizes=(4,))


def tiny_study(folder: Path) -> Path:
    """Path of a study with two runs, one of them with two seeds."""
    config = write_config(folder / "tiny.json", CONFIG)
    path = folder / "tiny.yaml"
    path.write_text(
        "name: tiny\nquestion: Does it run?\ntest_tasks: 4\ntest_steps: 2\nruns:\n"
        f"  plain: {{config: {config}, seeds: [1, 2]}}\n"
        f"  slow: {{config: {config}, seeds: [1], set: [fast-lr=0.01]}}\n"
    )
    return path


def only_plain(study: Path, settings: str, *fields: str) -> None:
    """Leave one run, with these overrides, and add fields to the study."""
    text = re.sub("slow: .*", "", study.read_text()).replace("[1, 2]", f"[1, 2], set: [{settings}]")
    study.write_text("\n".join([*fields, text]))


def run_study(study: Path, *flags: str, command: str = "run") -> int:
    """Exit code of the command line on this study."""
    results = study.parent / "results"
    return main([command, str(study), "--results", str(results), "--num-workers", "1", "--backend", "serial", *flags])


def all_runs(study: Path) -> list[StudyRun]:
    """All runs of the study."""
    return study_runs(load_study(study), study.parent / "results")
