"""Command lines whose every complaint is one line."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

from maml_rl.utils.errors import InputError
from maml_rl.utils.log import terminal_log


class Parser(argparse.ArgumentParser):
    """A parser that answers what it cannot read with one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """See `argparse.ArgumentParser.error`."""
        self.exit(2, f"error: {' '.join(message.split())}; see {self.prog} --help\n")


def answer(
    main: Callable[[], None],
    *,
    interrupted: str = "",
    failures: tuple[type[Exception], ...] = (),
    quiet: bool = False,
) -> int:
    """Run `main`; return 0, or after one line on standard error 2 (bad input), 1 (failure) or 130 (Ctrl-C).

    Parameters
    ----------
    main
        The command.
    interrupted
        Words about what Ctrl-C left behind.
    failures
        Errors that are failures: their message is enough.
    quiet
        Whether nothing is shown but warnings.
    """
    try:
        with terminal_log(quiet=quiet):
            main()
    except KeyboardInterrupt:
        print("; ".join(filter(None, ("interrupted", interrupted))), file=sys.stderr)
        return 130
    except SystemExit:
        traceback.print_exc()
        print("error: sys.exit was called in this process, by an environment most likely; see above", file=sys.stderr)
        return 1
    except failures as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"error: {error}; what was finished before is saved", file=sys.stderr)
        return 1
    return 0
