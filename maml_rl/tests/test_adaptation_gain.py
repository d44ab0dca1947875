"""Random choices, gains of adaptation and areas under learning curves in a study."""

from __future__ import annotations

import re
import shutil
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from maml_rl.algorithms import make_algorithm
from maml_rl.analysis.intervals import mean_interval
from maml_rl.config import Config, load_config
from maml_rl.evaluation import evaluate
from maml_rl.settings import MAMLSettings
from maml_rl.studies.__main__ import main
from maml_rl.studies.adaptation_gain import _random_columns
from maml_rl.studies.learning_curve_area import learning_curve_areas, table_of_learning_curve_areas
from maml_rl.studies.scores import Seeds
from maml_rl.studies.study import load_study, study_runs
from maml_rl.studies.tables import interval_in_words
from maml_rl.tests.builders import UNEVEN, tiny_config, write_config
from maml_rl.utils.random import Purpose, generator


def bandit_study(tmp_path, config, keys):
    """A study of two seeds with these keys and a harder family, two steps each; its path, and arguments that run it."""
    path = tmp_path / "study.yaml"
    path.write_text(
        f"{keys}question: What was learned?\ntest_steps: 2\ntest_on: {{harder: [env-kwargs.num_pulls=2]}}\n"
        f"runs: {{plain: {{config: {write_config(tmp_path / 'tiny.json', config)}, seeds: [1, 2]}}}}\n"
    )
    return path, ["run", str(path), "--results", str(tmp_path / "results"), "--num-workers", "1", "--backend", "serial"]


@pytest.mark.slow
def test_random_choices_are_uniform_on_the_tasks_of_the_evaluation_and_gains_are_paired(tmp_path, capfd):
    config = tiny_config("Bandit-K5-v0", num_batches=1, meta_batch_size=20, fast_batch_size=20, fast_lr=1.0)
    path, arguments = bandit_study(tmp_path, config, "name: random\ntest_tasks: 40\nrandom_policy: true\n")
    assert main(arguments) == 0
    found = study_runs(load_study(path), tmp_path / "results")
    scores, chance = [], []
    for run in found:
        env = make_algorithm(run.config).env
        found_by_chance = run.control_returns("random")
        assert found_by_chance is not None
        (by_chance,) = found_by_chance
        assert by_chance.shape == (40, 20)
        tasks = env.sample_tasks(40, generator(1000 + run.seed, Purpose.EVALUATION_TASKS))
        expected = np.array([np.mean(task["mean"]) for task in tasks])
        assert np.corrcoef(by_chance.mean(1), expected)[0, 1] > 0.5  # the same tasks
        assert by_chance.mean() == pytest.approx(expected.mean(), abs=4 * 0.5 / np.sqrt(800))
        returns = run.test_returns()
        assert returns is not None
        scores.append(returns.mean(-1, dtype=np.float64))
        chance.append(by_chance.mean(-1, dtype=np.float64))
        assert run.control_returns("random", "harder") is not None
    table = (tmp_path / "results/random/table.md").read_text()
    rows = re.findall(r"^\| plain \| (own|harder) \| 2 \|(.*)\|$", table, re.M)
    assert [row[0] for row in rows] == ["own", "harder"]
    before, after, last = np.concatenate(scores, axis=1)
    columns = (np.concatenate(chance), before, after, after - np.concatenate(chance), after - before, last - before)
    assert [word.strip() for word in rows[0][1].split("|")] == [
        interval_in_words(mean_interval(column)) for column in columns
    ]
    times = {run.seed: run.control_path("random").stat().st_mtime_ns for run in found}
    assert main(arguments) == 0
    assert {run.seed: run.control_path("random").stat().st_mtime_ns for run in found} == times
    with np.load(found[0].control_path("random")) as arrays:
        other = dict(arrays)
    np.savez(found[0].control_path("random"), **{**other, "tasks": other["tasks"][::-1]})
    assert main(arguments) == 2
    assert "random.npz': got other tasks than those of results.npz; remove both" in capfd.readouterr().err
    found[0].control_path("random").unlink()
    less = path.read_text()
    path.write_text(less.replace("test_steps: 2", "test_steps: 1"))
    assert main([*arguments, "--seed", "1"]) == 0  # one seed with less steps, and the report of both
    rows = re.findall(r"^\| plain \| (own|harder) \| (\d) \|", (tmp_path / "results/random/table.md").read_text(), re.M)
    assert rows == [("own", "1"), ("harder", "1")]
    path.write_text(less)
    more = path.read_text().replace("test_tasks: 40", "test_tasks: 60")
    path.write_text(more)
    assert main(arguments) == 0  # random choices are of as many tasks again
    assert {len(np.asarray(run.control_returns("random"))[0]) for run in found} == {60}


@pytest.fixture
def controlled(tmp_path):
    """A study of one run of two seeds with all controls; its arguments and runs."""
    config = tiny_config("Bandit-K5-v0", num_batches=2, meta_batch_size=4, fast_batch_size=5, fast_lr=1.0)
    keys = "name: controls\ntest_tasks: 6\nuntrained: true\nmultitask: true\n"
    path, arguments = bandit_study(tmp_path, config, keys)
    return arguments, study_runs(load_study(path), tmp_path / "results")


def test_controls_adapt_to_the_same_tasks_and_gains_are_compared_task_by_task(controlled):
    arguments, runs = controlled
    assert main(arguments) == 0
    gains = []
    for run in runs:
        fresh = make_algorithm(run.config)
        again = evaluate(
            fresh,
            fresh.initial_parameters(),
            num_batches=2,
            meta_batch_size=4,
            num_adaptation_steps=2,
            seed=1000 + run.seed,
        )
        untrained, own = run.control_returns("untrained"), run.test_returns()
        np.testing.assert_array_equal(untrained, again.returns)
        assert np.shape(run.control_returns("multitask", "harder")) == (3, 8, 5)
        several = load_config(run.folder / "multitask" / "config.json")
        assert isinstance(several, Config)
        assert several.section(MAMLSettings).num_steps == 0
        assert (several.meta_batch_size, several.num_batches, several.seed) == (8, 2, run.seed)
        learned = make_algorithm(run.config).with_policy(run.folder / "multitask" / "policy.th").initial_parameters()
        assert np.abs(learned - fresh.initial_parameters()).max() > 0
        gains.append([part[1].mean(-1, dtype=np.float64) - part[0].mean(-1) for part in (own, untrained)])
    own_gain, control_gain = np.concatenate(gains, axis=1)
    table = (
        (runs[0].folder.parents[1] / "table.md").read_text().split("## Gains beside those of an untrained policy")[1]
    )
    row = re.findall(r"^\| plain \| own \| 2 \|(.*)\|$", table, re.M)[0].split("|")
    assert row[6].strip() == interval_in_words(mean_interval(own_gain - control_gain))
    assert "## Gains beside those of multi-task learning" in table
    times = {path: path.stat().st_mtime_ns for path in runs[0].folder.rglob("*.npz")}
    assert len(times) == 6
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_run_from_trained_weights_has_no_controls_if_it_says_so(tmp_path, capfd):
    config = tiny_config("Bandit-K5-v0", num_batches=1, meta_batch_size=2, fast_batch_size=2)
    path, arguments = bandit_study(tmp_path, config, "name: controls\ntest_tasks: 4\nuntrained: true\n")
    text, entry = path.read_text(), f"{{config: {tmp_path / 'tiny.json'}, seeds: [1], start_from: plain}}"
    path.write_text(text.replace("]}}", f"]}}, later: {entry}}}"))
    assert main(arguments) == 2
    assert "untrained, multitask: got true with a run that starts from trained weights" in capfd.readouterr().err
    path.write_text(text.replace("]}}", f"]}}, later: {entry[:-1]}, controls: false}}}}"))
    assert main(arguments) == 0
    *plain, later = study_runs(load_study(path), tmp_path / "results")
    assert all(run.control_returns("untrained") is not None for run in plain)
    assert later.control_returns("untrained") is None


def test_archives_hold_controls(controlled):
    arguments, runs = controlled
    assert main(arguments) == 0
    table = (runs[0].folder.parents[1] / "table.md").read_text()
    for command in ("pack", "report"):
        assert main([command, *arguments[1:]]) == 0
        for run in runs:
            shutil.rmtree(run.folder, ignore_errors=True)
    assert (runs[0].folder.parents[1] / "table.md").read_text() == table
    assert all(run.is_archived for run in runs)


def seeds_of(*curves):
    """Seeds with these (environment steps, scores)."""
    found = [SimpleNamespace(metrics=lambda steps=steps: {"env_steps": np.array(steps)}) for steps, _ in curves]
    return Seeds(cast(Any, tuple(found)), np.array([scores for _, scores in curves], dtype=np.float64))


def test_an_area_is_the_mean_score_of_the_steps_that_all_runs_have_made():
    runs = {
        "long": seeds_of(([10.0, 30.0, 60.0], [1.0, 2.0, 3.0]), ([20.0, 40.0, 60.0], [0.0, 4.0, 8.0])),
        "short": seeds_of(([5.0, 20.0, 40.0], [8.0, 0.0, 1.0])),
    }
    found, horizon = learning_curve_areas(runs)
    assert horizon == 40.0
    np.testing.assert_allclose(found["long"], [(10 * 1 + 20 * 2 + 10 * 3) / 40, (20 * 0 + 20 * 4) / 40])
    np.testing.assert_allclose(found["short"], [(5 * 8 + 15 * 0 + 20 * 1) / 40])


def test_iterations_that_differ_later_only_are_compared_by_steps_too():
    study = cast(Any, SimpleNamespace(comparisons=[("a", "b")]))
    alike = {name: seeds_of(([10.0, 20.0], [1.0, 2.0]), ([10.0, 20.0], [3.0, 4.0])) for name in "ab"}
    assert table_of_learning_curve_areas(study, alike) == []
    later = alike | {"b": seeds_of(([10.0, 25.0], [1.0, 2.0]), ([10.0, 20.0], [3.0, 4.0]))}
    assert any(line.startswith("| a - b | ") for line in table_of_learning_curve_areas(study, later))


def test_three_seeds_are_units_and_a_task_drawn_twice_is_one():
    def run(seed, after):
        results = {"returns": np.array([[[1.0], [2.0], [6.0]], after]), "tasks": np.array([[0], [0], [1]])}
        plan = SimpleNamespace(num_steps=len(results["returns"]) - 1)
        found = SimpleNamespace(config=Config(env_name="x"), results=lambda test_set: results, plan=plan)
        found.control_returns = lambda control, test_set: np.array([[[0.0], [2.0], [4.0]]])
        return cast(Any, found)

    runs = [run(seed, [[seed], [seed], [9.0]]) for seed in (1.0, 2.0, 3.0)]
    row = _random_columns(runs, "random", None)
    means = [(seed + 9) / 2 for seed in (1, 2, 3)]
    assert row[2] == interval_in_words(mean_interval(np.array(means)))
    assert row[4] == interval_in_words(mean_interval(np.array(means) - 3.75))
    assert _random_columns(runs[:1], "random", None)[2] == interval_in_words(mean_interval(np.array([1.0, 9.0])))
    assert _random_columns(runs[:1], "random", None)[0] == interval_in_words(mean_interval(np.array([1.0, 4.0])))


def test_a_task_that_two_seeds_share_is_one():
    def run(tasks, scores):
        results = {"returns": np.array([[[score] for score in scores]]), "tasks": np.array(tasks)}
        plan = SimpleNamespace(num_steps=len(results["returns"]) - 1)
        found = SimpleNamespace(config=Config(env_name="x"), results=lambda test_set: results, plan=plan)
        found.control_returns = lambda control, test_set: np.zeros((1, 2, 1))
        return cast(Any, found)

    row = _random_columns([run([[0], [1]], [1.0, 2.0]), run([[2], [1]], [3.0, 6.0])], "random", None)
    assert row[1] == interval_in_words(mean_interval(np.array([1.0, 4.0, 3.0])))


def test_one_task_has_a_mean_and_no_interval():
    assert interval_in_words(mean_interval(np.array([1.5]))) == "1.50"


@pytest.mark.parametrize(
    ("settings", "field", "words"),
    [
        ("env-name=2DNavigation-v0", "random_policy: true", "random_policy: got true with continuous actions"),
        ("num-steps=0", "multitask: true", "multitask: got true with algorithm maml, expected one whose steps"),
        ("[]", "test_on: {wide: [env-name=Bandit-K10-v0]}", "test_on 'wide': layer2.* in the run, expected"),
    ],
)
def test_what_cannot_be_evaluated_is_not_trained(tmp_path, capfd, settings, field, words):
    config = write_config(tmp_path / "tiny.json", tiny_config("Bandit-K5-v0", num_batches=1))
    path = tmp_path / "study.yaml"
    path.write_text(
        f"name: x\nquestion: y\n{field}\nruns: {{a: {{config: {config}, seeds: [1], set: [{settings}]}}}}\n".replace(
            "[[]]", "[]"
        )
    )
    assert (
        main(["run", str(path), "--results", str(tmp_path / "results"), "--num-workers", "1", "--backend", "serial"])
        == 2
    )
    assert re.search(words, capfd.readouterr().err)
    assert not (tmp_path / "results").exists()


def test_curves_against_steps_are_reported_where_runs_differ_in_them(tmp_path):
    config = tiny_config(UNEVEN, env_kwargs={"longest": 6}, num_batches=2, meta_batch_size=3)
    path = tmp_path / "study.yaml"
    name = write_config(tmp_path / "tiny.json", config)
    path.write_text(
        "name: uneven\nquestion: Who learns sooner?\ntest_tasks: 4\ntest_steps: 1\ncomparisons: [[a, b]]\nruns:\n"
        f"  a: {{config: {name}, seeds: [1, 2]}}\n  b: {{config: {name}, seeds: [3, 4]}}\n"
    )
    assert (
        main(["run", str(path), "--results", str(tmp_path / "results"), "--num-workers", "1", "--backend", "serial"])
        == 0
    )
    table = (tmp_path / "results/uneven/table.md").read_text().split("## Learning curves")[1]
    assert len(re.findall(r"^\| [ab] \| -?\d.* \[.*\] \| -?\d.*, -?\d.* \|$", table, re.M)) == 2
    assert re.search(r"^\| a - b \| -?\d.* \[.*\] \| \d.* \|$", table, re.M)
    assert "](figures/learning-curves.png)" in table
    assert "](figures/comparison.png)" in table


def test_runs_are_drawn_beside_those_of_the_same_family(tmp_path):
    small = {"num_batches": 1, "meta_batch_size": 2}
    ten, five = (
        write_config(tmp_path / f"{arms}.json", tiny_config(f"Bandit-K{arms}-v0", **small)) for arms in (10, 5)
    )
    path = tmp_path / "study.yaml"
    path.write_text(
        "name: families\nquestion: Which?\ntest_tasks: 2\ntest_steps: 1\ncomparisons: [[b, c]]\nruns:\n"
        + "".join(
            f"  {name}: {{config: {config}, seeds: [1]}}\n" for name, config in {"a": ten, "b": five, "c": five}.items()
        )
    )
    assert (
        main(["run", str(path), "--results", str(tmp_path / "results"), "--num-workers", "1", "--backend", "serial"])
        == 0
    )
    table = (tmp_path / "results/families/table.md").read_text()
    assert re.findall(r"!\[every run beside (.)\]\(figures/(.*)\)", table) == [("b", "comparison-Bandit-K5-v0.png")]
