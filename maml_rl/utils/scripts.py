"""Start of a script: Ctrl-C must end it in one line, also while it imports libraries, which takes seconds."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from maml_rl.utils.errors import InputError
from maml_rl.utils.platforms import check_platform


def run_script(load: Callable[[], Callable[[], int]]) -> int:
    """Run the command that `load` imports and returns; return its exit code: 130 after Ctrl-C, 2 if it cannot run."""
    answer = signal.signal(signal.SIGINT, _leave)
    try:
        try:
            check_platform()
            command = load()
        finally:
            signal.signal(signal.SIGINT, answer)
        return command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _leave(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)  # an exception could be lost within a library that is being imported
