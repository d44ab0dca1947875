"""Callbacks hear of every iteration in order, change nothing of the curve, and leave a run that can go on."""

from __future__ import annotations

import csv
import json
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import maml_rl
from maml_rl.algorithms import make_algorithm
from maml_rl.callbacks import (
    Callback,
    EvaluateEvery,
    KeepBest,
    MLflow,
    Progress,
    Row,
    RowCallback,
    StopTraining,
    StopWhen,
    TensorBoard,
    WandB,
)
from maml_rl.cli import test_command as evaluate_command
from maml_rl.experiment import train
from maml_rl.run_folder import RunFolder
from maml_rl.tests.builders import tiny_config
from maml_rl.utils.errors import InputError

CONFIG = tiny_config("Bandit-K5-v0", num_batches=3, meta_batch_size=3, hidden_sizes=(4,), fast_batch_size=2)
CLOCKS = {"seconds", "sampling_seconds", "learning_seconds"}


class Diary(Callback):
    """Writes down what it hears."""

    def __init__(self, name, diary):
        self.name, self.diary = name, diary

    def on_start(self, run):
        self.diary.append((self.name, "start", run.iteration))

    def on_iteration(self, row, agent):
        self.diary.append((self.name, "iteration", row["iteration"]))

    def on_end(self):
        self.diary.append((self.name, "end", None))


class StopAt(Callback):
    """Ends the run after an iteration, by what `stop` does."""

    def __init__(self, iteration, stop):
        self.iteration, self.stop = iteration, stop

    def on_iteration(self, row, agent):
        return self.stop() if row["iteration"] == self.iteration else None


def raises(error):
    def stop():
        raise error

    return stop


def run(path, *callbacks, resume=False, config=CONFIG):
    """Train; the final parameters."""
    return train(make_algorithm(config), folder=RunFolder(path), resume=resume, callbacks=callbacks)


def metrics(path):
    """Rows of metrics.csv as text, without the times."""
    with (path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Folder and parameters of a run without callbacks."""
    path = tmp_path_factory.mktemp("whole") / "run"
    return path, run(path)


def test_callbacks_are_called_in_their_order_and_end_in_the_reverse_one(tmp_path, whole):
    diary: list[Any] = []
    parameters = run(tmp_path / "run", Diary("a", diary), Diary("b", diary))
    assert diary[:2] == [("a", "start", 0), ("b", "start", 0)]
    assert diary[2:-2] == [(name, "iteration", i) for i in range(3) for name in "ab"]
    assert diary[-2:] == [("b", "end", None), ("a", "end", None)]
    np.testing.assert_array_equal(parameters, whole[1])
    assert metrics(tmp_path / "run") == metrics(whole[0])


@pytest.mark.parametrize(
    ("stop", "error"),
    [(lambda: True, None), (raises(StopTraining()), None), (raises(KeyError("own")), KeyError)],
    ids=["true", "stop", "error"],
)
def test_a_run_that_a_callback_stops_can_be_resumed_to_the_curve_of_an_unbroken_one(tmp_path, whole, stop, error):
    diary: list[Any] = []
    with nullcontext() if error is None else pytest.raises(error, match="own"):
        run(tmp_path / "run", StopAt(1, stop), Diary("behind", diary))
    heard = 1 if error is None else 0  # whoever stops a run lets the others hear of the iteration
    assert diary[-2:] == [("behind", "iteration", heard), ("behind", "end", None)]
    assert len(metrics(tmp_path / "run")) == 2
    np.testing.assert_array_equal(run(tmp_path / "run", resume=True), whole[1])
    assert metrics(tmp_path / "run") == metrics(whole[0])


def test_a_callback_that_cannot_start_trains_nothing_and_those_before_it_end(tmp_path):
    class Refuses(Callback):
        def on_start(self, run):
            raise InputError("no licence")

    diary: list[Any] = []
    with pytest.raises(InputError, match="no licence"):
        run(tmp_path / "run", Diary("a", diary), Refuses(), Diary("c", diary))
    assert diary == [("a", "start", 0), ("a", "end", None)]
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_the_agent_is_the_policy_of_the_iteration_and_only_made_for_those_who_see_it(tmp_path, monkeypatch):
    seen = []

    class Looks(Callback):
        def on_iteration(self, row, agent):
            saved = torch.load(tmp_path / "run" / "policy.th", weights_only=True)
            for name, value in agent.algorithm.individuals()[0].items():
                torch.testing.assert_close(value, saved[name], rtol=0, atol=0)
            seen.append(agent)

    class Rows(RowCallback):
        def on_row(self, row):
            seen.append(None)

    config = CONFIG.replace(num_batches=1)
    run(tmp_path / "run", Looks(), Looks(), config=config)
    assert seen[0] is seen[1] is not None
    monkeypatch.setattr("maml_rl.experiment.agent_at", lambda *_: pytest.fail("made an agent"))
    run(tmp_path / "rows", Rows(), config=config)
    assert seen[2:] == [None]


def test_a_threshold_stops_a_run_and_its_resumption_at_once(tmp_path, whole):
    after = [float(row["return_after"]) for row in metrics(whole[0])]
    run(tmp_path / "run", StopWhen("return_after", at_least=after[0]))
    assert len(metrics(tmp_path / "run")) == 1
    run(tmp_path / "run", StopWhen("return_after", at_least=after[0]), resume=True)
    assert len(metrics(tmp_path / "run")) == 1
    low = StopWhen("return_after", at_most=min(after))
    assert [low.on_row(Row(return_after=x)) for x in after] == [x <= min(after) for x in after]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_best_is_the_first_with_the_best_value_however_often_the_run_is_interrupted(tmp_path, whole, mode):
    values = [float(row["return_after"]) for row in metrics(whole[0])]
    best = values.index(max(values) if mode == "max" else min(values))
    policies = []

    class Collects(Callback):
        def on_iteration(self, row, agent):
            policies.append(agent.algorithm.individuals()[0])

    # Interrupted between an iteration and the callback's look at it.
    for last in (0, 1):
        with pytest.raises(KeyError):
            run(tmp_path, Collects(), StopAt(last, raises(KeyError())), KeepBest(mode=mode), resume=last > 0)
    run(tmp_path, Collects(), KeepBest(mode=mode), resume=True)
    record = json.loads((tmp_path / "best" / "best.json").read_text(encoding="utf-8"))
    assert record == {"metric": "return_after", "mode": mode, "value": values[best], "iteration": best}
    kept = maml_rl.load_agent(tmp_path / "best").algorithm.individuals()[0]
    for name, value in policies[best].items():
        torch.testing.assert_close(kept[name], value, rtol=0, atol=0)


def test_evaluations_are_those_of_test_py_and_stand_in_rows_behind(tmp_path):
    seen = {}

    class Sees(RowCallback):
        def on_row(self, row):
            seen[row["iteration"]] = row.get("evaluated_return_after")

    folder = tmp_path / "run"
    every = EvaluateEvery(2, num_tasks=4, num_steps=2, seed=7)
    with pytest.raises(KeyError):  # before the second evaluation
        run(folder, StopAt(1, raises(KeyError())), every, Sees(), config=CONFIG.replace(num_batches=2))
    assert seen == {0: None}
    last = EvaluateEvery(2, num_tasks=4, num_steps=2, seed=7)
    run(folder, last, StopWhen("evaluated_return_after", at_least=-1.0), resume=True)  # catches up, and stops then
    assert len(metrics(folder)) == 2
    files = ["--config", folder / "config.json", "--policy", folder / "policy.th", "--output", tmp_path / "test.npz"]
    size = ["--meta-batch-size", 4, "--num-batches", 1, "--num-steps", 0, 1, 2, "--seed", 7]
    assert evaluate_command([str(flag) for flag in (*files, *size, "--num-workers", 1, "--backend", "serial")]) == 0
    with np.load(tmp_path / "test.npz") as expected:
        assert last.latest is not None
        np.testing.assert_array_equal(last.latest.returns, expected["returns"])
        lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [line["iteration"] for line in lines] == [1]
        np.testing.assert_allclose(lines[0]["mean"], expected["returns"].mean(axis=(1, 2), dtype=np.float64))


def test_the_time_that_is_left_is_that_of_iterations_so_far(monkeypatch):
    clock = iter([100.0, 104.0, 106.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    lines: list[str] = []
    progress = Progress(lines.append)
    config = CONFIG.replace(num_batches=32)
    progress.on_start(SimpleNamespace(config=config, iteration=10, last_row=Row()))  # type: ignore[arg-type]
    for iteration in (10, 11):
        row = Row(iteration=iteration, env_steps=0, seconds=1.0, sampling_seconds=1.0, learning_seconds=0.0)
        progress.on_row(Row(row, return_before=0.0, return_after=0.0))
    assert lines[0].endswith("left 1:24")  # 21 iterations of 4 s
    assert lines[1].endswith("left 1:00")  # 20 of 3 s


class FakeTracker:
    """Stands for wandb and for mlflow."""

    def __init__(self):
        self.calls: list[Any] = []
        self.id = "fake-id"
        self.info = SimpleNamespace(run_id="fake-id")

    def __getattr__(self, name):
        if name.startswith("__"):  # whoever looks through all modules finds that this is none
            raise AttributeError(name)

        def call(*arguments, **keywords):
            self.calls.append((name, arguments, keywords))
            return self

        return call


def with_fake(monkeypatch, name):
    fake = FakeTracker()
    module: Any = ModuleType(name)
    module.__getattr__ = lambda wanted: getattr(fake, wanted)
    monkeypatch.setitem(sys.modules, name, module)
    return fake


def test_weights_and_biases_has_configuration_and_rows_and_goes_on_with_the_run(tmp_path, monkeypatch):
    fake = with_fake(monkeypatch, "wandb")
    run(tmp_path, WandB(project="p"), StopAt(0, lambda: True))
    (first, _, options), (name, (row,), keywords), last = fake.calls
    assert (first, options["project"]) == ("init", "p")
    assert options["config"] == CONFIG.replace(num_shards=1).to_json_dict()
    assert (name, keywords, row["iteration"]) == ("log", {"step": 0}, 0)
    assert last[0] == "finish"
    fake.calls.clear()
    run(tmp_path, WandB(project="p"), StopAt(1, lambda: True), resume=True)
    assert fake.calls[0][2]["id"] == "fake-id"
    assert fake.calls[0][2]["resume"] == "allow"
    assert [keywords["step"] for name, _, keywords in fake.calls if name == "log"] == [1]


def test_mlflow_has_parameters_and_metrics_and_goes_on_with_the_run(tmp_path, monkeypatch):
    fake = with_fake(monkeypatch, "mlflow")
    config = CONFIG.replace(num_batches=2, env_kwargs={"k": 3})
    run(tmp_path, MLflow("experiment", run_name="r"), StopAt(0, lambda: True), config=config)
    names = [name for name, *_ in fake.calls]
    assert names == ["set_experiment", "start_run", "log_params", "log_metrics", "end_run"]
    assert fake.calls[1][2] == {"run_name": "r"}
    assert fake.calls[2][1][0]["env-kwargs.k"] == 3
    assert fake.calls[3][2] == {"step": 0}
    assert set(fake.calls[3][1][0]) >= {"env_steps", "return_after", "kl"}
    fake.calls.clear()
    run(tmp_path, MLflow(), resume=True, config=config)
    assert [name for name, *_ in fake.calls] == ["start_run", "log_metrics", "end_run"]
    assert fake.calls[0][2] == {"run_id": "fake-id"}


def test_tensorboard_is_written_where_it_is_asked_for_and_once(tmp_path):
    run(tmp_path / "run", TensorBoard(tmp_path), config=CONFIG.replace(num_batches=1))
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert not list((tmp_path / "run").glob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: StopWhen("return_aftr", at_least=1),
            "StopWhen: got metric 'return_aftr', .*did you mean 'ret",
        ),
        (lambda: KeepBest("evaluated_return_after"), "KeepBest: got metric .*or one of a callback before this one"),
        (lambda: StopWhen("kl"), "StopWhen: got at_least=None and at_most=None, expected one of them"),
        (lambda: KeepBest(mode="most"), "KeepBest: mode: got 'most', expected 'max' or 'min'"),  # type: ignore[arg-type]
        (lambda: EvaluateEvery(0), "EvaluateEvery: every: got 0, expected at least 1"),
        (WandB, "WandB: needs wandb: pip install wandb"),
        (MLflow, "MLflow: needs mlflow: pip install mlflow"),
        (TensorBoard, "TensorBoard: got no folder"),
    ],
)
def test_what_a_callback_cannot_do_is_refused_before_anything_is_trained(make, words, monkeypatch):
    for package in ("wandb", "mlflow"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=words):
        train(make_algorithm(CONFIG), callbacks=[make(), StopAt(0, lambda: pytest.fail("trained"))])
