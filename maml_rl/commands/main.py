"""The command `maml-rl`: finds a subcommand and runs it; libraries that take seconds are loaded by that alone."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maml_rl import __version__
from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean
from maml_rl.utils.scripts import run_script


@dataclass(frozen=True)
class Subcommand:
    """A subcommand, and where it is.

    Attributes
    ----------
    module, function
        Called with the arguments behind the name, and with ``prog=`` if `takes_prog`; returns the exit code.
    words
        What it does.
    takes_prog
        Whether it is told under which name it was called.
    """

    module: str
    function: str
    words: str
    takes_prog: bool = True


SUBCOMMANDS = {
    "train": Subcommand("maml_rl.cli", "train_command", "meta-train an agent"),
    "test": Subcommand("maml_rl.cli", "test_command", "evaluate an agent on tasks drawn anew"),
    "study": Subcommand("maml_rl.studies.__main__", "main", "train, evaluate and compare the runs of a study"),
    "zoo": Subcommand("maml_rl.commands.zoo", "zoo_command", "list trained policies, or show the card of one"),
    "check": Subcommand("maml_rl.commands.check", "check_command", "check that a task family keeps its contract"),
    "fit": Subcommand("maml_rl.commands.fit", "fit_command", "fit models to recorded choices", takes_prog=False),
    "film": Subcommand("maml_rl.commands.film", "film_command", "film an agent before and after adaptation"),
    "bench": Subcommand("maml_rl.commands.bench", "bench_command", "measure the sampler on this machine"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the subcommand that the first argument names; return its exit code."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    name, rest = arguments[0] if arguments else "", arguments[1:]
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"maml_rl {__version__}")
        return 0
    if name not in SUBCOMMANDS:
        known = ", ".join(SUBCOMMANDS)
        got = f"got {name!r}" if name else "got no command"
        print(f"error: maml-rl: {got}, expected one of {known}{did_you_mean(name, SUBCOMMANDS)}", file=sys.stderr)
        return 2
    return run_script(lambda: _load(name, rest))


def _load(name: str, rest: Sequence[str]) -> Callable[[], int]:
    """Import a subcommand; return it with its arguments.

    Raises
    ------
    InputError
        If this installation has not got it.
    """
    command = SUBCOMMANDS[name]
    try:
        function = getattr(importlib.import_module(command.module), command.function)
    except ModuleNotFoundError as error:
        if error.name != command.module:
            raise
        raise InputError(f"maml-rl: got {name!r}, which this installation has not; install the whole package") from None
    options = {"prog": f"maml-rl {name}"} if command.takes_prog else {}
    return functools.partial(function, list(rest), **options)


def _help() -> str:
    lines = [f"  {name:<7}{command.words}" for name, command in SUBCOMMANDS.items()]
    return "\n".join(
        [
            "usage: maml-rl COMMAND ...",
            "",
            "Agents that learn to learn.",
            "",
            *lines,
            "",
            "maml-rl COMMAND --help explains a command, maml-rl --version says which version this is.",
        ]
    )
