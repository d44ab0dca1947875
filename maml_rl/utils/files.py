"""Files that are either whole or not there."""

from __future__ import annotations

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from maml_rl.utils.errors import InputError

_DAMAGED = (
    OSError, ValueError, EOFError, KeyError, TypeError, NotImplementedError, RuntimeError, MemoryError, struct.error,
    zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
"""What NumPy and its decompressors raise for files that are not, or no longer, what their names say."""


class DamagedFileError(InputError):
    """A file that is no archive of plain arrays."""


def read_npz(path: Path, wanted: Callable[[Iterable[str]], Iterable[str]] = list) -> dict[str, np.ndarray]:
    """Arrays of a ``.npz`` file by name, those that `wanted` takes of all names.

    Raises
    ------
    OSError
        If it cannot be opened.
    DamagedFileError
        In one line, if it is none, or holds objects.
    """
    with path.open("rb") as file:  # numpy would leave it open
        try:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile):
                raise TypeError("a single array")
            with arrays:
                return {name: arrays[name] for name in wanted(arrays.files)}
        except _DAMAGED as error:
            raise DamagedFileError(f"cannot read {str(path)!r}: it is no archive of plain arrays") from error


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], *, smallest: bool = False) -> None:
    """Write named arrays, of any shape (), (N,), (M, N) ..., as a compressed ``.npz`` in one motion.

    `numpy.load` reads it; `smallest`: compressed by LZMA, which takes longer and less room.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            if not smallest:
                np.savez_compressed(file, **dict[str, Any](arrays))
                return
            with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
                for name, array in arrays.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                        np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)

    write_atomically(path, write)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a file of a temporary name with the same ending, then rename it to `path`."""
    temporary = _temporary(path)
    try:
        with naming(path):
            write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def check_name(path: str | Path, *, flag: str) -> None:
    """Refuse a path that not every library can write: with bytes that are not UTF-8, or with a zero byte."""
    try:
        usable = b"\0" not in str(path).encode("utf-8")
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise InputError(f"{flag}: got {str(path)!r}, expected a name in UTF-8; choose another name")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an `OSError` that comes from an open file the file's name, for its line."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        raise type(error)(error.errno, error.strerror, str(path)) from error


def check_ending(path: str | Path, *, flag: str, endings: tuple[str, ...]) -> Path:
    """Refuse the name of an output file, see `check_writable`, before anything is made; return its path."""
    check_name(path, flag=flag)
    path = Path(path)
    if path.suffix.lower() not in endings:
        raise InputError(f"{flag}: got {str(path)!r}, expected a file that ends in {' or '.join(endings)}")
    return path


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
    path = check_ending(path, flag=flag, endings=endings)
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
