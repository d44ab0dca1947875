"""Runs beside a base run: differences are of the same seed, and only of seeds that both have."""

from __future__ import annotations

import re

import numpy as np
import pytest

from maml_rl.analysis.intervals import mean_interval
from maml_rl.studies import paired_by_seed
from maml_rl.studies.displays.display import Display
from maml_rl.studies.tables import interval_in_words
from maml_rl.tests.study_builders import all_runs, run_study, tiny_study


@pytest.fixture
def study(tmp_path):
    path = tiny_study(tmp_path)
    text = path.read_text().replace("seeds: [1], set: [fast-lr=0.01]", "seeds: [2, 3, 1], set: [fast-lr=20.0]")
    text = text.replace("test_tasks: 4", "test_tasks: 40")
    path.write_text(f"{text}paired_by_seed: {{plain: [slow]}}\n")
    return path


def test_differences_are_of_the_same_seed(study):
    assert run_study(study) == 0
    table = (study.parent / "results/tiny/table.md").read_text().split("## Paired by seed")[1]
    rows = dict(re.findall(r"^\| plain \| (\S+) \| (.*) \|$", table, re.M))
    found = {
        (run.name, run.seed): np.asarray(run.test_returns()).mean(axis=(1, 2), dtype=np.float64)[:2]
        for run in all_runs(study)
    }
    slow, plain = (np.array([found[name, seed] for seed in (1, 2)]).T for name in ("slow", "plain"))
    after = slow[1] - plain[1]
    assert abs(after).min() > 0, "the two settings are the same"
    expected = [*slow, *(slow - plain)]
    words = " | ".join(interval_in_words(mean_interval(row)) for row in expected)
    assert rows["slow"] == f"2 | {words} | {(after > 0).sum()} of 2"
    assert rows["plain"].endswith("| - | - | -")


class Longest(Display):
    """A measure of a run that differs from seed to seed."""

    def scores(self, run, test_set=None):
        return {"largest return": largest_return(run)}


def largest_return(run):
    return float(np.max(run.results()["returns"]))


def test_measures_of_displays_are_paired_too(study, monkeypatch):
    monkeypatch.setattr(paired_by_seed, "displays_of", lambda config: [Longest("longest")])
    assert run_study(study) == 0
    table = (study.parent / "results/tiny/table.md").read_text().split("Other measures of the same runs")[1]
    found = {(run.name, run.seed): largest_return(run) for run in all_runs(study)}
    slow, plain = (np.array([found[name, seed] for seed in (1, 2)]) for name in ("slow", "plain"))
    words = " | ".join(interval_in_words(mean_interval(row)) for row in (slow, plain, slow - plain))
    assert f"| plain | slow | training's split | largest return | 2 | {words} |" in table


def test_nothing_is_paired_before_both_are_done(study):
    assert run_study(study, "--only", "plain") == 0
    table = (study.parent / "results/tiny/table.md").read_text().split("## Paired by seed")[1]
    assert "| plain | slow |" not in table


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("{plain: [slwo]}", "paired_by_seed in .*unknown run 'slwo'; did you mean 'slow'"),
        ("{plain: [plain]}", "paired_by_seed in .*name each run once, and not the base itself"),
        ("{plain: [slow, slow]}", "paired_by_seed in .*name each run once"),
        ("{plain: [other]}", "paired_by_seed in .*no seed of its base 'plain'; give both"),
    ],
)
def test_wrong_pairs_are_refused_in_one_line(study, capfd, wrong, said):
    text = study.read_text().replace("{plain: [slow]}", wrong)
    study.write_text(text.replace("  slow: ", "  other: {config: a.yaml, seeds: [7]}\n  slow: "))
    assert run_study(study) == 2
    assert re.search(said, capfd.readouterr().err)
