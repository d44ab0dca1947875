"""Gains beside a control and an oracle: every figure of the table is computed again from the evaluations."""

from __future__ import annotations

import re

import numpy as np
import pytest
from scipy import stats

from maml_rl.analysis.intervals import mean_interval
from maml_rl.studies.__main__ import main
from maml_rl.studies.oracle_shares import _beside, _share, _Units
from maml_rl.studies.study import load_study, study_runs
from maml_rl.studies.tables import interval_in_words
from maml_rl.tests.builders import tiny_config, write_config

STUDY = """
name: shares
question: What is gained?
test_tasks: 10
test_steps: 2
runs:
  several: {{config: {config}, seeds: [1], set: [num-steps=0]}}
  told:
    config: {config}
    seeds: [1]
    set:
      - num-steps=0
      - env-name=ToldTask-v0
      - "env-kwargs={{env_name: 2DNavigation-v0, env_kwargs: {{max_episode_steps: 15}}}}"
  plain: {{config: {config}, seeds: [1]}}
oracle_shares:
  points: {{control: several, oracle: told, runs: [plain]}}
"""


@pytest.fixture
def study(tmp_path):
    config = write_config(tmp_path / "tiny.json", tiny_config(num_batches=2))
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.format(config=config))
    return path


def test_gains_are_paired_by_task_and_shares_are_of_what_the_oracle_has_more(study, tmp_path):
    arguments = ["--results", str(tmp_path / "results"), "--num-workers", "1", "--backend", "serial"]
    assert main(["run", str(study), *arguments]) == 0
    table = (tmp_path / "results/shares/table.md").read_text().split("## Shares of an oracle's gain")[1]
    assert "(figures/families.png)" in table
    assert (tmp_path / "results/shares/figures/families.png").stat().st_size > 1000
    rows = re.findall(r"^\| points \| (\S+) \| 1 \| (.*) \|$", table, re.M)
    assert [name for name, _ in rows] == ["several", "told", "plain"]
    returns = {
        run.name: np.asarray(run.test_returns()).mean(-1, dtype=np.float64)
        for run in study_runs(load_study(study), tmp_path / "results")
    }
    before = {name: found[0].mean() for name, found in returns.items()}
    for name, row in rows:
        columns = row.split(" | ")
        assert columns[0] == interval_in_words(mean_interval(returns[name][0]))
        if name == "told":
            assert columns[1:] == ["-", "-", "-", "-"]
            continue
        assert columns[1] == "; ".join(interval_in_words(mean_interval(stage)) for stage in returns[name][1:])
        assert columns[2] == interval_in_words(mean_interval(returns[name][1] - returns[name][0]))
        share = (returns[name][1].mean() - before["several"]) / (before["told"] - before["several"])
        is_shown = mean_interval(returns["told"][0] - returns["several"][0]).low > 0
        assert columns[4] == (f"{share:.2f}" if is_shown else "-")
        beside = returns[name][1] - returns[name][0] - (returns["several"][1] - returns["several"][0])  # same tasks
        assert columns[3] == ("-" if name == "several" else interval_in_words(mean_interval(beside)))


def test_a_gain_of_three_steps_is_set_beside_three_of_the_control_and_episodes_beside_its_own():
    tasks = np.arange(4.0)[:, np.newaxis]
    control = _Units(np.array([[0.0] * 4, [1.0] * 4, [2.0] * 4, [5.0] * 4]), tasks, 1)
    returns = np.array([[0.0] * 4, [6.0] * 4, [8.0] * 4, [9.0] * 4])
    assert _beside(_Units(returns, tasks, 1), control).startswith("5.00")
    assert _beside(_Units(returns, tasks, 3), control).startswith("4.00")
    assert _beside(_Units(returns, tasks, 3, "episodes"), control).startswith("8.00")


def test_a_share_is_of_an_oracle_that_is_shown_to_have_more():
    tasks, spread = np.arange(8.0)[:, np.newaxis], np.linspace(-4.0, 4.0, 8)

    def units(before, after, own_tasks=tasks):
        return _Units(np.stack([before, after]), own_tasks, 1)

    control, run = units(spread, spread), units(spread, spread + 1.0)
    oracle, equal = units(spread + 4.0, spread), units(spread - np.linspace(-1.0, 1.0, 8), spread)
    assert _share(run, control, oracle) == "0.25"
    assert _share(run, control, equal) == "-"
    elsewhere, far = (units(spread + more, spread, tasks + 0.5) for more in (1.0, 9.0))  # their spread counts
    assert stats.ttest_ind(spread + 1.0, spread, equal_var=False).confidence_interval(0.95).low < 0.0
    assert _share(run, control, elsewhere) == "-"
    assert _share(run, control, far) == "0.11"
    one = [_Units(np.array([[before], [after]]), None, 1) for before, after in ((0.0, 1.0), (0.0, 0.0), (4.0, 0.0))]
    assert _share(*one) == "0.25"
    assert _share(one[0], one[1], None) == "-"


def test_two_directions_are_no_sample_of_tasks(study, tmp_path):
    text = (
        study.read_text()
        .replace("2DNavigation-v0", "HalfCheetahDir-v2")
        .replace("max_episode_steps: 15", "max_episode_steps: 3")
    )
    config = write_config(
        tmp_path / "tiny.json", tiny_config("HalfCheetahDir-v2", env_kwargs={"max_episode_steps": 3}, num_batches=1)
    )
    study.write_text(re.sub(r"config: \S+?json", f"config: {config}", text))
    assert (
        main(["run", str(study), "--results", str(tmp_path / "results"), "--num-workers", "1", "--backend", "serial"])
        == 0
    )
    table = (tmp_path / "results/shares/table.md").read_text().split("## Shares of an oracle's gain")[1]
    assert "[" not in re.findall(r"^\| points \| plain .*$", table, re.M)[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("control: plain", "oracle_shares in .*points: got plain, told, plain; name each run once"),
        ("control: severl", "oracle_shares in .*points: unknown run 'severl'; did you mean 'several'"),
        (
            "contrl: several, control: several",
            "unknown key 'oracle_shares.points.contrl' in .*; did you mean 'control'",
        ),
    ],
)
def test_wrong_names_are_refused_in_one_line(study, capfd, wrong, said):
    study.write_text(study.read_text().replace("control: several", wrong))
    assert main(["run", str(study)]) == 2
    assert re.search(said, capfd.readouterr().err)
