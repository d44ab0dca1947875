"""Checkpoints: where a run stands, in a file that says whose it is and notices damage."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maml_rl.config import Config
from maml_rl.metalearners.learner import StateTensor
from maml_rl.policies import DTYPES
from maml_rl.utils.config_files import ConfigError
from maml_rl.utils.tensor_files import RunFolderError, check_tensor, in_words, load_tensors, save_tensors

_FORMAT = 4
_WITHOUT_SEAL = 1
"""Format of the first versions, which had neither configuration nor checksum: still read."""
_WITHOUT_METRICS = 3
"""Format of versions that did not say what their metrics were: still read."""
_FLAT = (_WITHOUT_SEAL, 2)
"""Formats of versions that wrote a population's parameters as one vector: still read."""
_WHOLE_NUMBERS = ("format", "iteration", "env_steps", "refused_in_row")
_SEAL = ("config", "checksum")
_METRICS = "metrics"
_START_ANEW = "start anew in another folder"


@dataclass(frozen=True)
class RunFormat:
    """Contents of a run's files, which depend on its algorithm.

    Attributes
    ----------
    shape
        Of the meta-parameters, (P, D).
    state
        Tensors of the learner's state.
    details
        Columns of ``metrics.csv`` that are the learner's own.
    dtype
        Float type the run is computed in, one of `maml_rl.policies.DTYPES`.
    """

    shape: tuple[int, ...]
    state: Mapping[str, StateTensor]
    details: tuple[str, ...]
    dtype: str


@dataclass(frozen=True)
class Checkpoint:
    """State of a run; with the configuration, all that its future depends on.

    Attributes
    ----------
    iteration
        Iterations done.
    parameters
        Meta-parameters (P, D) float64.
    env_steps, seconds
        Environment steps and wall-clock seconds so far.
    refused_in_row
        Latest iterations in a row whose step was refused because of NaN or infinity.
    state
        State of the learner, tensors by name.
    dtype
        Float type the run is computed in.
    metrics
        SHA-256 of ``metrics.csv`` up to this iteration; "" if a version wrote it that kept none.
    """

    iteration: int
    parameters: np.ndarray
    env_steps: int = 0
    seconds: float = 0.0
    refused_in_row: int = 0
    state: Mapping[str, Tensor] = field(default_factory=dict)
    dtype: str = "float32"
    metrics: str = ""


def save_checkpoint(path: Path, checkpoint: Checkpoint, config: Config) -> None:
    """Write the ``checkpoint.pt`` of a run of `config` in one motion."""
    content = {
        "format": _FORMAT,
        "iteration": checkpoint.iteration,
        "parameters": torch.from_numpy(checkpoint.parameters),
        "env_steps": checkpoint.env_steps,
        "seconds": checkpoint.seconds,
        "refused_in_row": checkpoint.refused_in_row,
        "optimiser": dict(checkpoint.state),
        "dtype": checkpoint.dtype,
        _METRICS: checkpoint.metrics,
        "config": json.dumps(config.to_json_dict()),
    }
    save_tensors(path, {**content, "checksum": _checksum(content)})


def load_checkpoint(path: Path, config: Config, expected: RunFormat) -> Checkpoint:
    """Read the ``checkpoint.pt`` of a run of `config`; nothing in it is ever executed.

    Raises
    ------
    RunFolderError
        If the file is damaged, of another kind or size, or of another run.
    """
    content = load_tensors(path)
    where = f"checkpoint {str(path)!r}"
    _check_fields(content, expected, where=where)
    state = _checked_state(content, expected, where=where)
    if content["format"] != _WITHOUT_SEAL:
        _check_seal(content, config, where=where)
    return Checkpoint(
        content["iteration"],
        content["parameters"].to(torch.float64).numpy().reshape(expected.shape),
        content["env_steps"],
        content["seconds"],
        content["refused_in_row"],
        state,
        content.get("dtype", "float32"),
        content.get(_METRICS, ""),
    )


def first_difference(mine: Config, theirs: Config) -> str | None:
    """First key, in the order of the alphabet, that makes `theirs` the configuration of another run."""
    ours, others = mine.to_json_dict(), theirs.to_json_dict()
    fixed = sorted(ours.keys() - mine.changeable_keys())
    return next((key for key in fixed if ours[key] != others.get(key)), None)


def _check_seal(content: Mapping[str, Any], config: Config, *, where: str) -> None:
    """Refuse a checkpoint that is not as it was written, or that a run of another configuration wrote."""
    if content["checksum"] != _checksum({k: v for k, v in content.items() if k != "checksum"}):
        raise RunFolderError(
            f"{where}: checksum: got {content['checksum'][:16]!r}, which is not that of the content, expected the file "
            f"as it was written; bring back a copy or {_START_ANEW}"
        )
    try:
        theirs, _ = Config.from_saved(json.loads(content["config"]), source=where)
    except (ConfigError, ValueError, AttributeError, TypeError) as error:
        raise RunFolderError(f"{where}: config: cannot be read ({error}); {_START_ANEW}") from error
    key = first_difference(config, theirs)
    if key is not None:
        ours, others = (one.to_json_dict()[key] for one in (config, theirs))
        raise RunFolderError(
            f"{where}: got the checkpoint of another run, whose {key} is {others!r}, expected {ours!r}; "
            f"bring back this run's own or {_START_ANEW}"
        )


def _checksum(content: Mapping[str, Any]) -> str:
    """SHA-256 of names, kinds and values, down to the last bit; does not depend on the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(content):
        value = content[name]
        if isinstance(value, Mapping):
            entry = _checksum(value).encode()
        elif isinstance(value, Tensor):
            flat = value.contiguous().reshape(-1)
            entry = flat.view(torch.uint8).numpy().tobytes() if len(flat) else b""  # no view of nothing
            entry = f"{value.dtype} {tuple(value.shape)} ".encode() + entry
        else:
            entry = repr(value).encode()
        digest.update(f"{name!r} {type(value).__name__} {len(entry)} ".encode() + entry)
    return digest.hexdigest()


def _check_fields(content: Mapping[str, Any], expected: RunFormat, *, where: str) -> None:
    """Refuse a checkpoint whose fields are not exactly those that `save_checkpoint` writes."""
    for name in _WHOLE_NUMBERS:
        value = content.get(name)
        if type(value) is not int or value < 0:
            raise RunFolderError(f"{where}: {name}: got {in_words(value)}, expected a whole number >= 0; {_START_ANEW}")
    version, seconds = content["format"], content.get("seconds")
    if not 1 <= version <= _FORMAT:
        raise RunFolderError(
            f"{where}: format: got {version}, expected a whole number from 1 to {_FORMAT}; {_START_ANEW}"
        )
    if type(seconds) is not float or not (math.isfinite(seconds) and seconds >= 0.0):
        raise RunFolderError(f"{where}: seconds: got {in_words(seconds)}, expected a finite number >= 0; {_START_ANEW}")
    seal = () if version == _WITHOUT_SEAL else _SEAL if version <= _WITHOUT_METRICS else (*_SEAL, _METRICS)
    for name in seal:
        if not isinstance(content.get(name), str):
            raise RunFolderError(f"{where}: {name}: got {in_words(content.get(name))}, expected text; {_START_ANEW}")
    for name in content:
        if name not in {*_WHOLE_NUMBERS, "seconds", "parameters", "optimiser", "dtype", *seal}:
            raise RunFolderError(f"{where}: unexpected field {in_words(name)}; {_START_ANEW}")
    dtype = content.get("dtype", "float32")  # earlier versions knew no other
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise RunFolderError(f"{where}: dtype: got {in_words(dtype)}, expected one of {list(DTYPES)}; {_START_ANEW}")
    # Policies are made in this type: the parameters must be finite there too.
    shape = _shape(expected.shape, version)
    check_tensor(content.get("parameters"), shape, DTYPES[dtype], field=f"{where}: parameters", cure=_START_ANEW)


def _shape(shape: tuple[int, ...], version: int) -> tuple[int, ...]:
    """Shape in a file of this format: earlier ones had flat vectors."""
    return (math.prod(shape),) if version in _FLAT and shape else shape


def _checked_state(content: Mapping[str, Any], expected: RunFormat, *, where: str) -> dict[str, Tensor]:
    """State of the learner; refuses what it cannot go on from."""
    found = content.get("optimiser", {})  # runs of earlier versions may have none and need none
    if not isinstance(found, dict):
        raise RunFolderError(f"{where}: optimiser: got {in_words(found)}, expected named tensors; {_START_ANEW}")
    if not found and content["refused_in_row"] == content["iteration"]:  # never moved
        return {}
    for name in (*expected.state, *found):
        field = f"{where}: optimiser: {in_words(name)}"
        if name not in expected.state:
            raise RunFolderError(f"{field}: unexpected; {_START_ANEW}")
        one = expected.state[name]
        shape = _shape(one.shape, content["format"])
        check_tensor(found.get(name), shape, torch.float64, field=field, cure=_START_ANEW)
        if not bool((found[name] >= one.least).all()):
            raise RunFolderError(f"{field} holds numbers < {one.least:g}; {_START_ANEW}")
    return {name: found[name].reshape(one.shape) for name, one in expected.state.items()}
