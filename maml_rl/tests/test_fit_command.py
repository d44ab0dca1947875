"""The command that fits models to tables: its files, its sentences, its errors."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import matplotlib.figure
import numpy as np
import pytest

from maml_rl.analysis.choices import Choices
from maml_rl.analysis.intervals import Interval
from maml_rl.analysis.people.agents import bandit_choices_of_agents, two_step_choices_of_agents
from maml_rl.analysis.people.bandit_tables import read_choices, write_choices
from maml_rl.analysis.people.designs import BanditDesign, TwoStepDesign
from maml_rl.analysis.people.fit_plots import plot_comparison, plot_confusion, plot_lagged_effects, plot_recovered
from maml_rl.analysis.people.two_step_tables import write_two_step
from maml_rl.analysis.two_step_models import HybridModel
from maml_rl.analysis.win_stay_model import WinStayModel
from maml_rl.commands.fit import fit_command
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator


def people(num_subjects=4, num_trials=60):
    design, points = BanditDesign(num_trials=num_trials), {}
    for index in range(num_subjects):
        data = design.play(WinStayModel(), np.array([0.9, 0.7]), generator(index, Purpose.STATISTICS))
        points[f"p{index + 1}"] = replace(data, rewards=data.rewards * 50.0)
    return points


def rows_of(path):
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_becomes_fits_figures_and_sentences_with_their_evidence(tmp_path, capsys):
    write_choices(tmp_path / "choices.csv", people())
    text = (tmp_path / "choices.csv").read_text().replace(",", ";").replace("subject", "ID", 1)
    (tmp_path / "people.csv").write_text(text)
    arguments = [str(tmp_path / "people.csv"), "--output-folder", str(tmp_path / "fits"), "--columns", "subject=ID"]
    assert fit_command([*arguments, "--models", "td", "win-stay-lose-shift", "--num-starts", "1"]) == 0
    shown = capsys.readouterr().out
    assert "4 subjects, 1 episodes each, of 60 trials; 240 choices in all" in shown
    assert "fixed effects): win-stay-lose-shift over td, log Bayes factor" in shown
    assert "(evidence: very strong); 4 of 4 subjects favour it" in shown
    assert "protected exceedance probability 0." in shown
    assert "(4 subjects, a small sample)" in shown
    names = {path.name for path in (tmp_path / "fits").iterdir()}
    assert names == {"parameters.csv", "fits.csv", "models.csv", "models.png", "parameters.png", "report.md"}
    fits, parameters = rows_of(tmp_path / "fits" / "fits.csv"), rows_of(tmp_path / "fits" / "parameters.csv")
    assert [row["subject"] for row in fits] == 2 * ["p1", "p2", "p3", "p4"]
    assert all(float(row["chance_log_likelihood"]) == pytest.approx(-60 * np.log(4), rel=1e-5) for row in fits)
    assert len(parameters) == 4 * 3 + 4 * 2
    stays = [float(row["estimate"]) for row in parameters if row["parameter"] == "stay after a win"]
    assert np.mean(stays) == pytest.approx(0.9, abs=0.1)
    assert {row["best_for"] for row in rows_of(tmp_path / "fits" / "models.csv")} == {"0", "4"}


@pytest.mark.slow
def test_two_step_tables_tell_of_planning(tmp_path, capsys):
    design, model = TwoStepDesign(num_trials=60), HybridModel("model-based")
    subjects = {
        name: design.play(model, np.array([0.5, 5.0, 3.0, 0.1]), generator(index, Purpose.STATISTICS))
        for index, name in enumerate("abc")
    }
    write_two_step(tmp_path / "choices.csv", subjects)
    arguments = [str(tmp_path / "choices.csv"), "--task", "two-step", "--output-folder", str(tmp_path / "fits")]
    assert fit_command([*arguments, "--models", "hybrid", "model-based", "--num-starts", "1"]) == 0
    shown = capsys.readouterr().out
    assert "Weight of model-based values: mean 0." in shown
    assert re.search(r"\| hybrid \| model-based \| \d+\.\d \| 9 \| ", shown)
    assert "Effect of transition x outcome over 5 trials" in shown
    assert (tmp_path / "fits" / "planning.png").exists()
    assert len(rows_of(tmp_path / "fits" / "lags.csv")) == 3 * 4 * 5


def results(path, observations, actions, rewards):
    mask = np.ones(rewards.shape, dtype=bool)
    np.savez(path, observations=observations, actions=actions, rewards=rewards, mask=mask)
    return path


@pytest.mark.slow
def test_agents_go_the_same_way_as_people(tmp_path, capsys):
    data = people(num_subjects=2)
    choices, rewards = (np.stack([getattr(one, part) for one in data.values()]) for part in ("choices", "rewards"))
    path = results(tmp_path / "results.npz", np.ones((*choices.shape, 1)), choices, rewards)  # (P, N, T)
    arguments = ["--output-folder", str(tmp_path / "fits"), "--models", "win-stay-lose-shift"]
    assert fit_command([str(path), *arguments]) == 0
    assert "tells nothing of others" not in capsys.readouterr().out
    exported = read_choices(tmp_path / "fits" / "choices.csv")
    assert list(exported) == ["agent 1", "agent 2"]
    write_choices(tmp_path / "people.csv", data)
    agents = rows_of(tmp_path / "fits" / "fits.csv")
    assert fit_command([str(tmp_path / "people.csv"), *arguments]) == 0
    for one, other in zip(agents, rows_of(tmp_path / "fits" / "fits.csv"), strict=True):
        assert float(one["log_likelihood"]) == pytest.approx(float(other["log_likelihood"]), abs=1e-3)


def test_fixations_are_no_choices_and_agents_of_two_steps_have_one(tmp_path):
    turns = np.tile(np.eye(2), (3, 1))[None]  # (1, 6, 2): fixation and choice, three times
    actions, rewards = np.array([[4, 1, 4, 4, 3, 2]]), np.array([[0.0, 1.1, 0.0, -1.0, -1.0, 0.9]])
    found = bandit_choices_of_agents(results(tmp_path / "a.npz", turns, actions, rewards))["agent 1"]
    assert found.num_arms == 4
    assert found.choices.tolist() == [[1, -1, 2]]
    assert found.rewards.tolist() == [[1.1, 0.0, 0.9]]
    stages = np.eye(3)[[0, 2, 0, 2]][None]
    path = results(tmp_path / "b.npz", stages, np.array([[1, 0, 0, 1]]), np.array([[0.0, 1.0, 0.0, 0.0]]))
    two = two_step_choices_of_agents(path)["agent 1"]
    assert two.choices.tolist() == [[1, 0]]
    assert two.seconds.tolist() == [[1, 1]]
    assert two.common.tolist() == [[True, False]]
    assert two.second_choices is None
    with pytest.raises(InputError, match="not of the two-step task: observations, actions, rewards: got shapes"):
        two_step_choices_of_agents(tmp_path / "a.npz")
    np.savez(tmp_path / "c.npz", returns=np.zeros(3))
    with pytest.raises(InputError, match="got no observations, expected results of algorithm rl2"):
        bandit_choices_of_agents(tmp_path / "c.npz")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.csv"], "error: cannot read 'nothing.csv'"),
        (["nothing.npz"], "error: cannot read 'nothing.npz'"),
        (["a.csv", "--models", "tds"], "error: --models: got 'tds', expected some of td, .*; did you mean 'td'"),
        (["a.csv", "--columns", "ID"], "error: --columns: got 'ID', expected NAME=COLUMN, such as subject=ID"),
        (["a.csv", "--num-starts", "0"], "error: --num-starts: got 0, expected at least 1"),
        (["a.csv", "--task", "two-step", "--num-arms", "2"], "error: --num-arms: got a value, expected none with"),
        (["a.csv", "--reward-scale", "0"], "error: --reward-scale: got 0, expected a number > 0"),
        (["a.csv", "--kalman", "2", "50", "1", "1"], "error: arms: got DriftingArms"),
    ],
)
def test_what_cannot_be_fitted_costs_one_line(tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    write_choices(tmp_path / "a.csv", {"a": Choices(np.array([[0, 1]]), np.array([[40.0, 50.0]]), 2)})
    assert fit_command([*arguments, "--output-folder", "fits"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(words, error), error
    assert not (tmp_path / "fits").exists() or "arms" in words  # these are found in fitting


def test_figures_show_what_they_are_given():
    figure = matplotlib.figure.Figure()
    first, second, third, fourth = figure.subplots(2, 2).flatten()
    plot_comparison(first, np.array([0.7, 0.3]), np.array([0.9, 0.1]), ("one", "other"))
    assert [patch.get_width() for patch in first.patches] == [0.7, 0.3, 0.9, 0.1]
    plot_confusion(second, np.array([[0.8, 0.2], [0.0, 1.0]]), ("one", "other"))
    assert [text.get_text() for text in second.texts] == [".80", ".20", ".00", "1.00"]
    plot_recovered(third, np.array([1.0, 2.0]), np.array([1.1, 2.2]), name="rate")
    assert third.get_xlabel() == "true rate"
    effects = Interval(np.ones((4, 3)), np.zeros((4, 3)), 2 * np.ones((4, 3)))
    plot_lagged_effects(fourth, effects, ("a", "b", "c", "d"), band="line: interval")
    assert fourth.texts[0].get_text() == "line: interval"
    with pytest.raises(ValueError, match="fractions: got shape"):
        plot_confusion(second, np.zeros((2, 3)), ("one", "other"))
    with pytest.raises(ValueError, match="frequencies, protected: got"):
        plot_comparison(first, np.zeros(3), np.zeros(2), ("one", "other"))
    with pytest.raises(ValueError, match="effects: got shape"):
        plot_lagged_effects(fourth, effects, ("a",), band="")
