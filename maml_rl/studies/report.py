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
    done = [run for run in study_runs(study, root) if run.iterations_done]
    if not done:
        raise ConfigError(f"report: got no iteration of any run in {str(folder)!r}; run the study first")
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    runs, left_out = finished_seeds(done)
    lines = [f"# {study.name}", "", study.question, "", *table_of_seeds(done), ""]
    if study.test_on:
        lines += [*table_of_test_sets(study, done), ""]
    shown = (display.table(done) for display in displays_of_runs(done))
    of_runs = (table_of_adaptation_gains, table_of_oracle_shares, table_of_paired_runs)
    for table in (*(make(study, done) for make in of_runs), *shown):
        if table:
            lines += [*table, ""]
    lines += _statistics(study, runs, left_out, folder / "figures")
    families = draw_families(study, runs)
    if families is not None:
        save_figure(families, folder / "figures" / f"{FIGURE_OF_ORACLE_SHARES}.png")
        lines.append(f"![what runs obtain in training, by family](figures/{FIGURE_OF_ORACLE_SHARES}.png)")
    lines += _comparison_figures(study, runs, folder / "figures")
    for name, seeds in by_name(done).items():
        lines += _run_figures(name, seeds, folder / "figures")
    text = "\n".join(_with_figures_of(study, lines)) + "\n"
    write_atomically(folder / "table.md", lambda file: file.write_text(text, encoding="utf-8"))
    manifest = json.dumps(_manifest(study, done), indent=2) + "\n"
    write_atomically(folder / "manifest.json", lambda file: file.write_text(manifest, encoding="utf-8"))
    return text


def _with_figures_of(study: Study, lines: Sequence[str]) -> list[str]:
    """The `lines` of a table without figures that the study does not name; then the last one tells where those are."""
    if study.figures is None:
        return list(lines)
    wanted = {f"(figures/{name}.png)" for name in study.figures}
    shown = [line for line in lines if not line.startswith("![") or any(line.endswith(name) for name in wanted)]
    if len(shown) < len(lines):
        command = f"python -m maml_rl.studies report studies/{study.name}.yaml"
        shown += ["", f"More figures, of every run: `{command}` draws them from `{ARCHIVE}`."]
    return shown


def _comparison_figures(study: Study, runs: Mapping[str, Seeds], figures: Path) -> list[str]:
    """Draw the runs of each family beside each other, where the study compares and there are several."""
    families = by_family(study, runs) if study.comparisons else {}
    lines = []
    for family, some in families.items():
        if len(some) > 1:
            name = FIGURE_OF_COMPARISONS + (f"-{family}" if len(families) > 1 else "")
            draw_comparison(study, some, figures / f"{name}.png")
            lines.append(f"![every run beside {next(iter(some))}](figures/{name}.png)")
    return lines


def _run_figures(name: str, seeds: Sequence[StudyRun], figures: Path) -> list[str]:
    """Draw one run, and whatever its displays draw of it."""
    draw_run(seeds, figures / f"{name}.png")
    lines = [f"![{name}](figures/{name}.png)"]
    for display in displays_of(seeds[0].config):
        figure = display.figure(seeds)
        if figure is not None:
            file_name = f"{name}-{display.figure_name}.png"
            save_figure(figure, figures / file_name)
            lines.append(f"![{display.caption} of {name}](figures/{file_name})")
    return lines


def _statistics(study: Study, runs: Mapping[str, Seeds], left_out: Sequence[str], figures: Path) -> list[str]:
    """Tables whose units are seeds, where a run has several or the study compares; curves are drawn in `figures`."""
    tables = []
    if any(len(seeds.runs) > 1 for seeds in runs.values()):
        tables += [*table_of_runs(study, runs), ""]
    if study.comparisons:
        tables += [*table_of_comparisons(study, runs), ""]
    curves = table_of_learning_curve_areas(study, runs)
    if curves:
        draw_learning_curve_areas(study, runs, figures / f"{FIGURE_OF_AREAS}.png")
        tables += [*curves, "", f"![mean reward of runs against environment steps](figures/{FIGURE_OF_AREAS}.png)", ""]
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
