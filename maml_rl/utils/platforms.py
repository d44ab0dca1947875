"""Operating systems that the package runs on."""

from __future__ import annotations

import sys

from maml_rl.utils.errors import InputError


def check_platform() -> None:
    """Refuse Windows, where files are not locked and processes do not start as they do here.

    Raises
    ------
    InputError
        In one line.
    """
    if sys.platform == "win32":
        raise InputError("maml_rl runs on Linux and macOS; on Windows use WSL2")
