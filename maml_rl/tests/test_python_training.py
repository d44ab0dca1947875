"""Training from Python: the configuration may come in any form, and what comes back is the agent of the run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import maml_rl
from maml_rl.algorithms import make_algorithm
from maml_rl.callbacks import StopWhen
from maml_rl.cli import train_command
from maml_rl.config import ConfigError, load_config
from maml_rl.experiment import train as train_algorithm
from maml_rl.run_folder import RunFolder
from maml_rl.tests.builders import tiny_config, write_config
from maml_rl.utils.errors import InputError
from maml_rl.utils.shipped import shipped_config, shipped_configs

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tiny_config("Bandit-K5-v0", num_batches=1, meta_batch_size=2, hidden_sizes=(4,), fast_batch_size=2)
AS_MAPPING = {"env-name": "Bandit-K5-v0", "hidden_sizes": [4], "fast-batch-size": 2, "meta_batch_size": 2} | {
    "num-batches": 1,
    "cg_iters": 5,
    "seed": 3,
}


def parameters(agent):
    return agent.algorithm.initial_parameters()


def test_the_agent_is_that_of_the_configuration_in_whatever_form_it_comes(tmp_path):
    expected = train_algorithm(make_algorithm(CONFIG)).astype(np.float32)  # as policy.th has it
    for config in (CONFIG, AS_MAPPING, write_config(tmp_path / "tiny.json", CONFIG)):
        np.testing.assert_array_equal(parameters(maml_rl.train(config)), expected)


def test_a_run_from_python_and_one_from_the_shell_are_one_run(tmp_path, caplog):
    folder = tmp_path / "run"
    stop = StopWhen("iteration", at_least=0)
    config = CONFIG.replace(num_batches=2)
    first = maml_rl.train(config, [stop], folder, dtype="float64")
    assert_close(parameters(maml_rl.load_agent(folder)), parameters(first), rtol=1e-6, atol=1e-7)  # acts in float32
    here = ["--output-folder", str(folder), "--num-workers", "1", "--backend", "serial"]
    assert train_command([*here, "--resume", "--jsonl"]) == 0  # configuration and float type are the folder's
    whole = parameters(maml_rl.train(config, dtype="float64"))
    caplog.clear()
    with caplog.at_level("INFO", logger="maml_rl"):
        again = maml_rl.train(output_folder=folder, resume=True)
    np.testing.assert_array_equal(parameters(again), whole)
    assert caplog.messages == [f"{folder}: finished, 2 iterations; give --num-batches to go on"]
    assert len((folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()) == 2
    assert {value.dtype for value in again.algorithm.individuals()[0].values()} == {torch.float64}


def test_a_finished_run_that_is_resumed_says_so_and_changes_nothing(tmp_path, capfd):
    folder = tmp_path / "run"
    maml_rl.train(CONFIG, output_folder=folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    capfd.readouterr()
    assert train_command(["--resume", "--output-folder", str(folder)]) == 0  # the workers of auto are never started
    assert capfd.readouterr() == (f"{folder}: finished, 1 iterations; give --num-batches to go on\n", "")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_nothing_is_printed_and_nothing_warns(capfd):
    maml_rl.train(CONFIG)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "config: got None, expected a path, a name, a mapping, or a run to resume"),
        (
            {"config": {"env-name": "Bandit-K5-v0", "fast-lrr": 1}},
            "unknown key 'fast-lrr' in config; did you mean",
        ),
        ({"config": "bandit-k5-n10000"}, "config: got 'bandit-k5-n10000', expected a file .*did you mean"),
        ({"config": CONFIG, "num_workers": 0}, "num_workers: got 0, expected at least 1"),
        ({"config": CONFIG, "dtype": "float16"}, "dtype: got 'float16', expected one of float32, float64"),
        (
            {"config": CONFIG, "resume": True},
            "resume: got no output_folder, expected the folder of the run to continue",
        ),
        ({"resume": True, "output_folder": "nowhere"}, "--resume: found no config.json in 'nowhere'"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_line(arguments, words):
    with pytest.raises(InputError, match=words) as caught:
        maml_rl.train(**arguments)
    assert "\n" not in str(caught.value)


def test_windows_is_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(InputError, match="maml_rl runs on Linux and macOS; on Windows use WSL2"):
        maml_rl.train(CONFIG)


def test_all_that_the_package_exports_is_there():
    assert all(callable(getattr(maml_rl, name)) for name in maml_rl.__all__ if name != "__version__")
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = maml_rl.trian


def test_every_shipped_configuration_has_a_name_and_a_short_one_where_that_is_clear():
    configs = shipped_configs()
    assert sorted(configs.values()) == sorted((ROOT / "configs").rglob("*.yaml"))
    for full, path in configs.items():
        assert shipped_config(full) == path
        short = full.rpartition("/")[2]
        if sum(other.rpartition("/")[2] == short for other in configs) == 1:
            assert shipped_config(short) == path
        else:
            with pytest.raises(ConfigError, match=f"config: got '{short}', which is .* and .*; expected one of these"):
                shipped_config(short)
    assert load_config("two-step", ["seed=4"]) == load_config(configs["rl2/two-step"]).replace(seed=4)


def test_a_name_is_a_policy_of_the_zoo_before_it_is_a_configuration():
    assert maml_rl.load_agent("2d-navigation").algorithm.config.run.num_batches == 150  # that of the card
    random, again = (maml_rl.load_agent("pendulum") for _ in range(2))
    assert random.algorithm.config == load_config("pendulum")
    np.testing.assert_array_equal(parameters(random), parameters(again))


def test_an_agent_that_is_saved_is_loaded_as_it_was(tmp_path):
    agent = maml_rl.load_agent("2d-navigation")
    agent.save(tmp_path / "kept")
    again = maml_rl.load_agent(tmp_path / "kept")
    np.testing.assert_array_equal(parameters(again), parameters(agent))
    assert again.algorithm.config == agent.algorithm.config
    assert RunFolder(tmp_path / "kept").config_path.exists()


@pytest.mark.slow
def test_the_page_about_python_runs_from_top_to_bottom(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    small = "\n".join(blocks).replace(
        '"maml/bandit/bandit-k5-n10"', '{"env-name": "Bandit-K5-v0", "meta-batch-size": 2}'
    )
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(small, "docs/python.md", "exec"), names)
    assert capfd.readouterr().out.splitlines()[-1] == "over"
    assert (tmp_path / "runs" / "bandit" / "best" / "policy.th").exists()
