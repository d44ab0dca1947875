"""train.py as its user meets it: bad input costs one line and nothing else; runs can be stopped in any way."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maml_rl.algorithms import make_algorithm
from maml_rl.cli import train_command
from maml_rl.config import load_config
from maml_rl.envs.bandits.bandit import BanditVectorEnv
from maml_rl.experiment import train
from maml_rl.run_folder import RunFolder
from maml_rl.tests.builders import children_of, is_running, tiny_config, wait_until, write_config

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tiny_config("Bandit-K5-v0", num_batches=2, meta_batch_size=3, hidden_sizes=(4,))
CLOCKS = {"seconds", "sampling_seconds", "learning_seconds"}


@pytest.fixture
def config(tmp_path):
    """Path of a configuration that trains in a moment."""
    return write_config(tmp_path / "tiny.json", CONFIG)


def files(folder):
    """Content of every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(capfd, *flags):
    """The one line that a refused command leaves."""
    code = train_command([str(flag) for flag in (*flags, "--num-workers", 1, "--backend", "serial")])
    output, error = capfd.readouterr()
    assert (code, output, error.count("\n")) == (2, "", 1), error
    return error


def run(config, folder, *flags):
    own = ["--config", config, "--output-folder", folder, "--num-workers", 1, "--backend", "serial"]
    return train_command([str(flag) for flag in (*own, *flags)])


def metrics(folder):
    """Rows of metrics.csv as text, without the times."""
    with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--set", "fast-lrr=0.1"], "unknown key .fast-lrr. .*did you mean .fast-lr."),
        (["--set", "fast-lr=quick"], "fast-lr .*: got 'quick', expected a number"),
        (["--set", "fast-lr=.nan"], "fast-lr .*: got nan"),
        (["--set", "fast-batch-size=0"], "fast-batch-size .*: got 0, expected"),
        (["--set", "fast-batch-size=2.5"], "fast-batch-size .*: got 2.5, expected"),
        (["--set", "gamma=1.5"], "gamma .*: got 1.5, expected"),
        (["--set", "first-order=perhaps"], "first-order .*: got 'perhaps', expected"),
        (["--set", "hidden-sizes=[8, -1]"], "hidden-sizes.*: got.* -1"),
        (["--set", "fast-lr"], "--set: got 'fast-lr', expected key=value"),
        (["--set", "policy=mpl"], "policy .*'mpl'.*mlp"),
        (["--set", "env-name=Bandit-K6-v0"], "unknown environment 'Bandit-K6-v0'.*did you mean 'Bandit-K5-v0'"),
        (["--set", "env-kwargs={arms: 3}"], "env-kwargs: .*arms"),
        (["--set", "env-name=no_such:Maze-v0"], "env-name: got 'no_such:Maze-v0'.*add --allow-module no_such"),
        (["--set", "env-kwargs={k: 2.5}"], "env-kwargs.k: got 2.5, expected a whole number"),
        (["--set", "env-kwargs={k: true}"], "env-kwargs.k: got True, expected a whole number"),
        (
            ["--set", "env-name=2DNavigation-v0", "--set", "env-kwargs={low: a}"],
            "env-kwargs.low: got 'a', expected a num",
        ),
        (
            ["--set", "env-name=2DNavigation-v0", "--set", "env-kwargs={max_episode_steps: null}"],
            "give a number, such as",
        ),
        (
            ["--set", "env-name=2DNavigation-v0", "--set", "env-kwargs={high: 1.0e+300}"],
            "env-kwargs.high: got 1e.300, expected a number in .-1e.09, 1e.09.",
        ),
        (
            ["--set", "env-name=2DNavigation-v0", "--set", "env-kwargs={low: 2, high: 1}"],
            "env-kwargs of 2DN.*low: got 2",
        ),
        (["--set", "hidden-sizes=[100000000000]"], "hidden-sizes .*: got .*, expected .* in .1, 10000."),
        (
            ["--set", "meta-batch-size=1000000000000"],
            "meta-batch-size .*: got 1000000000000, expected .* in .1, 1000000.",
        ),
        (["--seed", -1], "seed .*: got -1, expected"),
        (["--num-batches", -3], "--num-batches: got -3, expected a whole number >= 1"),
        (["--set", "num-agents=2"], "num-agents in --set num-agents=2: got 2, which algorithm 'maml' has no use for"),
        (["--set", "memory-slots=4"], "memory-slots .*: got 4, which policy 'mlp' has no use for"),
        (
            ["--backend", "multiproces"],
            "--backend: got 'multiproces', expected one of multiprocess, ray, serial; did you mean 'multiprocess'",
        ),
        (["--address", "auto"], "--address: got 'auto', expected no such option with --backend serial; "),
        (
            ["--backend", "ray", "--straggler-factor", "1"],
            r"--straggler-factor: got '1', expected a number in .1, 1000000.0.; leave it out for 4.0",
        ),
        (["--backend-option", "address"], "--backend-option: got 'address', expected KEY=VALUE, such as address=auto"),
        (
            ["--backend-option", "adress=x"],
            "--adress: got 'x', expected no such option with --backend serial; leave it ",
        ),
        (["--allow-module", "no_such_module"], "--allow-module: cannot import 'no_such_module' .ModuleNotFoundError.*"),
        (["--allow-module", "maml_rl.tests.raises_nowhere"], "--allow-module: cannot import .*; install it, put its"),
        (["--set", "allow-module=[antigravity]"], "allow-module in --set .*: got antigravity, expected the flag"),
        (["--set", "allow-module=antigravity"], "allow-module in --set .*: got antigravity, expected the flag"),
        (["--set", "allow-module=3"], "allow-module in --set .*: got 3, expected the flag"),
        (["--num-workers", 0], "--num-workers: got 0, expected at least 1"),
        (["--resume"], "--resume: found no config.json in .*leave --resume out"),
    ],
)
def test_bad_input_costs_one_line_and_writes_nothing(tmp_path, config, capfd, flags, words):
    before = files(tmp_path)
    code = run(config, tmp_path / "run", *flags)
    output, error = capfd.readouterr()
    assert (code, output, error.count("\n")) == (2, "", 1), error
    assert re.match(f"error: .*{words}", error), error
    assert files(tmp_path) == before
    assert not (tmp_path / "run").exists()


def test_a_backend_whose_package_is_missing_costs_one_line_and_writes_nothing(tmp_path, config, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run(config, tmp_path / "run", "--backend", "ray") == 2
    output, error = capfd.readouterr()
    assert output == ""
    assert error == (
        "error: --backend: got 'ray', expected a backend whose package is installed; pip install 'maml_rl[ray]' or "
        "choose --backend multiprocess\n"
    )
    assert not (tmp_path / "run").exists()


def test_the_number_of_workers_is_a_number_or_auto(tmp_path, config, capfd):
    assert run(config, tmp_path / "run", "--num-workers", "auto", "--num-batches", 1) == 0
    with pytest.raises(SystemExit):
        run(config, tmp_path / "other", "--num-workers", "many")
    assert "argument --num-workers: got 'many', expected auto or a whole number >= 1" in capfd.readouterr().err


def test_a_folder_that_cannot_be_used_is_left_as_it_is(tmp_path, config, capfd):
    assert run(config, tmp_path / "run") == 0
    capfd.readouterr()
    before = files(tmp_path)
    folder = ("--output-folder", tmp_path / "run")
    assert "holds another run; add --resume" in refused(capfd, "--config", config, *folder)
    other_seed = refused(capfd, "--config", config, *folder, "--resume", "--seed", 9)
    assert "--resume: seed is 9, but the run in" in other_seed
    below_a_file = refused(capfd, "--config", config, "--output-folder", config / "run")
    assert "output folder: cannot write" in below_a_file
    assert "got no --output-folder" in refused(capfd, "--config", config, "--resume")
    assert files(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_a_folder_without_permission_is_refused(tmp_path, config, capfd):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot write" in refused(capfd, "--config", config, "--output-folder", tmp_path / "locked" / "run")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.write_text, (Path(self.path), "sprung"))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "pickle", "policy", "other size", "list"])
def test_a_bad_checkpoint_is_refused_and_never_executed(tmp_path, config, capfd, damage):
    assert run(config, tmp_path / "run") == 0
    capfd.readouterr()
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    content = torch.load(checkpoint, weights_only=True)
    sprung = tmp_path / "sprung"
    {
        "cut": lambda: checkpoint.write_bytes(checkpoint.read_bytes()[:300]),
        "empty": lambda: checkpoint.write_bytes(b""),
        "text": lambda: checkpoint.write_text("not a checkpoint"),
        "pickle": lambda: torch.save(Trap(sprung), checkpoint),
        "policy": lambda: checkpoint.write_bytes((tmp_path / "run" / "policy.th").read_bytes()),
        "other size": lambda: torch.save({**content, "parameters": content["parameters"][1:]}, checkpoint),
        "list": lambda: torch.save([1, 2], checkpoint),
    }[damage]()
    before = files(tmp_path)
    error = refused(capfd, "--config", config, "--output-folder", tmp_path / "run", "--resume", "--num-batches", 4)
    assert "checkpoint" in error
    assert not sprung.exists()
    assert files(tmp_path) == before


def test_an_environment_that_exits_ends_the_command_with_a_traceback_and_a_line(config, capfd, monkeypatch):
    monkeypatch.setattr(BanditVectorEnv, "sample_tasks", lambda *arguments: sys.exit("no licence"))
    assert train_command(["--config", str(config), "--num-workers", "1", "--backend", "serial"]) == 1
    *trace, line = capfd.readouterr().err.splitlines()
    assert trace[0].startswith("Traceback")
    assert trace[-1] == "SystemExit: no licence"
    assert line.startswith("error: sys.exit was called in this process, by an environment most likely")


def test_an_empty_output_folder_is_no_folder(config, capfd):
    with pytest.raises(SystemExit) as caught:
        run(config, "")
    assert caught.value.code == 2
    assert "--output-folder: got an empty path" in capfd.readouterr().err


@pytest.mark.slow
def test_a_reader_that_goes_away_ends_the_run_without_a_word(tmp_path):
    config = write_config(tmp_path / "long.json", CONFIG.replace(num_batches=100_000))
    command = f"{sys.executable} train.py --config {config} --num-workers 1 | head -n 1"
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("1/100000")
    assert done.stderr == ""


def test_a_run_in_float64_leaves_weights_in_float64(tmp_path, config):
    assert run(config, tmp_path / "run", "--num-batches", 1, "--dtype", "float64") == 0
    weights = torch.load(tmp_path / "run" / "policy.th", weights_only=True).values()
    assert {value.dtype for value in weights} == {torch.float64}


def test_the_command_writes_what_it_says(tmp_path, config):
    assert run(config, tmp_path / "run", "--num-batches", 3, "--seed", 8, "--set", "fast-lr=0.3") == 0
    folder = RunFolder(tmp_path / "run")
    expected = CONFIG.replace(num_batches=3, seed=8, fast_lr=0.3)
    rows = metrics(folder.path)
    assert [row["iteration"] for row in rows] == ["0", "1", "2"]
    reference = RunFolder(tmp_path / "reference")
    train(make_algorithm(expected), num_workers=1, folder=reference)
    assert metrics(reference.path) == rows
    assert {"return_before", "return_after", "loss", "kl", "line_search_steps", "env_steps"} <= rows[0].keys()
    assert {path.name for path in folder.path.iterdir() if "tfevents" not in path.name} == {
        "config.json",
        "metrics.csv",
        "policy.th",
        "checkpoint.pt",
    }
    events = EventAccumulator(str(folder.path))
    events.Reload()
    for name in ("return_before", "return_after", "kl"):
        curve = [event.value for event in events.Scalars(name)]
        np.testing.assert_allclose(curve, [float(row[name]) for row in rows], rtol=1e-5, atol=1e-6)


TOY = """
from maml_rl.envs import register_meta_env
from maml_rl.envs.bandits.bandit import BernoulliBanditVectorEnv

class Toy(BernoulliBanditVectorEnv):
    pass

register_meta_env("Toy-v0", f"{__name__}:Toy")
"""


@pytest.mark.slow
def test_an_allowed_module_reaches_workers_and_is_imported_again_only_where_it_is_allowed(tmp_path, monkeypatch, capfd):
    (tmp_path / "toy_of_tests.py").write_text(TOY, encoding="utf-8")
    lines = ["env-name: Toy-v0", "env-kwargs: {k: 3}", "meta-batch-size: 2", "hidden-sizes: [4]"]
    (tmp_path / "toy.yaml").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "run"
    flags = ["--num-batches", "1", "--backend", "multiprocess", "--allow-module", "toy_of_tests"]
    assert run(tmp_path / "toy.yaml", folder, *flags) == 0
    assert load_config(folder / "config.json", allowed=["toy_of_tests"]).allow_module == ("toy_of_tests",)
    resumed = ["--num-batches", "2", "--resume", "--allow-module", "toy_of_tests"]
    assert run(tmp_path / "toy.yaml", folder, *resumed) == 0
    assert num_iterations(folder) == 2
    capfd.readouterr()
    error = refused(capfd, "--config", folder / "config.json")
    assert error.startswith(f"error: allow-module in {folder / 'config.json'}: got toy_of_tests, expected the flag")
    assert error.endswith("add --allow-module toy_of_tests\n")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
    ],
)
def test_an_allowed_module_that_raises_when_it_is_imported_costs_one_line(
    tmp_path, config, monkeypatch, capfd, body, words
):
    (tmp_path / "broken_of_tests.py").write_text(body + "\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    error = refused(capfd, "--config", config, "--allow-module", "broken_of_tests")
    assert error.startswith(f"error: --allow-module: cannot import 'broken_of_tests' ({words}); ")
    assert "broken_of_tests" not in sys.modules


def test_one_line_for_each_iteration_where_there_is_no_terminal(tmp_path, config, capfd):
    assert run(config, tmp_path / "run") == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1/2", "2/2"]
    assert all(re.search(r"before -?[\d.]+  after -?[\d.]+ .* env_steps \d+ ", line) for line in lines)


def start(config, folder, *flags, num_workers):
    """Start train.py in a process group of its own, as a shell does."""
    command = [sys.executable, "train.py", "--config", config, "--output-folder", folder]
    return subprocess.Popen(
        [*map(str, command), "--num-workers", str(num_workers), *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def num_iterations(folder):
    """Rows that metrics.csv holds now."""
    try:
        return (folder / "metrics.csv").read_text(encoding="utf-8").count("\n") - 1
    except FileNotFoundError:
        return 0


@pytest.mark.parametrize("blow", ["Ctrl-C", "kill -9"])
def test_a_stopped_run_leaves_no_orphan_and_resumes_bit_for_bit(tmp_path, blow):
    long = CONFIG.replace(num_batches=100_000)
    config = write_config(tmp_path / "long.json", long)
    folder = tmp_path / "run"
    with start(config, folder, num_workers=2) as process:
        assert wait_until(lambda: num_iterations(folder) >= 2, seconds=60)
        workers = children_of(process.pid)
        assert len(workers) >= 2
        if blow == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.kill()
        _, error = process.communicate(timeout=30)
    if blow == "Ctrl-C":
        assert process.returncode == 130
        assert error == "interrupted; the last finished iteration is saved, continue with --resume\n"
    assert wait_until(lambda: not any(is_running(worker) for worker in workers), seconds=10)
    # As many shards in this process give the same numbers, sooner.
    algorithm = make_algorithm(long)
    done = RunFolder(folder).load_checkpoint(long, algorithm.run_format).iteration
    assert done >= 1
    more = long.replace(num_batches=done + 2)
    resumed = train(make_algorithm(more), num_workers=2, folder=RunFolder(folder), resume=True)
    whole = train(make_algorithm(more), num_workers=2, folder=RunFolder(tmp_path / "whole"))
    assert metrics(folder) == metrics(tmp_path / "whole")
    np.testing.assert_array_equal(resumed, whole)


def has_loaded(process, library):
    """True if a process has opened a shared library of this name."""
    try:
        return library in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")
    except OSError:
        return False


# What has just happened when Ctrl-C comes; interpreter and libraries take two seconds to get to work.
EARLY = {
    "PyTorch's libraries are opened": lambda process: has_loaded(process, "libtorch_cpu"),
    "NumPy is imported": lambda process: has_loaded(process, "_multiarray_umath"),
    "TensorBoard is imported": lambda process: has_loaded(process, "google/_upb"),
    "all workers have started": lambda process: len(children_of(process.pid)) >= 4,
}


@pytest.mark.parametrize(
    ("script", "moment"), [*(("train.py", moment) for moment in EARLY), ("test.py", "NumPy is imported")]
)
def test_an_interrupt_at_an_early_moment_ends_in_one_line(tmp_path, config, script, moment):
    command = [sys.executable, script, "--config", config, "--num-workers", "3"]
    if script == "test.py":
        command += ["--policy", "random", "--output", tmp_path / "results.npz"]
    with subprocess.Popen(
        [*map(str, command)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert wait_until(lambda: EARLY[moment](process), seconds=60)
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert (process.returncode, error.count("\n")) == (130, 1), error
    assert error.startswith("interrupted")
    assert wait_until(lambda: not group_of(process.pid), seconds=10)


def group_of(process_id):
    """Running processes of a process group."""
    fields = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields[path.parent.name] = path.read_text(encoding="utf-8").rpartition(")")[2].split()
    return [name for name, (state, _, group, *_) in fields.items() if int(group) == process_id and state not in "ZX"]
