"""Archive of a study: configurations, metrics and evaluations of all its runs in one small file.

``results/STUDY/scores.npz`` is read by `numpy.load` without unpickling anything. Its keys, for every run and seed:

- ``RUN/seed-N/config``: the text of ``config.json``;
- ``RUN/seed-N/metrics/columns`` and ``values``: names of the columns of ``metrics.csv``, joined by commas, and their
  numbers (C, I), all but whole ones to seven digits; in archives of earlier versions ``RUN/seed-N/metrics/COLUMN``
  (I,), which packing again joins;
- ``RUN/seed-N/FILE/ARRAY``: an array of the evaluation ``FILE.npz``, such as ``results`` or ``random``, without
  ``train_returns`` and ``valid_returns``, which are rows of ``returns``, with ``tasks`` to seven digits, and with means
  over the episodes of a task in place of ``returns`` where no display reads more; or of the analysis of one, which has
  a ``digest`` of it.

Every key ends in ``/DTYPE``, the type the array had; it is stored in the smallest type that holds all its values. An
array of numbers that the file holds under another key already, such as the tasks of an evaluation that a control has
too, is that key in place of numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maml_rl.config import ConfigError
from maml_rl.studies.run_files import has_metrics, read_arrays, read_metrics, to_seven_digits
from maml_rl.utils.files import write_arrays

ARCHIVE = "scores.npz"
_LEFT_OUT = frozenset({"train_returns", "valid_returns"})
TRIALS = frozenset({"observations", "actions", "rewards", "mask"})
"""Arrays of an evaluation with a number for every step."""
EPISODES = frozenset({"returns"})
"""Arrays of an evaluation with a number for every episode of a task, of which all tables but displays' read means."""
_SMALL_TYPES = (np.int8, np.int16, np.int32, np.float32)
DIGEST = "digest"
"""Array of an analysis: the name of the evaluation that it is of."""
_COLUMNS, _VALUES, _TASKS = "columns", "values", "tasks"
_CURE = "restore it, or move it away and run the study anew"
_WORTH_NAMING = 2000
"""Bytes from which an array that is there already is named and not stored again."""


def holds_run(folder: Path) -> bool:
    """True if a folder holds a run's rows of metrics, or a run that was begun and is not in the archive.

    Of any other run is read what its archive holds.
    """
    return has_metrics(folder / "metrics.csv") or (
        (folder / "config.json").exists() and archived_config(folder) is None
    )


def pack(folder: Path, needed_of: Callable[[Path], frozenset[str]] = lambda run: TRIALS | EPISODES) -> Path:
    """Write the archive of the study in `folder` from its runs' folders; return its path.

    Runs without a folder stay as they stand in the archive that there is. Of observations, actions, rewards, mask and
    single returns those are kept that `needed_of` names for a run's folder: nothing in its reports reads the others.

    Raises
    ------
    ConfigError
        In one line, if there is nothing to pack, a file cannot be read, or a folder holds less of its run than the
        archive does.
    """
    path = folder / ARCHIVE
    runs = [run for run in sorted(folder.glob("*/seed-*")) if holds_run(run)]
    fresh = {_name(run): dict(_arrays_of(run, needed_of(run))) for run in runs}
    for run in runs:
        _check_not_less(run, fresh[_name(run)])
    before = read_arrays(path, "archive", _CURE) or {}
    kept = {key: array for key, array in _kept(folder, before, needed_of) if "/".join(key.split("/")[:2]) not in fresh}
    packed = kept | {f"{name}/{key}": array for name, arrays in fresh.items() for key, array in arrays.items()}
    if not packed:
        raise ConfigError(f"pack: got no runs in {str(folder)!r}, expected folders RUN/seed-N; run the study first")
    write_arrays(path, dict(_each_once(packed)), smallest=True)
    return path


def _check_not_less(folder: Path, fresh: Mapping[str, np.ndarray]) -> None:
    """Refuse a run of which the archive has iterations or evaluations that its folder, of `fresh` arrays, has not."""
    now, then = (len(read_metrics(folder / "metrics.csv")), len(next(iter(archived_metrics(folder).values()), ())))
    returns = {key.rpartition("/returns/")[0] for key in fresh if "/returns/" in key}
    lost = [part for part in _archived_evaluations(folder) if part not in returns]
    if now < then or lost:
        got = f"{now} iterations" if now < then else f"no evaluation {lost[0]!r}"
        raise ConfigError(
            f"{str(folder)!r}: got {got} of a run of which {ARCHIVE} has {then if now < then else 'it'}; finish the "
            "run, or move its folder away"
        )


def _archived_evaluations(folder: Path) -> list[str]:
    """Names of the evaluations in the archive of the run that had this folder."""
    path, start = folder.parents[1] / ARCHIVE, f"{_name(folder)}/"

    def returns(keys: Iterable[str]) -> list[str]:
        return [key for key in keys if key.startswith(start) and "/returns/" in key]

    found = read_arrays(path, "archive", _CURE, returns) or {}
    return sorted(key[len(start) :].partition("/")[0] for key in found)


def _each_once(arrays: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Keys in order and their arrays, large ones once: elsewhere the key of the first that is the same, bit by bit."""
    firsts: dict[tuple[Any, ...], str] = {}
    for key, array in sorted(arrays.items()):
        if array.dtype.kind not in "biuf" or array.nbytes < _WORTH_NAMING:
            yield key, array
            continue
        first = firsts.setdefault((array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).digest()), key)
        yield key, array if first == key else np.array(first)


def _is_name(key: str, array: np.ndarray) -> bool:
    """True if what stands under a key is the name of another one."""
    return array.dtype.kind == "U" and not key.endswith("/str")


def archived_config(folder: Path) -> str | None:
    """Text of ``config.json`` of the run that had this folder; ``None`` if it was not archived."""
    found = _read(folder, "config")
    if not found:
        return None
    if set(found) != {""}:
        raise _torn(folder, "config")
    return str(found[""])


def archived_metrics(folder: Path) -> dict[str, np.ndarray]:
    """Columns of ``metrics.csv``, (I,) each, of the run that had this folder; none if it was not archived."""
    found = _read(folder, "metrics")
    if _COLUMNS not in found:
        return found
    names, values = str(found[_COLUMNS]).split(","), found.get(_VALUES, np.empty(0))
    if values.ndim != 2 or len(names) != len(values):
        raise _torn(folder, "metrics")
    return dict(zip(names, values, strict=True))


def archived_evaluation(path: Path) -> dict[str, np.ndarray] | None:
    """Arrays of the evaluation that was the file `path` of a run's folder; ``None`` if it was not archived."""
    found = _read(path.parent, path.stem)
    if found and DIGEST not in found and ("returns" not in found or found["returns"].ndim != 3):
        raise _torn(path.parent, path.stem)
    return found or None


def _arrays_of(folder: Path, needed: frozenset[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Everything the archive keeps of a run, by what follows the run's name in its keys."""
    config = folder / "config.json"
    if config.exists():
        yield _entry("config", np.array(config.read_text(encoding="utf-8")))
    rows = read_metrics(folder / "metrics.csv")
    if rows:
        yield from _metrics_entries({column: np.array([row[column] for row in rows]) for column in rows[0]})
    for path in sorted(folder.glob("*.npz")):
        arrays = read_arrays(path, "evaluation", "remove it, and the study evaluates again") or {}
        if "returns" in arrays or DIGEST in arrays:
            left_out = _LEFT_OUT | (TRIALS - needed) if "returns" in arrays else frozenset()
            for name in sorted(arrays.keys() - left_out):
                yield _entry(f"{path.stem}/{name}", _shortened(name, arrays[name], needed))


def _shortened(name: str, array: np.ndarray, needed: frozenset[str]) -> np.ndarray:
    """The `array` (...) of an evaluation under a name, without what its reports do not read."""
    if name in EPISODES - needed and array.ndim == 3:
        return means_over_episodes(array)
    return to_seven_digits(array) if name == _TASKS and array.dtype == np.float64 else array


def _metrics_entries(columns: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Names and numbers of `columns` (I,) each: a file with a part for each of them would be half as large again."""
    yield _entry(f"metrics/{_COLUMNS}", np.array(",".join(columns)))
    yield _entry(
        f"metrics/{_VALUES}", to_seven_digits(np.stack([column.astype(np.float64) for column in columns.values()]))
    )


def means_over_episodes(returns: np.ndarray) -> np.ndarray:
    """Means (S, N, 1) of `returns` (S, N, B), as tables compute them."""
    return returns.mean(axis=-1, dtype=np.float64, keepdims=True)


def _kept(
    folder: Path, before: Mapping[str, np.ndarray], needed_of: Callable[[Path], frozenset[str]]
) -> Iterator[tuple[str, np.ndarray]]:
    """Keys of an archive and their arrays, none of them a name, with means where no more is needed."""
    metrics: dict[str, dict[str, np.ndarray]] = {}
    for key, array in before.items():
        array = before[str(array)] if _is_name(key, array) else array
        run, seed, part, name, dtype = (*key.split("/"), "")[:5]
        if part == "metrics" and name not in (_COLUMNS, _VALUES):
            metrics.setdefault(f"{run}/{seed}", {})[name] = array
        elif (part, name) == ("metrics", _VALUES):
            yield _entry(key.removesuffix(f"/{dtype}"), to_seven_digits(array.astype(dtype)))
        elif name in EPISODES | {_TASKS}:
            needed = needed_of(folder / run / seed)
            yield _entry(key.removesuffix(f"/{dtype}"), _shortened(name, array.astype(dtype), needed))
        else:
            yield key, array
    for run, columns in metrics.items():
        yield from ((f"{run}/{key}", array) for key, array in _metrics_entries(columns))


def _entry(key: str, array: np.ndarray) -> tuple[str, np.ndarray]:
    """Key with the type of the array, and the array in the smallest type that holds each of its values, bit by bit."""
    name = f"{key}/{array.dtype.name if array.dtype.kind in 'biuf' else 'str'}"
    if array.dtype.kind not in "iuf":
        return name, array
    whole = array.tobytes()
    for dtype in _SMALL_TYPES:
        with np.errstate(invalid="ignore", over="ignore"):
            smaller = array.astype(dtype)
        if smaller.itemsize < array.itemsize and smaller.astype(array.dtype).tobytes() == whole:
            return name, smaller
    return name, array


def _read(folder: Path, part: str) -> dict[str, np.ndarray]:
    """Arrays of a part of a run, as they were, by what follows the part in their keys."""
    path, start = folder.parents[1] / ARCHIVE, f"{_name(folder)}/{part}/"
    found = read_arrays(path, "archive", _CURE, lambda keys: [key for key in keys if key.startswith(start)])
    arrays = {}
    names = {str(array) for key, array in (found or {}).items() if _is_name(key, array)}
    elsewhere = read_arrays(path, "archive", _CURE, lambda keys: names) if names else None
    try:
        for key, array in (found or {}).items():
            if _is_name(key, array):
                array = (elsewhere or {})[str(array)]
            name, _, dtype = key[len(start) :].rpartition("/")
            arrays[name] = array if dtype == "str" else array.astype(dtype, copy=False)
    except (TypeError, ValueError) as error:
        raise _torn(folder, part) from error
    return arrays


def _torn(folder: Path, part: str) -> ConfigError:
    """The error of an archive whose part of a run cannot be read."""
    path = folder.parents[1] / ARCHIVE
    return ConfigError(f"{str(path)!r}: got no whole {part!r} of {_name(folder)!r}; {_CURE}")


def _name(folder: Path) -> str:
    """Name of a run and its seed in the archive: the last two parts of its folder."""
    return f"{folder.parent.name}/{folder.name}"
