"""Evaluate an agent: `python test.py --config RUN/config.json --policy RUN/policy.th --output RUN/results.npz`."""

import sys

from maml_rl.cli import test_command

if __name__ == "__main__":
    sys.exit(test_command())
