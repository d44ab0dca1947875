"""Bad input of all kinds costs one clear line: no traceback, no code run, nothing half-written.

A few hundred inputs here, ten thousand with `make chaos`.
"""

from __future__ import annotations

import contextlib
import io
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import maml_rl.cli as cli
import maml_rl.studies.__main__ as studies
from maml_rl.experiment import train
from maml_rl.tests.builders import tiny_config, write_config
from maml_rl.tests.fuzz import (
    Answer,
    Rng,
    a_configuration,
    a_study,
    a_tensor_file,
    check_answer,
    command_flags,
    keyword_flags,
    mutated,
)

NUM_HERE = 30
NUM_INPUTS = {"configuration": 2500, "keywords": 2500, "command": 2000, "policy": 1000, "folder": 1000, "study": 1000}
CONFIG = tiny_config("Bandit-K5-v0", num_batches=1, meta_batch_size=2, hidden_sizes=(4,))
STUDY = {
    "name": "tiny",
    "question": "Is it read?",
    "test_tasks": 4,
    "runs": {"plain": {"config": "tiny.json", "seeds": [1, 2]}, "slow": {"config": "tiny.json", "seeds": [1]}},
    "comparisons": [["plain", "slow"]],
}
MEMORY = 12 * 2**30
"""Bytes that a process may ask for: an array of 10^10 numbers is refused and not tried."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with a small configuration and a finished run; nothing trains or evaluates here for long."""
    write_config(tmp_path / "tiny.json", CONFIG)
    monkeypatch.chdir(tmp_path)
    assert answer_of(cli.train_command, *serially("--config", "tiny.json", "--output-folder", "run")).code == 0
    monkeypatch.setattr(studies, "execute", lambda *args, **kwargs: None)
    monkeypatch.setattr(studies, "report", lambda *args, **kwargs: [])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, hard))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def serially(*flags: str) -> tuple[str, ...]:
    """The flags, and those that keep a command in this process."""
    return (*flags, "--backend", "serial", "--num-workers", "1")


def answer_of(command: Callable[[list[str]], int], *flags: str) -> Answer:
    """Answer of a command in this process."""
    output, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        try:
            code = command(list(flags))
        except SystemExit as leaving:  # of argparse
            code = int(leaving.code or 0)
    return Answer(code, output.getvalue(), error.getvalue())


def a_configuration_is_read(rng: Rng, place: Path) -> tuple[Answer, object]:
    """train.py with a configuration file."""
    data = a_configuration(rng, CONFIG.to_json_dict())
    path = place / str(rng.choice(["own.yaml", "own.json"]))
    path.write_bytes(data)
    return answer_of(cli.train_command, *serially("--config", path.name, "--output-folder", "new")), data


def keywords_are_given(rng: Rng, place: Path) -> tuple[Answer, object]:
    """train.py with a family and its keywords."""
    flags = keyword_flags(rng)
    own = serially("--config", "tiny.json", "--output-folder", "new", *flags)
    return answer_of(cli.train_command, *own), flags


def a_command_is_called(rng: Rng, place: Path) -> tuple[Answer, object]:
    """train.py or test.py with flags."""
    flags = ("--config", "tiny.json", *command_flags(rng))
    if rng.random() < 0.5:
        return answer_of(cli.train_command, "--output-folder", "new", *flags), flags
    return answer_of(cli.test_command, "--policy", "random", "--output", "new/results.npz", *flags), flags


def a_policy_is_loaded(rng: Rng, place: Path) -> tuple[Answer, object]:
    """test.py with a policy file."""
    data = a_tensor_file(rng, (place / "run" / "policy.th").read_bytes(), place / "SPY")
    (place / "own.th").write_bytes(data)
    flags = ("--config", "tiny.json", "--policy", "own.th", "--output", "new/results.npz")
    return answer_of(cli.test_command, *serially(*flags)), data


def a_run_is_resumed(rng: Rng, place: Path) -> tuple[Answer, object]:
    """train.py --resume with a damaged run folder."""
    shutil.copytree(place / "run", place / "damaged")
    name = str(rng.choice(["config.json", "metrics.csv", "checkpoint.pt"]))
    path = place / "damaged" / name
    whole = path.read_bytes()
    data = a_tensor_file(rng, whole, place / "SPY") if name == "checkpoint.pt" else mutated(rng, whole)
    path.write_bytes(data)
    flags = ("--config", "tiny.json", "--output-folder", "damaged", "--resume")
    answer = answer_of(cli.train_command, *serially(*flags))
    if answer.code == 2:
        assert path.read_bytes() == data, (name, answer)
    shutil.rmtree(place / "damaged")
    return answer, (name, data)


def a_study_is_run(rng: Rng, place: Path) -> tuple[Answer, object]:
    """A study file is read and its runs are named."""
    data = a_study(rng, STUDY)
    (place / "own-study.yaml").write_bytes(data)
    return answer_of(studies.main, *serially("run", "own-study.yaml", "--results", "new")), data


INPUTS = {
    "configuration": a_configuration_is_read,
    "keywords": keywords_are_given,
    "command": a_command_is_called,
    "policy": a_policy_is_loaded,
    "folder": a_run_is_resumed,
    "study": a_study_is_run,
}


def inputs_of(kind: str, seeds: range) -> Iterator[tuple[Rng, int]]:
    """A generator for each seed."""
    for seed in seeds:
        yield np.random.default_rng([list(INPUTS).index(kind), seed]), seed


def check_all(kind: str, seeds: range, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a command these inputs one after the other."""

    def pretend(algorithm, *, folder=None, resume=False, **others):
        return train(algorithm, folder=folder, resume=resume, **others) if resume else None

    monkeypatch.setattr("maml_rl.cli.training.train", pretend)
    kept = {path.name for path in place.iterdir()} | {"own.yaml", "own.json", "own.th", "own-study.yaml"}
    for rng, seed in inputs_of(kind, seeds):
        answer, data = INPUTS[kind](rng, place)
        check_answer(answer, (kind, seed, data))
        left = {path.name for path in place.iterdir()} - kept
        if answer.code == 0:
            shutil.rmtree(place / "new", ignore_errors=True)
        assert not left or answer.code == 0, (kind, seed, data, left)
        assert not os.path.exists(place / "SPY"), (kind, seed, data)


@pytest.mark.parametrize("kind", INPUTS)
def test_bad_input_costs_one_line(kind, place, monkeypatch):
    check_all(kind, range(NUM_HERE), place, monkeypatch)


@pytest.mark.chaos
@pytest.mark.parametrize("kind", INPUTS)
def test_ten_thousand_bad_inputs_cost_one_line_each(kind, place, monkeypatch):
    assert sum(NUM_INPUTS.values()) == 10_000
    check_all(kind, range(NUM_INPUTS[kind]), place, monkeypatch)
