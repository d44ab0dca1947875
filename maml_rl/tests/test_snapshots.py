"""Numbers of short runs through the command lines, as they were recorded: moves of code change none of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maml_rl.algorithms import make_algorithm
from maml_rl.cli import train_command
from maml_rl.config import load_config
from maml_rl.evaluation import evaluate
from maml_rl.studies.__main__ import main as studies_command

RECORDED = Path(__file__).with_name("snapshots.json")
TIMES = ("seconds", "sampling_seconds", "learning_seconds")
SMALL = {"hidden-sizes": [4], "num-batches": 3, "meta-batch-size": 3, "fast-batch-size": 4, "worker-timeout": 120.0}
# Without damping, the curvature of so few steps would enlarge rounding, which differs from CPU to CPU, a thousandfold.
DAMPED = {"cg-damping": 0.1, "cg-iters": 3}
NAVIGATION = {**SMALL, **DAMPED, "env-name": "2DNavigation-v0", "env-kwargs": {"max_episode_steps": 6}}
BANDIT = {**SMALL, "env-name": "Bandit-K5-v0", "algorithm": "rl2", "policy": "lstm", "fast-batch-size": 6}
ATARI = {
    **SMALL,
    **DAMPED,
    "env-name": "SpaceInvadersModes-v0",
    "env-kwargs": {"max_episode_steps": 50, "frame_skip": 8},
    "encoder": "ram",
    "fast-batch-size": 2,
    "meta-batch-size": 2,
    "reward-clip": 1.0,
}
MASKED = {**NAVIGATION, "train-recurrent": False}
CASES: dict[str, dict[str, Any]] = {
    "maml-mlp": {**NAVIGATION, "policy": "mlp", "num-steps": 2},
    "maml-rnn": {**NAVIGATION, "policy": "rnn"},
    "maml-lstm": {**NAVIGATION, "policy": "lstm", "memory-scope": "task"},
    "maml-geometric": {
        **NAVIGATION,
        "policy": "geometric",
        "memory-read-gain": 30.0,  # as when the numbers were recorded
        "memory-slots": 3,
        "memory-width": 2,
        "train-recurrent": False,
    },
    "maml-head": {**NAVIGATION, "adapted-layers": "head", "first-order": True, "hidden-sizes": [4, 4]},
    "maml-bandit": {**SMALL, **DAMPED, "env-name": "Bandit-K5-v0", "policy": "mlp"},
    "rl2-ppo": {**BANDIT, "outer-step": "ppo", "learning-rate-end": 0.0, "num-minibatches": 2, "num-epochs": 2},
    "rl2-a2c": {**BANDIT, "outer-step": "a2c", "optimiser": "rmsprop", "show-progress": True},
    "rl2-trpo": {**BANDIT, **DAMPED, "outer-step": "trpo", "policy": "rnn", "gae-lambda-end": 0.5},
    "rl2-mdp": {
        **BANDIT,
        "env-name": "TabularMDP-v0",
        "env-kwargs": {"num_states": 3, "num_actions": 2, "max_episode_steps": 4},
        "policy": "geometric",
        "backprop-steps": 7,
    },
    "ensemble": {**BANDIT, "num-agents": 3, "meta-batch-size": 4},
    "atari": ATARI,
}


def numbers_of(folder: Path) -> dict[str, Any]:
    """Summary of a run's parameters and of its metrics, clock times left out."""
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    found: dict[str, Any] = {name: [float(row[name]) for row in rows] for name in rows[0] if name not in TIMES}
    state = torch.load(folder / "policy.th", weights_only=True)
    for name, value in state.items():
        flat = value.double().flatten()
        weights = torch.cos(torch.arange(len(flat), dtype=torch.float64))
        found[f"policy {name}"] = [float(flat.sum()), float(flat @ weights)]
    return found


def run_case(name: str, folder: Path) -> dict[str, Any]:
    """Train the case and evaluate it; the numbers of both."""
    folder.mkdir()
    config = folder / "config.json"
    config.write_text(json.dumps(CASES[name]))
    run = folder / "run"
    assert (
        train_command(
            [
                "--config",
                str(config),
                "--output-folder",
                str(run),
                "--num-workers",
                "1",
                "--backend",
                "serial",
                "--seed",
                "3",
                "--dtype",
                "float64",
            ]
        )
        == 0
    )
    adapted = 3 if "show-progress" not in CASES[name] else CASES[name]["fast-batch-size"] - 1
    algorithm = make_algorithm(load_config(run / "config.json"), dtype="float64").with_policy(run / "policy.th")
    evaluation = evaluate(
        algorithm, algorithm.initial_parameters(), num_batches=2, meta_batch_size=2, num_adaptation_steps=adapted
    )
    return {**numbers_of(run), "evaluation returns": evaluation.returns.ravel().tolist()}


def assert_as_recorded(name: str, found: dict[str, Any]) -> None:
    recorded = json.loads(RECORDED.read_text())[name]
    assert set(recorded) <= set(found)
    for key, values in recorded.items():
        np.testing.assert_allclose(found[key], values, rtol=1e-6, atol=1e-9, err_msg=f"{name}: {key}")


@pytest.mark.parametrize("name", CASES)
def test_a_run_and_its_evaluation_have_the_recorded_numbers(name: str, tmp_path: Path) -> None:
    assert_as_recorded(name, run_case(name, tmp_path / name))


def run_study(folder: Path) -> list[str]:
    """Report of a study with two runs of two seeds."""
    folder.mkdir(exist_ok=True)
    for name in ("rl2-ppo", "maml-bandit"):
        (folder / f"{name}.json").write_text(json.dumps(CASES[name]))
    study = {
        "name": "tiny",
        "question": "Is anything changed?",
        "test_tasks": 4,
        "test_steps": 1,
        "runs": {
            "memory": {"config": str(folder / "rl2-ppo.json"), "seeds": [1, 2]},
            "weights": {"config": str(folder / "maml-bandit.json"), "seeds": [1, 2]},
        },
        "comparisons": [["memory", "weights"]],
    }
    (folder / "tiny.yaml").write_text(json.dumps(study))
    results = folder / "results"
    assert (
        studies_command(
            ["run", str(folder / "tiny.yaml"), "--num-workers", "1", "--backend", "serial", "--results", str(results)]
        )
        == 0
    )
    table = (results / "tiny" / "table.md").read_text()
    return [line for line in table.splitlines() if line.startswith("|")]


def study_rows(lines: list[str]) -> list[str]:
    """Rows of the tables that hold a run's numbers."""
    return [line for line in lines if line.startswith(("| memory", "| weights"))]


def test_the_report_of_a_study_has_the_recorded_numbers(tmp_path: Path) -> None:
    assert study_rows(run_study(tmp_path)) == json.loads(RECORDED.read_text())["study"]


def record(folder: Path) -> None:
    """Write the numbers of the present code."""
    found: dict[str, Any] = {name: run_case(name, folder / name) for name in CASES}
    found["study"] = study_rows(run_study(folder / "study"))
    RECORDED.write_text(json.dumps(found, indent=0) + "\n")
