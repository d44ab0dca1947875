"""`test.py`: evaluate meta-learned weights on tasks drawn anew."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from maml_rl.algorithms import adaptation_of, make_algorithm
from maml_rl.cli.arguments import add_run_arguments, backend_from, config_from, device_from
from maml_rl.cli.running import run_command
from maml_rl.evaluation import check_extent, check_num_steps, evaluate, save_results, summary_lines
from maml_rl.utils.command_lines import Parser
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import check_ending, check_writable
from maml_rl.utils.graphics import choose_gl
from maml_rl.utils.log import LOGGER
from maml_rl.utils.tensor_files import RunFolderError
from maml_rl.video import ENDINGS, check_can_film, film
from maml_rl.zoo import zoo_folder

_RESULTS = (".npz",)
"""Endings of files of results."""


def test_command(argv: Sequence[str] | None = None, *, prog: str = "test.py") -> int:  # noqa: PT028
    """`test.py`: evaluate meta-learned weights on tasks drawn anew."""
    arguments = _test_parser(prog).parse_args(argv)
    late = "results are written when the evaluation is complete"
    allowed = arguments.allow_module
    return run_command(lambda: _test(arguments), interrupted=late, allowed=allowed, quiet=arguments.quiet)


test_command.__test__ = False  # type: ignore[attr-defined]  # a command, not a test


def _test_parser(prog: str) -> argparse.ArgumentParser:
    parser = Parser(
        prog=prog, description="Evaluate an agent: returns on tasks drawn anew, before and after adaptation."
    )
    parser.add_argument(
        "--config", help="config.json of the run folder, a .yaml file, or the name of one that comes with the package"
    )
    parser.add_argument("--policy", help="policy.th of the run folder, or 'random' for untrained weights")
    parser.add_argument(
        "--zoo", metavar="NAME", help="a trained policy that comes with the package, instead of --config and --policy"
    )
    parser.add_argument("--output", required=True, help="file for tasks and returns as NumPy arrays (.npz)")
    parser.add_argument("--num-batches", type=int, default=10, help="batches of tasks (default: %(default)s)")
    parser.add_argument("--meta-batch-size", type=int, default=40, help="tasks of a batch (default: %(default)s)")
    parser.add_argument(
        "--num-steps",
        type=int,
        nargs="+",
        metavar="K",
        help="measure after each of these numbers of gradient steps (rl2, evolution: of episodes), such as 0 1 2 3; "
        "may exceed the number trained on (default: 0 and that number)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of tasks and episodes (default: %(default)s)")
    parser.add_argument(
        "--render",
        metavar="FILE",
        help="film the agent before and after adaptation, or both ends of an evolved one's lives (.gif or .mp4)",
    )
    add_run_arguments(parser)
    return parser


def _choose_policy(arguments: argparse.Namespace) -> None:
    """Put the files of ``--zoo`` in place of ``--config`` and ``--policy``."""
    given = [flag for flag in ("config", "policy") if getattr(arguments, flag) is not None]
    if arguments.zoo is None and len(given) < 2:
        missing = "policy" if given == ["config"] else "config"
        raise InputError(f"--{missing}: got none, expected --config and --policy, or --zoo NAME")
    if arguments.zoo is not None:
        if given:
            raise InputError(f"--zoo: got --{given[0]} too, expected one of them; the entry has its own")
        folder = zoo_folder(arguments.zoo)
        arguments.config, arguments.policy = folder / "config.json", folder / "policy.th"


def _test(arguments: argparse.Namespace) -> None:
    _choose_policy(arguments)
    config = config_from(arguments, arguments.set)
    trained = adaptation_of(config).trained
    num_steps = check_num_steps([0, trained] if arguments.num_steps is None else arguments.num_steps)
    if arguments.render is not None:
        choose_gl()
    algorithm = make_algorithm(config, device=device_from(arguments))
    if arguments.policy != "random":
        try:
            algorithm = algorithm.with_policy(arguments.policy)
        except RunFolderError as error:
            raise InputError(f"--policy: {error}, expected the policy.th of a run, or random") from error
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
    labels = [algorithm.task_env.label(task) for task in evaluation.tasks]
    LOGGER.info("\n".join(summary_lines(evaluation, num_steps, labels)))
    LOGGER.info(f"wrote {output}")
    if arguments.render is not None:
        film(algorithm, parameters, arguments.render, seed=arguments.seed)
        LOGGER.info(f"wrote {arguments.render}")
