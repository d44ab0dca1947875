"""Flags that several commands have, and what they choose."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from maml_rl.config import Config, load_config
from maml_rl.samplers import BackendChoice, backend_options, check_backend
from maml_rl.utils.config_files import to_kebab
from maml_rl.utils.errors import InputError
from maml_rl.utils.log import LOGGER
from maml_rl.utils.modules import import_allowed

_OPTION = "option of a backend: "
"""What the names of parsed flags of backends begin with, so that no other flag is taken for one."""


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `train.py` and `test.py` share."""
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a key of the configuration, such as env-kwargs.split=held-out",
    )
    add_worker_arguments(parser)
    add_quiet_argument(parser)
    parser.add_argument("--use-cuda", action="store_true", help="learn, or live in tensor families, on the GPU")


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where workers run, and with which modules from outside."""
    parser.add_argument(
        "--backend",
        default="multiprocess",
        metavar="NAME",
        help="where workers run: multiprocess, each in a process of its own; serial, all in this one; ray, on "
        "the nodes of a cluster; or one that an allowed module registers (default: %(default)s)",
    )
    parser.add_argument(
        "--num-workers",
        type=_count_of_workers,
        default=None,
        metavar="N",
        help="worker processes; auto: as many as there are cores, with ray at any time those of the cluster "
        "(default: auto)",
    )
    for name, options in backend_options().items():
        for field, info in options.model_fields.items():
            about = f"with --backend {name}: {info.description} Default: {info.default}.".replace("%", "%%")
            parser.add_argument(f"--{to_kebab(field)}", dest=f"{_OPTION}{field}", metavar="VALUE", help=about)
    parser.add_argument(
        "--backend-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of a backend that an allowed module registers; may be repeated",
    )
    parser.add_argument(
        "--allow-module",
        action="append",
        default=[],
        metavar="NAME",
        help="import this module, which registers algorithms, policies, task families, displays or backends; may be "
        "repeated",
    )


def add_quiet_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag that keeps a command from saying what goes well."""
    parser.add_argument("--quiet", action="store_true", help="print nothing on standard output")


def _count_of_workers(text: str) -> int | None:
    """A number of workers; ``None``: auto."""
    if text.lower() == "auto":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected auto or a whole number >= 1") from None


def backend_from(arguments: argparse.Namespace) -> BackendChoice:
    """The backend that the command line chooses, with its options; allowed modules have been imported.

    Raises
    ------
    InputError
        If there is none such, or it has no use for an option or its value.
    """
    flags = {name.removeprefix(_OPTION): value for name, value in vars(arguments).items() if name.startswith(_OPTION)}
    given = {name: value for name, value in flags.items() if value is not None}
    for option in arguments.backend_option:
        key, equals, value = option.partition("=")
        if not (key and equals):
            raise InputError(f"--backend-option: got {option!r}, expected KEY=VALUE, such as address=auto")
        given[key.replace("-", "_")] = value
    choice = BackendChoice(arguments.backend, given)
    check_backend(choice)
    return choice


def config_from(arguments: argparse.Namespace, overrides: Sequence[str]) -> Config:
    """Import the allowed modules, then read the configuration that the command line names."""
    import_allowed(arguments.allow_module)
    backend_from(arguments)
    return load_config(arguments.config, overrides, allowed=arguments.allow_module)


def device_from(arguments: argparse.Namespace) -> str:
    """Return the device to learn on, and say so when there is no GPU to use."""
    if arguments.num_workers is not None and arguments.num_workers < 1:
        raise InputError(f"--num-workers: got {arguments.num_workers}, expected at least 1")
    if arguments.use_cuda and not torch.cuda.is_available():
        LOGGER.warning("--use-cuda: found no GPU, using the CPU")
    return "cuda" if arguments.use_cuda and torch.cuda.is_available() else "cpu"
