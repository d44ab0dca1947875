"""Files that are either whole or not there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maml_rl.utils.errors import InputError


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed ``.npz`` in one motion."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez_compressed(file, **dict[str, Any](arrays))

    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file of a temporary name with the same ending, then rename it to `path`."""
    temporary = _temporary(path)
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: str | Path, *, flag: str, endings: tuple[str, ...]) -> Path:
    """Make the folder of an output file and return the file's path; nothing at `path` itself is touched.

    Parameters
    ----------
    path
        The file.
    flag
        What the user calls it, for the error line.
    endings
        Endings it may have, such as ``(".gif", ".mp4")``.

    Raises
    ------
    ValueError
        In one line, if the file could not be written later.
    """
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise InputError(f"{flag}: got {str(path)!r}, expected a file that ends in {' or '.join(endings)}")
    try:
        if path.is_dir():
            raise InputError(f"{flag}: {str(path)!r} is a folder, expected a file; add a file name")
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = _temporary(path)  # its name is the longer one
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{flag}: cannot write {str(path)!r} ({error.strerror}); choose another place") from error
    return path


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.stem}.tmp{path.suffix}")
