"""Report of a study: manifest, table and figures of what is done."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from maml_rl import __version__
from maml_rl.config import ConfigError
from maml_rl.studies.adaptation_gain import table_of_adaptation_gains
from maml_rl.studies.archive import ARCHIVE
from maml_rl.studies.displays.registry import displays_of, displays_of_runs
from maml_rl.studies.family_curves import draw_families
from maml_rl.studies.figures import by_family, draw_comparison, draw_learning_curve_areas, draw_run, save_figure
from maml_rl.studies.learning_curve_area import table_of_learning_curve_areas
from maml_rl.studies.oracle_shares import table_of_oracle_shares
from maml_rl.studies.paired_by_seed import table_of_paired_runs
from maml_rl.studies.scores import Seeds, finished_seeds
from maml_rl.studies.study import (
    FIGURE_OF_AREAS,
    FIGURE_OF_COMPARISONS,
    FIGURE_OF_ORACLE_SHARES,
    Study,
    study_runs,
)
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.studies.tables import table_of_comparisons, table_of_runs, table_of_seeds, table_of_test_sets
from maml_rl.utils.cores import available_cores
from maml_rl.utils.field_words import did_you_mean
from maml_rl.utils.files import write_atomically

_VERSIONS = ("torch", "numpy", "scipy", "gymnasium", "mujoco", "scikit-learn", "ale-py")


def report(study: Study, root: Path) -> str:
    """Write manifest, table and figures of what is done; return the table as Markdown.

    Raises
    ------
    ConfigError
        In one line, if nothing is done.
    """
    folder = root / study.name
    every = study_runs(study, root)
    done = [run for run in every if run.iterations_done]
    if not done:
        raise ConfigError(f"report: got no iteration of any run in {str(folder)!r}; run the study first")
    figures = _Figures(folder / "figures", study.figures)
    runs, left_out = finished_seeds(done)
    lines = [f"# {study.name}", "", study.question, "", *table_of_seeds(done), ""]
    if study.test_on:
        lines += [*table_of_test_sets(study, done), ""]
    shown = (display.table(done) for display in displays_of_runs(done))
    of_runs = (table_of_adaptation_gains, table_of_oracle_shares, table_of_paired_runs)
    for table in (*(make(study, done) for make in of_runs), *shown):
        if table:
            lines += [*table, ""]
    lines += _statistics(study, runs, left_out, figures)
    families = draw_families(study, runs)
    if families is not None:
        save_figure(families, figures.path(FIGURE_OF_ORACLE_SHARES))
        lines += figures.line(FIGURE_OF_ORACLE_SHARES, "what runs obtain in training, by family")
    lines += _comparison_figures(study, runs, figures)
    for name, seeds in by_name(done).items():
        lines += _run_figures(name, seeds, figures)
    figures.check([run for run in every if run not in done])
    if figures.left_out:
        origin = f" from `{ARCHIVE}`" if (folder / ARCHIVE).exists() else ""
        command = f"python -m maml_rl.studies report {study.path}"
        lines += [*([""] if lines[-1] else []), f"More figures, of every run: `{command}` draws them{origin}."]
    text = "\n".join(lines) + "\n"
    manifest = json.dumps(_manifest(study, done), indent=2) + "\n"
    write_atomically(folder / "table.md", lambda file: file.write_text(text, encoding="utf-8"))
    write_atomically(folder / "manifest.json", lambda file: file.write_text(manifest, encoding="utf-8"))
    return text


class _Figures:
    """Figures of a report in a folder, of which the table shows the `wanted`, or all."""

    def __init__(self, folder: Path, wanted: Sequence[str] | None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._wanted = folder, wanted
        self._drawn: list[str] = []

    def path(self, name: str) -> Path:
        """Path of a figure."""
        return self._folder / f"{name}.png"

    def line(self, name: str, caption: str) -> list[str]:
        """The line of the table that shows a figure which was drawn, or none."""
        self._drawn.append(name)
        return [f"![{caption}](figures/{name}.png)"] if self._wanted is None or name in self._wanted else []

    @property
    def left_out(self) -> bool:
        """True if the table does not show all."""
        return self._wanted is not None and not set(self._drawn) <= set(self._wanted)

    def check(self, missing: Sequence[StudyRun]) -> None:
        """Refuse names of figures that neither are there nor can be of the `missing` runs."""
        later = (FIGURE_OF_COMPARISONS, FIGURE_OF_AREAS, FIGURE_OF_ORACLE_SHARES, *(run.name for run in missing))
        for name in self._wanted or ():
            if name not in self._drawn and not (missing and name.startswith(later)):
                hint = did_you_mean(name, self._drawn)
                raise ConfigError(f"figures: got {name!r}, expected some of {', '.join(self._drawn)}{hint}")


def _comparison_figures(study: Study, runs: Mapping[str, Seeds], figures: _Figures) -> list[str]:
    """Draw the runs of each family beside each other, where the study compares and there are several."""
    families = by_family(study, runs) if study.comparisons else {}
    lines = []
    for family, some in families.items():
        if len(some) > 1:
            name = FIGURE_OF_COMPARISONS + (f"-{family}" if len(families) > 1 else "")
            draw_comparison(study, some, figures.path(name))
            lines += figures.line(name, f"every run beside {next(iter(some))}")
    return lines


def _run_figures(name: str, seeds: Sequence[StudyRun], figures: _Figures) -> list[str]:
    """Draw one run, and whatever its displays draw of it."""
    draw_run(seeds, figures.path(name))
    lines = figures.line(name, name)
    for display in displays_of(seeds[0].config):
        figure = display.figure(seeds)
        if figure is not None:
            own = f"{name}-{display.figure_name}"
            save_figure(figure, figures.path(own))
            lines += figures.line(own, f"{display.caption} of {name}")
    return lines


def _statistics(study: Study, runs: Mapping[str, Seeds], left_out: Sequence[str], figures: _Figures) -> list[str]:
    """Tables whose units are seeds, where a run has several or the study compares; curves are drawn."""
    tables = []
    if any(len(seeds.runs) > 1 for seeds in runs.values()):
        tables += [*table_of_runs(study, runs), ""]
    if study.comparisons:
        tables += [*table_of_comparisons(study, runs), ""]
    curves = table_of_learning_curve_areas(study, runs)
    if curves:
        draw_learning_curve_areas(study, runs, figures.path(FIGURE_OF_AREAS))
        tables += [*curves, ""]
        for line in figures.line(FIGURE_OF_AREAS, "mean reward of runs against environment steps"):
            tables += [line, ""]
    if tables and left_out:
        tables += [f"Not in these tables: {'; '.join(left_out)}.", ""]
    return tables


def _manifest(study: Study, done: Sequence[StudyRun]) -> dict[str, Any]:
    return {
        "study": study.model_dump(),
        "versions": {"maml_rl": __version__, **_versions()},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {available_cores()} cores",
        "runs": [
            {
                "run": run.name,
                "seed": run.seed,
                "iterations": run.iterations_done,
                "env_steps": int(run.metrics()["env_steps"][-1]),
                "minutes": round(float(run.metrics()["seconds"][-1]) / 60, 1),
                "command": run.command,
            }
            for run in done
        ],
    }


def _versions() -> dict[str, str]:
    """Of the packages results depend on, those that are there."""
    found = {}
    for name in _VERSIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
