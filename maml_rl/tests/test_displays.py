"""Displays show what agents of a family do, and are found by the names the family gives."""

from __future__ import annotations

import os
import re
from typing import cast

import gymnasium as gym
import matplotlib.figure
import numpy as np
import pytest

from maml_rl.algorithms import make_algorithm
from maml_rl.analysis.delta_rule import fit_learning_rate
from maml_rl.analysis.mdp_baselines import psrl, roll_out_mdp, value_iteration
from maml_rl.analysis.two_armed_bandits import dependent_arms_optimum
from maml_rl.analysis.two_step import stay_frequencies, two_step_trials
from maml_rl.analysis.value_models import TDModel
from maml_rl.envs import register_meta_env
from maml_rl.evaluation import evaluate
from maml_rl.samplers import RL2WorkerSpec
from maml_rl.samplers.recorders import StateRecorder
from maml_rl.samplers.rollout import rollout
from maml_rl.shard import Shard
from maml_rl.studies.displays import drifting_bandit_analysis, drifting_bandit_fits, registry
from maml_rl.studies.displays.display import Display
from maml_rl.studies.displays.drifting_bandit_fits import choices_of, memory_of
from maml_rl.studies.displays.registry import displays_of, register_display
from maml_rl.studies.tables import three_figures
from maml_rl.tests.builders import tiny_config
from maml_rl.tests.study_builders import all_runs, only_plain, run_study, tiny_study
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator


@pytest.fixture
def study(tmp_path):
    return tiny_study(tmp_path)


def test_agents_are_compared_to_baseline_agents_on_the_same_tasks(study):
    task = "algorithm=rl2, policy=lstm, env-name=TwoArmedBandit-Easy-v0, env-kwargs.num_pulls=8, fast-batch-size=1"
    only_plain(study, task, "score: return_total", "test_on: {hard: [env-name=TwoArmedBandit-Hard-v0]}")
    assert run_study(study) == 0
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
        of_chosen = np.take_along_axis(means, choices, 1).sum(1).mean()
        assert [reward, expected] == [f"{totals[name]:.2f}", f"{of_chosen:.2f}"]
        assert float(regret) == pytest.approx(8 * means.max() - of_chosen, abs=0.006)
        assert optimum == f"{dependent_arms_optimum(8, better=float(means.max())).reward:.2f}"
        assert len(others) == 5
    assert f"| plain | 2 | {three_figures(totals['plain on hard'])} [" in "\n".join(table)
    before = (folder / "plain" / "seed-1" / "results-hard.npz").stat().st_mtime_ns
    assert run_study(study) == 0
    assert (folder / "plain" / "seed-1" / "results-hard.npz").stat().st_mtime_ns == before


def test_agents_are_compared_to_baseline_agents_on_the_same_mdps(study):
    sizes = "env-kwargs={num_states: 3, num_actions: 2, max_episode_steps: 4, one_hot: true}"
    only_plain(study, f"algorithm=rl2, policy=rnn, env-name=TabularMDP-v0, '{sizes}', fast-batch-size=3")
    assert run_study(study) == 0
    folder = study.parent / "results" / "tiny"
    parts = []
    for seed in (1, 2):
        with np.load(folder / "plain" / f"seed-{seed}" / "results.npz") as results:
            parts.append(dict(results))
    tasks = np.concatenate([part["tasks"] for part in parts])
    obtained = np.concatenate([part["rewards"] for part in parts]).sum(1).mean()
    known = value_iteration(tasks[:, :18].reshape(-1, 3, 2, 3), tasks[:, 18:].reshape(-1, 3, 2), 4).values[:, 0, 0]
    row = next(line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| plain | 2 x 6"))
    reward, best, fraction, *behind = (column.split()[0] for column in row.split("|")[3:-1])
    assert [reward, best] == [f"{obtained:.2f}", f"{3 * known.mean():.2f}"]
    assert float(fraction) == pytest.approx(obtained / (3 * known.mean()), abs=0.001)
    tables = tasks[:, :18].reshape(-1, 3, 2, 3), tasks[:, 18:].reshape(-1, 3, 2)
    psrl_returns = roll_out_mdp(psrl(), *tables, 3, generator(0, Purpose.STATISTICS), num_steps=4)
    assert behind[0] == f"{obtained - psrl_returns.sum(1).mean():.2f}"


def test_learning_rates_are_those_of_the_episodes_of_each_volatility(study):
    task = "algorithm=rl2, policy=rnn, env-name=RestlessBandit-Reversal-v0, env-kwargs.num_pulls=9, fast-batch-size=1"
    often = "test_on: {often: [env-kwargs.low_volatility=0.5, env-kwargs.high_volatility=0.5]}"
    only_plain(study, task, often)
    assert run_study(study) == 0
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
    assert run_study(study) == 0
    folder = study.parent / "results" / "tiny"
    runs = all_runs(study)
    (display,) = displays_of(runs[0].config)
    figure = display.figure(runs)
    assert figure is not None
    (ax,) = figure.axes
    with np.load(folder / "plain" / "seed-1" / "results.npz") as results:
        stay = stay_frequencies(*two_step_trials(results["observations"], results["actions"], results["rewards"]))
    points = [float(np.asarray(line.get_ydata())[0]) for line in ax.lines if line.get_marker() == "o"]
    assert np.isclose(points, np.nanmean(stay[:, 0, 0])).any()
    assert "2 seeds" in ax.get_title()
    assert "plain-behaviour.png" in (folder / "table.md").read_text()


@pytest.mark.slow
def test_agents_of_a_drifting_bandit_are_explained_and_decoded(study, capfd, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(drifting_bandit_analysis, "_NUM_CONTROLS", 1)
    monkeypatch.setattr(drifting_bandit_fits, "_NUM_FOLDS", 2)
    task = "algorithm=rl2, policy=lstm, env-name=DriftingBandit-v0, env-kwargs.num_trials=6, fast-batch-size=1"
    only_plain(study, f"{task}, num-agents=2", "score: return_total")
    assert run_study(study) == 2
    assert "seeds: got [1, 2] with num-agents 2, which have agents in common" in capfd.readouterr().err
    study.write_text(study.read_text().replace("[1, 2]", "[2, 5]"))
    assert run_study(study) == 0
    folder = study.parent / "results" / "tiny"
    with np.load(folder / "plain" / "seed-2" / "cognition.npz") as arrays:
        found = dict(arrays)
    with np.load(folder / "plain" / "seed-2" / "results.npz") as arrays:
        results = dict(arrays)
    np.testing.assert_allclose(found["rewards"], results["rewards"].sum(axis=2), rtol=1e-5)
    for agent in range(2):
        data = choices_of(results["actions"][agent], results["rewards"][agent], 4)
        assert found["num_choices"][agent] == data.num_choices == (results["actions"][agent][:, 1::2] < 4).sum()
        logs = TDModel().trial_log_likelihoods(data, found["td_parameters"][agent]).sum()
        assert found["td_log_likelihood"][agent] == pytest.approx(logs)
        assert found["td_log_likelihood"][agent] > -data.num_choices * np.log(4) - 1e-6
    table = (folder / "table.md").read_text()
    row = table[table.index("| agents | median") :].splitlines()[2]
    means = np.concatenate([found["rewards"].mean(1), _rewards_of(folder / "plain" / "seed-5")])
    assert [float(x) for x in row.split("|")[1:3]] == [4, pytest.approx(np.median(means), abs=0.06)]
    assert "| choice autocorrelation |" in table
    assert (folder / "figures" / "plain-cognition.png").stat().st_size > 1000
    path = folder / "plain" / "seed-2" / "cognition.npz"
    written = path.stat().st_mtime_ns
    os.utime(folder / "plain" / "seed-2" / "results.npz")
    assert run_study(study) == 0
    assert path.stat().st_mtime_ns == written  # not computed twice
    path.write_bytes(path.read_bytes()[:100])
    capfd.readouterr()
    assert run_study(study, command="report") == 2
    assert "got a file that is no analysis; remove it" in capfd.readouterr().err
    (folder / "plain" / "seed-2" / "results.npz").unlink()
    assert run_study(study, command="report") == 0  # of the other seed alone


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
    assert run_study(study) == 2
    assert words in capfd.readouterr().err
    assert not (study.parent / "results").exists()


def _rewards_of(folder):
    with np.load(folder / "cognition.npz") as arrays:
        return arrays["rewards"].mean(1)


def test_memory_is_read_where_the_agent_acted_on_it():
    """A memory replayed from results is the one of the episode: the LSTM's cell, its second state."""
    config = tiny_config("DriftingBandit-v0", algorithm="rl2", policy="lstm", env_kwargs={"num_trials": 5})
    algorithm = make_algorithm(config.replace(fast_batch_size=1, hidden_sizes=(4,)))
    parameters, (params,) = algorithm.initial_parameters(), algorithm.individuals()
    evaluation = evaluate(algorithm, parameters, num_batches=1, meta_batch_size=3, num_adaptation_steps=0)
    assert evaluation.meta_episodes is not None
    whole = {key: getattr(evaluation.meta_episodes, key) for key in ("observations", "actions", "rewards")}
    memory = memory_of(algorithm.policy, params, whole, 0)
    assert memory.shape == (3, 5, 4)
    env = cast(RL2WorkerSpec, algorithm.worker_spec).make_env(3, 1)
    streams = Shard(range(3), evaluation.tasks, 0, 1, evaluation=True).streams()
    recorder = StateRecorder(lambda state: state[-1][1])
    cells, _ = rollout(env, algorithm.policy, params, evaluation.tasks, streams, recorder=recorder)  # (3, 10, 1, 4)
    np.testing.assert_allclose(memory, cells[:, 1::2, 0].numpy(), atol=1e-6)


class Pulls(Display):
    """Number of pulls of every run, as a table and a figure."""

    figure_name = "pulls"
    caption = "pulls"
    analysis_file = "pulls.npz"

    def check(self, algorithm):
        """See `Display.check`."""
        if algorithm.config.fast_batch_size > 5:
            raise InputError("fast-batch-size: too many pulls")

    def analyse(self, run, algorithm, num_workers, show):
        """See `Display.analyse`."""
        results = run.results()
        assert results is not None
        show("counting")
        np.savez(self.analysis_path(run), pulls=results["actions"].size)

    def table(self, runs):
        """See `Display.table`."""
        return ["## Pulls", "", *(f"| {run.name} {self._pulls(run)} |" for run in runs if self.applies(run.config))]

    def figure(self, runs):
        """See `Display.figure`."""
        figure = matplotlib.figure.Figure()
        figure.subplots().plot([self._pulls(run) for run in runs])
        return figure

    def _pulls(self, run):
        with np.load(self.analysis_path(run)) as arrays:
            return int(arrays["pulls"])


@pytest.fixture
def toy_family(monkeypatch):
    """Id of a family that names the display above, both registered from outside the package."""
    monkeypatch.setattr(registry, "_DISPLAYS", dict(registry._DISPLAYS))
    register_display("pulls", Pulls)
    family = "maml_rl.envs.bandits.bandit:BernoulliBanditVectorEnv"
    register_meta_env("ToyBandit-v0", family, k=2, num_pulls=3, displays=["pulls", "bandit"])
    yield f"{__name__}:ToyBandit-v0"
    del gym.registry["ToyBandit-v0"]


def test_a_display_from_outside_is_checked_analysed_and_shown(study, capfd, toy_family):
    only_plain(study, f"algorithm=rl2, policy=rnn, 'env-name={toy_family}', num-batches=1, fast-batch-size=6")
    assert run_study(study) == 2
    assert "run 'plain': fast-batch-size: too many pulls" in capfd.readouterr().err
    study.write_text(study.read_text().replace("fast-batch-size=6", "fast-batch-size=2"))
    assert run_study(study) == 0
    assert "plain seed 1: counting" in capfd.readouterr().out
    table = (study.parent / "results" / "tiny" / "table.md").read_text()
    num_pulls = 6 * 2 * 3  # tasks, episodes, pulls of each
    assert f"## Pulls\n\n| plain {num_pulls} |\n| plain {num_pulls} |" in table
    assert table.index("## Beside baseline agents") < table.index("## Pulls")  # in the order of registration
    assert table.index("![behaviour of plain]") < table.index("![pulls of plain](figures/plain-pulls.png)")
    assert (study.parent / "results" / "tiny" / "figures" / "plain-pulls.png").stat().st_size > 1000


def test_a_display_that_there_is_not_costs_one_line(study, capfd, toy_family):
    del registry._DISPLAYS["pulls"]
    only_plain(study, f"algorithm=rl2, policy=rnn, 'env-name={toy_family}'")
    assert run_study(study) == 2
    assert re.search(
        "displays of .*ToyBandit-v0: unknown display 'pulls'; registered: bandit, ", capfd.readouterr().err
    )


def test_a_report_before_an_evaluation_shows_what_is_there(study):
    task = "algorithm=rl2, policy=rnn, env-name=RestlessBandit-Reversal-v0, num-batches=1, fast-batch-size=1"
    only_plain(study, task)
    assert run_study(study, "--seed", "1") == 0
    (all_runs(study)[0].results_path()).unlink()
    assert run_study(study, command="report") == 0
    assert "## Learning rates" not in (study.parent / "results" / "tiny" / "table.md").read_text()
