"""Modules from outside the package that a command line allows."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from maml_rl.utils.errors import InputError


def import_allowed(names: Sequence[str]) -> None:
    """Import modules that register what they bring; the working directory counts as a place of modules.

    Raises
    ------
    InputError
        In one line, if a module cannot be imported.
    """
    if names and os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except (Exception, SystemExit) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(
                f"--allow-module: cannot import {name!r} ({reason}); install it, put its folder into PYTHONPATH, or "
                "mend it"
            ) from error
