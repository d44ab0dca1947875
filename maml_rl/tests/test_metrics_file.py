"""JSON lines hold the numbers of metrics.csv, row by row, whatever happens in between."""

from __future__ import annotations

import csv
import json
import math

import pytest

from maml_rl.metrics_file import MetricsFile
from maml_rl.utils.tensor_files import RunFolderError

COLUMNS = ["iteration", "return_after", "finite"]
ROWS = [
    {"iteration": 0, "return_after": 0.1 + 0.2, "finite": 1},
    {"iteration": 1, "return_after": math.nan, "finite": 0},
    {"iteration": 2, "return_after": -math.inf, "finite": 0},
    {"iteration": 3, "return_after": 1e-300, "finite": 1},
]


def written(path, rows, **options):
    file = MetricsFile(path / "metrics.csv", **options)
    return file, [file.append(row) for row in rows]


def refuse(name):
    pytest.fail(f"{name} is no JSON")


def check_equal(file):
    """Both files have the same rows; what JSON has no word for is null."""
    with file.path.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    text = file.json_path.read_text(encoding="utf-8")
    parsed = [json.loads(line, parse_constant=refuse) for line in text.splitlines()]
    assert [list(row) for row in parsed] == [list(row) for row in rows]
    for row, other in zip(rows, parsed, strict=True):
        for name, value in row.items():
            assert other[name] == (float(value) if math.isfinite(float(value)) else None)
    return len(rows)


def test_json_lines_hold_the_same_numbers_as_the_csv(tmp_path):
    file, _ = written(tmp_path, ROWS, json_lines=True)
    assert check_equal(file) == 4
    assert isinstance(json.loads(file.json_path.read_text(encoding="utf-8").splitlines()[0])["iteration"], int)


def test_without_the_wish_there_are_none(tmp_path):
    file, _ = written(tmp_path, ROWS)
    assert not file.json_path.exists()


@pytest.mark.parametrize("asked_again", [True, False])
def test_a_resumed_run_cuts_both_files_and_goes_on_with_both(tmp_path, asked_again):
    _, digests = written(tmp_path, ROWS, json_lines=True)
    with (tmp_path / "metrics.jsonl").open("a", encoding="utf-8") as torn:
        torn.write('{"iteration": 4, "ret')
    again = MetricsFile(tmp_path / "metrics.csv", json_lines=asked_again)
    again.replace(again.checked(2, COLUMNS, digest=digests[1]))
    assert check_equal(again) == 2
    assert again.append(ROWS[2]) == digests[2]
    assert check_equal(again) == 3


def test_json_lines_that_are_asked_for_late_begin_with_the_first_row(tmp_path):
    _, digests = written(tmp_path, ROWS)
    late = MetricsFile(tmp_path / "metrics.csv", json_lines=True)
    late.replace(late.checked(3, COLUMNS, digest=digests[2]))
    late.append(ROWS[3])
    assert check_equal(late) == 4


def test_the_last_row_is_that_of_the_checked_file(tmp_path):
    file, _ = written(tmp_path, ROWS[:1])
    assert file.last_row() == ROWS[0]
    assert MetricsFile(tmp_path / "other.csv").last_row() is None
    with pytest.raises(RunFolderError, match="got other numbers than those of the checkpoint"):
        file.checked(1, COLUMNS, digest="0" * 64)
