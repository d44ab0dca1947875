"""Fit models of choices to a table of people's or agents' choices: tables, figures, and how much evidence there is."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np

from maml_rl.analysis.drifting_bandits import DriftingArms
from maml_rl.analysis.lagged_regression import regress_on_past
from maml_rl.analysis.people.agents import bandit_choices_of_agents, two_step_choices_of_agents
from maml_rl.analysis.people.arm_codes import ARM_BASES
from maml_rl.analysis.people.bandit_tables import read_choices, write_choices
from maml_rl.analysis.people.catalogue import (
    BANDIT_MODELS,
    TWO_STEP_MODELS,
    assume,
    bandit_models,
    scaled,
    two_step_models,
)
from maml_rl.analysis.people.evidence import (
    markdown_list,
    planning_statements,
    ranking,
    statements,
    table_of_models,
    table_of_nested,
    table_of_parameters,
)
from maml_rl.analysis.people.fit_files import (
    draw_models,
    draw_parameters,
    draw_planning,
    save_figures,
    write_fits,
    write_lags,
)
from maml_rl.analysis.people.group_fits import GroupFits, fit_group
from maml_rl.analysis.people.table_files import SEPARATORS, TableFormat
from maml_rl.analysis.people.two_step_tables import read_two_step, write_two_step
from maml_rl.analysis.two_step import stay_frequencies
from maml_rl.analysis.two_step_choices import TwoStepChoices
from maml_rl.cli import run_command
from maml_rl.utils.command_lines import Parser
from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean
from maml_rl.utils.files import check_name, write_atomically

_SEPARATORS = {"auto": "auto", **{words.removesuffix("s"): key for key, words in SEPARATORS.items()}}
_LAGS = 5
_FEWEST_TRIALS = 20


@dataclass(frozen=True)
class Problem:
    """Subjects and the models to fit to them.

    Attributes
    ----------
    subjects, models
        By name.
    notes
        How data were read, and what models assume of them.
    """

    subjects: Mapping[str, Any]
    models: Mapping[str, Any]
    notes: Sequence[str] = field(default_factory=tuple)


def fit_command(argv: Sequence[str] | None = None) -> int:
    """`maml-rl fit`: fit models of choices to people or agents."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _fit(arguments), interrupted="nothing is written before all models are fitted")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="maml-rl fit",
        description="Fit models of choices to every subject of a table of trials, compare them, and say how much "
        "evidence there is. Writes report.md, tables (.csv) and figures (.png).",
    )
    parser.add_argument("data", help="table of one row per trial (.csv, .tsv, .txt), or results.npz of agents")
    parser.add_argument("--output-folder", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--task", choices=("bandit", "two-step"), default="bandit", help="default: %(default)s")
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help=f"default: all; of bandits {', '.join(BANDIT_MODELS)}; of the two-step task {', '.join(TWO_STEP_MODELS)}",
    )
    parser.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="the table's names of the columns subject, episode, trial, choice, reward; with two-step also state and "
        "second_choice; such as subject=ID; an empty name, such as episode=, if there is no such column",
    )
    parser.add_argument("--separator", choices=tuple(_SEPARATORS), default="auto", help="default: %(default)s")
    parser.add_argument("--missing", nargs="+", default=[], metavar="WORD", help="further words for no choice")
    parser.add_argument("--arm-base", choices=ARM_BASES, default="auto", help="number of the first arm, or names")
    parser.add_argument("--num-arms", type=int, metavar="K", help="arms of a bandit (default: those chosen)")
    parser.add_argument("--reward-scale", type=float, metavar="R", help="rewards are divided by it")
    parser.add_argument("--initial-value", type=float, metavar="R", help="expected of an arm before its first choice")
    parser.add_argument(
        "--kalman",
        nargs=4,
        type=float,
        metavar=("DECAY", "CENTRE", "DRIFT", "NOISE"),
        help="drift of arms that Kalman filters assume, in the table's rewards (default: see the report)",
    )
    parser.add_argument("--num-starts", type=int, default=3, help="searches of each fit (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the searches' starting points (default: %(default)s)")
    return parser


def _fit(arguments: argparse.Namespace) -> None:
    _check(arguments)
    two_step = arguments.task == "two-step"
    problem = _two_step_problem(arguments) if two_step else _bandit_problem(arguments)
    folder = _folder(arguments)
    starts, seed = arguments.num_starts, arguments.seed
    try:
        found = fit_group(problem.models, problem.subjects, num_starts=starts, seed=seed, show=_show)
    except ValueError as error:
        raise InputError(f"{arguments.data!r}: {error}") from error
    figures = {"models": draw_models(found), "parameters": draw_parameters(found, ranking(found)[0])}
    paths, evidence = write_fits(folder, found), statements(found)
    if two_step:
        figure, lines = _planning(folder, found, problem.subjects)
        evidence += lines
        if figure is not None:
            figures["planning"] = figure
    paths += save_figures(folder, figures)
    report = _report(problem, found, evidence)
    text = "\n".join([f"# Models of the choices in {Path(arguments.data).name}", "", *report]) + "\n"
    paths.append(folder / "report.md")
    write_atomically(paths[-1], lambda path: path.write_text(text, encoding="utf-8"))
    _show("\n".join(report))
    _show(f"\nwrote {', '.join(path.name for path in paths)} to {folder}")


def _folder(arguments: argparse.Namespace) -> Path:
    """The folder that is written to, which is made once there is something to write."""
    folder: Path = arguments.output_folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _show(line: str) -> None:
    print(line, flush=True)


def _report(problem: Problem, found: GroupFits, evidence: Sequence[str]) -> list[str]:
    """Lines of Markdown: how data were read, the evidence, the models, the parameters of the best."""
    best = ranking(found)[0]
    return [
        *markdown_list(problem.notes),
        "",
        "## How much evidence there is",
        "",
        *markdown_list(evidence),
        "",
        "## Models",
        "",
        *table_of_models(found),
        "",
        *_titled("## Models and restrictions of them", table_of_nested(found)),
        f"## Parameters of {best}",
        "",
        *table_of_parameters(found, best),
    ]


def _titled(title: str, lines: Sequence[str]) -> list[str]:
    """A section, if there is anything in it."""
    return [title, "", *lines, ""] if lines else []


def _check(arguments: argparse.Namespace) -> None:
    """Refuse what can be refused before anything is read."""
    check_name(arguments.output_folder, flag="--output-folder")
    if arguments.output_folder.exists() and not arguments.output_folder.is_dir():
        raise InputError(f"--output-folder: {str(arguments.output_folder)!r} is a file, expected a folder")
    known = TWO_STEP_MODELS if arguments.task == "two-step" else BANDIT_MODELS
    for name in arguments.models or ():
        if name not in known:
            raise InputError(f"--models: got {name!r}, expected some of {', '.join(known)}{did_you_mean(name, known)}")
    for flag, least in (("num_starts", 1), ("seed", 0)):
        if getattr(arguments, flag) < least:
            raise InputError(f"--{flag.replace('_', '-')}: got {getattr(arguments, flag)}, expected at least {least}")
    if arguments.reward_scale is not None and not arguments.reward_scale > 0:
        raise InputError(f"--reward-scale: got {arguments.reward_scale:g}, expected a number > 0")
    for flag in ("num_arms", "initial_value", "kalman"):
        if arguments.task == "two-step" and getattr(arguments, flag) is not None:
            raise InputError(f"--{flag.replace('_', '-')}: got a value, expected none with --task two-step")


def _form(arguments: argparse.Namespace) -> TableFormat:
    columns = {}
    for text in arguments.columns:
        name, equals, source = text.partition("=")
        if not (name and equals):
            raise InputError(f"--columns: got {text!r}, expected NAME=COLUMN, such as subject=ID")
        columns[name] = source
    return TableFormat(columns, _SEPARATORS[arguments.separator], arguments.missing)


def _bandit_problem(arguments: argparse.Namespace) -> Problem:
    path, form = Path(arguments.data), _form(arguments)
    if path.suffix == ".npz":
        agents = bandit_choices_of_agents(path, num_arms=arguments.num_arms)
        path, form = _folder(arguments) / "choices.csv", TableFormat()
        write_choices(path, agents)
    table = read_choices(path, num_arms=arguments.num_arms, form=form, arm_base=arguments.arm_base)
    arms = None if arguments.kalman is None else DriftingArms(*arguments.kalman)
    try:
        own = assume(table, scale=arguments.reward_scale, initial_value=arguments.initial_value, arms=arms)
        models = bandit_models(own)
        subjects, left_out = _with_choices(scaled(table, own.scale))
    except ValueError as error:
        raise InputError(str(error)) from error
    chosen = {name: models[name] for name in arguments.models or BANDIT_MODELS}
    return Problem(subjects, chosen, (*table.notes, own.note, *left_out))


def _two_step_problem(arguments: argparse.Namespace) -> Problem:
    path, form = Path(arguments.data), _form(arguments)
    if path.suffix == ".npz":
        agents = two_step_choices_of_agents(path)
        path, form = _folder(arguments) / "choices.csv", TableFormat({"second_choice": ""})
        write_two_step(path, agents)
    table = read_two_step(path, reward_scale=arguments.reward_scale or 1.0, form=form, arm_base=arguments.arm_base)
    subjects, left_out = _with_choices(dict(table))
    second = next(iter(subjects.values())).second_choices is not None
    counts = [(int(data.common.sum()), data.num_trials) for data in subjects.values()]
    common = round(sum(part for part, _ in counts) / sum(total for _, total in counts), 2)
    models = two_step_models(choice_at_stage_two=second, common_probability=common)
    chosen = {name: models[name] for name in arguments.models or TWO_STEP_MODELS}
    note = f"model-based values: the common transition is known to have its frequency in the table, {common:.2f}"
    return Problem(subjects, chosen, (*table.notes, note, *left_out))


def _with_choices(subjects: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Subjects who made a choice, and a line about the others and about those who made few."""
    kept = {name: data for name, data in subjects.items() if data.num_choices}
    few = [name for name, data in kept.items() if data.num_choices < _FEWEST_TRIALS]
    lines = []
    if len(kept) < len(subjects):
        lines.append(f"left out, without any choice: {', '.join(name for name in subjects if name not in kept)}")
    if few:
        lines.append(f"fewer than {_FEWEST_TRIALS} choices, which tell next to nothing: {', '.join(few)}")
    return kept, tuple(lines)


def _planning(
    folder: Path, found: GroupFits, subjects: Mapping[str, TwoStepChoices]
) -> tuple[matplotlib.figure.Figure | None, list[str]]:
    """Stay frequencies and the lagged regression of every subject; a figure and sentences about them."""
    long = {name: data for name, data in subjects.items() if data.num_trials > _FEWEST_TRIALS}
    if not long:
        return None, [f"No lagged regression: no subject has more than {_FEWEST_TRIALS} trials."]
    fits = [regress_on_past(data, num_lags=_LAGS) for data in long.values()]
    effects, errors = (np.array([getattr(fit, part) for fit in fits]) for part in ("coefficients", "errors"))
    write_lags(folder / "lags.csv", list(long), effects, errors)
    stays = np.array([_stays(data) for data in long.values()])
    complete = stays[np.isfinite(stays).all(axis=(1, 2))]
    figure = draw_planning(complete, effects) if len(complete) else None
    return figure, planning_statements(found, effects)


def _stays(data: TwoStepChoices) -> np.ndarray:
    """Stay frequencies (2, 2) of a subject, means over episodes with such trials."""
    each = stay_frequencies(data.choices, data.rewarded, data.common)  # (E, 2, 2)
    known = np.isfinite(each)
    counts = known.sum(axis=0)
    sums = np.where(known, each, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
