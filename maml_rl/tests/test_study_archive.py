"""The archive of a study holds what its reports are made of."""

from __future__ import annotations

import contextlib
import functools
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from maml_rl.studies import archive
from maml_rl.studies.archive import (
    ARCHIVE,
    EPISODES,
    TRIALS,
    archived_evaluation,
    means_over_episodes,
    pack,
)
from maml_rl.studies.run_files import to_seven_digits
from maml_rl.studies.tasks import same_tasks
from maml_rl.tests.study_builders import CONFIG, all_runs, run_study, tiny_study
from maml_rl.utils.files import DamagedFileError, read_npz, write_arrays


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Path of a study that was run and packed, every array once."""
    monkeypatch.setattr(archive, "_WORTH_NAMING", 1)
    path = tiny_study(tmp_path)
    path.write_text("test_on: {harder: [env-name=Bandit-K5-v0]}\nrandom_policy: true\n" + path.read_text())
    assert run_study(path) == 0
    assert run_study(path, command="pack") == 0
    return path


def folder_of(study):
    return study.parent / "results" / "tiny"


def forget(study, *names):
    """Remove the folders of these runs."""
    for name in names or ("plain", "slow"):
        shutil.rmtree(folder_of(study) / name)


def short_metrics(run):
    """Metrics as an archive has them: whole numbers, and all others to seven digits."""
    found = run.metrics()
    for column, values in found.items():
        np.testing.assert_allclose(to_seven_digits(values), values, rtol=6e-8)
        np.testing.assert_array_equal(to_seven_digits(values)[values % 1 == 0], values[values % 1 == 0], err_msg=column)
    return {column: to_seven_digits(values) for column, values in found.items()}


def short_tasks(results):
    """An evaluation as an archive has it: tasks to seven digits, which are the same tasks."""
    short = to_seven_digits(results["tasks"])
    np.testing.assert_allclose(short, results["tasks"], rtol=6e-8)
    assert same_tasks(short, results["tasks"])
    return results | {"tasks": short}


def test_numbers_beyond_the_range_of_seven_digits_stay():
    values = np.array([0.1, 1e-50, 3.3e-42, -1e300, np.inf, np.nan, 0.0, 123456789.0, 16777217.5])
    found = to_seven_digits(values)
    np.testing.assert_array_equal(found[1:8], values[1:8])
    assert found[0] == np.float32(0.1)
    assert found[8] == 16777218


def test_a_report_from_the_archive_is_that_from_the_folders_and_shows_the_figures_that_the_study_names(study):
    folder = folder_of(study)
    table, manifest = (folder / "table.md").read_text(), (folder / "manifest.json").read_text()
    figures = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    before: dict[str, Any] = {
        run.title: (short_metrics(run), short_tasks(run.results()), {"random": run.control_returns("random", "harder")})
        for run in all_runs(study)
    }
    forget(study)
    shutil.rmtree(folder / "figures")
    (folder / "table.md").unlink()
    assert run_study(study, command="report") == 0
    assert (folder / "table.md").read_text() == table
    assert (folder / "manifest.json").read_text() == manifest
    assert {path.name: path.read_bytes() for path in (folder / "figures").iterdir()} == figures
    for run in all_runs(study):
        after: Any = (run.metrics(), run.results(), {"random": run.control_returns("random", "harder")})
        for mine, theirs in zip(after, before[run.title], strict=True):
            assert mine.keys() == theirs.keys() - {"train_returns", "valid_returns"}
            for key, values in mine.items():
                assert values.dtype == theirs[key].dtype
                assert values.tobytes() == theirs[key].tobytes()
    study.write_text("figures: [plain]\n" + study.read_text())
    assert run_study(study, command="report") == 0
    shown = (folder / "table.md").read_text()
    assert (
        shown.replace("![plain](figures/plain.png)\n", "").splitlines()[-1].startswith("More figures, of every run: ")
    )
    assert re.findall(r"figures/(.+)\.png", table) == ["plain", "slow"]
    assert re.findall(r"figures/(.+)\.png", shown) == ["plain"]
    assert (folder / "figures/slow.png").exists()


def test_single_returns_become_means_where_no_display_reads_them_in_an_archive_that_had_them_too(study):
    folder, whole = folder_of(study), {run.folder: np.asarray(run.test_returns()) for run in all_runs(study)}
    table = (folder / "table.md").read_text()
    pack(folder, lambda run: TRIALS if run.parent.name == "plain" else TRIALS | EPISODES)
    forget(study)
    for run in all_runs(study):
        mean = means_over_episodes(whole[run.folder])
        np.testing.assert_array_equal(run.test_returns(), mean if run.name == "plain" else whole[run.folder])
    pack(folder, lambda run: TRIALS)
    for run in all_runs(study):
        np.testing.assert_array_equal(run.test_returns(), means_over_episodes(whole[run.folder]))
    assert run_study(study, command="report") == 0
    assert (folder / "table.md").read_text() == table


def test_what_is_archived_is_not_trained_again_and_a_folder_wins_over_the_archive(study, capfd):
    forget(study, "plain")
    capfd.readouterr()
    assert run_study(study) == 0
    assert capfd.readouterr().out.count(f"done, in {ARCHIVE}") == 2
    assert not (folder_of(study) / "plain").exists()
    (folder_of(study) / "slow/seed-1/metrics.csv").write_text("iteration,return_after\n0,7.5\n")
    assert {run.title: run.iterations_done for run in all_runs(study)} == {
        "plain seed 1": CONFIG.num_batches, "plain seed 2": CONFIG.num_batches, "slow seed 1": 1,
    }  # fmt: skip


def test_what_is_there_already_is_named_and_stays_when_the_first_that_had_it_goes(study):
    path = folder_of(study) / ARCHIVE
    with np.load(path) as arrays:
        named = {key: str(arrays[key]) for key in arrays if arrays[key].dtype.kind == "U" and not key.endswith("/str")}
        assert all(arrays[first].dtype.kind != "U" for first in named.values())
    assert any(first.startswith("plain/seed-1/") and key.startswith("slow/seed-1/") for key, first in named.items())
    left_out = {"train_returns", "valid_returns"}
    before = {
        run.title: {key: value for key, value in short_tasks(run.results()).items() if key not in left_out}
        for run in all_runs(study)
    }
    forget(study, "slow")
    for file in (folder_of(study) / "plain/seed-1").glob("*.npz"):  # the first is another run now
        with np.load(file) as arrays:
            changed = {key: arrays[key] + 1 if arrays[key].dtype.kind == "f" else arrays[key] for key in arrays}
        write_arrays(file, changed)
    pack(folder_of(study))
    for run in all_runs(study):
        if run.name == "slow":
            np.testing.assert_equal(run.results(), before[run.title])


def test_an_archive_of_an_earlier_version_is_read_and_packed_as_today(study):
    archive, before = folder_of(study) / ARCHIVE, {run.title: short_metrics(run) for run in all_runs(study)}
    today = archive.read_bytes()
    earlier: dict[str, np.ndarray] = {}
    with np.load(archive) as arrays:
        for key in arrays.files:
            start, _, part = key.partition("/metrics/")
            if part == "columns/str":
                names, values = str(arrays[key]).split(","), arrays[f"{start}/metrics/values/float64"]
                earlier |= {f"{start}/metrics/{name}/float64": row for name, row in zip(names, values, strict=True)}
            elif not part:
                earlier[key] = arrays[key]
    first, second = "plain/seed-1/metrics/env_steps/float64", "plain/seed-2/metrics/env_steps/float64"
    np.testing.assert_array_equal(earlier[first], earlier[second])
    earlier[second] = np.array(first)  # as for long columns that were there already
    write_arrays(archive, earlier)
    forget(study)
    for _ in range(2):
        for run in all_runs(study):
            np.testing.assert_equal(run.metrics(), before[run.title])
        pack(folder_of(study))
    assert archive.read_bytes() == today


def test_packing_again_keeps_runs_that_have_no_folder(study):
    archive = folder_of(study) / ARCHIVE
    with np.load(archive) as arrays:
        keys = arrays.files
    forget(study, "plain")
    pack(folder_of(study))
    with np.load(archive) as arrays:
        assert arrays.files == keys


def test_an_archived_run_of_another_configuration_is_refused(study, capfd):
    forget(study)
    study.write_text(study.read_text().replace("fast-lr=0.01", "fast-lr=0.02"))
    assert run_study(study) == 2
    assert re.search(r"slow seed 1: fast-lr is 0.02 in the study, .*has 0.01; rename the run", capfd.readouterr().err)


def test_scores_without_the_evaluation_asked_for_are_not_overwritten(study, capfd):
    forget(study)
    path = folder_of(study) / ARCHIVE
    with np.load(path) as archive:
        kept = {key: archive[key] for key in archive.files if "/results/" not in key}
    np.savez_compressed(path, **kept)
    before = path.read_bytes()
    capfd.readouterr()
    assert run_study(study) == 2
    assert re.fullmatch(
        rf"error: plain seed 1: {ARCHIVE} of the study holds its scores without weights .*trained anew\n",
        capfd.readouterr().err,
    )
    assert path.read_bytes() == before
    assert not (folder_of(study) / "plain").exists()


def test_a_run_cannot_start_from_an_archived_one(study, capfd):
    forget(study)
    study.write_text(study.read_text() + "  later: {config: tiny.json, seeds: [1], start_from: plain}\n")
    text = study.read_text().replace("tiny.json, seeds: [1], start", f"{study.parent}/tiny.json, seeds: [1], start")
    study.write_text(text)
    assert run_study(study) == 2
    assert re.search(r"later seed 1 starts from 'plain', of which scores.npz .* move that away", capfd.readouterr().err)


def test_nothing_to_pack_and_a_damaged_archive_are_one_line(study, capfd, tmp_path):
    forget(study)
    (folder_of(study) / ARCHIVE).write_bytes(b"no archive")
    assert run_study(study, command="report") == 2
    assert re.search(
        r"scores.npz': got a file that is no archive; restore it, or move it away and run", capfd.readouterr().err
    )
    (folder_of(study) / ARCHIVE).unlink()
    assert run_study(study, command="pack") == 2
    assert re.search(r"pack: got no runs in .*run the study first", capfd.readouterr().err)


@pytest.mark.parametrize(
    "values",
    [
        np.array([0, 1, -1]),
        np.array([0.0, -0.0, np.nan, np.inf]),
        np.array([0.1, 1e300]),
        np.array([2**40, 3]),
        np.array([0.5, 3.0], dtype=np.float32),
        np.array([True, False]),
        np.array(["red", "blue"]),
    ],
)
def test_values_and_types_survive_bit_by_bit(tmp_path, values):
    run = tmp_path / "run" / "seed-1"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    np.savez(run / "results.npz", returns=np.zeros((1, 1, 1)), rewards=values)
    pack(tmp_path)
    found = archived_evaluation(run / "results.npz")
    assert found is not None
    assert found["rewards"].dtype == values.dtype
    assert found["rewards"].tobytes() == values.tobytes()
    with np.load(tmp_path / ARCHIVE) as arrays:
        stored = arrays[f"run/seed-1/results/rewards/{'str' if values.dtype.kind == 'U' else values.dtype.name}"]
    assert stored.nbytes <= values.nbytes


def test_arrays_of_steps_that_nothing_reads_are_left_out(study):
    archive = folder_of(study) / ARCHIVE
    run = folder_of(study) / "plain/seed-1"
    with np.load(run / "results.npz") as results:
        arrays: dict[str, Any] = dict(results)
    names = {"observations", "actions", "rewards", "mask"}
    np.savez(run / "results.npz", **{**arrays, **dict.fromkeys(names, np.ones((2, 3)))})
    for kept in (frozenset[str](), frozenset({"rewards"}), frozenset(names)):
        pack(folder_of(study), functools.partial(_always, kept))
        with np.load(archive) as packed:
            found = {key.split("/")[3] for key in packed.files if key.startswith("plain/seed-1/results/")}
        assert found & names == kept
        assert "returns" in found


def _always(names: frozenset[str], _: Path) -> frozenset[str]:
    return names


@pytest.mark.parametrize("smallest", [False, True])
def test_arrays_are_read_as_they_were_written_however_they_are_compressed(tmp_path, smallest):
    rng = np.random.default_rng(0)
    arrays = {"a/b": rng.normal(size=(3, 4)), "text": np.array("words"), "none": np.empty((0, 2), np.int8)}
    write_arrays(tmp_path / "some.npz", arrays, smallest=smallest)
    with np.load(tmp_path / "some.npz", allow_pickle=False) as found:
        assert set(found.files) == set(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)


def test_a_folder_that_was_hardly_begun_neither_hides_nor_replaces_what_the_archive_has(study, capfd):
    folder = folder_of(study)
    table, packed = (folder / "table.md").read_text(), (folder / ARCHIVE).read_bytes()
    metrics = (folder / "plain/seed-1/metrics.csv").read_text().splitlines(keepends=True)
    forget(study)
    begun = folder / "plain/seed-1"
    begun.mkdir(parents=True)
    (begun / "config.json").write_text("{}")
    assert run_study(study, command="report") == 0
    assert (folder / "table.md").read_text() == table
    (begun / "metrics.csv").write_text("".join(metrics[:-1]))
    assert run_study(study, command="pack") == 2
    rows = CONFIG.num_batches
    assert f"got {rows - 1} iterations of a run of which {ARCHIVE} has {rows}; finish" in capfd.readouterr().err
    (begun / "metrics.csv").write_text("".join(metrics))
    assert run_study(study, command="pack") == 2
    assert "got no evaluation 'random' of a run of which" in capfd.readouterr().err
    assert (folder / ARCHIVE).read_bytes() == packed


PARTS = [
    ("metrics/values/float64", None, "metrics"),
    ("metrics/values/float64", np.zeros((2, 3)), "metrics"),
    ("results/returns/float32", np.zeros(3), "results"),
    ("config/str", None, None),  # of which a report needs nothing
]


def test_an_archive_that_holds_a_run_in_part_costs_one_line(study, capfd):
    path = folder_of(study) / ARCHIVE
    with np.load(path) as arrays:
        whole = {name: arrays[name] for name in arrays.files}
    forget(study)
    for key, value, part in PARTS:
        (name,) = [name for name in whole if name.startswith(f"plain/seed-1/{key.rpartition('/')[0]}/")]
        write_arrays(path, {k: v for k, v in whole.items() if k != name} | ({} if value is None else {name: value}))
        capfd.readouterr()
        code, err = run_study(study, command="report"), capfd.readouterr().err
        assert (code, err.count("\n")) == ((0, 0) if part is None else (2, 1))
        assert part is None or f"got no whole {part!r} of 'plain/seed-1'; restore it" in err


def test_damaged_files_are_no_archives_of_arrays_whatever_bit_has_changed(tmp_path):
    whole = tmp_path / "whole.npz"
    rng = np.random.default_rng(0)
    for smallest in (False, True):
        write_arrays(whole, {"a": np.arange(300.0), "b": np.array("text")}, smallest=smallest)
        data = whole.read_bytes()
        for _ in range(150):
            damaged = bytearray(data)
            for place in rng.integers(0, len(data), 2):
                damaged[place] ^= 1 << int(rng.integers(8))
            (tmp_path / "x.npz").write_bytes(damaged)
            with contextlib.suppress(DamagedFileError):
                read_npz(tmp_path / "x.npz")
    np.save(whole.with_suffix(".npy"), np.zeros(3))
    whole.with_suffix(".npy").rename(whole)
    with pytest.raises(DamagedFileError, match="it is no archive of plain arrays"):
        read_npz(whole)
