"""`python -m maml_rl`: the command `maml-rl`."""

import sys

from maml_rl.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
