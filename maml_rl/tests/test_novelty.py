"""A report calls tasks new only where the task family leaves no other possibility."""

from __future__ import annotations

import pytest

from maml_rl.studies.__main__ import main
from maml_rl.studies.displays.registry import displays_of
from maml_rl.studies.novelty import are_new, tasks_in_words
from maml_rl.studies.study import load_study, study_runs
from maml_rl.tests.builders import tiny_config, write_config

OTHERS = {
    "volatile": ["env-kwargs.low_volatility=0.5", "env-kwargs.high_volatility=0.5"],
    "calm": ["env-kwargs.low_volatility=0.0", "env-kwargs.high_volatility=0.0"],
    "walk": ["env-name=RestlessBandit-RandomWalk-v0"],
}


def _study(tmp_path, env_name, others=None, **changes):
    """Path of a study with two seeds of one tiny run of RL²."""
    settings = {"num_batches": 1, "meta_batch_size": 3, "fast_batch_size": 1, "policy": "rnn", "algorithm": "rl2"}
    config = write_config(tmp_path / "tiny.json", tiny_config(env_name, **{**settings, **changes}))
    path = tmp_path / "study.yaml"
    path.write_text(
        f"name: tiny\nquestion: Are they new?\ntest_tasks: 6\ntest_on: {others or {}}\n"
        f"runs: {{plain: {{config: {config}, seeds: [1, 2]}}}}\n"
    )
    return path


def _table(tmp_path, path):
    assert (
        main(["run", str(path), "--results", str(tmp_path / "results"), "--num-workers", "1", "--backend", "serial"])
        == 0
    )
    return (tmp_path / "results" / "tiny" / "table.md").read_text()


@pytest.mark.slow
def test_tasks_of_a_family_with_few_are_called_the_same_and_have_no_interval(tmp_path):
    path = _study(tmp_path, "TwoArmedBandit-Easy-v0", env_kwargs={"num_pulls": 4})
    rows = [line.split(" | ") for line in _table(tmp_path, path).splitlines() if line.startswith("| plain | 1 | Two")]
    assert rows[0][-2] == "the same 2"
    assert "[" not in rows[0][-1]
    runs = study_runs(load_study(path), tmp_path / "results")
    (display,) = displays_of(runs[0].config)
    figure = display.figure(runs)
    assert figure is not None
    assert figure.axes[0].get_title() == "12 new meta-episodes; tasks: the same 2"


def test_tasks_of_a_family_without_end_are_new_and_have_an_interval(tmp_path):
    path = _study(tmp_path, "TwoArmedBandit-Uniform-v0", env_kwargs={"num_pulls": 4})
    rows = [line.split(" | ") for line in _table(tmp_path, path).splitlines() if line.startswith("| plain | 1 | Two")]
    assert rows[0][-2] == "6 new"
    assert "[" in rows[0][-1]


def test_another_family_is_new_where_it_shares_no_task_with_training(tmp_path):
    path = _study(tmp_path, "RestlessBandit-Reversal-v0", OTHERS, env_kwargs={"num_pulls": 4})
    (run, _) = study_runs(load_study(path), tmp_path)
    assert [are_new(run, test_set) for test_set in (None, *OTHERS)] == [False, True, False, True]
    assert tasks_in_words(run, 6) == "the same 4"
    assert tasks_in_words(run, 6, "volatile") == "2 new"
    _, after = _table(tmp_path, path).split("## Other families")
    row = next(line for line in after.splitlines() if line.startswith("| plain | 2 |"))
    volatile, calm, walk = row.removesuffix(" |").split(" | ")[2:]
    assert volatile.endswith("(2 new)")
    assert calm.endswith("(the same 2)")
    assert "(" not in walk


@pytest.mark.slow
def test_held_out_modes_of_a_game_are_new_and_its_own_are_the_same(tmp_path):
    pytest.importorskip("ale_py")
    path = _study(tmp_path, "SpaceInvadersModes-v0", {"held-out": ["env-kwargs.split=held-out"]}, encoder="ram")
    (run, _) = study_runs(load_study(path), tmp_path)
    assert tasks_in_words(run, 72) == "the same 24"
    assert tasks_in_words(run, 72, "held-out") == "8 new"
