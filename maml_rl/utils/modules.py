"""Modules from outside the package that a command line allows."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

from maml_rl.utils.errors import InputError

_OWN = "maml_rl"
_allowed: ContextVar[frozenset[str] | None] = ContextVar("allowed", default=None)


@contextlib.contextmanager
def imports_limited_to(names: Sequence[str]) -> Iterator[None]:
    """Within the block configurations can import modules of these names, the package's own, and what is loaded already.

    A file from outside can so name a module, but never have one run that nobody allowed. Elsewhere, in scripts that
    call the package, any module can be named.
    """
    token = _allowed.set(frozenset(names))
    try:
        yield
    finally:
        _allowed.reset(token)


def check_may_import(module: str, *, field: str, value: str) -> None:
    """Refuse to import a module that a configuration names and `imports_limited_to` does not.

    Raises
    ------
    InputError
        In one line: `field` got `value`.
    """
    allowed = _allowed.get()
    if allowed is None or module in allowed or module in sys.modules or module.partition(".")[0] == _OWN:
        return
    raise InputError(
        f"{field}: got {value!r}, whose module nobody allowed, expected the name of a registered family; "
        f"if you trust it, add --allow-module {module}"
    )


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
