"""The kind of error that the one who gave the input can mend."""

from __future__ import annotations


class InputError(ValueError):
    """Input that cannot be used; the message is one line: field, got, expected, cure.

    The commands answer it with that line and exit code 2. Every other error is a mistake of the program and
    keeps its traceback.
    """
