"""A run folder gives back what was saved, or refuses it in one line and leaves every file as it is."""

from __future__ import annotations

import math
import resource
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from maml_rl.blueprint import draw_up
from maml_rl.config import load_config
from maml_rl.experiment import train
from maml_rl.run_folder import Checkpoint, RunFolder, RunFolderError, load_policy
from maml_rl.tests.builders import tiny_config
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import check_writable, write_atomically

CONFIG = tiny_config("Bandit-K5-v0")
NUM_PARAMETERS = 3
LIKE = {"w": torch.zeros(NUM_PARAMETERS)}


def save(folder, iteration=1):
    """Save one more iteration."""
    values = np.arange(NUM_PARAMETERS, dtype=np.float64)
    state = Checkpoint(iteration, values, 40 * iteration, 1.5 * iteration)
    folder.save(state, {"w": torch.from_numpy(values).float()}, {"iteration": iteration - 1, "loss": 0.5})


@pytest.fixture
def folder(tmp_path):
    """A run of two iterations and a row of a third, which no checkpoint knows."""
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    save(folder, 1)
    save(folder, 2)
    folder._append_metrics({"iteration": 2, "loss": 0.5})
    return folder


def write(path, content):
    """What torch.save writes, without its warnings about what it will no longer write."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path)


def contents(folder):
    """Content of every file."""
    return {path.name: path.read_bytes() for path in folder.path.iterdir()}


def refusal(call, *arguments):
    """The one line with which something is refused."""
    with pytest.raises(RunFolderError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_was_saved_comes_back(folder):
    checkpoint = folder.resume(CONFIG, NUM_PARAMETERS)
    assert (checkpoint.iteration, checkpoint.env_steps, checkpoint.seconds, checkpoint.refused_in_row) == (
        2,
        80,
        3.0,
        0,
    )
    np.testing.assert_array_equal(checkpoint.parameters, [0.0, 1.0, 2.0])
    assert checkpoint.parameters.dtype == np.float64
    assert load_policy(folder.policy_path, LIKE)["w"].tolist() == [0.0, 1.0, 2.0]


BAD_NUMBERS = [math.inf, math.nan, -1, True, "2", None, 2.0, [2], torch.tensor(2)]


@pytest.mark.parametrize("name", ["format", "iteration", "env_steps", "refused_in_row"])
@pytest.mark.parametrize("value", BAD_NUMBERS, ids=repr)
def test_a_checkpoint_s_counts_are_whole_numbers(folder, name, value):
    assert f"{name}: got " in refused_checkpoint(folder, name, value)


@pytest.mark.parametrize("value", [math.inf, math.nan, -1.0, 3, True, "3", None, torch.tensor(3.0)], ids=repr)
def test_a_checkpoint_s_seconds_are_a_finite_number(folder, value):
    assert "seconds: got " in refused_checkpoint(folder, "seconds", value)


@pytest.mark.parametrize("value", ["float16", 32, None], ids=repr)
def test_a_checkpoint_s_float_type_is_a_known_one(folder, value):
    assert "dtype: got " in refused_checkpoint(folder, "dtype", value)


def refused_checkpoint(folder, name, value):
    """The line that refuses a checkpoint with this value; nothing else has changed."""
    content = torch.load(folder.checkpoint_path, weights_only=True)
    write(folder.checkpoint_path, {**content, name: value})
    before = contents(folder)
    line = refusal(folder.resume, CONFIG.model_copy(update={"num_batches": 9}), NUM_PARAMETERS)
    assert line.startswith(f"checkpoint {str(folder.checkpoint_path)!r}: ")
    assert line.endswith("; start anew in another folder")
    assert contents(folder) == before
    return line


NUMBERS = torch.tensor([1.0, 2.0, 3.0])
# What is found where three plain finite numbers belong, and what is said about it.
BAD_TENSORS = {
    "sparse": (lambda: NUMBERS.to_sparse(), "torch.sparse_coo"),
    "quantised": (lambda: torch.quantize_per_tensor(NUMBERS, 0.1, 0, torch.quint8), "torch.quint8"),
    "meta": (lambda: NUMBERS.to("meta"), "meta"),
    "complex": (lambda: NUMBERS.to(torch.complex64), "torch.complex64"),
    "whole": (lambda: NUMBERS.long(), "torch.int64"),
    "requires_grad": (lambda: NUMBERS.clone().requires_grad_(), "requires_grad"),
    "Parameter": (lambda: nn.Parameter(NUMBERS, requires_grad=False), "a Parameter"),
    "NaN": (lambda: torch.tensor([0.0, math.nan, 0.0]), "NaN or infinity"),
    "infinite": (lambda: torch.tensor([0.0, -math.inf, 0.0]), "NaN or infinity"),
    "too large": (lambda: torch.tensor([0.0, 1e300, 0.0], dtype=torch.float64), "too large for torch.float32"),
    "too many": (lambda: torch.zeros(4), r"(4,), expected (3,)"),
    "a column": (lambda: torch.zeros(3, 1), r"(3, 1), expected (3,)"),
    "a number": (lambda: torch.tensor(1.0), r"(), expected (3,)"),
    "a list": (lambda: [1.0, 2.0, 3.0], "a list, expected (3,)"),
    "nothing": (lambda: None, "nothing, expected (3,)"),
}


@pytest.fixture(params=BAD_TENSORS)
def bad_tensor(request):
    """One of `BAD_TENSORS`."""
    make, words = BAD_TENSORS[request.param]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch is about to drop quantised tensors
        return make(), words


def test_parameters_are_plain_finite_numbers(folder, bad_tensor):
    value, words = bad_tensor
    line = refused_checkpoint(folder, "parameters", value)
    assert "parameters " in line
    assert words in line


def test_policies_hold_plain_finite_numbers(tmp_path, bad_tensor):
    value, words = bad_tensor
    write(tmp_path / "policy.th", {"w": value})
    line = refusal(load_policy, tmp_path / "policy.th", LIKE)
    assert line.startswith(f"policy {str(tmp_path / 'policy.th')!r}: w ")
    assert words in line


def test_a_checkpoint_of_another_format_or_with_more_in_it_is_refused(folder):
    assert "format: got 2, expected 1" in refused_checkpoint(folder, "format", 2)
    torch.save({**torch.load(folder.checkpoint_path, weights_only=True), "format": 1}, folder.checkpoint_path)
    assert "unexpected field 'more'" in refused_checkpoint(folder, "more", 1)


ADAM = {"step": torch.tensor(4.0), "exp_avg": NUMBERS.double(), "exp_avg_sq": NUMBERS.double()}
RMSPROP = {"step": torch.tensor(4.0), "square_avg": NUMBERS.double()}


@pytest.mark.parametrize(("optimiser", "state"), [("adam", ADAM), ("rmsprop", RMSPROP)])
def test_what_the_optimiser_remembers_comes_back(tmp_path, optimiser, state):
    config = CONFIG.model_copy(update={"algorithm": "rl2", "policy": "rnn", "optimiser": optimiser})
    folder = RunFolder(tmp_path / "rl2")
    folder.create(config)
    folder.save(Checkpoint(1, np.zeros(3), optimiser=state), LIKE, {"iteration": 0})
    checkpoint = folder.resume(config, NUM_PARAMETERS)
    assert checkpoint is not None
    assert {name: value.tolist() for name, value in checkpoint.optimiser.items()} == {
        name: value.tolist() for name, value in state.items()
    }


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({**ADAM, "step": torch.ones(3)}, "'step' is (3,), expected ()"),
        ({**ADAM, "step": torch.tensor(0.0)}, "'step' holds numbers < 1"),
        ({**ADAM, "step": 4}, "'step' is 4, expected ()"),
        ({**ADAM, "exp_avg": torch.tensor(1.0)}, "'exp_avg' is (), expected (3,)"),
        ({**ADAM, "exp_avg_sq": -NUMBERS}, "'exp_avg_sq' holds numbers < 0"),
        ({name: value for name, value in ADAM.items() if name != "exp_avg"}, "'exp_avg' is nothing, expected (3,)"),
        ({**ADAM, "more": NUMBERS}, "'more': unexpected"),
        (dict([*ADAM.items(), (3, NUMBERS)]), "3: unexpected"),
        (RMSPROP, "'exp_avg' is nothing"),
        ({}, "'step' is nothing"),
        ([1.0], "got a list, expected named tensors"),
    ],
)
def test_what_an_optimiser_cannot_go_on_from_is_refused_and_changes_nothing(tmp_path, state, words):
    config = CONFIG.model_copy(update={"algorithm": "rl2", "policy": "rnn", "learning_rate_end": None})
    folder = RunFolder(tmp_path / "rl2")
    folder.create(config)
    folder.save(Checkpoint(1, np.zeros(3), optimiser=ADAM), LIKE, {"iteration": 0})
    content = torch.load(folder.checkpoint_path, weights_only=True)
    write(folder.checkpoint_path, {**content, "optimiser": state})
    before = contents(folder)
    line = refusal(folder.resume, config.model_copy(update={"num_batches": 9}), NUM_PARAMETERS)
    assert words in line
    assert contents(folder) == before


def test_without_an_optimiser_nothing_is_remembered(folder):
    assert "optimiser: 'exp_avg': unexpected" in refused_checkpoint(folder, "optimiser", {"exp_avg": NUMBERS.double()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_parameters_of_any_precision_are_read(folder, dtype):
    content = torch.load(folder.checkpoint_path, weights_only=True)
    torch.save({**content, "parameters": torch.tensor([0.5, 1.0, 2.0], dtype=dtype)}, folder.checkpoint_path)
    parameters = folder.load_checkpoint(NUM_PARAMETERS, CONFIG).parameters
    assert parameters.dtype == np.float64
    assert parameters.tolist() == [0.5, 1.0, 2.0]


def test_the_reason_why_a_file_cannot_be_loaded_is_in_our_words(folder):
    folder.checkpoint_path.write_bytes(b"\x80\x02garbage")
    line = refusal(folder.resume, CONFIG, NUM_PARAMETERS)
    assert line.startswith(f"cannot load {str(folder.checkpoint_path)!r}: not a file of tensors, or damaged")
    assert "weights_only" not in line


def refused_metrics(folder, content):
    """The line that refuses to resume with this metrics.csv; nothing has changed."""
    folder.metrics_path.write_bytes(content)
    before = contents(folder)
    line = refusal(folder.resume, CONFIG.model_copy(update={"num_batches": 9}), NUM_PARAMETERS)
    assert line.startswith(f"metrics {str(folder.metrics_path)!r}: ")
    assert line.endswith("; start anew in another folder")
    assert contents(folder) == before
    return line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "got 0 complete rows, expected 2"),
        (b"iteration,loss", "got 0 complete rows, expected 2"),
        (b"iteration,loss\n0,0.5\n", "got 1 complete rows, expected 2"),
        (b"iteration,loss\n0,0.5\n1,0.5", "got 1 complete rows, expected 2"),
        (b"iteration,loss\n0,0.5\n1\n2,0.5\n", "row 2: got 1 columns, expected 2"),
        (b"iteration,loss\n0,0.5,7\n1,0.5\n", "row 1: got 3 columns, expected 2"),
        (b"iteration,loss\n\n1,0.5\n", "row 1: got b'', expected columns of text"),
        (b"\n\n\n", "header: got b'', expected columns of text"),
        (b"iteration,loss\n0,\xff\n1,0.5\n", r"row 1: got b'0,\xff', expected columns of text"),
        (b'iteration,loss\n0,"0.5\n1,0.5\n', "row 1: got b'0,\"0.5', expected columns of text"),
        (b"iteration,loss\n0,0.5\r1,0.5\n1,0.5\n", r"row 1: got b'0,0.5\r1,0.5', expected columns of text"),
    ],
)
def test_metrics_without_a_whole_row_for_each_iteration_are_refused(folder, content, words):
    assert words in refused_metrics(folder, content)


def test_missing_metrics_are_refused(folder):
    folder.metrics_path.unlink()
    assert "cannot read it (No such file or directory)" in refusal(folder.resume, CONFIG, NUM_PARAMETERS)
    assert not folder.metrics_path.exists()


@pytest.mark.parametrize("rest", [b"", b"2,0.5\n", b"2,0.", b"2,\xff", b"torn\n", b"2,0.5\n3"])
def test_whatever_follows_the_last_iteration_s_row_is_dropped(folder, rest):
    whole = b"iteration,loss\n0,0.5\n1,\xc3\xbc\n"
    folder.metrics_path.write_bytes(whole + rest)
    assert folder.resume(CONFIG, NUM_PARAMETERS).iteration == 2
    assert folder.metrics_path.read_bytes() == whole


@pytest.mark.parametrize("torn", [b"", b"iterat", b"iteration,loss\n0,\xff"])
def test_without_a_checkpoint_the_metrics_begin_anew(folder, torn):
    folder.checkpoint_path.unlink()
    folder.metrics_path.write_bytes(torn)
    assert folder.resume(CONFIG, NUM_PARAMETERS) is None
    save(folder)
    assert folder.metrics_path.read_bytes() == b"iteration,loss\n0,0.5\n"


@pytest.mark.parametrize(("key", "value"), [("num_batches", 9), ("worker_timeout", 7.5)])
def test_the_configuration_in_the_folder_is_the_one_that_ran_last(folder, key, value):
    changed = CONFIG.model_copy(update={key: value})
    folder.resume(changed, NUM_PARAMETERS)
    assert load_config(folder.config_path) == changed
    anew = RunFolder(folder.path.parent / "anew")
    anew.create(changed)
    assert folder.config_path.read_bytes() == anew.config_path.read_bytes()
    assert not list(folder.path.glob(".*"))


def test_a_run_is_trained_by_one_process_at_a_time(folder):
    other = RunFolder(folder.path)
    rows = folder.metrics_path.read_bytes()
    with folder.claimed():
        with pytest.raises(RunFolderError, match=r"another process is training the run in '.*run'; wait for its end"):
            train(draw_up(CONFIG), num_workers=1, folder=other, resume=True)
        assert folder.metrics_path.read_bytes() == rows
    with other.claimed():  # given back
        pass
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "checkpoint.pt",
        "config.json",
        "metrics.csv",
        "policy.th",
    ]


def test_a_refused_resumption_leaves_the_configuration(folder):
    before = contents(folder)
    assert "seed is 9" in refusal(
        folder.resume, CONFIG.model_copy(update={"seed": 9, "num_batches": 9}), NUM_PARAMETERS
    )
    assert contents(folder) == before


@contextmanager
def full_disk():
    """No file can grow beyond some bytes: the metrics fit, policy and checkpoint do not.

    No fixture, which would also hold while pytest itself writes, to a log file for instance.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_operating_system_s_error_and_loses_nothing(folder):
    folder.resume(CONFIG, NUM_PARAMETERS)
    before = contents(folder)
    with full_disk(), pytest.raises(OSError, match="File too large"):
        save(folder, 3)
    after = contents(folder)
    assert after.pop("metrics.csv") == before.pop("metrics.csv") + b"2,0.5\n"
    assert after == before
    assert folder.resume(CONFIG, NUM_PARAMETERS).iteration == 2


@pytest.mark.parametrize("name", ["config.json", "metrics.csv", "policy.th", "checkpoint.pt"])
def test_a_folder_in_place_of_a_file_is_refused(folder, tmp_path, name):
    (folder.path / name).unlink()
    (folder.path / name).mkdir()
    (tmp_path / "new" / name).mkdir(parents=True)
    for call in (
        lambda: folder.resume(CONFIG, NUM_PARAMETERS),
        lambda: RunFolder(tmp_path / "new").create(CONFIG),
    ):
        line = refusal(call)
        assert line.startswith("output folder: ")
        assert f"{name}' is a folder, expected a file" in line
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


@pytest.mark.parametrize("path", ["x" * 300, "x/" * 3000, "f/x"], ids=["long name", "long path", "below a file"])
def test_a_folder_that_cannot_be_made_is_refused(tmp_path, path):
    (tmp_path / "f").touch()
    line = refusal(RunFolder(tmp_path / path).create, CONFIG)
    assert line.startswith("output folder: cannot write ")
    assert line.endswith("; choose another folder")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert refusal(RunFolder(tmp_path / path).resume, CONFIG, NUM_PARAMETERS)


@pytest.mark.parametrize("name", ["metrics.csv", "policy.th"])
def test_a_run_never_begins_beside_the_files_of_another(folder, name):
    for path in folder.path.iterdir():
        if path.name != name:
            path.unlink()
    before = contents(folder)
    assert f"holds {name} of another run" in refusal(folder.create, CONFIG)
    assert contents(folder) == before


def named(folder, length):
    """A path whose last name has this many characters; 255 is the most."""
    return folder / ("x" * (length - 4) + ".npz")


@pytest.mark.parametrize("length", [5, 250])
def test_an_output_file_that_passes_the_check_can_be_written(tmp_path, length):
    path = check_writable(named(tmp_path, length), flag="--output", endings=(".npz",))
    assert not list(tmp_path.iterdir())
    write_atomically(path, lambda file: file.write_bytes(b"later"))
    assert path.read_bytes() == b"later"


@pytest.mark.parametrize("length", [251, 255, 256])
def test_an_output_file_whose_name_is_too_long_is_refused_at_once(tmp_path, length):
    with pytest.raises(InputError, match=r"^--output: cannot write .*; choose another place$"):
        check_writable(named(tmp_path, length), flag="--output", endings=(".npz",))
