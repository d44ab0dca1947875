"""Command lines: read the arguments, call the package, turn bad input into one line and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

import torch

from maml_rl.config import ConfigError, load_config
from maml_rl.envs import UnknownEnvironmentError
from maml_rl.experiment import TrainingError, draw_up, train
from maml_rl.run_folder import RunFolder, RunFolderError
from maml_rl.samplers import WorkerError

_BAD_INPUT = (ConfigError, RunFolderError, UnknownEnvironmentError, ImportError, ValueError)


def available_cores() -> int:
    """Number of cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `train.py` and `test.py` share."""
    parser.add_argument(
        "--num-workers",
        type=int,
        default=available_cores(),
        help="worker processes (default: one per core, %(default)s)",
    )
    parser.add_argument("--use-cuda", action="store_true", help="learn on the GPU; sampling stays on the CPU")


def device_from(arguments: argparse.Namespace) -> str:
    """Return the device to learn on, and say so when there is no GPU to use."""
    if arguments.num_workers < 1:
        raise ValueError(f"--num-workers: got {arguments.num_workers}, expected at least 1")
    if arguments.use_cuda and not torch.cuda.is_available():
        print("--use-cuda: found no GPU, using the CPU", file=sys.stderr)
    return "cuda" if arguments.use_cuda and torch.cuda.is_available() else "cpu"


def run_command(main: Callable[[], None]) -> int:
    """Run `main`; return 0, or after one line on standard error 2 (bad input), 1 (failure) or 130 (Ctrl-C)."""
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; the last finished iteration is saved, continue with --resume", file=sys.stderr)
        return 130
    except (WorkerError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except _BAD_INPUT as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def train_command(argv: Sequence[str] | None = None) -> int:
    """`train.py`: meta-train what a configuration describes."""
    parser = argparse.ArgumentParser(prog="train.py", description="Meta-train an agent.")
    parser.add_argument("--config", required=True, help="path to the configuration (.yaml or .json)")
    parser.add_argument("--output-folder", help="folder for config.json, metrics.csv, policy.th, checkpoint.pt")
    parser.add_argument("--seed", type=int, help="random seed (default: the configuration's, else 0)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of the configuration"
    )
    parser.add_argument("--num-batches", type=int, help="outer iterations, in place of the configuration's")
    parser.add_argument("--resume", action="store_true", help="continue the run in --output-folder")
    add_run_arguments(parser)
    arguments = parser.parse_args(argv)

    def main() -> None:
        overrides = list(arguments.set)
        if arguments.seed is not None:
            overrides.append(f"seed={arguments.seed}")
        if arguments.num_batches is not None:
            overrides.append(f"num-batches={arguments.num_batches}")
        if arguments.resume and arguments.output_folder is None:
            raise ValueError("--resume: got no --output-folder, expected the folder of the run to continue")
        device = device_from(arguments)
        blueprint = draw_up(load_config(arguments.config, overrides), device=device)
        folder = RunFolder(arguments.output_folder) if arguments.output_folder else None
        train(
            blueprint,
            num_workers=arguments.num_workers,
            folder=folder,
            resume=arguments.resume,
            show=lambda line: print(line, flush=True),
        )

    return run_command(main)
