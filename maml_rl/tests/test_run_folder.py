"""A run folder gives back what was saved, or refuses it in one line and leaves every file as it is."""

from __future__ import annotations

import json
import math
import resource
import warnings
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from maml_rl.algorithms import make_algorithm
from maml_rl.checkpoint import RunFormat, _checksum
from maml_rl.config import load_config
from maml_rl.experiment import train
from maml_rl.metalearners.learner import StateTensor
from maml_rl.metalearners.optimiser import VectorOptimiser
from maml_rl.metrics_file import MetricsFile, metrics_columns
from maml_rl.run_folder import Checkpoint, RunFolder, RunFolderError, load_policy
from maml_rl.tests.builders import tiny_config, without_metrics
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import check_writable, write_atomically

CONFIG = tiny_config("Bandit-K5-v0")
NUM_PARAMETERS = 3
LIKE = {"w": torch.zeros(NUM_PARAMETERS)}
FORMAT = RunFormat((1, NUM_PARAMETERS), {}, ("loss",), "float32")
NUM_COLUMNS = len(metrics_columns(FORMAT.details))
HEADER = ",".join(metrics_columns(FORMAT.details)).encode()


def row_of(iteration, loss=0.5):
    """A row of metrics of one iteration."""
    return {**dict.fromkeys(metrics_columns(FORMAT.details), 0), "iteration": iteration, "loss": loss}


def line_of(iteration, loss="0.5"):
    """The line that `row_of` becomes."""
    return ",".join(str(value) for value in row_of(iteration, loss).values()).encode()


def with_optimiser(name):
    """Format of a run whose learner has this optimiser."""
    return replace(FORMAT, state=VectorOptimiser(name, np.zeros(NUM_PARAMETERS)).state_layout())


def save(folder, iteration=1):
    """Save one more iteration."""
    values = np.arange(NUM_PARAMETERS, dtype=np.float64)
    state = Checkpoint(iteration, values[np.newaxis], 40 * iteration, 1.5 * iteration)
    folder.save(CONFIG, state, {"w": torch.from_numpy(values).float()}, row_of(iteration - 1))


@pytest.fixture
def folder(tmp_path):
    """A run of two iterations and a row of a third, which no checkpoint knows."""
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    save(folder, 1)
    save(folder, 2)
    folder.metrics.append(row_of(2))
    return folder


def write(path, content):
    """Save as torch.save does, without its warnings about what it will no longer write."""
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
    checkpoint = folder.resume(CONFIG, FORMAT)
    assert (checkpoint.iteration, checkpoint.env_steps, checkpoint.seconds, checkpoint.refused_in_row) == (
        2,
        80,
        3.0,
        0,
    )
    np.testing.assert_array_equal(checkpoint.parameters, [[0.0, 1.0, 2.0]])
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
    line = refusal(folder.resume, CONFIG.replace(num_batches=9), FORMAT)
    assert line.startswith(f"checkpoint {str(folder.checkpoint_path)!r}: ")
    assert line.endswith(" start anew in another folder")
    assert contents(folder) == before
    return line


NUMBERS = torch.tensor([1.0, 2.0, 3.0])
# What is found where three plain finite numbers belong, and what is said about it.
BAD_TENSORS = {
    "sparse": (lambda numbers: numbers.to_sparse(), "torch.sparse_coo"),
    "quantised": (lambda numbers: torch.quantize_per_tensor(numbers, 0.1, 0, torch.quint8), "torch.quint8"),
    "meta": (lambda numbers: numbers.to("meta"), "meta"),
    "complex": (lambda numbers: numbers.to(torch.complex64), "torch.complex64"),
    "whole": (lambda numbers: numbers.long(), "torch.int64"),
    "requires_grad": (lambda numbers: numbers.clone().requires_grad_(), "requires_grad"),
    "Parameter": (lambda numbers: nn.Parameter(numbers, requires_grad=False), "a Parameter"),
    "NaN": (lambda numbers: numbers * math.nan, "NaN or infinity"),
    "infinite": (lambda numbers: numbers * -math.inf, "NaN or infinity"),
    "too large": (lambda numbers: numbers.double() * 1e300, "too large for torch.float32"),
    "too many": (lambda numbers: torch.zeros(4), "(4,), expected {shape}"),
    "a column": (lambda numbers: torch.zeros(3, 1), "(3, 1), expected {shape}"),
    "a number": (lambda numbers: torch.tensor(1.0), "(), expected {shape}"),
    "a list": (lambda numbers: [1.0, 2.0, 3.0], "a list, expected {shape}"),
    "nothing": (lambda numbers: None, "nothing, expected {shape}"),
}


@pytest.fixture(params=BAD_TENSORS)
def bad_tensor(request):
    """Make one of `BAD_TENSORS` in place of good numbers; returns it and what is said about it."""
    make, words = BAD_TENSORS[request.param]

    def made(numbers):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch is about to drop quantised tensors
            return make(numbers), words.format(shape=tuple(numbers.shape))

    return made


def test_parameters_are_plain_finite_numbers(folder, bad_tensor):
    value, words = bad_tensor(NUMBERS[None])
    line = refused_checkpoint(folder, "parameters", value)
    assert "parameters " in line
    assert words in line


def test_policies_hold_plain_finite_numbers(tmp_path, bad_tensor):
    value, words = bad_tensor(NUMBERS)
    write(tmp_path / "policy.th", {"w": value})
    line = refusal(load_policy, tmp_path / "policy.th", LIKE)
    assert line.startswith(f"policy {str(tmp_path / 'policy.th')!r}: w ")
    assert words in line


def test_a_flipped_bit_of_a_policy_s_numbers_is_refused(folder):
    content = bytearray(folder.policy_path.read_bytes())
    content[content.index(np.arange(NUM_PARAMETERS, dtype=np.float32).tobytes()) + 5] ^= 1
    folder.policy_path.write_bytes(content)
    line = refusal(load_policy, folder.policy_path, LIKE)
    assert line.startswith(f"cannot load {str(folder.policy_path)!r}: not a file of tensors, or damaged")


def test_a_checkpoint_without_its_metrics_is_refused(folder):
    assert "metrics: got nothing, expected text" in refused_checkpoint(folder, "metrics", None)


def test_a_checkpoint_of_another_format_or_with_more_in_it_is_refused(folder):
    assert "unexpected field 'more'" in refused_checkpoint(folder, "more", 1)
    assert "format: got 5, expected a whole number from 1 to 4" in refused_checkpoint(folder, "format", 5)
    assert "unexpected field 'metrics'" in refused_checkpoint(folder, "format", 3)


def former_format(folder):
    """The checkpoint as the first versions wrote it: flat, without configuration and checksum."""
    content = torch.load(folder.checkpoint_path, weights_only=True)
    kept = {name: value for name, value in content.items() if name not in ("config", "checksum", "dtype", "metrics")}
    return {**kept, "parameters": content["parameters"].flatten(), "format": 1}


def former_format_with_seal(folder):
    """The checkpoint as versions wrote it whose configurations held the keys of all algorithms and policies."""
    content = torch.load(folder.checkpoint_path, weights_only=True)
    content = {name: value for name, value in content.items() if name not in ("checksum", "metrics")}
    former = {**json.loads(content["config"]), "num-agents": 1, "memory-slots": 16, "value-weight": 0.5}
    content |= {"parameters": content["parameters"].flatten(), "format": 2, "config": json.dumps(former)}
    return {**content, "checksum": _checksum(content)}


@pytest.mark.parametrize("written_before", [former_format, former_format_with_seal])
def test_a_checkpoint_of_a_former_format_is_resumed(folder, written_before, capfd):
    expected = folder.resume(CONFIG, FORMAT)
    torch.save(written_before(folder), folder.checkpoint_path)
    checkpoint = folder.resume(CONFIG, FORMAT)
    np.testing.assert_equal({**vars(checkpoint), "metrics": expected.metrics}, vars(expected))
    assert capfd.readouterr().err == ""


def test_metrics_that_were_changed_afterwards_are_noticed(folder):
    other = b"\n".join([HEADER, line_of(0, "0.6"), line_of(1), b""])
    folder.metrics_path.write_bytes(other)
    line = refusal(folder.resume, CONFIG, FORMAT)
    assert "got other numbers than those of the checkpoint, expected the file as it was written; bring back" in line
    assert folder.metrics_path.read_bytes() == other
    without_metrics(folder.checkpoint_path)
    assert folder.resume(CONFIG, FORMAT).iteration == 2


@pytest.mark.parametrize("written_before", [former_format, former_format_with_seal])
def test_the_flat_checkpoint_of_a_population_is_resumed_with_an_agent_s_numbers_together(tmp_path, written_before):
    moments = {"step": torch.tensor([4.0, 5.0]).double(), "exp_avg": torch.arange(6.0).double().reshape(2, 3)}
    expected = RunFormat((2, 3), {"step": StateTensor((2,), 0.0), "exp_avg": StateTensor((2, 3))}, ("loss",), "float32")
    folder = RunFolder(tmp_path / "population")
    folder.create(CONFIG)
    folder.save(CONFIG, Checkpoint(1, np.arange(6.0).reshape(2, 3), state=moments), LIKE, row_of(0))
    content = written_before(folder)
    content["optimiser"] = {name: value.flatten() for name, value in moments.items()}
    if "checksum" in content:
        content["checksum"] = _checksum({name: value for name, value in content.items() if name != "checksum"})
    torch.save(content, folder.checkpoint_path)
    checkpoint = folder.resume(CONFIG, expected)
    assert checkpoint is not None
    np.testing.assert_array_equal(checkpoint.parameters, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], strict=True)
    for name, value in moments.items():
        torch.testing.assert_close(checkpoint.state[name], value, rtol=0, atol=0)


def test_a_flipped_bit_of_a_checkpoint_is_noticed_or_changes_nothing(folder):
    expected = vars(folder.load_checkpoint(CONFIG, FORMAT))
    content = folder.checkpoint_path.read_bytes()
    lines = []
    for place in range(0, len(content), 11):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        folder.checkpoint_path.write_bytes(flipped)
        try:
            np.testing.assert_equal(vars(folder.load_checkpoint(CONFIG, FORMAT)), expected)
        except RunFolderError as error:
            lines.append(str(error))
    assert lines
    assert not any("\n" in line for line in lines)


def test_changed_numbers_in_a_checkpoint_that_is_in_order_otherwise_are_refused(folder):
    content = torch.load(folder.checkpoint_path, weights_only=True)
    parameters = content["parameters"].clone()
    parameters.view(torch.int64)[0, 1] ^= 1  # the last bit
    for name, value in {
        "parameters": parameters,
        "env_steps": 81,
        "seconds": 3.5,
        "config": content["config"].replace('"seed": 3', '"seed": 4'),
        "checksum": "0" * 64,
    }.items():
        torch.save(content, folder.checkpoint_path)
        assert "checksum: got " in refused_checkpoint(folder, name, value)
    assert "checksum: got nothing, expected text" in refused_checkpoint(folder, "checksum", None)


@pytest.mark.parametrize(("key", "value"), [("seed", 4), ("gamma", 0.5)])
def test_the_checkpoint_of_another_run_is_refused(folder, key, value):
    other = RunFolder(folder.path.parent / "other")
    config = CONFIG.replace(**{key: value})
    other.create(config)
    other.save(config, Checkpoint(2, np.zeros((1, NUM_PARAMETERS))), LIKE, row_of(0))
    folder.checkpoint_path.write_bytes(other.checkpoint_path.read_bytes())
    before = contents(folder)
    line = refusal(folder.resume, CONFIG, FORMAT)
    mine = getattr(CONFIG, key)
    assert f"got the checkpoint of another run, whose {key} is {value!r}, expected {mine!r}; " in line
    assert contents(folder) == before


ADAM = {"step": torch.tensor(4.0).double(), "exp_avg": NUMBERS.double(), "exp_avg_sq": NUMBERS.double()}
RMSPROP = {"step": torch.tensor(4.0).double(), "square_avg": NUMBERS.double()}


@pytest.mark.parametrize(("optimiser", "state"), [("adam", ADAM), ("rmsprop", RMSPROP)])
def test_what_the_optimiser_remembers_comes_back(tmp_path, optimiser, state):
    config = CONFIG.replace(algorithm="rl2", policy="rnn", optimiser=optimiser)
    folder = RunFolder(tmp_path / "rl2")
    folder.create(config)
    folder.save(config, Checkpoint(1, np.zeros((1, 3)), state=state), LIKE, row_of(0))
    checkpoint = folder.resume(config, with_optimiser(optimiser))
    assert checkpoint is not None
    assert {name: value.tolist() for name, value in checkpoint.state.items()} == {
        name: value.tolist() for name, value in state.items()
    }


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({**ADAM, "step": torch.ones(3)}, "'step' is (3,), expected ()"),
        ({**ADAM, "step": torch.tensor(-1.0)}, "'step' holds numbers < 0"),
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
    config = CONFIG.replace(algorithm="rl2", policy="rnn", learning_rate_end=None)
    folder = RunFolder(tmp_path / "rl2")
    folder.create(config)
    folder.save(config, Checkpoint(1, np.zeros((1, 3)), state=ADAM), LIKE, row_of(0))
    content = torch.load(folder.checkpoint_path, weights_only=True)
    write(folder.checkpoint_path, {**content, "optimiser": state})
    before = contents(folder)
    line = refusal(folder.resume, config.replace(num_batches=9), with_optimiser("adam"))
    assert words in line
    assert contents(folder) == before


def test_without_an_optimiser_nothing_is_remembered(folder):
    assert "optimiser: 'exp_avg': unexpected" in refused_checkpoint(folder, "optimiser", {"exp_avg": NUMBERS.double()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_parameters_of_any_precision_are_read(folder, dtype):
    content = former_format(folder)
    torch.save({**content, "parameters": torch.tensor([0.5, 1.0, 2.0], dtype=dtype)}, folder.checkpoint_path)
    parameters = folder.load_checkpoint(CONFIG, FORMAT).parameters
    assert parameters.dtype == np.float64
    assert parameters.tolist() == [[0.5, 1.0, 2.0]]


def test_the_reason_why_a_file_cannot_be_loaded_is_in_our_words(folder):
    folder.checkpoint_path.write_bytes(b"\x80\x02garbage")
    line = refusal(folder.resume, CONFIG, FORMAT)
    assert line.startswith(f"cannot load {str(folder.checkpoint_path)!r}: not a file of tensors, or damaged")
    assert "weights_only" not in line


def refused_metrics(folder, content):
    """The line that refuses to resume with this metrics.csv; nothing has changed."""
    folder.metrics_path.write_bytes(content)
    before = contents(folder)
    line = refusal(folder.resume, CONFIG.replace(num_batches=9), FORMAT)
    assert line.startswith(f"metrics {str(folder.metrics_path)!r}: ")
    assert line.endswith("; start anew in another folder")
    assert contents(folder) == before
    return line


ROWS = b"\n".join([HEADER, line_of(0), line_of(1), b""])
"""Metrics of two iterations."""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "got 0 complete rows, expected 2"),
        (HEADER, "got 0 complete rows, expected 2"),
        (HEADER + b"\n" + line_of(0) + b"\n", "got 1 complete rows, expected 2"),
        (ROWS[:-1], "got 1 complete rows, expected 2"),
        (b"\n".join([HEADER, line_of(0), b"1", line_of(2), b""]), f"row 2: got 1 columns, expected {NUM_COLUMNS}"),
        (
            b"\n".join([HEADER, line_of(0) + b",7", line_of(1), b""]),
            f"row 1: got {NUM_COLUMNS + 1} columns, expected {NUM_COLUMNS}",
        ),
        (b"\n".join([HEADER, b"", line_of(1), b""]), "row 1: got b'', expected columns of text"),
        (b"\n\n\n", "header: got b'', expected columns of text"),
        (b"\n".join([HEADER, b"0,\xff", line_of(1), b""]), r"row 1: got b'0,\xff', expected columns of text"),
        (b"\n".join([HEADER, b"0,0\x00.5", line_of(1), b""]), r"row 1: got b'0,0\x00.5', expected columns of text"),
        (b"\n".join([HEADER, line_of(0), line_of(1, "0.z"), b""]), "row 2: loss: got '0.z', expected a number"),
        (b"\n".join([HEADER, line_of(0), line_of(1, ""), b""]), "row 2: loss: got '', expected a number"),
        (b"\n".join([HEADER, line_of(0), line_of(3), b""]), "row 2: iteration: got '3', expected 1"),
        (b"\n".join([HEADER, line_of(0), line_of(0), line_of(1), b""]), "row 2: iteration: got '0', expected 1"),
        (b"\n".join([HEADER, b'0,"0.5', line_of(1), b""]), "row 1: got b'0,\"0.5', expected columns of text"),
        (b"\n".join([HEADER, b"0,0.5\r1,0.5", line_of(1), b""]), r"row 1: got b'0,0.5\r1,0.5', expected columns"),
    ],
)
def test_metrics_without_a_whole_row_for_each_iteration_are_refused(folder, content, words):
    assert words in refused_metrics(folder, content)


@pytest.mark.parametrize("details", [("kl",), ("loss", "kl"), ("kl", "loss"), ()])
def test_metrics_with_other_columns_are_refused_before_anything_changes(folder, details):
    before = contents(folder)
    line = refusal(folder.resume, CONFIG.replace(num_batches=9), replace(FORMAT, details=details))
    assert "metrics.csv': got columns of another version, which differ in " in line
    assert contents(folder) == before


def test_metrics_whose_columns_stand_in_another_order_are_refused_before_anything_changes(folder):
    first, second, rest = HEADER.split(b",", 2)
    folder.metrics_path.write_bytes(ROWS.replace(HEADER, b",".join([second, first, rest])))
    before = contents(folder)
    assert "got columns of another version" in refusal(folder.resume, CONFIG.replace(num_batches=9), FORMAT)
    assert contents(folder) == before


def test_a_run_that_began_before_a_column_was_added_goes_on_without_it(folder):
    former = ROWS.replace(b",workers_replaced", b"").replace(b",0\n", b"\n")
    assert former.count(b",") == 3 * (NUM_COLUMNS - 2)
    folder.metrics_path.write_bytes(former)
    without_metrics(folder.checkpoint_path)
    folder.resume(CONFIG, FORMAT)
    folder.metrics.append({**row_of(2, 0.25), "workers_replaced": 1})
    assert folder.metrics_path.read_bytes() == former + line_of(2, "0.25").rpartition(b",")[0] + b"\n"


def test_a_column_that_promp_had_not_may_be_missing_between_others(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("iteration,clipped,inner_kl\n0,0.5,0.25\n")
    MetricsFile(path).append({"iteration": 1, "clipped": 0.5, "entropy": 1.5, "inner_kl": 0.125})
    assert path.read_text().splitlines()[-1] == "1,0.5,0.125"
    with pytest.raises(RunFolderError, match="columns of another version, which differ in other"):
        MetricsFile(path).append({"iteration": 2, "clipped": 0.5, "other": 1.5, "inner_kl": 0.125})


def test_missing_metrics_are_refused(folder):
    folder.metrics_path.unlink()
    assert "cannot read it (No such file or directory)" in refusal(folder.resume, CONFIG, FORMAT)
    assert not folder.metrics_path.exists()


@pytest.mark.parametrize("rest", [b"", b"2,0.5\n", b"2,0.", b"2,\xff", b"torn\n", b"2,0.5\n3"])
def test_whatever_follows_the_last_iteration_s_row_is_dropped(folder, rest):
    whole = b"\n".join([HEADER, line_of(0), line_of(1), b""])
    folder.metrics_path.write_bytes(whole + rest)
    assert folder.resume(CONFIG, FORMAT).iteration == 2
    assert folder.metrics_path.read_bytes() == whole


@pytest.mark.parametrize("torn", [b"", b"iterat", b"iteration,loss\n0,\xff"])
def test_without_a_checkpoint_the_metrics_begin_anew(folder, torn):
    folder.checkpoint_path.unlink()
    folder.metrics_path.write_bytes(torn)
    assert folder.resume(CONFIG, FORMAT) is None
    save(folder)
    assert folder.metrics_path.read_bytes() == HEADER + b"\n" + line_of(0) + b"\n"


@pytest.mark.parametrize(("key", "value"), [("num_batches", 9), ("worker_timeout", 7.5)])
def test_the_configuration_in_the_folder_is_the_one_that_ran_last(folder, key, value):
    changed = CONFIG.replace(**{key: value})
    folder.resume(changed, FORMAT)
    assert load_config(folder.config_path) == changed
    anew = RunFolder(folder.path.parent / "anew")
    anew.create(changed)
    assert folder.config_path.read_bytes() == anew.config_path.read_bytes()
    assert not list(folder.path.glob(".*"))


def test_whoever_resumes_a_run_keeps_its_number_of_shards(folder):
    folder.resume(CONFIG.replace(num_shards=3), FORMAT)
    folder.resume(CONFIG, FORMAT)
    assert load_config(folder.config_path).run.num_shards == 3


def test_a_run_is_trained_by_one_process_at_a_time(folder):
    other = RunFolder(folder.path)
    rows = folder.metrics_path.read_bytes()
    with folder.claimed():
        with pytest.raises(RunFolderError, match=r"another process is training the run in '.*run'; wait for its end"):
            train(make_algorithm(CONFIG), num_workers=1, folder=other, resume=True)
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
    assert "seed is 9" in refusal(folder.resume, CONFIG.replace(seed=9, num_batches=9), FORMAT)
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
    folder.resume(CONFIG, FORMAT)
    before = contents(folder)
    with full_disk(), pytest.raises(OSError, match="File too large"):
        save(folder, 3)
    after = contents(folder)
    assert after.pop("metrics.csv") == before.pop("metrics.csv") + line_of(2) + b"\n"
    assert after == before
    assert folder.resume(CONFIG, FORMAT).iteration == 2


@pytest.mark.parametrize("name", ["config.json", "metrics.csv", "policy.th", "checkpoint.pt"])
def test_a_folder_in_place_of_a_file_is_refused(folder, tmp_path, name):
    (folder.path / name).unlink()
    (folder.path / name).mkdir()
    (tmp_path / "new" / name).mkdir(parents=True)
    for call in (
        lambda: folder.resume(CONFIG, FORMAT),
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
    assert refusal(RunFolder(tmp_path / path).resume, CONFIG, FORMAT)


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


def test_a_run_without_its_checkpoint_is_not_begun_again_over_its_metrics(folder):
    folder.checkpoint_path.unlink()
    before = folder.metrics.path.read_bytes()
    with pytest.raises(RunFolderError, match=r"found metrics of 3 iterations in .*, but no checkpoint.pt; start anew"):
        folder.resume(CONFIG, FORMAT)
    assert folder.metrics.path.read_bytes() == before


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.create(CONFIG)
    folder.metrics.append(row_of(0))
    assert folder.resume(CONFIG, FORMAT) is None
    assert folder.metrics.num_rows() == 0
