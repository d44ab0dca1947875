"""The folder of a run: configuration, metrics, policy and checkpoint, never half-written."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maml_rl.config import Config, load_config
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import write_atomically

# Keys that may differ between a run and its resumption: they do not change the curve.
_RESUMABLE_KEYS = frozenset({"num-batches", "worker-timeout"})
_CHECKPOINT_FORMAT = 1


class RunFolderError(InputError):
    """A run folder that cannot be used; the message is one line: field, got, expected, cure."""


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
    """

    iteration: int
    parameters: np.ndarray
    env_steps: int = 0
    seconds: float = 0.0
    refused_in_row: int = 0


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
        if self.config_path.exists() or self.checkpoint_path.exists():
            raise RunFolderError(
                f"output folder: {str(self.path)!r} holds another run; add --resume to continue it "
                "or choose another folder"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            text = json.dumps(config.to_json_dict(), indent=2) + "\n"
            write_atomically(self.config_path, lambda f: f.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise RunFolderError(
                f"output folder: cannot write {str(self.path)!r} ({error.strerror}); choose another folder"
            ) from error

    def resume(self, config: Config, num_parameters: int) -> Checkpoint | None:
        """Check that the folder's run is the one `config` describes and return where it stands.

        Metrics of iterations after the checkpoint are dropped. ``None`` if no iteration was finished.

        Raises
        ------
        RunFolderError
            If there is no run here, or another one, or its files are damaged.
        """
        if not self.config_path.exists():
            raise RunFolderError(
                f"--resume: found no config.json in {str(self.path)!r}; leave --resume out to start a run there"
            )
        mine, theirs = config.to_json_dict(), load_config(self.config_path).to_json_dict()
        for key in sorted(mine.keys() - _RESUMABLE_KEYS):
            if mine[key] != theirs[key]:
                raise RunFolderError(
                    f"--resume: {key} is {mine[key]!r}, but the run in {str(self.path)!r} has {theirs[key]!r}; "
                    "use the same configuration and seed or another folder"
                )
        if not self.checkpoint_path.exists():
            self._truncate_metrics(0)
            return None
        checkpoint = self.load_checkpoint(num_parameters)
        self._truncate_metrics(checkpoint.iteration)
        return checkpoint

    def load_checkpoint(self, num_parameters: int) -> Checkpoint:
        """Read ``checkpoint.pt``; nothing in it is ever executed.

        Raises
        ------
        RunFolderError
            If the file is damaged or of another kind or size.
        """
        content = load_tensors(self.checkpoint_path)
        try:
            if content["format"] != _CHECKPOINT_FORMAT:
                raise KeyError
            parameters = content["parameters"].numpy()
            checkpoint = Checkpoint(
                int(content["iteration"]),
                parameters,
                int(content["env_steps"]),
                float(content["seconds"]),
                int(content["refused_in_row"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise RunFolderError(f"checkpoint: {str(self.checkpoint_path)!r} is not a checkpoint of maml_rl") from error
        if parameters.shape != (num_parameters,):
            raise RunFolderError(
                f"checkpoint: {str(self.checkpoint_path)!r} holds {parameters.size} parameters, expected "
                f"{num_parameters}; hidden-sizes or environment differ"
            )
        return checkpoint

    def save(self, checkpoint: Checkpoint, state_dict: Mapping[str, Tensor], row: Mapping[str, Any]) -> None:
        """Append a row of metrics, then replace policy and checkpoint, each in one motion.

        Killed at any moment in between, the folder still holds the previous checkpoint, and `resume`
        drops the row.
        """
        self._append_metrics(row)
        write_atomically(self.policy_path, lambda file: torch.save(dict(state_dict), file))
        content = {
            "format": _CHECKPOINT_FORMAT,
            "iteration": checkpoint.iteration,
            "parameters": torch.from_numpy(checkpoint.parameters),
            "env_steps": checkpoint.env_steps,
            "seconds": checkpoint.seconds,
            "refused_in_row": checkpoint.refused_in_row,
        }
        write_atomically(self.checkpoint_path, lambda file: torch.save(content, file))

    def _append_metrics(self, row: Mapping[str, Any]) -> None:
        is_new = not self.metrics_path.exists() or self.metrics_path.stat().st_size == 0
        with self.metrics_path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row), lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def _truncate_metrics(self, num_iterations: int) -> None:
        if not self.metrics_path.exists():
            return
        lines = self.metrics_path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = "".join(lines[: num_iterations + 1]) if num_iterations else ""  # even the header may be torn
        write_atomically(self.metrics_path, lambda file: file.write_text(kept, encoding="utf-8"))


def load_tensors(path: str | Path) -> dict[str, Any]:
    """Load a file written by `torch.save` without executing anything in it.

    Raises
    ------
    RunFolderError
        If the file is missing, damaged, or holds more than tensors and numbers.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunFolderError(f"no such file: {str(path)!r}") from None
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RunFolderError(
            f"cannot load {str(path)!r}: not a file of tensors, or damaged ({reason[:120]}); nothing was executed"
        ) from error
    if not isinstance(content, dict):
        raise RunFolderError(f"cannot load {str(path)!r}: got {type(content).__name__}, expected named tensors")
    return content


def load_policy(path: str | Path, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load a ``policy.th`` whose names and shapes are those of `like`.

    Raises
    ------
    RunFolderError
        If it cannot be loaded or belongs to another policy.
    """
    content = load_tensors(path)
    for name, value in like.items():
        found = content.get(name)
        if not isinstance(found, Tensor) or found.shape != value.shape:
            got = tuple(found.shape) if isinstance(found, Tensor) else "nothing"
            raise RunFolderError(
                f"policy {str(path)!r}: {name} is {got}, expected {tuple(value.shape)}; "
                "was it trained with another configuration?"
            )
    extra = sorted(content.keys() - like.keys(), key=str)
    if extra:
        raise RunFolderError(
            f"policy {str(path)!r}: unexpected parameter {extra[0]!r}; was it trained with another configuration?"
        )
    if not all(bool(value.isfinite().all()) for value in content.values()):
        raise RunFolderError(f"policy {str(path)!r}: holds NaN or infinity; use an earlier file")
    return {name: content[name].to(value.dtype) for name, value in like.items()}
