"""A study trains what is missing, no more, and reports what is there."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from scipy import stats

from maml_rl.algorithms import make_algorithm
from maml_rl.analysis import (
    TDModel,
    dependent_arms_optimum,
    fit_learning_rate,
    stay_frequencies,
    two_step_trials,
    value_iteration,
)
from maml_rl.config import load_config
from maml_rl.evaluation import evaluate
from maml_rl.experiment import train
from maml_rl.samplers import RL2WorkerSpec
from maml_rl.samplers.rl2_worker import RL2Worker
from maml_rl.studies import cognition
from maml_rl.studies.__main__ import main
from maml_rl.studies.behaviour import draw_behaviour
from maml_rl.studies.cognition import choices_of, memory_of
from maml_rl.studies.scores import finished_seeds
from maml_rl.studies.study import cells, load_study
from maml_rl.studies.tables import probability, three_digits, three_figures
from maml_rl.tests.builders import NAN_REWARD, tiny_config, write_config
from maml_rl.utils.random import Purpose

ROOT = Path(__file__).resolve().parents[2]
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


def only_plain(study, settings, *fields):
    """Leave one run, with these overrides, and add fields to the study."""
    text = re.sub("slow: .*", "", study.read_text()).replace("[1, 2]", f"[1, 2], set: [{settings}]")
    study.write_text("\n".join([*fields, text]))


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
    assert len(re.findall(r"^\| (plain|slow) \| \d \| Bandit", table, re.M)) == 3
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


def test_runs_side_by_side_are_the_runs_one_after_another(study, capfd):
    study.write_text(study.read_text().replace("fast-lr=0.01]", "fast-lr=0.01], start_from: plain"))
    assert run(study) == 0
    folder = study.parent / "results" / "tiny"
    names = ("plain/seed-1", "plain/seed-2", "slow/seed-1")
    policies = {name: (folder / name / "policy.th").read_bytes() for name in names}
    table = (folder / "table.md").read_text()
    shutil.rmtree(folder)
    capfd.readouterr()
    assert run(study, "--jobs", "2") == 0
    assert {name: (folder / name / "policy.th").read_bytes() for name in names} == policies
    assert re.sub(r" 0 (?=\|)", "", (folder / "table.md").read_text()) == re.sub(r" 0 (?=\|)", "", table)
    lines = capfd.readouterr().out
    for name in ("plain seed 1", "plain seed 2", "slow seed 1"):
        assert f"{name}: 0/3 iterations done" in lines
        assert f"{name}: 3/3  before" in lines


def test_a_run_starts_from_the_final_weights_of_another(study):
    study.write_text(study.read_text().replace("fast-lr=0.01]", "fast-lr=0.01, num-batches=1], start_from: plain"))
    assert run(study) == 0
    first, second = (study.parent / "results" / "tiny" / name / "seed-1" for name in ("plain", "slow"))
    config = load_config(second / "config.json")
    assert config.initial_policy == str(first / "policy.th")
    assert load_config(first / "config.json").initial_policy is None
    by_hand = make_algorithm(config.replace(initial_policy=None)).with_policy(first / "policy.th")
    before, after = by_hand.parameters(), make_algorithm(config).with_policy(second / "policy.th").initial_parameters()
    expected = train(by_hand, num_workers=1, show=lambda line: None)
    np.testing.assert_array_equal(expected.astype(np.float32), after)  # as in policy.th
    assert not np.array_equal(before, after)


def test_a_run_waits_for_the_one_it_starts_from(study, capfd):
    study.write_text(study.read_text().replace("seeds: [1], set", "seeds: [1], start_from: plain, set"))
    assert run(study, "--only", "slow") == 2
    assert "slow seed 1 starts from 'plain', which is not trained to the end; run that too" in capfd.readouterr().err
    assert not (study.parent / "results").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds: [1], set", "seeds: [1], start_from: other, set", "run 'slow' starts from 'other'; name a run above"),
        ("seeds: [1], set", "seeds: [3], start_from: plain, set", "run 'slow' has seeds that 'plain' has not"),
        ("seeds: [1, 2]", "seeds: [1, 2], start_from: slow", "run 'plain' starts from 'slow'; name a run above it"),
    ],
)
def test_a_wrong_start_is_refused(study, capfd, old, new, words):
    study.write_text(study.read_text().replace(old, new))
    assert run(study) == 2
    assert words in capfd.readouterr().err


def test_what_goes_wrong_in_a_run_beside_others_costs_one_line(study, capfd):
    broken = f"set: ['env-name={NAN_REWARD}', env-kwargs.healthy_resets=0]"
    study.write_text(study.read_text().replace("set: [fast-lr=0.01]", broken))
    assert run(study, "--jobs", "2") == 1
    *warnings, error = capfd.readouterr().err.splitlines()
    assert error.startswith("error: 3 iterations in a row gave NaN or infinity")
    assert all("step refused" in line for line in warnings)


def test_meta_episodes_are_scored_as_a_whole_where_the_study_says_so(study):
    only_plain(study, "algorithm=rl2, policy=lstm", "score: return_total")
    assert run(study) == 0
    folder = study.parent / "results" / "tiny"
    with np.load(folder / "plain" / "seed-1" / "results.npz") as results:
        assert results["returns"].shape == (CONFIG.fast_batch_size, 6, 1)
        total = results["returns"].sum(axis=0).mean()
    row = next(
        line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| plain | 1 | Bandit")
    )
    assert row.split("|")[-2].split()[0] == three_figures(total)
    assert row.count("[") == 1
    assert {path.name for path in (folder / "figures").iterdir()} == {"plain.png", "plain-behaviour.png"}


def test_what_a_task_paid_before_adaptation_counts_where_the_study_says_so(study):
    study.write_text(study.read_text().replace("test_steps: 2", "test_steps: 2\nscore: return_total"))
    assert run(study, "--only", "plain", "--seed", "1") == 0
    cell = cells(load_study(study), study.parent / "results")[0]
    metrics = cell.metrics()
    np.testing.assert_allclose(metrics["return_total"], metrics["return_before"] + metrics["return_after"])
    returns, scores = cell.test_returns(), cell.test_scores()
    assert returns is not None
    assert scores is not None
    assert len(returns) == CONFIG.num_steps + 1 == 2
    np.testing.assert_allclose(scores, returns.mean(-1).sum(0, keepdims=True), rtol=1e-6)


def test_agents_are_compared_to_players_on_the_same_tasks(study):
    task = "algorithm=rl2, policy=lstm, env-name=TwoArmedBandit-Easy-v0, env-kwargs.num_pulls=8, fast-batch-size=1"
    only_plain(study, task, "score: return_total", "test_on: {hard: [env-name=TwoArmedBandit-Hard-v0]}")
    assert run(study) == 0
    folder = study.parent / "results" / "tiny"
    table = (folder / "table.md").read_text().splitlines()
    totals = {}
    for name, path in (("plain", "results.npz"), ("plain on hard", "results-hard.npz")):
        parts = []
        for seed in (1, 2):
            with np.load(folder / "plain" / f"seed-{seed}" / path) as results:
                parts.append(dict(results))
        means, choices = (np.concatenate([part[key] for part in parts]) for key in ("tasks", "actions"))
        assert set(means[0].round(3)) == ({0.1, 0.9} if path == "results.npz" else {0.4, 0.6})
        totals[name] = np.concatenate([part["rewards"] for part in parts]).sum(1).mean()
        row = next(line for line in table if line.startswith(f"| {name} | 2 x 6"))
        reward, expected, optimum, regret, *others = (column.split()[0] for column in row.split("|")[3:-1])
        paid = np.take_along_axis(means, choices, 1).sum(1).mean()
        assert [reward, expected] == [f"{totals[name]:.2f}", f"{paid:.2f}"]
        assert float(regret) == pytest.approx(8 * means.max() - paid, abs=0.006)
        assert optimum == f"{dependent_arms_optimum(8, better=float(means.max())).reward:.2f}"
        assert len(others) == 5
    assert f"| plain | 2 | {three_figures(totals['plain on hard'])} [" in "\n".join(table)
    before = (folder / "plain" / "seed-1" / "results-hard.npz").stat().st_mtime_ns
    assert run(study) == 0
    assert (folder / "plain" / "seed-1" / "results-hard.npz").stat().st_mtime_ns == before


def test_agents_are_compared_to_planners_on_the_same_mdps(study):
    sizes = "env-kwargs={num_states: 3, num_actions: 2, max_episode_steps: 4, one_hot: true}"
    only_plain(study, f"algorithm=rl2, policy=rnn, env-name=TabularMDP-v0, '{sizes}', fast-batch-size=3")
    assert run(study) == 0
    folder = study.parent / "results" / "tiny"
    parts = []
    for seed in (1, 2):
        with np.load(folder / "plain" / f"seed-{seed}" / "results.npz") as results:
            parts.append(dict(results))
    tasks = np.concatenate([part["tasks"] for part in parts])
    earned = np.concatenate([part["rewards"] for part in parts]).sum(1).mean()
    known = value_iteration(tasks[:, :18].reshape(-1, 3, 2, 3), tasks[:, 18:].reshape(-1, 3, 2), 4).values[:, 0, 0]
    row = next(line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| plain | 2 x 6"))
    reward, best, share = (column.split()[0] for column in row.split("|")[3:6])
    assert [reward, best] == [f"{earned:.2f}", f"{3 * known.mean():.2f}"]
    assert float(share) == pytest.approx(earned / (3 * known.mean()), abs=0.001)


def test_learning_rates_are_those_of_the_episodes_of_each_volatility(study):
    task = "algorithm=rl2, policy=rnn, env-name=RestlessBandit-Reversal-v0, env-kwargs.num_pulls=9, fast-batch-size=1"
    often = "test_on: {often: [env-kwargs.low_volatility=0.5, env-kwargs.high_volatility=0.5]}"
    only_plain(study, task, often)
    assert run(study) == 0
    folder = study.parent / "results" / "tiny"
    with np.load(folder / "plain" / "seed-1" / "results-often.npz") as results:
        expected = fit_learning_rate(results["actions"], results["rewards"])
    rows = [line.split(" | ") for line in (folder / "table.md").read_text().splitlines() if " (" in line]
    rows = [row for row in rows if len(row) == 5 and row[0] == "| plain"]
    assert [float(row[1]) for row in rows] == [0.0, 0.03, 0.5]
    assert [row[2] for row in rows] == ["2", "2", "2"]
    assert f"({expected.learning_rate:.2f}, " in rows[2][3]


def test_stay_probabilities_of_the_two_step_task_are_drawn(study):
    only_plain(study, "algorithm=rl2, policy=rnn, env-name=TwoStep-v0, env-kwargs.num_trials=4")
    assert run(study) == 0
    folder = study.parent / "results" / "tiny"
    figure = draw_behaviour(cells(load_study(study), folder.parent))
    assert figure is not None
    (ax,) = figure.axes
    with np.load(folder / "plain" / "seed-1" / "results.npz") as results:
        stay = stay_frequencies(*two_step_trials(results["observations"], results["actions"], results["rewards"]))
    points = [float(np.asarray(line.get_ydata())[0]) for line in ax.lines if line.get_marker() == "o"]
    assert np.isclose(points, np.nanmean(stay[:, 0, 0])).any()
    assert "2 seeds" in ax.get_title()
    assert "plain-behaviour.png" in (folder / "table.md").read_text()


def test_a_run_killed_between_two_files_goes_on_from_its_checkpoint(study):
    assert run(study, "--only", "plain", "--seed", "1") == 0
    folder = study.parent / "results" / "tiny" / "plain" / "seed-1"
    expected = (folder / "policy.th").read_bytes()
    longer = study.read_text()
    study.write_text(longer.replace("seeds: [1, 2]", "seeds: [1, 2], set: [num-batches=2]"))
    shutil.rmtree(folder)
    assert run(study, "--only", "plain", "--seed", "1") == 0
    rows = (folder / "metrics.csv").read_text().splitlines()
    for tail in (f"{rows[-1]}\n", "2,20,to"):  # the last iteration's row, whole or torn; neither policy nor checkpoint
        with (folder / "metrics.csv").open("a") as file:
            file.write(tail)
        study.write_text(longer)
        assert run(study, command="report") == 0
        assert run(study, "--only", "plain", "--seed", "1") == 0
        assert (folder / "policy.th").read_bytes() == expected
        assert (folder / "metrics.csv").read_text().count("\n") == 1 + CONFIG.num_batches


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("results.npz", "garbage", "got a file that is no evaluation; remove it"),
        ("results.npz", "", "got a file that is no evaluation; remove it"),
        ("metrics.csv", "a,b\n1,x\n1,2\n", "got rows that are no numbers"),
        ("metrics.csv", "a,b\n1\n1,2\n", "got rows that are no numbers"),
    ],
)
def test_a_damaged_file_costs_one_line(study, capfd, name, content, words):
    assert run(study, "--only", "slow") == 0
    (study.parent / "results" / "tiny" / "slow" / "seed-1" / name).write_text(content)
    for command in ("run", "report"):
        capfd.readouterr()
        assert run(study, "--only", "slow", command=command) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert words in line
        assert name in line


def test_what_cannot_be_resumed_keeps_its_evaluation(study, capfd):
    assert run(study, "--only", "plain", "--seed", "1") == 0
    folder = study.parent / "results" / "tiny" / "plain" / "seed-1"
    study.write_text(study.read_text().replace("seeds: [1, 2]", "seeds: [1, 2], set: [num-batches=5]"))
    (folder / "checkpoint.pt").write_text("garbage")
    assert run(study, "--only", "plain", "--seed", "1") == 2
    assert "cannot load" in capfd.readouterr().err
    assert (folder / "results.npz").exists()


def test_a_run_that_cannot_be_drawn_up_is_found_before_another_one_starts(study, capfd):
    study.write_text(study.read_text().replace("set: [fast-lr=0.01]", "set: [env-kwargs.nonsense=1]"))
    assert run(study) == 2
    assert "run 'slow': env-kwargs: unknown keyword 'nonsense'" in capfd.readouterr().err
    assert not list((study.parent / "results").rglob("metrics.csv"))


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
        (
            "runs:",
            "comparisons: [[plain, slwo]]\nruns:",
            "comparisons in .*: got .*unknown run 'slwo'; did you mean 'slow'",
        ),
        ("runs:", "comparisons: [[plain, xyz]]\nruns:", "unknown run 'xyz', expected one of plain, slow"),
        ("runs:", "comparisons: [[slow, slow]]\nruns:", "run 'slow' is compared to itself; name two different runs"),
        ("runs:", "comparisons: [[slow, plain], [plain, slow]]\nruns:", "'plain' and 'slow' are compared twice"),
        ("runs:", "comparisons: [[slow]]\nruns:", r"comparisons.0.1 in .*tiny.yaml: got nothing; add it"),
        ("runs:", "comparisons: [[slow, 1]]\nruns:", r"comparisons.0.1 in .*tiny.yaml: got 1; .*string"),
        ("runs:", "comparisons: [[comparison, slow]]\nruns:\n  comparison: {config: c, seeds: [1]}", "rename the run"),
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


def test_a_run_may_have_more_new_tasks_than_the_study(study):
    only_plain(study, "num-batches=1")
    study.write_text(study.read_text().replace("seeds: [1, 2],", "seeds: [1], test_tasks: 9,"))
    assert run(study) == 0
    returns = all_cells(study)[0].test_returns()
    assert returns is not None
    assert returns.shape[1] == 9


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


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.00"), (0.01234, "0.0123"), (-0.8, "-0.800"), (17.55, "17.6"), (1234.5, "1234")]
)
def test_small_numbers_keep_three_digits(value, text):
    assert three_digits(value) == text


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_of_the_repository_can_be_run(path, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    study = load_study(path)
    assert study.name == path.stem
    assert cells(study, tmp_path)


NUM_ITERATIONS = 20


@pytest.fixture
def compared(tmp_path):
    """Path of a study of three runs by three seeds, two of them compared to the first; nothing is done."""
    config = write_config(tmp_path / "tiny.json", tiny_config("Bandit-K5-v0", num_batches=NUM_ITERATIONS))
    path = tmp_path / "tiny.yaml"
    path.write_text(
        "name: tiny\nquestion: Which is better?\ncomparisons: [[high, low], [near, low]]\nruns:\n"
        + "".join(f"  {name}: {{config: {config}, seeds: [1, 2, 3]}}\n" for name in ("low", "high", "near"))
    )
    return path


def record(study, name, seed, returns):
    """Write what a training with these returns after adaptation leaves behind, as far as a report reads it."""
    folder = study.parent / "results" / "tiny" / name / f"seed-{seed}"
    folder.mkdir(parents=True)
    rows = [f"{i},{100 * (i + 1)},{i}.5,0.0,{value!r}" for i, value in enumerate(np.asarray(returns).tolist())]
    (folder / "metrics.csv").write_text(
        "\n".join(["iteration,env_steps,seconds,return_before,return_after", *rows]) + "\n"
    )


def rows_of(study, heading):
    """Cells of the table below this heading, by the first of each row."""
    assert run(study, command="report") == 0
    text = (study.parent / "results" / "tiny" / "table.md").read_text()
    part = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("| ")]
    return {row[0]: row[1:] for row in rows[1:]}, part


def all_cells(study):
    return cells(load_study(study), study.parent / "results")


FINALS = {"low": [1.0, 2.0, 3.0], "high": [4.0, 5.0, 6.0], "near": [2.0, 4.0, 3.0]}


def test_a_comparison_says_difference_and_tests_of_final_returns_corrected_together(compared):
    for name, finals in FINALS.items():
        for seed, final in enumerate(finals, start=1):
            record(compared, name, seed, [99.0] * (NUM_ITERATIONS - 10) + [final] * 10)  # the end alone counts
    rows, text = rows_of(compared, "Comparisons")
    p_high, p_near = (stats.ttest_ind(FINALS[name], FINALS["low"], equal_var=False).pvalue for name in ("high", "near"))
    assert p_high < p_near
    high, near = rows["high - low"], rows["near - low"]
    assert high[0] == "3 against 3"
    assert high[1].startswith("3.00 [")
    assert near[1].startswith("1.00 [")
    assert high[2:] == [probability(p_high), probability(2 * p_high), "0.1", "0.2", "1.00"]
    assert near[2:4] == [probability(p_near), probability(max(p_near, 2 * p_high))]
    assert "With 3 against 3 seeds no permutation test can give less than p = 0.1, corrected 0.2." in text


def test_a_run_says_what_its_seeds_have_in_common_and_in_what_they_differ(compared):
    iterations = np.arange(NUM_ITERATIONS)
    zigzag = np.where(iterations % 4 % 3 == 0, 1.0, -1.0)  # has no slope
    for seed, (slope, noise) in enumerate([(1.0, 0.0), (2.0, 0.0), (3.0, 6.0)], start=1):
        record(compared, "low", seed, slope * (iterations - 14.5) + noise * zigzag)
    rows, _ = rows_of(compared, "Seeds as units")
    seeds, area, final, deviation, slope, r_squared, residual = rows["low"]
    assert seeds == "3 of 3"
    assert area == "-10.0 (-15.0 to -5.00)"  # the mean iteration is 9.5
    last = np.array([0.0, 0.0, 6 * zigzag[-10:].mean()])  # the mean of the last ten iterations is 14.5
    assert final.startswith(f"{three_figures(last.mean())} [")
    assert deviation == three_digits(last.std(ddof=1))
    assert slope == "2.00 (1.00 to 3.00)"
    assert r_squared.endswith(" to 1.00)")
    spread = 6 * np.sqrt(NUM_ITERATIONS / (NUM_ITERATIONS - 2))
    assert residual.startswith(three_digits(spread / 3))
    assert residual.endswith(f" to {three_digits(spread)})")


def test_a_run_under_way_is_not_compared_and_the_report_says_so(compared):
    for seed in (1, 2):
        record(compared, "low", seed, np.arange(NUM_ITERATIONS + 5.0))  # longer than the study asks for
    record(compared, "low", 3, np.full(NUM_ITERATIONS - 1, 1000.0))
    record(compared, "high", 1, np.full(NUM_ITERATIONS, 15.5))
    record(compared, "near", 1, [*np.zeros(NUM_ITERATIONS - 1), np.nan])
    rows, text = rows_of(compared, "Comparisons")
    assert rows["high - low"] == ["1 against 2", "1.00", "too few seeds", "-", "too few seeds", "-", "-"]
    assert rows["near - low"][:3] == ["0 against 2", "not finished", "too few seeds"]
    assert "no permutation test" not in text
    assert "low seed 3 (19/20 iterations); near seed 1 (some returns are not finite)" in text
    rows, _ = rows_of(compared, "Seeds as units")
    assert rows["low"][:2] == ["2 of 3", "9.50 (9.50 to 9.50)"]
    assert rows["high"][3] == "one seed"
    assert "near" not in rows


def test_a_single_iteration_has_no_slope(compared):
    compared.write_text(compared.read_text().replace("seeds:", "set: [num-batches=1], seeds:"))
    for seed in (1, 2):
        record(compared, "low", seed, [1.0])
    rows, _ = rows_of(compared, "Seeds as units")
    assert rows["low"][4:] == ["none", "none", "none"]


def test_a_report_without_seeds_or_comparisons_is_the_table_of_runs(compared):
    compared.write_text(re.sub("comparisons: .*\n", "", compared.read_text()))
    record(compared, "low", 1, np.zeros(NUM_ITERATIONS))
    assert rows_of(compared, "Seeds as units") == ({}, "")
    assert rows_of(compared, "Comparisons") == ({}, "")


def test_the_comparison_is_drawn_where_the_study_compares_and_two_runs_are_done(compared):
    figure = compared.parent / "results" / "tiny" / "figures" / "comparison.png"
    for seed in (1, 2):
        record(compared, "low", seed, np.zeros(NUM_ITERATIONS))
    assert "comparison.png" not in rows_of(compared, "Comparisons")[1]
    assert not figure.exists()
    record(compared, "near", 1, np.arange(NUM_ITERATIONS))
    evaluated = figure.parents[1] / "near" / "seed-1" / "results.npz"
    assert "comparison.png" in rows_of(compared, "Comparisons")[1]  # nothing evaluated yet
    np.savez(evaluated, returns=np.ones((4, 2, 3)), num_steps=np.arange(4))
    before = figure.read_bytes()
    assert "comparison.png" in rows_of(compared, "Comparisons")[1]
    assert figure.read_bytes() != before
    compared.write_text(re.sub("comparisons: .*\n", "", compared.read_text()))
    assert run(compared, command="report") == 0
    assert "comparison.png" not in (figure.parents[1] / "table.md").read_text()


def test_new_tasks_are_averaged_within_a_seed_and_compared_between_seeds(compared):
    for seed, level in enumerate([1.0, 3.0], start=1):
        record(compared, "low", seed, np.zeros(NUM_ITERATIONS))
        folder = compared.parent / "results" / "tiny" / "low" / f"seed-{seed}"
        returns = level + np.array([0.0, 10.0])[:, None, None] + np.linspace(-5, 5, 6).reshape(2, 3)
        np.savez(folder / "results.npz", returns=returns, num_steps=np.arange(2))
    runs, _ = finished_seeds([cell for cell in all_cells(compared) if cell.iterations_done])
    interval = runs["low"].adapted(num_steps=1)
    assert interval is not None
    np.testing.assert_allclose([interval.low, interval.mean, interval.high], [[1, 11], [2, 12], [3, 13]])
    assert runs["low"].adapted(num_steps=2) is None  # evaluated with fewer


def test_agents_of_a_drifting_bandit_are_explained_and_decoded(study, capfd, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(cognition, "_NUM_CONTROLS", 2)
    task = "algorithm=rl2, policy=lstm, env-name=DriftingBandit-v0, env-kwargs.num_trials=12, fast-batch-size=1"
    only_plain(study, f"{task}, num-agents=3", "score: return_total")
    assert run(study) == 2
    assert "seeds: got [1, 2] with num-agents 3, which have agents in common" in capfd.readouterr().err
    study.write_text(study.read_text().replace("[1, 2]", "[2, 5]"))
    assert run(study) == 0
    folder = study.parent / "results" / "tiny"
    with np.load(folder / "plain" / "seed-2" / "cognition.npz") as arrays:
        found = dict(arrays)
    with np.load(folder / "plain" / "seed-2" / "results.npz") as arrays:
        results = dict(arrays)
    np.testing.assert_allclose(found["rewards"], results["rewards"].sum(axis=2), rtol=1e-5)
    for agent in range(3):
        data = choices_of(results["actions"][agent], results["rewards"][agent], 4)
        assert found["num_choices"][agent] == data.num_choices == (results["actions"][agent][:, 1::2] < 4).sum()
        logs = TDModel().trial_log_likelihoods(data, found["td_parameters"][agent]).sum()
        assert found["td_log_likelihood"][agent] == pytest.approx(logs)
        assert found["td_log_likelihood"][agent] > -data.num_choices * np.log(4) - 1e-6
    table = (folder / "table.md").read_text()
    row = table[table.index("| agents | median") :].splitlines()[2]
    means = np.concatenate([found["rewards"].mean(1), _rewards_of(folder / "plain" / "seed-5")])
    assert [float(x) for x in row.split("|")[1:3]] == [6, pytest.approx(np.median(means), abs=0.06)]
    assert "| choice autocorrelation |" in table
    assert (folder / "figures" / "plain-cognition.png").stat().st_size > 1000
    path = folder / "plain" / "seed-2" / "cognition.npz"
    written = path.stat().st_mtime_ns
    os.utime(folder / "plain" / "seed-2" / "results.npz")
    assert run(study) == 0
    assert path.stat().st_mtime_ns == written  # not computed twice
    path.write_bytes(path.read_bytes()[:100])
    capfd.readouterr()
    assert run(study, command="report") == 2
    assert "got a file that is no analysis; remove it" in capfd.readouterr().err
    (folder / "plain" / "seed-2" / "results.npz").unlink()
    assert run(study, command="report") == 0  # of the other seed alone


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            "num-agents=2",
            "num-agents: got 2 with Bandit-K5-v0, expected 1; studies analyse ensembles on",
        ),
        ("env-name=DriftingBandit-v0, env-kwargs.num_trials=9", "studies analyse algorithm rl2 with fast-batch-size 1"),
        ("env-name=DriftingBandit-v0, env-kwargs.num_trials=2, fast-batch-size=1", "num_trials: got 2, expected at l"),
        (
            "env-name=DriftingBandit-v0, env-kwargs.num_arms=1, fast-batch-size=1",
            "num_arms: got 1, expected at least 2",
        ),
        (
            "env-name=DriftingBandit-v0, env-kwargs.payoff_deviation=0, fast-batch-size=1",
            "payoff_deviation: got 0, exp",
        ),
        ("env-name=DriftingBandit-v0, reward-clip=1, fast-batch-size=1", "reward-clip: got 1.0, expected null for the"),
    ],
)
def test_what_could_not_be_analysed_is_not_trained(study, capfd, settings, words):
    only_plain(study, f"algorithm=rl2, policy=rnn, {settings}")
    study.write_text(study.read_text().replace("[1, 2]", "[1, 5]"))
    assert run(study) == 2
    assert words in capfd.readouterr().err
    assert not (study.parent / "results").exists()


def test_a_start_with_other_weights_or_of_another_length_is_refused(study, capfd):
    study.write_text(study.read_text().replace("seeds: [1], set: [", "seeds: [1], start_from: plain, set: ["))
    first = study.read_text()
    study.write_text(first.replace("fast-lr=0.01", "'hidden-sizes=[5]'"))
    assert run(study) == 2
    assert re.search(r"start_from: layer1\S+ is \(4.* in 'plain', expected \(5", capfd.readouterr().err)
    study.write_text(first)
    assert run(study) == 0
    study.write_text(first.replace("[1, 2]", "[1, 2], set: [num-batches=4]"))
    capfd.readouterr()
    assert run(study) == 2
    assert "slow seed 1 has started from 'plain', which is to be trained on; move" in capfd.readouterr().err


def _rewards_of(folder):
    with np.load(folder / "cognition.npz") as arrays:
        return arrays["rewards"].mean(1)


def test_memory_is_read_where_the_agent_acted_on_it():
    """A memory replayed from results is the one of the episode: the LSTM's cell, its second state."""
    config = tiny_config("DriftingBandit-v0", algorithm="rl2", policy="lstm", env_kwargs={"num_trials": 5})
    algorithm = make_algorithm(config.replace(fast_batch_size=1, hidden_sizes=(4,)))
    evaluation = evaluate(algorithm, algorithm.initial_parameters(), num_batches=1, meta_batch_size=3, num_steps=0)
    assert evaluation.meta_episodes is not None
    whole = {key: getattr(evaluation.meta_episodes, key)[np.newaxis] for key in ("observations", "actions", "rewards")}
    cells_ = memory_of(algorithm.policy, whole, 0)
    assert cells_.shape == (3, 5, 4)
    played = RL2Worker(cast(RL2WorkerSpec, algorithm.with_seed(1).worker_spec), lambda: None)._play(
        range(3),
        evaluation.tasks,
        algorithm.initial_parameters(),
        0,
        (Purpose.EVALUATION_ENVIRONMENT, Purpose.EVALUATION_ACTIONS),
        1,
    )
    params, observations = algorithm.policy.params(), played.data.observations  # (T, M, O), with what the agent saw
    begin = algorithm.policy.initial_state(params, (3,))
    for step in range(1, 10, 2):
        seen = observations[: step + 1], played.data.mask[: step + 1]
        _, _, state = algorithm.policy.unroll_with_values(params, *seen, begin)
        np.testing.assert_allclose(cells_[:, step // 2], state[-1][1].detach().numpy(), atol=1e-5)
