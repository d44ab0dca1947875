"""Meta-train an agent: `python train.py --config configs/maml/halfcheetah-dir.yaml --output-folder FOLDER`."""

import sys

from maml_rl.cli import train_command

if __name__ == "__main__":
    sys.exit(train_command())
