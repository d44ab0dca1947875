"""Evaluate an agent: `python test.py --config RUN/config.json --policy RUN/policy.th --output RUN/results.npz`."""

import os
import signal
import sys


def main() -> int:
    """Run the command; Ctrl-C ends it in one line even while libraries are imported, which takes seconds."""
    answer = signal.signal(signal.SIGINT, _leave)
    from maml_rl.cli import test_command

    try:
        signal.signal(signal.SIGINT, answer)
        return test_command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _leave(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(130)  # an exception could be lost within a library that is being imported


if __name__ == "__main__":
    sys.exit(main())
