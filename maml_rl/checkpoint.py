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
from maml_rl.utils.config_files import ConfigError
from maml_rl.utils.tensor_files import RunFolderError, check_tensor, in_words, load_tensors, save_tensors

_FORMAT = 2
_WITHOUT_SEAL = 1
"""Format of earlier versions, which had neither configuration nor checksum: still read."""
_WHOLE_NUMBERS = ("format", "iteration", "env_steps", "refused_in_row")
_SEAL = ("config", "checksum")
_START_ANEW = "start anew in another folder"
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
    """

    iteration: int
    parameters: np.ndarray
    env_steps: int = 0
    seconds: float = 0.0
    refused_in_row: int = 0
    optimiser: Mapping[str, Tensor] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint, config: Config) -> None:
    """Write the ``checkpoint.pt`` of a run of `config` in one motion."""
    content = {
        "format": _FORMAT,
        "iteration": checkpoint.iteration,
        "parameters": torch.from_numpy(checkpoint.parameters),
        "env_steps": checkpoint.env_steps,
        "seconds": checkpoint.seconds,
        "refused_in_row": checkpoint.refused_in_row,
        "optimiser": dict(checkpoint.optimiser),
        "config": json.dumps(config.to_json_dict()),
    }
    save_tensors(path, {**content, "checksum": _checksum(content)})


def load_checkpoint(path: Path, num_parameters: int, config: Config) -> Checkpoint:
    """Read the ``checkpoint.pt`` of a run of `config`; nothing in it is ever executed.

    Raises
    ------
    RunFolderError
        If the file is damaged, of another kind or size, or of another run.
    """
    content = load_tensors(path)
    where = f"checkpoint {str(path)!r}"
    _check_fields(content, num_parameters, where=where)
    _check_optimiser(content, num_parameters, config, where=where)
    if content["format"] != _WITHOUT_SEAL:
        _check_seal(content, config, where=where)
    return Checkpoint(
        content["iteration"],
        content["parameters"].to(torch.float64).numpy(),
        content["env_steps"],
        content["seconds"],
        content["refused_in_row"],
        content.get("optimiser", {}),
    )


def first_difference(mine: Config, theirs: Config) -> str | None:
    """First key, in the order of the alphabet, that makes `theirs` the configuration of another run."""
    ours, others = mine.to_json_dict(), theirs.to_json_dict()
    fixed = sorted(ours.keys() - mine.changeable_keys())
    return next((key for key in fixed if ours[key] != others[key]), None)


def _check_seal(content: Mapping[str, Any], config: Config, *, where: str) -> None:
    """Refuse a checkpoint that is not as it was written, or that a run of another configuration wrote."""
    if content["checksum"] != _checksum({k: v for k, v in content.items() if k != "checksum"}):
        raise RunFolderError(
            f"{where}: checksum: got {content['checksum'][:16]!r}, which is not that of the content, expected the file "
            f"as it was written; bring back a copy or {_START_ANEW}"
        )
    try:
        theirs = Config.from_mapping(json.loads(content["config"]), source=where)
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
            entry = value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            entry = f"{value.dtype} {tuple(value.shape)} ".encode() + entry
        else:
            entry = repr(value).encode()
        digest.update(f"{name!r} {type(value).__name__} {len(entry)} ".encode() + entry)
    return digest.hexdigest()


def _check_fields(content: Mapping[str, Any], num_parameters: int, *, where: str) -> None:
    """Refuse a checkpoint whose fields are not exactly those that `save_checkpoint` writes."""
    for name in _WHOLE_NUMBERS:
        value = content.get(name)
        if type(value) is not int or value < 0:
            raise RunFolderError(f"{where}: {name}: got {in_words(value)}, expected a whole number >= 0; {_START_ANEW}")
    version, seconds = content["format"], content.get("seconds")
    if version not in (_WITHOUT_SEAL, _FORMAT):
        raise RunFolderError(f"{where}: format: got {version}, expected 1 or {_FORMAT}; {_START_ANEW}")
    if type(seconds) is not float or not (math.isfinite(seconds) and seconds >= 0.0):
        raise RunFolderError(f"{where}: seconds: got {in_words(seconds)}, expected a finite number >= 0; {_START_ANEW}")
    seal = () if version == _WITHOUT_SEAL else _SEAL
    for name in seal:
        if not isinstance(content.get(name), str):
            raise RunFolderError(f"{where}: {name}: got {in_words(content.get(name))}, expected text; {_START_ANEW}")
    for name in content:
        if name not in {*_WHOLE_NUMBERS, "seconds", "parameters", "optimiser", *seal}:
            raise RunFolderError(f"{where}: unexpected field {in_words(name)}; {_START_ANEW}")
    # Policies are made in the default type: the parameters must be finite there too.
    shape, dtype = (num_parameters,), torch.get_default_dtype()
    check_tensor(content.get("parameters"), shape, dtype, field=f"{where}: parameters", cure=_START_ANEW)


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
