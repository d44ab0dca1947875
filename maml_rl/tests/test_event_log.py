"""TensorBoard reads what is logged; a disk that is full costs its curves and one line, not the run."""

from __future__ import annotations

import errno
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from maml_rl.algorithms import make_algorithm
from maml_rl.callbacks import Progress
from maml_rl.cli import train_command
from maml_rl.experiment import train
from maml_rl.run_folder import Checkpoint, RunFolder
from maml_rl.tests.builders import tiny_config, write_config
from maml_rl.utils.event_log import EventLog

CONFIG = tiny_config("Bandit-K5-v0", num_batches=2, meta_batch_size=3, hidden_sizes=(4,))


@contextmanager
def files_of_at_most(num_bytes):
    """The system refuses to make any file of this process longer, as it does on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def curves(folder):
    events = EventAccumulator(str(folder))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def test_a_resumed_log_takes_the_place_of_what_was_logged_from_there_on(tmp_path):
    for first, values in ((0, (1.0, 2.0, 3.0)), (1, (5.0, np.nan))):
        with EventLog(tmp_path, first_step=first, warn=pytest.fail) as log:
            for step, value in enumerate(values, start=first):
                log.record(step, {"kl": value})
    np.testing.assert_array_equal(curves(tmp_path)["kl"], [(0, 1.0), (1, 5.0), (2, np.nan)])


def test_a_full_disk_costs_one_line_and_leaves_what_was_written(tmp_path):
    lines: list[str] = []
    with EventLog(tmp_path, first_step=0, warn=lines.append) as log:
        log.record(0, {"kl": 1.0})
        with files_of_at_most(150):
            for step in range(1, 5):
                log.record(step, {"kl": 1.0})
    assert len(lines) == 1
    assert lines[0].startswith(
        f"TensorBoard: cannot write its file in {str(tmp_path)!r} (File too large); its curves end"
    )
    assert "\n" not in lines[0]
    assert curves(tmp_path)["kl"][0] == (0, 1.0)


def test_a_folder_that_is_gone_costs_one_line(tmp_path):
    lines: list[str] = []
    with EventLog(tmp_path / "gone", first_step=0, warn=lines.append) as log:
        log.record(0, {"kl": 1.0})
    assert len(lines) == 1
    assert "No such file or directory" in lines[0]


@pytest.mark.slow
def test_a_run_whose_curves_cannot_be_written_goes_on(tmp_path, capfd, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    config = write_config(tmp_path / "tiny.json", CONFIG)
    flags = ["--config", str(config), "--output-folder", str(tmp_path / "run"), "--num-workers", "1"]
    assert train_command(flags) == 0
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert "TensorBoard: cannot write" in error
    assert "(No space left on device); its curves end here, the run goes on" in error
    assert len((tmp_path / "run" / "metrics.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_a_run_starts_no_thread(tmp_path):
    seen = []
    train(
        make_algorithm(CONFIG),
        num_workers=1,
        folder=RunFolder(tmp_path / "run"),
        callbacks=[Progress(lambda _: seen.append({type(thread).__name__ for thread in threading.enumerate()}))],
    )
    assert len(seen) == 2
    assert not {name for names in seen for name in names if "Writer" in name}


@pytest.mark.parametrize(("size", "name"), [(40, "metrics.csv"), (400, "policy.th")])
def test_a_full_disk_is_told_with_the_file_that_was_too_long(tmp_path, size, name):
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    algorithm = make_algorithm(CONFIG)
    parameters = algorithm.initial_parameters()
    row = {"iteration": 0, "return_before": 0.25, "return_after": 0.5}
    with files_of_at_most(size), pytest.raises(OSError, match="File too large") as caught:
        folder.save(CONFIG, Checkpoint(1, parameters), algorithm.state_dict(parameters), row)
    assert caught.value.filename == str(folder.path / name)
