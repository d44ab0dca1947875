"""Command line of the studies."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from maml_rl import studies
from maml_rl.cli import add_worker_arguments, backend_from, run_command
from maml_rl.studies.archive import EPISODES, TRIALS, pack
from maml_rl.studies.displays.registry import displays_of_runs
from maml_rl.studies.report import report
from maml_rl.studies.run import execute
from maml_rl.studies.study import Study, load_study, study_runs
from maml_rl.studies.study_run import StudyRun
from maml_rl.utils.command_lines import Parser
from maml_rl.utils.cores import available_cores
from maml_rl.utils.errors import InputError
from maml_rl.utils.files import check_name
from maml_rl.utils.modules import import_allowed
from maml_rl.workforce import Workforce


def _show(line: str) -> None:
    print(line, flush=True)


def main(argv: Sequence[str] | None = None, *, prog: str = "python -m maml_rl.studies") -> int:
    """Command line of the module."""
    arguments = _parser(prog).parse_args(argv)
    kept = "finished iterations are saved; run the same command to go on"
    return run_command(lambda: _answer(arguments), interrupted=kept, allowed=arguments.allow_module)


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("got '', expected a folder")
    return Path(text)


def _parser(prog: str) -> Parser:
    parser = Parser(prog=prog, description=studies.__doc__)
    parser.add_argument("command", choices=("run", "report", "pack"))
    parser.add_argument("study", help="a file of studies/")
    parser.add_argument("--only", action="append", metavar="RUN", help="only this run; may be repeated")
    parser.add_argument("--seed", type=int, action="append", help="only this seed; may be repeated")
    add_worker_arguments(parser)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side (default: one after another)")
    parser.add_argument("--results", type=_folder, default=Path("results"))
    return parser


def _answer(arguments: argparse.Namespace) -> None:
    """Run, report or pack the study that the command line names."""
    import_allowed(arguments.allow_module)
    backend = backend_from(arguments)
    study = load_study(arguments.study, arguments.allow_module)
    _check(arguments, study)
    if arguments.command == "run":
        num_workers = arguments.num_workers
        if arguments.jobs > 1 and num_workers is None:
            num_workers = max(1, available_cores() // arguments.jobs)
        execute(_wanted(arguments, study), Workforce(num_workers, backend), arguments.jobs, _show)
    if arguments.command == "pack":
        needed = {run.folder: _needed(run) for run in study_runs(study, arguments.results)}
        _show(f"wrote {pack(arguments.results / study.name, lambda run: needed.get(run, TRIALS | EPISODES))}")
    else:
        _show(report(study, arguments.results))


def _check(arguments: argparse.Namespace, study: Study) -> None:
    """Refuse flags that fit neither each other nor the study."""
    unknown = set(arguments.only or ()) - study.runs.keys()
    if unknown:
        raise InputError(f"--only: got {unknown.pop()!r}, expected one of {', '.join(study.runs)}")
    for flag in ("num_workers", "jobs"):
        if (value := getattr(arguments, flag)) is not None and value < 1:
            raise InputError(f"--{flag.replace('_', '-')}: got {value}, expected at least 1")
    check_name(arguments.results, flag="--results")
    for folder in (arguments.results / study.name, arguments.results, *arguments.results.parents):
        if folder.exists() and not folder.is_dir():
            raise InputError(f"--results: {str(folder)!r} is a file, expected a folder; name another, or move the file")
    seeds = {seed for entry in study.runs.values() for seed in entry.seeds}
    if set(arguments.seed or ()) - seeds:
        raise InputError(f"--seed: got {arguments.seed}, expected seeds of the study: {sorted(seeds)}")
    for flag, given in (("only", arguments.only), ("seed", arguments.seed)):
        if given and arguments.command != "run":
            raise InputError(
                f"--{flag}: got {given[0]} with {arguments.command}, which is of all runs of a study; leave it out"
            )
    if arguments.jobs > 1 and arguments.command != "run":
        raise InputError(f"--jobs: got {arguments.jobs} with {arguments.command}, which runs nothing; leave it out")


def _wanted(arguments: argparse.Namespace, study: Study) -> list[StudyRun]:
    """Runs that the command line asks for."""
    wanted = [
        run
        for run in study_runs(study, arguments.results)
        if run.name in (arguments.only or study.runs) and run.seed in (arguments.seed or [run.seed])
    ]
    if not wanted:
        raise InputError(
            f"--only and --seed: got {', '.join(arguments.only)} with seed "
            f"{', '.join(map(str, arguments.seed))}, expected a run and one of its seeds; see {arguments.study}"
        )
    return wanted


def _needed(run: StudyRun) -> frozenset[str]:
    """Arrays with a number for every step that a display of the run reads; with one for every episode if it has any."""
    displays = displays_of_runs([run])
    return frozenset().union(*(display.trials_read | EPISODES for display in displays))


if __name__ == "__main__":
    sys.exit(main())
