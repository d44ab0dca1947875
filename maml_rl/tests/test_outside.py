"""What is registered from outside the package is trained, resumed, tested, filmed and studied like everything else.

The modules of `outside/` are toys, one of each kind. No file of the package knows them; `--allow-module` imports them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maml_rl.algorithms import registered_algorithms
from maml_rl.cli import train_command
from maml_rl.config import Config
from maml_rl.tests.builders import children_of, is_running, travelled, wait_until

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = Path(__file__).parent / "outside"
MODULES = ("hill_climbing", "trace_policy", "lever_family", "forgetful_backend")
ALLOWED = [part for module in MODULES for part in ("--allow-module", module)]
CONFIG = """
algorithm: climb
search-sigma: 0.3
policy: trace
trace-decay: 0.7
env-name: Lever-v0
hidden-sizes: [4]
meta-batch-size: 3
fast-batch-size: 2
num-batches: 2
"""
NEAR = 0.4
"""Distance at which a lever counts as near its target."""
STUDY = """
name: levers
question: Does anything from outside work?
test_tasks: 4
test_steps: 2
runs:
  climb: {config: toy.yaml, seeds: [1, 2]}
  maml: {config: toy-maml.yaml, seeds: [1]}
  rl2: {config: toy-rl2.yaml, seeds: [1]}
"""
COMMANDS = """
import json, sys
from maml_rl import cli
from maml_rl.studies.__main__ import main
commands = {"train": cli.train_command, "test": cli.test_command, "studies": main}
for name, *arguments in json.loads(sys.argv[1]):
    if code := commands[name](arguments):
        sys.exit(code)
"""


def environment():
    """Variables of a process that finds package and toys, wherever it runs."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(OUTSIDE)])}


def commands(folder, *lines):
    """Run these commands one after another in one process, as a user does in a folder of theirs."""
    text = json.dumps([[*line, *ALLOWED] for line in lines])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", COMMANDS, text],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def num_rows(folder):
    """Whole rows of metrics.csv."""
    path = folder / "metrics.csv"
    return path.read_text(encoding="utf-8").count("\n") - 1 if path.exists() else 0


def metrics(folder):
    """Columns of metrics.csv that are no times."""
    header, *rows = [line.split(",") for line in (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()]
    return [[value for name, value in zip(header, row, strict=True) if "seconds" not in name] for row in rows]


def contents(folder):
    """What a checkpoint holds, but for the time."""
    content = torch.load(folder / "checkpoint.pt", weights_only=True)
    return {name: content[name] for name in ("iteration", "parameters", "env_steps", "optimiser")}


@pytest.mark.slow
def test_a_run_of_toys_is_killed_and_resumed_bit_for_bit_and_any_backend_gives_the_same(tmp_path, capfd):
    (tmp_path / "toy.yaml").write_text(CONFIG, encoding="utf-8")
    run = ["--config", "toy.yaml", "--num-workers", "2"]
    folder, endless = tmp_path / "run", [*run, "--output-folder", "run", "--num-batches", "1000000"]
    with subprocess.Popen(
        [sys.executable, ROOT / "train.py", *endless, *ALLOWED, "--backend", "multiprocess"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.DEVNULL,
    ) as process:
        assert wait_until(lambda: num_rows(folder) >= 3 or process.poll() is not None, seconds=60)
        workers = children_of(process.pid)
        process.kill()
    assert len(workers) >= 2
    assert wait_until(lambda: not any(is_running(worker) for worker in workers), seconds=10)

    # Without the flag nothing is imported, and one line says so.
    for flags in (["--config", str(folder / "config.json")], ["--config", str(folder / "config.json"), "--resume"]):
        assert train_command([*flags, "--output-folder", str(folder)]) == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1
        assert "allow-module" in error
        assert error.endswith("".join(f" --allow-module {module}" for module in MODULES) + "\n")
    assert "climb" not in registered_algorithms()

    end = ["--num-batches", str(num_rows(folder) + 3)]
    commands(
        tmp_path,
        ["train", *run, *end, "--output-folder", "run", "--resume", "--backend", "multiprocess"],
        ["train", *run, *end, "--output-folder", "whole", "--backend", "forgetful"],
    )
    resumed, whole = contents(folder), contents(tmp_path / "whole")
    assert torch.equal(resumed.pop("parameters"), whole.pop("parameters"))
    assert resumed == whole
    assert float(whole["optimiser"]["num_kept"]) > 0
    assert metrics(folder) == metrics(tmp_path / "whole")


@pytest.mark.slow
def test_toys_are_tested_filmed_and_studied_beside_the_package_s_own(tmp_path):
    (tmp_path / "toy.yaml").write_text(CONFIG, encoding="utf-8")
    for name, more in (("maml", "env-kwargs: {max_episode_steps: 1}"), ("rl2", "outer-step: a2c")):
        text = CONFIG.replace("algorithm: climb\nsearch-sigma: 0.3", f"algorithm: {name}\n{more}")
        (tmp_path / f"toy-{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "toy-study.yaml").write_text(STUDY, encoding="utf-8")
    folder = tmp_path / "results" / "levers"
    climbed = folder / "climb" / "seed-1"
    files = ["--config", str(climbed / "config.json"), "--policy", str(climbed / "policy.th"), "--output", "test.npz"]
    sizes = ["--num-batches", "2", "--meta-batch-size", "3", "--num-steps", "0", "1", "2"]
    done = commands(
        tmp_path,
        ["studies", "run", "toy-study.yaml", "--backend", "serial", "--num-workers", "2"],
        ["test", *files, *sizes, "--render", "toy.gif", "--backend", "forgetful", "--num-workers", "1"],
    )
    assert done.stderr == ""

    table = (folder / "table.md").read_text(encoding="utf-8")
    for run, seed in (("climb", 1), ("climb", 2), ("maml", 1), ("rl2", 1)):
        with np.load(folder / run / f"seed-{seed}" / "results.npz") as results:
            success, returns = results["measure_success"], results["returns"]
            rewards = results.get("rewards")
        assert f"\n| {run} seed {seed} | {success[-1].mean():.3f} |\n" in table
        if run == "maml":  # episodes of one step: the return is the last reward
            np.testing.assert_array_equal(success, returns > -NEAR)
        if rewards is not None:  # two episodes of four steps
            np.testing.assert_array_equal(success[..., 0].T, rewards[:, 3::4] > -NEAR)
    for run in ("climb", "maml", "rl2"):
        assert f"![success of {run}](figures/{run}-success.png)" in table
        assert (folder / "figures" / f"{run}-success.png").exists()
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert all(" ".join(ALLOWED) in entry["command"] for entry in manifest["runs"])

    with np.load(tmp_path / "test.npz") as results:
        assert results["num_steps"].tolist() == [0, 1, 2]
        assert results["returns"].shape == results["measure_success"].shape == (3, 6, 2)
        successes = np.unique(results["measure_success"])
    assert successes.tolist() == [0.0, 1.0]
    with Image.open(tmp_path / "toy.gif") as film:
        assert getattr(film, "n_frames", 1) == 5


def test_a_configuration_that_another_process_sent_brings_its_modules(tmp_path, monkeypatch):
    (tmp_path / "travelling_toy.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "travelling_toy", raising=False)
    config = Config(env_name="Bandit-K5-v0", allow_module=["travelling_toy"])
    assert "travelling_toy" not in sys.modules
    assert travelled(config) == config
    assert sys.modules.pop("travelling_toy")
