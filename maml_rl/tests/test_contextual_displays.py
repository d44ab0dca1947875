"""Displays of contextual tasks show what agents do beside what is known of the tasks."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from maml_rl.analysis.contextual_bandits import exposure_numbers
from maml_rl.analysis.contextual_plots import plot_coefficients, plot_exposures, plot_rewards_by_pull
from maml_rl.analysis.contextual_two_step import contextual_two_step_trials, regress_stays, stay_table, trial_pairs
from maml_rl.studies.__main__ import main
from maml_rl.studies.displays.registry import displays_of
from maml_rl.tests.study_builders import all_runs, only_plain, run_study, tiny_study

BANDIT = "env-name=ContextualBandit-v0, env-kwargs={k: 3, num_pulls: 4, num_contexts: 3, exposures: 2, bits: 4}"
TWO_STEP = "env-name=ContextualTwoStep-v0, env-kwargs={num_trials: 8, bits: 4}"


@pytest.fixture
def study(tmp_path):
    return tiny_study(tmp_path)


def run(study, env, num_episodes, *fields, policy="rnn"):
    """Run the study with this family; the folder of its results, and its table's lines."""
    keys = ", ".join(f"'{part}'" if "{" in part else part for part in env.split(", ", 1))
    only_plain(study, f"algorithm=rl2, policy={policy}, {keys}, fast-batch-size={num_episodes}", *fields)
    assert run_study(study) == 0
    folder = study.parent / "results" / "tiny"
    return folder, (folder / "table.md").read_text().splitlines()


def evaluation(folder, seed=1):
    """Arrays of an evaluation."""
    with np.load(folder / "plain" / f"seed-{seed}" / "results.npz") as results:
        return dict(results)


def columns(line):
    """Columns of a line of a table."""
    return [column.strip() for column in line.split("|")[1:-1]]


def test_first_pulls_are_counted_by_exposure_beside_a_bayes_agent(study):
    folder, table = run(study, BANDIT, 6)
    again, first, rewards = [], [], []
    for seed in (1, 2):
        results = evaluation(folder, seed)
        codes = results["tasks"][:, :12].reshape(-1, 3, 4)
        shown = results["observations"][:, ::4]  # (M, E, bits), from which the display does not know contexts
        contexts = (shown[:, :, np.newaxis] == codes[:, np.newaxis]).all(-1).argmax(-1)
        right = results["actions"][:, ::4] == np.take_along_axis(results["tasks"][:, 12:15], contexts, axis=1)
        numbers = exposure_numbers(contexts)
        assert set(numbers[:, :6].ravel()) == {1, 2}
        again.append(right[numbers > 1].mean())
        first.append(right[numbers == 1].mean())
        rewards.append(results["rewards"].mean())
    row = columns(next(line for line in table if line.startswith("| plain | 2 x 6 x 6")))
    shown = [float(row[place].split()[0]) for place in (2, 3, 7, 8)]
    np.testing.assert_allclose(shown, [np.mean(first), np.mean(again), 1 / 3, np.mean(rewards)], atol=0.006)
    bayes, behind = float(row[4]), float(row[5].split()[0])
    assert behind == pytest.approx(bayes - np.mean(again), abs=0.011)
    assert bayes > 0.55
    (display,) = displays_of(all_runs(study)[0].config)  # and none of gates, which this policy has not
    figure = display.figure(all_runs(study))
    assert figure is not None
    exposures, _ = figure.axes
    curves = {line.get_label(): np.asarray(line.get_ydata()) for line in exposures.lines}
    assert set(curves) == {"agent", "Bayes agent", "one arm for all contexts", "chance"}
    assert curves["agent"][0] == pytest.approx(np.mean(first))
    assert "2 seeds" in figure.get_suptitle()
    assert (folder / "figures" / "plain-behaviour.png").stat().st_size > 1000


@pytest.mark.slow
def test_gates_are_shown_at_new_contexts_and_at_those_that_come_back(study):
    folder, table = run(study, BANDIT, 6, policy="episodic")
    rows = [columns(line) for line in table if line.startswith(("| plain | 2 | first", "| plain | 2 | later"))]
    assert [row[2:4] for row in rows[:2]] == [["first exposure", "input"], ["later exposures", "input"]]
    assert {row[3] for row in rows} == {"input", "forget", "output", "reinstatement"}
    assert all(0.0 < float(row[place].split()[0]) < 1.0 for row in rows for place in (4, 5))
    assert (folder / "figures" / "plain-gates.png").stat().st_size > 1000
    run_file = folder / "plain" / "seed-1" / "gates.npz"
    before = run_file.read_bytes()
    assert run_study(study) == 0  # what has been looked at is not looked at again
    assert run_file.read_bytes() == before
    assert main(["pack", str(study), "--results", str(folder.parent)]) == 0
    shutil.rmtree(folder / "plain")
    assert main(["report", str(study), "--results", str(folder.parent)]) == 0
    assert (folder / "table.md").read_text().splitlines() == table  # the archive holds what it is made of


def test_without_a_second_exposure_nothing_is_said_of_later_ones(study):
    _, table = run(study, "env-name=ContextualBandit-v0, env-kwargs={num_contexts: 40, exposures: 1}", 2)
    row = columns(next(line for line in table if line.startswith("| plain | 2 x 6 x")))
    assert row[3:7] == ["-", "-", "-", "-"]


def test_choices_are_explained_by_recent_and_recalled_trials(study):
    folder, table = run(study, TWO_STEP, 8)
    totals, interactions, stays = [], [], []
    for seed in (1, 2):
        results = evaluation(folder, seed)
        results = {key: results[key][:, :16] for key in ("observations", "actions", "rewards")}
        trials = contextual_two_step_trials(*results.values())
        assert ((trials.recalled >= 0).sum(axis=1) == 4).all()
        pairs = trial_pairs(trials, "cued-episodic")
        totals.append(results["rewards"].sum(1).mean())
        interactions.append(regress_stays(pairs).coefficients[3])
        stays.append(stay_table(pairs))
    row = columns(next(line for line in table if line.startswith("| plain | 2 x 6")))
    assert float(row[2].split()[0]) == pytest.approx(np.mean(totals), abs=0.006)
    row = columns(next(line for line in table if line.startswith("| plain | model-based")))
    recalled, substitute, beyond = (float(column.split()[0]) for column in row[2:5])
    assert beyond == pytest.approx(recalled - substitute, abs=0.011)
    row = columns(next(line for line in table if line.startswith("| plain | cued trials, by the recalled trial")))
    assert float(row[7].split()[0]) == pytest.approx(np.mean(interactions), abs=0.006)
    assert row[8] == f"{sum(value > 0 for value in interactions)} of 2"
    assert float(row[2].split()[0]) == pytest.approx(np.nanmean([stay[0, 0] for stay in stays]), abs=0.006)
    (display,) = displays_of(all_runs(study)[0].config)
    figure = display.figure(all_runs(study))
    assert figure is not None
    assert len(figure.axes) == 5
    assert (folder / "figures" / "plain-behaviour.png").stat().st_size > 1000


def test_test_sets_and_few_trials_are_shown_as_far_as_there_are_any(study):
    fields = "test_on: {longer: ['env-kwargs={num_trials: 16, bits: 4}']}"
    _, table = run(study, "env-name=ContextualTwoStep-v0, env-kwargs={num_trials: 8, bits: 4}", 1, fields)
    rows = [columns(line) for line in table if line.startswith("| plain") and "by the recalled" in line]
    assert [row[0] for row in rows] == ["plain", "plain on longer"]
    assert all(row[2:8] == ["-"] * 6 for row in rows)


def test_figures_show_the_numbers_they_are_given_and_a_band_only_of_several_agents():
    for agents in (np.array([[0.1, 0.5]]), np.array([[0.1, 0.5], [0.3, 0.7]])):
        ax = Figure().subplots()
        plot_exposures(ax, agents, {"Bayes": agents + 0.1}, levels={"chance": 0.1})
        curves = [np.asarray(line.get_ydata()) for line in ax.lines]
        np.testing.assert_allclose(curves[0], agents.mean(axis=0))
        np.testing.assert_allclose(curves[1], agents.mean(axis=0) + 0.1)
        assert len(ax.collections) == (len(agents) > 1) == ("band" in ax.get_title(loc="left"))
    ax = Figure().subplots()
    plot_coefficients(ax, {"episodic model-based": np.array([1.0, 2.0]), "substitute model-based": np.array([0.0])})
    assert [bar.get_width() for bar in ax.patches if isinstance(bar, Rectangle)] == [1.5, 0.0]
    assert [bar.get_alpha() for bar in ax.patches] == [1.0, 0.4]


def test_figures_of_other_kinds_or_shapes_are_refused():
    with pytest.raises(ValueError, match=r"^baselines: got later, expected first, those of agents$"):
        plot_rewards_by_pull(Figure().subplots(), {"first": np.ones((1, 2))}, {"later": np.ones((1, 2))}, baseline="B")
    with pytest.raises(ValueError, match=r"^agents: got shape \(2,\), expected \(agents, numbers\)$"):
        plot_exposures(Figure().subplots(), np.ones(2), {}, levels={})
