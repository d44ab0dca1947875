"""`maml-rl film`: an agent before and after adaptation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maml_rl.agent import load_agent
from maml_rl.cli import run_command
from maml_rl.utils.command_lines import Parser
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import check_ending, check_writable
from maml_rl.utils.graphics import choose_gl
from maml_rl.utils.log import LOGGER
from maml_rl.utils.modules import import_allowed
from maml_rl.video import ENDINGS, check_can_film


def film_command(argv: Sequence[str] | None = None, *, prog: str = "maml-rl film") -> int:
    """Film an agent before and after adaptation to up to three tasks."""
    parser = Parser(prog=prog, description="Film an agent before and after adaptation.")
    parser.add_argument("agent", help="a run folder, or a name of the zoo")
    parser.add_argument("--output", required=True, metavar="FILE", help="the film (.gif or .mp4)")
    parser.add_argument("--seed", type=int, default=1, help="seed of tasks and episodes (default: %(default)s)")
    parser.add_argument("--index", type=int, default=0, help="which of several agents (default: the first)")
    parser.add_argument(
        "--allow-module", action="append", default=[], metavar="NAME", help="import this module from outside"
    )
    arguments = parser.parse_args(argv)
    late = "the film is written when it is complete"
    return run_command(lambda: _film(arguments), interrupted=late, allowed=arguments.allow_module)


def _film(arguments: argparse.Namespace) -> None:
    choose_gl()
    if arguments.seed < 0:
        raise InputError(f"--seed: got {arguments.seed}, expected a whole number >= 0")
    check_ending(arguments.output, flag="--output", endings=ENDINGS)
    import_allowed(arguments.allow_module)
    agent = load_agent(arguments.agent, index=arguments.index, allowed=arguments.allow_module)
    check_can_film(agent.algorithm, arguments.output)
    path = check_writable(arguments.output, flag="--output", endings=ENDINGS)
    agent.film(path, seed=arguments.seed)
    LOGGER.info(f"wrote {path}")
