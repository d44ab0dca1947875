"""The folder of a run: configuration, metrics, policy and checkpoint, never half-written."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maml_rl.config import Config, load_config
from maml_rl.policies import DTYPES
from maml_rl.utils.field_words import shown
from maml_rl.utils.files import write_atomically
from maml_rl.utils.tensor_files import (
    RunFolderError,
    check_tensor,
    in_words,
    load_policy,
    load_tensors,
    save_tensors,
)

__all__ = ["Checkpoint", "RunFolder", "RunFolderError", "load_policy", "load_tensors"]

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_CHECKPOINT_FORMAT = 1
_WHOLE_NUMBERS = ("format", "iteration", "env_steps", "refused_in_row")
_START_ANEW = "start anew in another folder"
_UNTIL_THE_LAST = "learning-rate-end and entropy-weight-end are reached in the last iteration"
# What torch's optimisers remember, and whether it is one number; the rest has the shape of the parameters.
_OPTIMISER_STATE = {
    "adam": {"step": True, "exp_avg": False, "exp_avg_sq": False},
    "rmsprop": {"step": True, "square_avg": False},
}


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands; with the configuration, all that its future depends on.

    Attributes
    ----------
    iteration
        Iterations done.
    parameters
        Meta-parameters (P,) float64.
    env_steps, seconds
        Environment steps and wall-clock seconds so far.
    refused_in_row
        Latest iterations in a row whose step was refused because of NaN or infinity.
    optimiser
        What the outer step's optimiser remembers, numbers or vectors (P,) by name.
    dtype
        Float type the run is computed in.
    """

    iteration: int
    parameters: np.ndarray
    env_steps: int = 0
    seconds: float = 0.0
    refused_in_row: int = 0
    optimiser: Mapping[str, Tensor] = field(default_factory=dict)
    dtype: str = "float32"


class RunFolder:
    """Reads and writes the files of one run.

    Parameters
    ----------
    path
        The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.metrics_path = self.path / "metrics.csv"
        self.policy_path = self.path / "policy.th"
        self.checkpoint_path = self.path / "checkpoint.pt"

    def create(self, config: Config) -> None:
        """Make the folder and write ``config.json``.

        Raises
        ------
        RunFolderError
            If the folder holds a run already, is not a folder or cannot be written.
        """
        found = self._files()
        if self.config_path in found or self.checkpoint_path in found:
            raise RunFolderError(
                f"output folder: {str(self.path)!r} holds another run; add --resume to continue it "
                "or choose another folder"
            )
        if found:
            raise RunFolderError(
                f"output folder: {str(self.path)!r} holds {found[0].name} of another run; choose another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write_config(config)
        except OSError as error:
            raise self._unusable(error) from error

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Keep other processes from training the same run, until the end of this one or of the block.

        Where the system has no locks on folders nothing is kept.

        Raises
        ------
        RunFolderError
            If another process trains it now.
        """
        if fcntl is None or not self.path.is_dir():
            yield
            return
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunFolderError(
                    f"output folder: another process is training the run in {str(self.path)!r}; "
                    "wait for its end or choose another folder"
                ) from error
            except OSError:  # some network file systems have none
                pass
            yield
        finally:
            os.close(handle)

    def resume(self, config: Config, num_parameters: int, dtype: str = "float32") -> Checkpoint | None:
        """Check that the folder's run is the one `config` describes, computed in `dtype`, and return where it stands.

        Metrics of iterations after the checkpoint are dropped, and ``config.json`` becomes `config`. ``None``
        if no iteration was finished.

        Raises
        ------
        RunFolderError
            If there is no run here, or another one, or its files are damaged.
        """
        found = self._files()
        if self.config_path not in found:
            raise RunFolderError(
                f"--resume: found no config.json in {str(self.path)!r}; leave --resume out to start a run there"
            )
        mine, theirs = config.to_json_dict(), load_config(self.config_path).to_json_dict()
        for key in sorted(mine.keys() - config.changeable_keys()):
            if mine[key] != theirs[key]:
                why = f" ({_UNTIL_THE_LAST})" if key == "num-batches" else ""
                raise RunFolderError(
                    f"--resume: {key} is {mine[key]!r}, but the run in {str(self.path)!r} has {theirs[key]!r}{why}; "
                    "use the same configuration and seed or another folder"
                )
        checkpoint = self.load_checkpoint(num_parameters, config) if self.checkpoint_path in found else None
        if checkpoint is not None and checkpoint.dtype != dtype:
            raise RunFolderError(
                f"--resume: dtype is {dtype!r}, but the run in {str(self.path)!r} has {checkpoint.dtype!r}; "
                f"give --dtype {checkpoint.dtype}, or use another folder"
            )
        rows = self._rows_of(checkpoint.iteration if checkpoint else 0)
        # All is checked; only now may anything change.
        write_atomically(self.metrics_path, lambda file: file.write_bytes(rows))
        if mine != theirs:
            self._write_config(config)
        return checkpoint

    def load_checkpoint(self, num_parameters: int, config: Config) -> Checkpoint:
        """Read the ``checkpoint.pt`` of a run of `config`; nothing in it is ever executed.

        Raises
        ------
        RunFolderError
            If the file is damaged or of another kind or size.
        """
        content = load_tensors(self.checkpoint_path)
        where = f"checkpoint {str(self.checkpoint_path)!r}"
        _check_checkpoint(content, num_parameters, where=where)
        _check_optimiser(content, num_parameters, config, where=where)
        return Checkpoint(
            content["iteration"],
            content["parameters"].to(torch.float64).numpy(),
            content["env_steps"],
            content["seconds"],
            content["refused_in_row"],
            content.get("optimiser", {}),
            content.get("dtype", "float32"),
        )

    def save(self, checkpoint: Checkpoint, state_dict: Mapping[str, Tensor], row: Mapping[str, Any]) -> None:
        """Append a row of metrics, then replace policy and checkpoint, each in one motion.

        Killed at any moment in between, the folder still holds the previous checkpoint, and `resume`
        drops the row.
        """
        self._append_metrics(row)
        save_tensors(self.policy_path, dict(state_dict))
        content = {
            "format": _CHECKPOINT_FORMAT,
            "iteration": checkpoint.iteration,
            "parameters": torch.from_numpy(checkpoint.parameters),
            "env_steps": checkpoint.env_steps,
            "seconds": checkpoint.seconds,
            "refused_in_row": checkpoint.refused_in_row,
            "optimiser": dict(checkpoint.optimiser),
        }
        if checkpoint.dtype != "float32":
            content["dtype"] = checkpoint.dtype
        save_tensors(self.checkpoint_path, content)

    def _files(self) -> list[Path]:
        """Those of the run's files that exist; none of them is a folder."""
        try:
            paths = (self.config_path, self.checkpoint_path, self.metrics_path, self.policy_path)
            found = [path for path in paths if path.exists()]
        except OSError as error:
            raise self._unusable(error) from error
        for path in found:
            if path.is_dir():
                raise RunFolderError(
                    f"output folder: {str(path)!r} is a folder, expected a file; choose another output folder"
                )
        return found

    def _unusable(self, error: OSError) -> RunFolderError:
        return RunFolderError(
            f"output folder: cannot write {str(self.path)!r} ({error.strerror}); choose another folder"
        )

    def _write_config(self, config: Config) -> None:
        text = json.dumps(config.to_json_dict(), indent=2) + "\n"
        write_atomically(self.config_path, lambda file: file.write_text(text, encoding="utf-8"))

    def _append_metrics(self, row: Mapping[str, Any]) -> None:
        is_new = not self.metrics_path.exists() or self.metrics_path.stat().st_size == 0
        if not is_new:
            with self.metrics_path.open(encoding="utf-8") as file:
                header = file.readline().rstrip("\n").split(",")
            if header != list(row):
                other = sorted(set(header) ^ set(row)) or header
                raise RunFolderError(
                    f"metrics {str(self.metrics_path)!r}: got columns of another version, which differ in "
                    f"{', '.join(other)}; {_START_ANEW}"
                )
        with self.metrics_path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def _rows_of(self, num_iterations: int) -> bytes:
        """Header and first rows of the metrics, each checked; what follows may be torn, and so may a lone header."""
        if num_iterations == 0:
            return b""
        where = f"metrics {str(self.metrics_path)!r}"
        try:
            lines = self.metrics_path.read_bytes().split(b"\n")[:-1]
        except OSError as error:
            raise RunFolderError(f"{where}: cannot read it ({error.strerror}); {_START_ANEW}") from error
        if len(lines) <= num_iterations:
            found = max(len(lines) - 1, 0)
            raise RunFolderError(f"{where}: got {found} complete rows, expected {num_iterations}; {_START_ANEW}")
        lines = lines[: num_iterations + 1]
        num_columns = _num_columns(lines[0], where=f"{where}: header")
        for number, line in enumerate(lines):
            found = _num_columns(line, where=f"{where}: row {number}")
            if found != num_columns:
                raise RunFolderError(
                    f"{where}: row {number}: got {found} columns, expected {num_columns}; {_START_ANEW}"
                )
        return b"\n".join([*lines, b""])


def _num_columns(line: bytes, *, where: str) -> int:
    """Number of columns of a line of CSV, at least one."""
    try:
        columns = next(csv.reader([line.decode("utf-8")], strict=True))
    except (UnicodeDecodeError, csv.Error):
        columns = []
    if not columns:
        raise RunFolderError(f"{where}: got {shown(line)}, expected columns of text; {_START_ANEW}")
    return len(columns)


def _check_checkpoint(content: Mapping[str, Any], num_parameters: int, *, where: str) -> None:
    """Refuse a checkpoint whose fields are not exactly those that `RunFolder.save` writes."""
    for name in _WHOLE_NUMBERS:
        value = content.get(name)
        if type(value) is not int or value < 0:
            raise RunFolderError(f"{where}: {name}: got {in_words(value)}, expected a whole number >= 0; {_START_ANEW}")
    version, seconds = content["format"], content.get("seconds")
    if version != _CHECKPOINT_FORMAT:
        raise RunFolderError(f"{where}: format: got {version}, expected {_CHECKPOINT_FORMAT}; {_START_ANEW}")
    if type(seconds) is not float or not (math.isfinite(seconds) and seconds >= 0.0):
        raise RunFolderError(f"{where}: seconds: got {in_words(seconds)}, expected a finite number >= 0; {_START_ANEW}")
    for name in content:
        if name not in {*_WHOLE_NUMBERS, "seconds", "parameters", "optimiser", "dtype"}:
            raise RunFolderError(f"{where}: unexpected field {in_words(name)}; {_START_ANEW}")
    name = content.get("dtype", "float32")  # earlier versions knew no other
    if not isinstance(name, str) or name not in DTYPES:
        raise RunFolderError(f"{where}: dtype: got {in_words(name)}, expected one of {list(DTYPES)}; {_START_ANEW}")
    # Policies are made in this type: the parameters must be finite there too.
    check_tensor(
        content.get("parameters"), (num_parameters,), DTYPES[name], field=f"{where}: parameters", cure=_START_ANEW
    )


def _check_optimiser(content: Mapping[str, Any], num_parameters: int, config: Config, *, where: str) -> None:
    """Refuse what the configuration's optimiser cannot go on from."""
    optimiser = content.get("optimiser", {})  # runs of earlier versions have none and need none
    if not isinstance(optimiser, dict):
        raise RunFolderError(f"{where}: optimiser: got {in_words(optimiser)}, expected named tensors; {_START_ANEW}")
    uses_one = config.algorithm == "rl2" and config.outer_step != "trpo"
    never_moved = not optimiser and content["refused_in_row"] == content["iteration"]
    expected = _OPTIMISER_STATE[config.optimiser] if uses_one and not never_moved else {}
    for name in (*expected, *optimiser):
        field = f"{where}: optimiser: {in_words(name)}"
        if name not in expected:
            raise RunFolderError(f"{field}: unexpected; {_START_ANEW}")
        one_number = () if config.num_agents == 1 else (config.num_agents,)
        shape = one_number if expected[name] else (num_parameters,)
        check_tensor(optimiser.get(name), shape, torch.float64, field=field, cure=_START_ANEW)
        least = 1.0 if expected[name] and config.num_agents == 1 else 0.0
        if name != "exp_avg" and not bool((optimiser[name] >= least).all()):
            raise RunFolderError(f"{field} holds numbers < {least:g}; {_START_ANEW}")
