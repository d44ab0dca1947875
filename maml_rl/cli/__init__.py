"""Command lines of `train.py` and `test.py`: read the arguments, call the package, answer bad input in one line."""

from maml_rl.cli.arguments import (
    add_quiet_argument,
    add_run_arguments,
    add_worker_arguments,
    backend_from,
    config_from,
    device_from,
)
from maml_rl.cli.running import run_command
from maml_rl.cli.testing import test_command
from maml_rl.cli.training import train_command

__all__ = [
    "add_quiet_argument",
    "add_run_arguments",
    "add_worker_arguments",
    "backend_from",
    "config_from",
    "device_from",
    "run_command",
    "test_command",
    "train_command",
]
