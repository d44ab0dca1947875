"""Command lines: read the arguments, call the package, turn bad input into one line and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence

import torch

from maml_rl.algorithms import adaptation_of, make_algorithm
from maml_rl.callbacks import Progress
from maml_rl.callbacks.progress import bar_is_wanted
from maml_rl.config import Config, load_config
from maml_rl.evaluation import check_extent, check_num_steps, evaluate, save_results, summary_lines
from maml_rl.experiment import TrainingError, train
from maml_rl.policies import DTYPES
from maml_rl.run_folder import RunFolder
from maml_rl.samplers import BackendChoice, WorkerError, backend_options, check_backend
from maml_rl.utils.config_files import to_kebab
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import check_ending, check_writable
from maml_rl.utils.graphics import choose_gl
from maml_rl.utils.log import terminal_log
from maml_rl.utils.modules import import_allowed, imports_limited_to
from maml_rl.video import ENDINGS, check_can_film, film

_OPTION = "option of a backend: "
"""What the names of parsed flags of backends begin with, so that no other flag is taken for one."""
_RESULTS = (".npz",)
"""Endings of files of results."""


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


def _path(text: str) -> str:
    """A path; an empty one is most likely a shell variable that is not set."""
    if not text:
        raise argparse.ArgumentTypeError("got an empty path, expected a folder")
    return text


def device_from(arguments: argparse.Namespace) -> str:
    """Return the device to learn on, and say so when there is no GPU to use."""
    if arguments.num_workers is not None and arguments.num_workers < 1:
        raise InputError(f"--num-workers: got {arguments.num_workers}, expected at least 1")
    if arguments.use_cuda and not torch.cuda.is_available():
        print("--use-cuda: found no GPU, using the CPU", file=sys.stderr)
    return "cuda" if arguments.use_cuda and torch.cuda.is_available() else "cpu"


def run_command(
    main: Callable[[], None],
    *,
    interrupted: str,
    allowed: Sequence[str] = (),
) -> int:
    """Run `main`; return 0, or after one line on standard error 2 (bad input), 1 (failure) or 130 (Ctrl-C).

    What Ctrl-C left behind is said by `interrupted`; files may name the `allowed` modules.
    """
    try:
        with imports_limited_to(allowed), terminal_log():
            main()
    except KeyboardInterrupt:
        print(f"interrupted; {interrupted}", file=sys.stderr)
        return 130
    except SystemExit:
        traceback.print_exc()
        print("error: sys.exit was called in this process, by an environment most likely; see above", file=sys.stderr)
        return 1
    except (WorkerError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever read our output has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"error: {error}; what was finished before is saved", file=sys.stderr)
        return 1
    return 0


def train_command(argv: Sequence[str] | None = None) -> int:
    """`train.py`: meta-train what a configuration describes."""
    parser = argparse.ArgumentParser(prog="train.py", description="Meta-train an agent.")
    parser.add_argument("--config", required=True, help="path to the configuration (.yaml or .json)")
    parser.add_argument(
        "--output-folder", type=_path, help="folder for config.json, metrics.csv, policy.th, checkpoint.pt"
    )
    parser.add_argument("--seed", type=int, help="random seed (default: the configuration's, else 0)")
    parser.add_argument("--num-batches", type=int, help="outer iterations, in place of the configuration's")
    parser.add_argument("--resume", action="store_true", help="continue the run in --output-folder")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="float type of policies and learning: in float64 rounding hardly ever shows (default: %(default)s)",
    )
    add_run_arguments(parser)
    arguments = parser.parse_args(argv)

    def main() -> None:
        choose_gl()
        overrides = list(arguments.set)
        if arguments.seed is not None:
            overrides.append(f"seed={arguments.seed}")
        if arguments.num_batches is not None:
            overrides.append(f"num-batches={arguments.num_batches}")
        if arguments.resume and arguments.output_folder is None:
            raise InputError("--resume: got no --output-folder, expected the folder of the run to continue")
        config = config_from(arguments, overrides)
        algorithm = make_algorithm(config, device=device_from(arguments), dtype=arguments.dtype)
        folder = RunFolder(arguments.output_folder) if arguments.output_folder else None
        train(
            algorithm,
            num_workers=arguments.num_workers,
            backend=backend_from(arguments),
            folder=folder,
            resume=arguments.resume,
            callbacks=[Progress(bar=bar_is_wanted())],
        )

    saved = "the last finished iteration is saved, continue with --resume"
    kept = saved if arguments.output_folder else "nothing is kept without --output-folder"
    return run_command(main, interrupted=kept, allowed=arguments.allow_module)


def test_command(argv: Sequence[str] | None = None) -> int:  # noqa: PT028
    """`test.py`: evaluate meta-learned weights on tasks drawn anew."""
    arguments = _test_parser().parse_args(argv)
    late = "results are written when the evaluation is complete"
    return run_command(lambda: _test(arguments), interrupted=late, allowed=arguments.allow_module)


test_command.__test__ = False  # type: ignore[attr-defined]  # a command, not a test


def _test_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="test.py", description="Evaluate an agent: returns on tasks drawn anew, before and after adaptation."
    )
    parser.add_argument("--config", required=True, help="config.json of the run folder, or a .yaml file")
    parser.add_argument(
        "--policy", required=True, help="policy.th of the run folder, or 'random' for untrained weights"
    )
    parser.add_argument("--output", required=True, help="file for tasks and returns as NumPy arrays (.npz)")
    parser.add_argument("--num-batches", type=int, default=10, help="batches of tasks (default: %(default)s)")
    parser.add_argument("--meta-batch-size", type=int, default=40, help="tasks of a batch (default: %(default)s)")
    parser.add_argument(
        "--num-steps",
        type=int,
        nargs="+",
        metavar="K",
        help="measure after each of these numbers of gradient steps (rl2: of episodes), such as 0 1 2 3; may exceed "
        "the number trained on (default: 0 and that number)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of tasks and episodes (default: %(default)s)")
    parser.add_argument(
        "--render",
        metavar="FILE",
        help="film the agent before and after adaptation, or both ends of an evolved one's lives (.gif or .mp4)",
    )
    add_run_arguments(parser)
    return parser


def _test(arguments: argparse.Namespace) -> None:
    config = config_from(arguments, arguments.set)
    trained = adaptation_of(config).trained
    num_steps = check_num_steps([0, trained] if arguments.num_steps is None else arguments.num_steps)
    if arguments.render is not None:
        choose_gl()
    algorithm = make_algorithm(config, device=device_from(arguments))
    if arguments.policy != "random":
        algorithm = algorithm.with_policy(arguments.policy)
    parameters = algorithm.initial_parameters()
    extent = (arguments.num_batches, arguments.meta_batch_size, max(num_steps))
    check_extent(algorithm, *extent, num_workers=arguments.num_workers, seed=arguments.seed)
    check_ending(arguments.output, flag="--output", endings=_RESULTS)
    if arguments.render is not None:
        check_ending(arguments.render, flag="--render", endings=ENDINGS)
        check_can_film(algorithm, arguments.render)
        check_writable(arguments.render, flag="--render", endings=ENDINGS)
    output = check_writable(arguments.output, flag="--output", endings=_RESULTS)
    evaluation = evaluate(
        algorithm,
        parameters,
        num_batches=arguments.num_batches,
        meta_batch_size=arguments.meta_batch_size,
        num_adaptation_steps=max(num_steps),
        num_workers=arguments.num_workers,
        backend=backend_from(arguments),
        seed=arguments.seed,
    )
    every = evaluation.meta_episodes is not None
    save_results(output, evaluation, range(len(evaluation.returns)) if every else num_steps)
    print("\n".join(summary_lines(evaluation, num_steps)))
    print(f"wrote {output}")
    if arguments.render is not None:
        film(algorithm, parameters, arguments.render, seed=arguments.seed)
        print(f"wrote {arguments.render}")
