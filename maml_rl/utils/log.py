"""The package's logger, and its way to a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

LOGGER = logging.getLogger("maml_rl")
"""Progress is logged at INFO, what went wrong and was mended at WARNING."""


class _Terminal(logging.Handler):
    """Progress on standard output, warnings on standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a reader that has gone away is told by `BrokenPipeError`."""
        line = self.format(record)
        if record.levelno >= logging.WARNING:
            tqdm.write(line, file=sys.stderr)
        else:
            print(line, flush=True)


@contextmanager
def terminal_log(*, quiet: bool = False) -> Iterator[None]:
    """Show what is logged within the block; if `quiet`, warnings alone."""
    handler, level = _Terminal(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        LOGGER.setLevel(level)
        LOGGER.removeHandler(handler)
