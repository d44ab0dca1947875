"""A study trains what is missing, no more, and reports what is there."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from maml_rl.algorithms import make_algorithm
from maml_rl.config import load_config
from maml_rl.experiment import train
from maml_rl.studies.__main__ import main as studies_main
from maml_rl.studies.scores import new_task_scores
from maml_rl.studies.study import load_study, study_runs
from maml_rl.studies.tables import three_figures
from maml_rl.tests.builders import NAN_REWARD
from maml_rl.tests.study_builders import CONFIG, all_runs, only_plain, run_study, tiny_study

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def study(tmp_path):
    return tiny_study(tmp_path)


def test_every_run_is_trained_evaluated_and_reported(study):
    assert run_study(study) == 0
    folder = study.parent / "results" / "tiny"
    for run in ("plain/seed-1", "plain/seed-2", "slow/seed-1"):
        assert (folder / run / "metrics.csv").read_text().count("\n") == 1 + CONFIG.num_batches
        with np.load(folder / run / "results.npz") as results:
            assert results["returns"].shape == (3, 6, CONFIG.fast_batch_size)  # whole meta-batches
    assert json.loads((folder / "slow/seed-1/config.json").read_text())["fast-lr"] == 0.01
    table = (folder / "table.md").read_text()
    assert len(re.findall(r"^\| (plain|slow) \| \d \| Bandit", table, re.M)) == 3
    for name in re.findall(r"\(figures/(.*)\)", table):
        assert (folder / "figures" / name).stat().st_size > 1000
    commands = [entry["command"] for entry in json.loads((folder / "manifest.json").read_text())["runs"]]
    assert "--set fast-lr=0.01 --seed 1" in commands[2]


def test_what_is_done_is_not_done_again_and_what_was_interrupted_goes_on(study, capfd):
    assert run_study(study, "--only", "plain", "--seed", "1") == 0
    folder = study.parent / "results" / "tiny" / "plain" / "seed-1"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert not (folder.parent / "seed-2").exists()
    longer = study.read_text().replace("seeds: [1, 2]", "seeds: [1, 2], set: [num-batches=5]")
    assert run_study(study, "--only", "plain") == 0
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    capfd.readouterr()
    study.write_text(longer)
    assert run_study(study, "--only", "plain", "--seed", "1") == 0
    assert "plain seed 1: 3/5 iterations done" in capfd.readouterr().out
    assert (folder / "metrics.csv").read_text().count("\n") == 6
    assert (folder / "results.npz").stat().st_mtime_ns > before["results.npz"]  # the longer run's policy


@pytest.mark.slow
def test_runs_side_by_side_are_the_runs_one_after_another_and_one_that_fails_costs_one_line(study, capfd):
    whole = study.read_text()
    study.write_text(whole.replace("fast-lr=0.01]", "fast-lr=0.01], start_from: plain"))
    assert run_study(study) == 0
    folder = study.parent / "results" / "tiny"
    names = ("plain/seed-1", "plain/seed-2", "slow/seed-1")
    policies = {name: (folder / name / "policy.th").read_bytes() for name in names}
    table = (folder / "table.md").read_text()
    shutil.rmtree(folder)
    capfd.readouterr()
    assert run_study(study, "--jobs", "2", "--backend", "multiprocess") == 0
    assert {name: (folder / name / "policy.th").read_bytes() for name in names} == policies
    assert re.sub(r" 0 (?=\|)", "", (folder / "table.md").read_text()) == re.sub(r" 0 (?=\|)", "", table)
    lines = capfd.readouterr().out
    for name in ("plain seed 1", "plain seed 2", "slow seed 1"):
        assert f"{name}: 0/3 iterations done" in lines
        assert f"{name}: 3/3  before" in lines
    broken = f"set: ['env-name={NAN_REWARD}', env-kwargs.healthy_resets=0]"
    study.write_text(whole.replace("set: [fast-lr=0.01]", broken))
    shutil.rmtree(folder)
    assert run_study(study, "--jobs", "2") == 1
    *warnings, error = capfd.readouterr().err.splitlines()
    assert error.startswith("error: 3 iterations in a row gave NaN or infinity")
    assert all("step refused" in line for line in warnings)


def test_a_run_starts_from_the_final_weights_of_another(study):
    study.write_text(study.read_text().replace("fast-lr=0.01]", "fast-lr=0.01, num-batches=1], start_from: plain"))
    assert run_study(study) == 0
    first, second = (study.parent / "results" / "tiny" / name / "seed-1" for name in ("plain", "slow"))
    config = load_config(second / "config.json")
    assert config.initial_policy == str(first / "policy.th")
    assert load_config(first / "config.json").initial_policy is None
    by_hand = make_algorithm(config.replace(initial_policy=None)).with_policy(first / "policy.th")
    before, after = (
        by_hand.initial_parameters(),
        make_algorithm(config).with_policy(second / "policy.th").initial_parameters(),
    )
    expected = train(by_hand, num_workers=1)
    np.testing.assert_array_equal(expected.astype(np.float32), after)  # as in policy.th
    assert not np.array_equal(before, after)


@pytest.mark.parametrize(
    ("command", "arguments", "words"),
    [
        ("report", [], "report: got no iteration of any run in '.*tiny'; run the study first"),
        (
            "report",
            ["--only", "plain"],
            "--only: got plain with report, which is of all runs of a study; leave it out",
        ),
        ("report", ["--jobs", "2"], "--jobs: got 2 with report, which runs nothing; leave it out"),
        ("pack", ["--seed", "1"], "--seed: got 1 with pack, which is of all runs of a study; leave it out"),
        (
            "run",
            ["--only", "slow", "--seed", "2"],
            "--only and --seed: got slow with seed 2, expected a run and one of",
        ),
    ],
)
def test_what_selects_nothing_is_refused_and_writes_nothing(study, capfd, command, arguments, words):
    assert studies_main([command, str(study), "--results", str(study.parent / "results"), *arguments]) == 2
    error = capfd.readouterr().err
    assert re.match(f"error: {words}", error)
    assert error.count("\n") == 1
    assert not (study.parent / "results").exists()


def test_results_go_to_a_folder(study, capfd):
    with pytest.raises(SystemExit):
        studies_main(["run", str(study), "--results", ""])
    assert "--results: got '', expected a folder" in capfd.readouterr().err
    root = study.parent / "results"
    root.mkdir()
    (root / "tiny").write_text("kept")
    assert studies_main(["run", str(study), "--results", str(root)]) == 2
    taken = f"error: --results: {str(root / 'tiny')!r} is a file, expected a folder; name another, or move the file\n"
    assert capfd.readouterr().err == taken
    assert (root / "tiny").read_text() == "kept"


def test_a_run_waits_for_the_one_it_starts_from(study, capfd):
    study.write_text(study.read_text().replace("seeds: [1], set", "seeds: [1], start_from: plain, set"))
    assert run_study(study, "--only", "slow") == 2
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
    assert run_study(study) == 2
    assert words in capfd.readouterr().err


def test_meta_episodes_are_scored_as_a_whole_where_the_study_says_so(study):
    only_plain(study, "algorithm=rl2, policy=lstm", "score: return_total")
    assert run_study(study) == 0
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


def test_the_reward_before_adaptation_counts_where_the_study_says_so(study):
    study.write_text(study.read_text().replace("test_steps: 2", "test_steps: 2\nscore: return_total"))
    assert run_study(study, "--only", "plain", "--seed", "1") == 0
    run = all_runs(study)[0]
    metrics = run.metrics()
    np.testing.assert_allclose(metrics["return_total"], metrics["return_before"] + metrics["return_after"])
    returns, scores = run.test_returns(), new_task_scores(run)
    assert returns is not None
    assert scores is not None
    assert len(returns) == CONFIG.num_steps + 1 == 2
    np.testing.assert_allclose(scores, returns.mean(-1).sum(0, keepdims=True), rtol=1e-6)


def test_a_run_killed_between_two_files_goes_on_from_its_checkpoint(study):
    assert run_study(study, "--only", "plain", "--seed", "1") == 0
    folder = study.parent / "results" / "tiny" / "plain" / "seed-1"
    expected = (folder / "policy.th").read_bytes()
    longer = study.read_text()
    study.write_text(longer.replace("seeds: [1, 2]", "seeds: [1, 2], set: [num-batches=2]"))
    shutil.rmtree(folder)
    assert run_study(study, "--only", "plain", "--seed", "1") == 0
    rows = (folder / "metrics.csv").read_text().splitlines()
    for tail in (f"{rows[-1]}\n", "2,20,to"):  # the last iteration's row, whole or torn; neither policy nor checkpoint
        with (folder / "metrics.csv").open("a") as file:
            file.write(tail)
        study.write_text(longer)
        assert run_study(study, command="report") == 0
        assert run_study(study, "--only", "plain", "--seed", "1") == 0
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
    assert run_study(study, "--only", "slow") == 0
    (study.parent / "results" / "tiny" / "slow" / "seed-1" / name).write_text(content)
    for command, which in (("run", ["--only", "slow"]), ("report", [])):
        capfd.readouterr()
        assert run_study(study, *which, command=command) == 2
        (line,) = capfd.readouterr().err.splitlines()
        assert words in line
        assert name in line


def test_what_cannot_be_resumed_keeps_its_evaluation(study, capfd):
    assert run_study(study, "--only", "plain", "--seed", "1") == 0
    folder = study.parent / "results" / "tiny" / "plain" / "seed-1"
    study.write_text(study.read_text().replace("seeds: [1, 2]", "seeds: [1, 2], set: [num-batches=5]"))
    (folder / "checkpoint.pt").write_text("garbage")
    assert run_study(study, "--only", "plain", "--seed", "1") == 2
    assert "cannot load" in capfd.readouterr().err
    assert (folder / "results.npz").exists()


def test_a_run_that_cannot_be_drawn_up_is_found_before_another_one_starts(study, capfd):
    study.write_text(study.read_text().replace("set: [fast-lr=0.01]", "set: [env-kwargs.nonsense=1]"))
    assert run_study(study) == 2
    assert "run 'slow': env-kwargs: unknown keyword 'nonsense'" in capfd.readouterr().err
    assert not list((study.parent / "results").rglob("metrics.csv"))


def test_a_figure_that_is_none_is_refused_once_all_is_there_and_nothing_is_written(study, capfd):
    folder = study.parent / "results" / "tiny"
    study.write_text("figures: [plain, slwo]\n" + study.read_text())
    assert run_study(study, "--only", "slow") == 2
    assert "figures: got 'slwo', expected some of slow; did you mean 'slow'?" in capfd.readouterr().err
    assert not (folder / "table.md").exists()
    study.write_text(study.read_text().replace("slwo", "slow"))
    assert run_study(study, command="report") == 0
    assert (folder / "table.md").read_text().splitlines()[-1] == "![slow](figures/slow.png)"


def test_a_study_that_is_not_there_is_named(study, capfd):
    assert run_study(study.with_name("tinny.yaml"), command="report") == 2
    assert re.search(r"study: no such file: '.*tinny.yaml'; did you mean '.*tiny.yaml'", capfd.readouterr().err)


def test_a_report_alone_trains_nothing(study):
    assert run_study(study, "--only", "slow") == 0
    assert run_study(study, command="report") == 0
    assert len(list((study.parent / "results" / "tiny").rglob("metrics.csv"))) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("question", "qestion", "unknown key 'qestion' in .*tiny.yaml; did you mean 'question'"),
        ("question: Does it run?", "", "question in .*tiny.yaml: got nothing"),
        ("set: ", "sett: ", "unknown key 'runs.slow.sett' in .*tiny.yaml; did you mean 'set'"),
        ("seeds: [1, 2]", "seeds: [1, 1]", r"runs.plain.seeds in .*tiny.yaml: got \[1, 1\]; .*different"),
        ("name: tiny", "name: ../evil", "name in .*tiny.yaml: got '../evil'; expected a name of letters, digits"),
        ("seeds: [1, 2]", "seeds: []", "runs.plain.seeds in .*tiny.yaml: got none, expected at least one; add it$"),
        ("seeds: [1], set", "seeds: [1], start_from: slow, set", "run 'slow' starts from 'slow'; name a run above it"),
        ("tiny.json", "nowhere.json", "runs.plain in .*tiny.yaml: config: no such file"),
        ("set: [", "set: [seed=3, ", "runs.slow.set in .*tiny.yaml: got .*; expected no seed; name it in seeds"),
        ("runs:", "figures: [plain.png]\nruns:", "figures in .*tiny.yaml: got .*without their ending; write 'plain'"),
        ("test_tasks: ", "test_tasks: 1000000", "test_tasks in .*tiny.yaml: got 1000000.; .*less than or equal to 1"),
        ("runs:", "test_on: {x: [lr=1]}\nruns:", "test_on.x for runs.plain in .*tiny.yaml: unknown key 'lr' in --set"),
        ("fast-lr", "fast-lrr", "runs.slow in .*: unknown key 'fast-lrr' .*did you mean 'fast-lr'"),
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
    assert run_study(study) == 2
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
        (
            ["--backend", "multiproces"],
            "--backend: got 'multiproces', expected one of multiprocess, ray, serial",
        ),
    ],
)
def test_flags_that_fit_no_run_are_refused(study, capfd, flags, words):
    assert run_study(study, *flags) == 2
    assert words in capfd.readouterr().err
    assert not (study.parent / "results").exists()


def test_a_run_of_another_configuration_is_never_taken_for_the_study_s(study, capfd):
    assert run_study(study, "--only", "slow") == 0
    capfd.readouterr()
    study.write_text(study.read_text().replace("fast-lr=0.01", "fast-lr=0.02"))
    assert run_study(study, "--only", "slow") == 2
    assert "slow seed 1: fast-lr is 0.02 in the study, but the run in" in capfd.readouterr().err


def test_a_run_may_have_more_new_tasks_than_the_study(study):
    only_plain(study, "num-batches=1")
    study.write_text(study.read_text().replace("seeds: [1, 2],", "seeds: [1], test_tasks: 9,"))
    assert run_study(study) == 0
    returns = all_runs(study)[0].test_returns()
    assert returns is not None
    assert returns.shape[1] == 9


def test_a_larger_evaluation_takes_the_place_of_a_smaller_one(study):
    assert run_study(study, "--only", "slow") == 0
    study.write_text(study.read_text().replace("test_steps: 2", "test_steps: 3"))
    assert run_study(study, "--only", "slow") == 0
    with np.load(study.parent / "results" / "tiny" / "slow" / "seed-1" / "results.npz") as results:
        assert len(results["returns"]) == 4


@pytest.mark.parametrize("path", sorted((ROOT / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_of_the_repository_can_be_run(path, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    study = load_study(path)
    assert study.name == path.stem
    assert study_runs(study, tmp_path)


def test_a_start_with_other_weights_or_of_another_length_is_refused(study, capfd):
    study.write_text(study.read_text().replace("seeds: [1], set: [", "seeds: [1], start_from: plain, set: ["))
    first = study.read_text()
    study.write_text(first.replace("fast-lr=0.01", "'hidden-sizes=[5]'"))
    assert run_study(study) == 2
    assert re.search(r"start_from: layer1\S+ is \(4.* in 'plain', expected \(5", capfd.readouterr().err)
    study.write_text(first)
    assert run_study(study) == 0
    study.write_text(first.replace("[1, 2]", "[1, 2], set: [num-batches=4]"))
    capfd.readouterr()
    assert run_study(study) == 2
    assert "slow seed 1 has started from 'plain', which is to be trained on; move" in capfd.readouterr().err
