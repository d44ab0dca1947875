"""Studies: runs (configuration x seeds x overrides) and what they show, from one YAML file.

``python -m maml_rl.studies run studies/NAME.yaml`` trains and evaluates what is not done yet, resumes what was
interrupted, and then reports; ``report`` only writes table and figures from what is there.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import matplotlib.figure
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from maml_rl import __version__
from maml_rl.analysis import mean_interval
from maml_rl.analysis.plots import plot_adaptation, plot_training_curve
from maml_rl.cli import available_cores, run_command
from maml_rl.config import Config, ConfigError, load_config
from maml_rl.evaluation import evaluate, load_parameters, save_results
from maml_rl.experiment import draw_up, train
from maml_rl.run_folder import RunFolder
from maml_rl.utils.errors import InputError
from maml_rl.utils.field_words import did_you_mean, shown
from maml_rl.utils.files import write_atomically
from maml_rl.utils.strict_parsing import parse_yaml

_VERSIONS = ("torch", "numpy", "scipy", "gymnasium", "mujoco")
_LAST = 10
NAME = r"^[\w.-]*\w[\w.-]*$"
"""What a folder may be called: letters, digits, dots, dashes, underscores."""


class StudyRun(BaseModel):
    """One line of a study: a configuration, its overrides and its seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    config: str = Field(description="Configuration file, relative to the working directory.")
    seeds: list[int] = Field(min_length=1, description="Seeds, one run each.")
    set: list[str] = Field(default_factory=list, description="Overrides, as train.py's --set.")

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, value: list[int]) -> list[int]:
        if len(dict.fromkeys(value)) != len(value) or min(value) < 0:
            raise ValueError("expected different whole numbers >= 0")
        return value


class Study(BaseModel):
    """A study file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=NAME, description="Results go to results/NAME.")
    question: str = Field(description="What the study asks, in one sentence.")
    test_tasks: int = Field(default=80, ge=2, description="New tasks each final policy is evaluated on.")
    test_steps: int = Field(default=3, ge=0, description="Gradient steps of the evaluation.")
    runs: dict[Annotated[str, Field(pattern=NAME)], StudyRun] = Field(
        min_length=1, description="Name of a run: what it is."
    )


@dataclass(frozen=True)
class Cell:
    """One run of one seed.

    Attributes
    ----------
    name, seed
        Which run, which seed.
    config
        Its configuration.
    folder
        Its run folder.
    command
        The command line that makes the same run by hand.
    """

    name: str
    seed: int
    config: Config
    folder: Path
    command: str

    @property
    def iterations_done(self) -> int:
        """Finished iterations."""
        path = self.folder / "metrics.csv"
        return max(0, len(path.read_text(encoding="utf-8").splitlines()) - 1) if path.exists() else 0

    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of ``metrics.csv``, (I,) each."""
        with (self.folder / "metrics.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return {key: np.array([float(row[key]) for row in rows]) for key in rows[0]}


def load_study(path: str | Path) -> Study:
    """Read a study file.

    Raises
    ------
    ConfigError
        In one line, if it cannot be read or a field is wrong.
    """
    try:
        return Study.model_validate(parse_yaml(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(_error_line(path, error)) from error
    except ValueError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _error_line(path: str | Path, error: ValidationError) -> str:
    """Say the first thing that is wrong; an unknown key before what is missing because of it."""
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    *parents, key = [str(part) for part in first["loc"]] or ["study"]
    field = ".".join([*parents, key])
    if first["type"] == "extra_forbidden":
        fields = (StudyRun if parents else Study).model_fields
        return f"unknown key {field!r} in {path}{did_you_mean(key, fields)}"
    if first["type"] == "missing":
        return f"{field} in {path}: got nothing; add it"
    return f"{field} in {path}: got {shown(first['input'])}; {first['msg']}"


def cells(study: Study, root: Path) -> list[Cell]:
    """All runs of the study, seed by seed, below `root`."""
    found = []
    for name, run in study.runs.items():
        for seed in run.seeds:
            config = load_config(run.config, [*run.set, f"seed={seed}"])
            folder = root / study.name / name / f"seed-{seed}"
            overrides = "".join(f" --set {override}" for override in run.set)
            command = f"python train.py --config {run.config}{overrides} --seed {seed} --output-folder {folder}"
            found.append(Cell(name, seed, config, folder, command))
    return found


def run_cell(cell: Cell, study: Study, num_workers: int) -> None:
    """Train what is missing of one run, then evaluate its final policy on new tasks."""
    _check_unchanged(cell)
    blueprint = draw_up(cell.config)
    results = cell.folder / "results.npz"
    batch_size = min(study.test_tasks, cell.config.meta_batch_size)
    num_batches = -(-study.test_tasks // batch_size)
    if cell.iterations_done < cell.config.num_batches:
        resume = (cell.folder / "config.json").exists()
        results.unlink(missing_ok=True)  # of a shorter run
        train(blueprint, num_workers=num_workers, folder=RunFolder(cell.folder), resume=resume, show=_show)
    if not _holds(results, num_steps=study.test_steps, num_tasks=num_batches * batch_size):
        parameters = load_parameters(blueprint, cell.folder / "policy.th")
        evaluation = evaluate(
            blueprint,
            parameters,
            num_batches=num_batches,
            meta_batch_size=batch_size,
            num_steps=study.test_steps,
            num_workers=num_workers,
            seed=1000 + cell.seed,
        )
        save_results(results, evaluation, range(study.test_steps + 1))


def _check_unchanged(cell: Cell) -> None:
    """Refuse a run whose configuration is not the one the study now asks for."""
    path = cell.folder / "config.json"
    if not path.exists():
        return
    mine, theirs = cell.config.to_json_dict(), load_config(path).to_json_dict()
    for key in sorted(mine.keys() - {"num-batches", "worker-timeout"}):
        if mine[key] != theirs[key]:
            raise ConfigError(
                f"{cell.name} seed {cell.seed}: {key} is {mine[key]!r} in the study, but the run in "
                f"{str(cell.folder)!r} has {theirs[key]!r}; rename the run or move its folder away"
            )


def _holds(results: Path, *, num_steps: int, num_tasks: int) -> bool:
    """Whether the evaluation of a run is there and has this size."""
    if not results.exists():
        return False
    with np.load(results) as arrays:
        return bool(arrays["returns"].shape[:2] == (num_steps + 1, num_tasks))


def report(study: Study, root: Path) -> str:
    """Write manifest, table and figures of what is done; return the table as Markdown."""
    folder = root / study.name
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    done = [cell for cell in cells(study, root) if cell.iterations_done]
    lines = [f"# {study.name}", "", study.question, "", *_table(done), ""]
    for name in dict.fromkeys(cell.name for cell in done):
        seeds = [cell for cell in done if cell.name == name]
        _figure(seeds, folder / "figures" / f"{name}.png")
        lines.append(f"![{name}](figures/{name}.png)")
    text = "\n".join(lines) + "\n"
    write_atomically(folder / "table.md", lambda file: file.write_text(text, encoding="utf-8"))
    manifest = json.dumps(_manifest(study, done), indent=2) + "\n"
    write_atomically(folder / "manifest.json", lambda file: file.write_text(manifest, encoding="utf-8"))
    return text


def _table(done: Sequence[Cell]) -> list[str]:
    lines = [
        "Training: mean of the last ten iterations. New tasks: mean return of the final policy on tasks not seen in "
        "training, after 0, 1, 2, ... gradient steps, with its 95 % interval over tasks.",
        "",
        "| run | seed | env | iterations | env steps | minutes | before | after | new tasks, by gradient steps |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell in done:
        metrics = cell.metrics()
        before, after = (metrics[key][-_LAST:].mean() for key in ("return_before", "return_after"))
        lines.append(
            f"| {cell.name} | {cell.seed} | {cell.config.env_name} | {len(metrics['iteration'])} "
            f"| {metrics['env_steps'][-1] / 1e6:.1f} M | {metrics['seconds'][-1] / 60:.0f} | {_figures(before)} "
            f"| {_figures(after)} | {_test_summary(cell)} |"
        )
    return lines


def _test_summary(cell: Cell) -> str:
    path = cell.folder / "results.npz"
    if not path.exists():
        return "not evaluated"
    with np.load(path) as results:
        interval = mean_interval(results["returns"].mean(axis=-1, dtype=np.float64))  # (S, N, B) -> (S,)
    rows = zip(interval.mean, interval.low, interval.high, strict=True)
    return "; ".join(f"{_figures(mean)} [{_figures(low)}, {_figures(high)}]" for mean, low, high in rows)


def _figures(value: float) -> str:
    """Three significant figures, but never more than two decimals."""
    return f"{value:.{2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0}f}"


def _figure(seeds: Sequence[Cell], path: Path) -> None:
    figure = matplotlib.figure.Figure(figsize=(10, 3.8), layout="constrained")
    curve, adaptation = figure.subplots(1, 2, width_ratios=(3, 2))
    columns = [cell.metrics() for cell in seeds]
    length = min(len(metrics["iteration"]) for metrics in columns)
    steps = np.mean([metrics["env_steps"][:length] for metrics in columns], axis=0)
    before, after = (
        np.stack([metrics[key][:length] for metrics in columns]) for key in ("return_before", "return_after")
    )
    config = seeds[0].config
    plot_training_curve(curve, steps, before, after, num_steps=config.num_steps)
    curve.set_title(f"{seeds[0].name}: {config.env_name}, seeds {', '.join(str(cell.seed) for cell in seeds)}")
    for cell in seeds:
        results = cell.folder / "results.npz"
        if results.exists():
            with np.load(results) as arrays:
                interval = mean_interval(arrays["returns"].mean(axis=-1, dtype=np.float64))
                num_steps = arrays["num_steps"]
            plot_adaptation(
                adaptation, num_steps, interval.mean, interval.low, interval.high, label=f"seed {cell.seed}"
            )
    if not adaptation.lines:
        adaptation.set_axis_off()
    write_atomically(path, lambda file: figure.savefig(file, dpi=110))


def _manifest(study: Study, done: Sequence[Cell]) -> dict[str, Any]:
    return {
        "study": study.model_dump(),
        "versions": {"maml_rl": __version__, **{name: metadata.version(name) for name in _VERSIONS}},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {available_cores()} cores",
        "runs": [
            {
                "run": cell.name,
                "seed": cell.seed,
                "iterations": cell.iterations_done,
                "env_steps": int(cell.metrics()["env_steps"][-1]),
                "minutes": round(float(cell.metrics()["seconds"][-1]) / 60, 1),
                "command": cell.command,
            }
            for cell in done
        ],
    }


def _show(line: str) -> None:
    print(line, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(prog="python -m maml_rl.studies", description=__doc__)
    parser.add_argument("command", choices=("run", "report"))
    parser.add_argument("study", help="a file of studies/")
    parser.add_argument("--only", action="append", metavar="RUN", help="only this run; may be repeated")
    parser.add_argument("--seed", type=int, action="append", help="only this seed; may be repeated")
    parser.add_argument("--num-workers", type=int, default=available_cores())
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args(argv)

    def command() -> None:
        study = load_study(arguments.study)
        unknown = set(arguments.only or ()) - study.runs.keys()
        if unknown:
            raise InputError(f"--only: got {unknown.pop()!r}, expected one of {', '.join(study.runs)}")
        if arguments.num_workers < 1:
            raise InputError(f"--num-workers: got {arguments.num_workers}, expected at least 1")
        seeds = {seed for run in study.runs.values() for seed in run.seeds}
        if set(arguments.seed or ()) - seeds:
            raise InputError(f"--seed: got {arguments.seed}, expected seeds of the study: {sorted(seeds)}")
        for cell in cells(study, arguments.results) if arguments.command == "run" else ():
            wanted = cell.name in (arguments.only or study.runs) and cell.seed in (arguments.seed or [cell.seed])
            if wanted:
                _show(f"{cell.name} seed {cell.seed}: {cell.iterations_done}/{cell.config.num_batches} iterations done")
                run_cell(cell, study, arguments.num_workers)
        _show(report(study, arguments.results))

    return run_command(command, interrupted="finished iterations are saved; run the same command to go on")


if __name__ == "__main__":
    sys.exit(main())
