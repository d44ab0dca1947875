"""Evaluate an agent: `python test.py --config RUN/config.json --policy RUN/policy.th --output RUN/results.npz`."""

import sys
from collections.abc import Callable

from maml_rl.utils.scripts import run_script


def load() -> Callable[[], int]:
    """Import the command."""
    from maml_rl.cli import test_command

    return test_command


if __name__ == "__main__":
    sys.exit(run_script(load))
