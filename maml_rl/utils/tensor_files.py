"""Files of named tensors: written in one motion, read without executing anything, checked to the last number."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import shown
from maml_rl.utils.files import write_atomically

_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


class RunFolderError(InputError):
    """A run folder that cannot be used; the message is one line: field, got, expected, cure."""


def save_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """Write tensors and numbers by name."""
    buffer = io.BytesIO()  # PyTorch itself answers a full disk with a RuntimeError
    torch.save(content, buffer)
    write_atomically(path, lambda file: file.write_bytes(buffer.getvalue()))


def load_tensors(path: str | Path) -> dict[str, Any]:
    """Load a file written by `torch.save` without executing anything in it.

    Raises
    ------
    RunFolderError
        If the file is missing, damaged, or holds more than tensors and numbers.
    """
    try:
        _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunFolderError(f"no such file: {str(path)!r}") from None
    except OSError as error:
        raise RunFolderError(f"cannot read {str(path)!r} ({error.strerror}); use another file") from error
    except Exception as error:
        raise RunFolderError(
            f"cannot load {str(path)!r}: not a file of tensors, or damaged; nothing was executed; use another file"
        ) from error
    if not isinstance(content, dict):
        raise RunFolderError(f"cannot load {str(path)!r}: got {in_words(content)}, expected named tensors")
    return content


def _check_archive(path: str | Path) -> None:
    """Compare an archive's records with their CRC-32, which `torch.load` does not; old files are not archives."""
    with open(path, "rb") as file:
        if not zipfile.is_zipfile(file):
            return
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} is not as it was written")


def load_policy(path: str | Path, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Load a ``policy.th`` whose names and shapes are those of `like`, of any shape (), (N,), (M, N) ....

    Raises
    ------
    RunFolderError
        If it cannot be loaded, belongs to another policy, or holds anything but plain finite numbers.
    """
    where, cure = f"policy {str(path)!r}", "use the policy.th of a run with this configuration"
    content = load_tensors(path)
    for name, value in like.items():
        check_tensor(content.get(name), tuple(value.shape), value.dtype, field=f"{where}: {name}", cure=cure)
    for name in content:
        if name not in like:
            raise RunFolderError(f"{where}: unexpected parameter {in_words(name)}; {cure}")
    return {name: content[name].to(value.dtype) for name, value in like.items()}


def check_tensor(found: Any, shape: tuple[int, ...], dtype: torch.dtype, *, field: str, cure: str) -> None:
    """Refuse anything but plain numbers of this shape that are finite, also as `dtype`."""
    if not isinstance(found, Tensor):
        raise RunFolderError(f"{field} is {in_words(found)}, expected {shape} numbers; {cure}")
    # The kind comes first: nested tensors have no shape, and those without storage no numbers.
    is_dense = type(found) is Tensor and not found.is_nested and found.layout == torch.strided
    is_readable = found.device.type == "cpu" and found.dtype in _FLOATS and not (found.requires_grad or found.is_neg())
    if not (is_dense and is_readable):
        raise RunFolderError(f"{field} is {_kind(found)}, expected a plain dense tensor of floats; {cure}")
    if tuple(found.shape) != shape:
        raise RunFolderError(f"{field} is {tuple(found.shape)}, expected {shape}; {cure}")
    if not found.isfinite().all():
        raise RunFolderError(f"{field} holds NaN or infinity, expected finite numbers; {cure}")
    if not found.to(dtype).isfinite().all():
        raise RunFolderError(f"{field} holds numbers too large for {dtype}, expected finite ones; {cure}")


def in_words(value: Any) -> str:
    """Say in one line what a file holds: short values themselves, of all others the kind."""
    if value is None or isinstance(value, bool | int | float | str):
        return shown(value)
    return _kind(value) if isinstance(value, Tensor) else f"a {type(value).__name__}"


def _kind(tensor: Tensor) -> str:
    oddities = {"nested": tensor.is_nested, "requires_grad": tensor.requires_grad}
    words = [str(tensor.dtype), str(tensor.layout), str(tensor.device), *(k for k, v in oddities.items() if v)]
    return f"a {type(tensor).__name__} ({', '.join(words)})"
