"""Meta-train an agent: `python train.py --config configs/maml/halfcheetah-dir.yaml --output-folder FOLDER`."""

import sys
from collections.abc import Callable

from maml_rl.utils.scripts import run_script


def load() -> Callable[[], int]:
    """Import the command."""
    from maml_rl.cli import train_command

    return train_command


if __name__ == "__main__":
    sys.exit(run_script(load))
