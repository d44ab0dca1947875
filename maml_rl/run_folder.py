"""The folder of a run: configuration, metrics, policy and checkpoint, never half-written."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from maml_rl.checkpoint import Checkpoint, RunFormat, first_difference, load_checkpoint, save_checkpoint
from maml_rl.config import Config, load_config
from maml_rl.metrics_file import MetricsFile, metrics_columns
from maml_rl.utils.files import check_name, write_atomically
from maml_rl.utils.tensor_files import RunFolderError, load_policy, load_tensors, save_tensors

__all__ = ["Checkpoint", "RunFolder", "RunFolderError", "load_policy", "load_tensors"]

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_START_ANEW = "start anew in another folder"
_UNTIL_THE_LAST = "schedules end in the last iteration"


class RunFolder:
    """Reads and writes the files of one run.

    Parameters
    ----------
    path
        The folder.
    json_lines
        Whether metrics stand in ``metrics.jsonl`` too; a run that has the file already goes on with it.
    """

    def __init__(self, path: str | Path, *, json_lines: bool = False) -> None:
        self.path = Path(path)
        self.config_path = self.path / "config.json"
        self.policy_path = self.path / "policy.th"
        self.checkpoint_path = self.path / "checkpoint.pt"
        self.metrics = MetricsFile(self.path / "metrics.csv", json_lines=json_lines)
        self.metrics_path = self.metrics.path

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

    def dtype(self) -> str:
        """Float type of the folder's run, as far as it is recorded; else ``"float32"``."""
        content = load_tensors(self.checkpoint_path) if self.checkpoint_path.is_file() else {}
        return str(content.get("dtype", "float32"))

    def num_shards(self, config: Config) -> int | None:
        """Number of shards of the folder's run, which its resumption keeps; that of `config` if none is recorded.

        Raises
        ------
        RunFolderError
            If there is no run here, or `config` names another number.
        """
        self.check_there()
        ours = config.run.num_shards
        theirs = self._recorded(config).run.num_shards
        if None not in (ours, theirs) and ours != theirs:
            raise RunFolderError(
                f"--resume: num-shards is {ours}, but the run in {str(self.path)!r} has {theirs}; leave it out: "
                "workers serve as many shards as fall to them"
            )
        return ours if theirs is None else theirs

    def check_there(self) -> list[Path]:
        """Files of the folder's run; raises `RunFolderError` if there is none."""
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
        checkpoint, rows = self._checked(config, expected)
        before = self._recorded(config)
        if config.run.num_shards is None:
            config = config.replace(num_shards=before.run.num_shards)
        self.metrics.replace(rows)
        if config.to_json_dict() != before.to_json_dict():
            self._write_config(config)
        return checkpoint

    def standing(self, config: Config, expected: RunFormat) -> Checkpoint | None:
        """State from which `resume` would go on, with its errors; nothing changes."""
        return self._checked(config, expected)[0]

    def _recorded(self, config: Config) -> Config:
        return load_config(self.config_path, allowed=config.run.allow_module, quiet=True)

    def _checked(self, config: Config, expected: RunFormat) -> tuple[Checkpoint | None, bytes]:
        """State of the run, which `config` describes, and the metrics until then."""
        found = self.check_there()
        before = self._recorded(config)
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
        if checkpoint is None and self.metrics.num_rows() > 1:  # the first checkpoint is written after the first row
            raise RunFolderError(
                f"--resume: found metrics of {self.metrics.num_rows()} iterations in {str(self.path)!r}, but no "
                f"{self.checkpoint_path.name}; start anew in another folder"
            )
        done, digest = (checkpoint.iteration, checkpoint.metrics) if checkpoint else (0, "")
        return checkpoint, self.metrics.checked(done, metrics_columns(expected.details), digest=digest)

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
        metrics = self.metrics.append(row)
        save_tensors(self.policy_path, dict(state_dict))
        save_checkpoint(self.checkpoint_path, dataclasses.replace(checkpoint, metrics=metrics), config)

    def _files(self) -> list[Path]:
        """Those of the run's files that exist; none of them is a folder."""
        check_name(self.path, flag="output folder")
        try:
            paths = (self.config_path, self.checkpoint_path, *self.metrics.paths, self.policy_path)
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
