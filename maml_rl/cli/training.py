"""`train.py`: meta-train what a configuration describes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maml_rl.callbacks import Progress
from maml_rl.callbacks.progress import bar_is_wanted
from maml_rl.cli.arguments import add_run_arguments, backend_from, config_from, device_from
from maml_rl.cli.running import run_command
from maml_rl.experiment import train
from maml_rl.policies import DTYPES
from maml_rl.run_folder import RunFolder
from maml_rl.training import algorithm_of_run
from maml_rl.utils.command_lines import Parser
from maml_rl.utils.errors import InputError
from maml_rl.utils.graphics import choose_gl


def train_command(argv: Sequence[str] | None = None, *, prog: str = "train.py") -> int:
    """`train.py`: meta-train what a configuration describes."""
    arguments = _parser(prog).parse_args(argv)
    saved = "the last finished iteration is saved, continue with --resume"
    return run_command(
        lambda: _train(arguments),
        interrupted=saved if arguments.output_folder else "nothing is kept without --output-folder",
        allowed=arguments.allow_module,
        quiet=arguments.quiet,
    )


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = Parser(prog=prog, description="Meta-train an agent.")
    parser.add_argument(
        "--config",
        help="configuration (.yaml or .json), or the name of one that comes with the package, such as 2d-navigation; "
        "with --resume that of the run folder if not given",
    )
    parser.add_argument(
        "--output-folder", type=_path, help="folder for config.json, metrics.csv, policy.th, checkpoint.pt"
    )
    parser.add_argument("--seed", type=int, help="random seed (default: the configuration's, else 0)")
    parser.add_argument("--num-batches", type=int, help="outer iterations, in place of the configuration's")
    parser.add_argument("--resume", action="store_true", help="continue the run in --output-folder")
    parser.add_argument("--jsonl", action="store_true", help="write metrics.jsonl beside metrics.csv, the same in JSON")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="float type of policies and learning: in float64 rounding hardly ever shows (default: float32, with "
        "--resume the run's)",
    )
    add_run_arguments(parser)
    return parser


def _path(text: str) -> str:
    """A path; an empty one is most likely a shell variable that is not set."""
    if not text:
        raise argparse.ArgumentTypeError("got an empty path, expected a folder")
    return text


def _train(arguments: argparse.Namespace) -> None:
    choose_gl()
    overrides = list(arguments.set)
    if arguments.seed is not None:
        overrides.append(f"seed={arguments.seed}")
    if arguments.num_batches is not None:
        if arguments.num_batches < 1:
            raise InputError(f"--num-batches: got {arguments.num_batches}, expected a whole number >= 1")
        overrides.append(f"num-batches={arguments.num_batches}")
    if arguments.resume and arguments.output_folder is None:
        raise InputError("--resume: got no --output-folder, expected the folder of the run to continue")
    folder = RunFolder(arguments.output_folder, json_lines=arguments.jsonl) if arguments.output_folder else None
    if folder is None and arguments.jsonl:
        raise InputError("--jsonl: got no --output-folder, expected the folder that metrics.jsonl is written to")
    if arguments.config is None:
        if folder is None or not arguments.resume:
            raise InputError("--config: got none, expected a file or a name such as 2d-navigation")
        folder.check_there()
        arguments.config = folder.config_path
    config = config_from(arguments, overrides)
    resumed = folder if arguments.resume else None
    algorithm = algorithm_of_run(config, resumed, dtype=arguments.dtype, device=device_from(arguments))
    train(
        algorithm,
        num_workers=arguments.num_workers,
        backend=backend_from(arguments),
        folder=folder,
        resume=arguments.resume,
        callbacks=[Progress(bar=bar_is_wanted() and not arguments.quiet)],
    )
