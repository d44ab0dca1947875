"""A study trains what is missing, no more, and reports what is there."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from maml_rl.studies.__main__ import main
from maml_rl.studies.tables import three_figures
from maml_rl.tests.builders import tiny_config, write_config

CONFIG = tiny_config("Bandit-K5-v0", num_batches=3, meta_batch_size=3, hidden_sizes=(4,))


@pytest.fixture
def study(tmp_path):
    """Path of a study with two runs, one of them with two seeds."""
    config = write_config(tmp_path / "tiny.json", CONFIG)
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "name: tiny\nquestion: Does it run?\ntest_tasks: 4\ntest_steps: 2\nruns:\n"
        f"  plain: {{config: {config}, seeds: [1, 2]}}\n"
        f"  slow: {{config: {config}, seeds: [1], set: [fast-lr=0.01]}}\n"
    )
    return path


def run(study, *flags, command="run"):
    results = study.parent / "results"
    return main([command, str(study), "--results", str(results), "--num-workers", "1", *flags])


def test_every_run_is_trained_evaluated_and_reported(study):
    assert run(study) == 0
    folder = study.parent / "results" / "tiny"
    for cell in ("plain/seed-1", "plain/seed-2", "slow/seed-1"):
        assert (folder / cell / "metrics.csv").read_text().count("\n") == 1 + CONFIG.num_batches
        with np.load(folder / cell / "results.npz") as results:
            assert results["returns"].shape == (3, 6, CONFIG.fast_batch_size)  # whole meta-batches
    assert json.loads((folder / "slow/seed-1/config.json").read_text())["fast-lr"] == 0.01
    table = (folder / "table.md").read_text()
    assert len(re.findall(r"^\| (plain|slow) \| \d", table, re.M)) == 3
    for name in re.findall(r"\(figures/(.*)\)", table):
        assert (folder / "figures" / name).stat().st_size > 1000
    commands = [entry["command"] for entry in json.loads((folder / "manifest.json").read_text())["runs"]]
    assert "--set fast-lr=0.01 --seed 1" in commands[2]


def test_what_is_done_is_not_done_again_and_what_was_interrupted_goes_on(study, capfd):
    assert run(study, "--only", "plain", "--seed", "1") == 0
    folder = study.parent / "results" / "tiny" / "plain" / "seed-1"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert not (folder.parent / "seed-2").exists()
    longer = study.read_text().replace("seeds: [1, 2]", "seeds: [1, 2], set: [num-batches=5]")
    assert run(study, "--only", "plain") == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    capfd.readouterr()
    study.write_text(longer)
    assert run(study, "--only", "plain", "--seed", "1") == 0
    assert "plain seed 1: 3/5 iterations done" in capfd.readouterr().out
    assert (folder / "metrics.csv").read_text().count("\n") == 6
    assert (folder / "results.npz").stat().st_mtime_ns > before["results.npz"]  # the longer run's policy


def test_a_report_alone_trains_nothing(study):
    assert run(study, command="report") == 0
    assert not list((study.parent / "results" / "tiny").rglob("metrics.csv"))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("question", "qestion", "unknown key 'qestion' in .*tiny.yaml; did you mean 'question'"),
        ("question: Does it run?", "", "question in .*tiny.yaml: got nothing"),
        ("set: ", "sett: ", "unknown key 'runs.slow.sett' in .*tiny.yaml; did you mean 'set'"),
        ("seeds: [1, 2]", "seeds: [1, 1]", r"runs.plain.seeds in .*tiny.yaml: got \[1, 1\]; .*different"),
        ("name: tiny", "name: ../evil", "name in .*tiny.yaml: got '../evil'"),
        ("seeds: [1, 2]", "seeds: []", r"runs.plain.seeds in .*tiny.yaml: got \[\]"),
        ("tiny.json", "nowhere.json", "config: no such file"),
        ("fast-lr", "fast-lrr", "unknown key 'fast-lrr' .*did you mean 'fast-lr'"),
        ("name: tiny", "name: [", "cannot read .*tiny.yaml"),
    ],
)
def test_a_wrong_study_costs_one_line_and_starts_nothing(study, capfd, old, new, words):
    study.write_text(study.read_text().replace(old, new))
    assert run(study) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert re.search(words, error), error
    assert not (study.parent / "results").exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--only", "plan"], "--only: got 'plan', expected one of plain, slow"),
        (["--seed", "9"], "--seed: got [9], expected seeds of the study: [1, 2]"),
        (["--num-workers", "0"], "--num-workers: got 0, expected at least 1"),
    ],
)
def test_flags_that_fit_no_run_are_refused(study, capfd, flags, words):
    assert run(study, *flags) == 2
    assert words in capfd.readouterr().err


def test_a_run_of_another_configuration_is_never_taken_for_the_study_s(study, capfd):
    assert run(study, "--only", "slow") == 0
    capfd.readouterr()
    study.write_text(study.read_text().replace("fast-lr=0.01", "fast-lr=0.02"))
    assert run(study, "--only", "slow") == 2
    assert "slow seed 1: fast-lr is 0.02 in the study, but the run in" in capfd.readouterr().err


def test_a_larger_evaluation_takes_the_place_of_a_smaller_one(study):
    assert run(study, "--only", "slow") == 0
    study.write_text(study.read_text().replace("test_steps: 2", "test_steps: 3"))
    assert run(study, "--only", "slow") == 0
    with np.load(study.parent / "results" / "tiny" / "slow" / "seed-1" / "results.npz") as results:
        assert len(results["returns"]) == 4


@pytest.mark.parametrize(
    ("value", "text"), [(0.123, "0.12"), (-9.994, "-9.99"), (9.996, "10.0"), (99.96, "100"), (-257.77, "-258")]
)
def test_numbers_have_three_figures(value, text):
    assert three_figures(value) == text
