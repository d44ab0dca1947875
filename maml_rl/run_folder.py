"""The folder of a run: configuration, metrics, policy and checkpoint, never half-written."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from maml_rl.checkpoint import Checkpoint, RunFormat, first_difference, load_checkpoint, save_checkpoint
from maml_rl.config import Config, load_config
from maml_rl.metalearners import Report
from maml_rl.utils.field_words import shown
from maml_rl.utils.files import check_name, naming, write_atomically
from maml_rl.utils.tensor_files import RunFolderError, load_policy, load_tensors, save_tensors

__all__ = ["Checkpoint", "RunFolder", "RunFolderError", "load_policy", "load_tensors"]

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_START_ANEW = "start anew in another folder"
_LATER_COLUMNS = frozenset({"workers_replaced"})
"""Columns that runs of earlier versions lack; resumed, these go on without them."""
_UNTIL_THE_LAST = "schedules end in the last iteration"
_FIRST_COLUMNS = ("iteration", "env_steps", "seconds")


def metrics_columns(details: Sequence[str]) -> list[str]:
    """Columns of ``metrics.csv`` of a learner whose reports have these details, in order."""
    return [*_FIRST_COLUMNS, *Report.names(details), *sorted(_LATER_COLUMNS)]


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
        self._digest: Any = None  # SHA-256 of the metrics so far, once some were written

    def check_new(self) -> None:
        """Refuse a folder in which no run can be started.

        Raises
        ------
        RunFolderError
            If the folder holds a run already, or is not a folder.
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

    def create(self, config: Config) -> None:
        """Make the folder and write ``config.json``.

        Raises
        ------
        RunFolderError
            If no run can be started in it, see `check_new`, or it cannot be written.
        """
        self.check_new()
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

    def num_shards(self, config: Config) -> int | None:
        """Number of shards of the folder's run, which its resumption keeps; that of `config` if none is recorded.

        Raises
        ------
        RunFolderError
            If there is no run here, or `config` names another number.
        """
        self._check_there()
        ours = config.run.num_shards
        theirs = load_config(self.config_path, allowed=config.run.allow_module, quiet=True).run.num_shards
        if None not in (ours, theirs) and ours != theirs:
            raise RunFolderError(
                f"--resume: num-shards is {ours}, but the run in {str(self.path)!r} has {theirs}; leave it out: "
                "workers serve as many shards as fall to them"
            )
        return ours if theirs is None else theirs

    def _check_there(self) -> list[Path]:
        """Files of the folder's run; it has at least a configuration."""
        found = self._files()
        if self.config_path not in found:
            raise RunFolderError(
                f"--resume: found no config.json in {str(self.path)!r}; leave --resume out to start a run there"
            )
        return found

    def resume(self, config: Config, expected: RunFormat) -> Checkpoint | None:
        """Check that the folder's run is the one `config` describes and return where it stands.

        Metrics of iterations after the checkpoint are dropped, and ``config.json`` becomes `config`, with the recorded
        number of shards where it names none. ``None`` if no iteration was finished.

        Parameters
        ----------
        config
            Of the run.
        expected
            What its files hold.

        Raises
        ------
        RunFolderError
            If there is no run here, or another one, or its files are damaged; nothing has changed then.
        """
        found = self._check_there()
        before = load_config(self.config_path, allowed=config.run.allow_module, quiet=True)
        if config.run.num_shards is None:
            config = config.replace(num_shards=before.run.num_shards)
        mine, theirs = config.to_json_dict(), before.to_json_dict()
        key = first_difference(config, before)
        if key is not None:
            why = f" ({_UNTIL_THE_LAST})" if key == "num-batches" else ""
            raise RunFolderError(
                f"--resume: {key} is {mine[key]!r}, but the run in {str(self.path)!r} has {theirs.get(key)!r}{why}; "
                "use the same configuration and seed or another folder"
            )
        checkpoint = self.load_checkpoint(config, expected) if self.checkpoint_path in found else None
        if checkpoint is not None and checkpoint.dtype != expected.dtype:
            raise RunFolderError(
                f"--resume: dtype is {expected.dtype!r}, but the run in {str(self.path)!r} has {checkpoint.dtype!r}; "
                f"give --dtype {checkpoint.dtype}, or use another folder"
            )
        rows = self._rows_of(checkpoint.iteration if checkpoint else 0, metrics_columns(expected.details))
        if checkpoint is not None and checkpoint.metrics not in ("", hashlib.sha256(rows).hexdigest()):
            raise RunFolderError(
                f"metrics {str(self.metrics_path)!r}: got other numbers than those of the checkpoint, expected the "
                f"file as it was written; bring back a copy or {_START_ANEW}"
            )
        # All is checked; only now may anything change.
        write_atomically(self.metrics_path, lambda file: file.write_bytes(rows))
        if mine != theirs:
            self._write_config(config)
        return checkpoint

    def load_checkpoint(self, config: Config, expected: RunFormat) -> Checkpoint:
        """See `maml_rl.checkpoint.load_checkpoint`."""
        return load_checkpoint(self.checkpoint_path, config, expected)

    def save(
        self, config: Config, checkpoint: Checkpoint, state_dict: Mapping[str, Tensor], row: Mapping[str, Any]
    ) -> None:
        """Append a row of metrics of the run of `config`, then replace policy and checkpoint, each in one motion.

        Killed at any moment in between, the folder still holds the previous checkpoint, and `resume`
        drops the row.

        Parameters
        ----------
        config, checkpoint
            Of the run, and its state after this iteration.
        state_dict
            Parameters of the policy by name, of any shape (), (N,), (M, N) ....
        row
            Entries of ``metrics.csv`` by column.
        """
        metrics = self._append_metrics(row)
        save_tensors(self.policy_path, dict(state_dict))
        save_checkpoint(self.checkpoint_path, dataclasses.replace(checkpoint, metrics=metrics), config)

    def _files(self) -> list[Path]:
        """Those of the run's files that exist; none of them is a folder."""
        check_name(self.path, flag="output folder")
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

    def _append_metrics(self, row: Mapping[str, Any]) -> str:
        """Append a row; return the SHA-256 of the file as it is then."""
        columns = list(row)
        is_new = not self.metrics_path.exists() or self.metrics_path.stat().st_size == 0
        if not is_new:
            with self.metrics_path.open(encoding="utf-8") as file:
                header = file.readline().rstrip("\n").split(",")
            self._check_columns(header, columns)
            columns = header
        if is_new or self._digest is None:
            self._digest = hashlib.sha256(b"" if is_new else self.metrics_path.read_bytes())
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n", extrasaction="ignore")
        if is_new:
            writer.writeheader()
        writer.writerow(row)
        written = text.getvalue().encode("utf-8")
        with naming(self.metrics_path), self.metrics_path.open("ab") as file:
            file.write(written)
        self._digest.update(written)
        return str(self._digest.hexdigest())

    def _check_columns(self, header: Sequence[str], columns: Sequence[str]) -> None:
        """Refuse a header under which rows of these columns cannot stand."""
        if list(header) != [name for name in columns if name in header or name not in _LATER_COLUMNS]:
            other = sorted(set(header) ^ set(columns)) or header
            raise RunFolderError(
                f"metrics {str(self.metrics_path)!r}: got columns of another version, which differ in "
                f"{', '.join(other)}; {_START_ANEW}"
            )

    def _rows_of(self, num_iterations: int, columns: Sequence[str]) -> bytes:
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
        header = _entries(lines[0], where=f"{where}: header")
        self._check_columns(header, columns)
        for number, line in enumerate(lines[1:], start=1):
            _check_row(line, header, number - 1, where=f"{where}: row {number}")
        return b"\n".join([*lines, b""])


def _entries(line: bytes, *, where: str) -> list[str]:
    """Entries of a line of CSV, at least one."""
    try:
        entries = [] if b"\0" in line else next(csv.reader([line.decode("utf-8")], strict=True))
    except (UnicodeDecodeError, csv.Error):
        entries = []
    if not entries:
        raise RunFolderError(f"{where}: got {shown(line)}, expected columns of text; {_START_ANEW}")
    return entries


def _check_row(line: bytes, header: Sequence[str], iteration: int, *, where: str) -> None:
    """Refuse a row that does not hold the numbers of this iteration."""
    row = _entries(line, where=where)
    if len(row) != len(header):
        raise RunFolderError(f"{where}: got {len(row)} columns, expected {len(header)}; {_START_ANEW}")
    for name, text in zip(header, row, strict=True):
        try:
            number = float(text)  # NaN and infinity are numbers here: the step was refused
        except ValueError:
            raise RunFolderError(f"{where}: {name}: got {shown(text)}, expected a number; {_START_ANEW}") from None
        if name == "iteration" and number != iteration:
            raise RunFolderError(f"{where}: iteration: got {shown(text)}, expected {iteration}; {_START_ANEW}")
