"""What a study shows: manifest, table and figures of what is done."""

from __future__ import annotations

import contextlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from maml_rl import __version__
from maml_rl.cli import available_cores
from maml_rl.studies.areas import table_of_areas
from maml_rl.studies.behaviour import draw_behaviour
from maml_rl.studies.cognition_report import cognition, draw_cognition, tables_of_cognition
from maml_rl.studies.figures import by_family, draw_areas, draw_comparison, draw_run, save_figure
from maml_rl.studies.gains import table_of_gains
from maml_rl.studies.learning_rates import table_of_learning_rates
from maml_rl.studies.planners import table_of_mdps
from maml_rl.studies.players import table_of_bandits
from maml_rl.studies.scores import Seeds, finished_seeds
from maml_rl.studies.study import FIGURE_OF_AREAS, FIGURE_OF_COMPARISONS, Cell, Study, cells
from maml_rl.studies.tables import table_of_cells, table_of_comparisons, table_of_families, table_of_runs
from maml_rl.utils.files import write_atomically

_VERSIONS = ("torch", "numpy", "scipy", "gymnasium", "mujoco", "scikit-learn", "ale-py")


def report(study: Study, root: Path) -> str:
    """Write manifest, table and figures of what is done; return the table as Markdown."""
    folder = root / study.name
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    done = [cell for cell in cells(study, root) if cell.iterations_done]
    runs, left_out = finished_seeds(done)
    lines = [f"# {study.name}", "", study.question, "", *table_of_cells(done), ""]
    if study.test_on:
        lines += [*table_of_families(study, done), ""]
    tables = (
        table_of_gains(study, done),
        table_of_bandits(done),
        table_of_mdps(done),
        table_of_learning_rates(done),
        tables_of_cognition(done),
    )
    for table in tables:
        if table:
            lines += [*table, ""]
    lines += _statistics(study, runs, left_out, folder / "figures")
    if study.comparisons and len(runs) > 1:
        families = by_family(study, runs)
        for family, some in families.items():
            if len(some) > 1:
                name = FIGURE_OF_COMPARISONS + (f"-{family}" if len(families) > 1 else "")
                draw_comparison(study, some, folder / "figures" / f"{name}.png")
                lines.append(f"![every run beside {next(iter(some))}](figures/{name}.png)")
    for name in dict.fromkeys(cell.name for cell in done):
        seeds = [cell for cell in done if cell.name == name]
        draw_run(seeds, folder / "figures" / f"{name}.png")
        lines.append(f"![{name}](figures/{name}.png)")
        behaviour = draw_behaviour(seeds)
        if behaviour is not None:
            save_figure(behaviour, folder / "figures" / f"{name}-behaviour.png")
            lines.append(f"![behaviour of {name}](figures/{name}-behaviour.png)")
        found = cognition(seeds)
        if found is not None:
            save_figure(draw_cognition(found, name), folder / "figures" / f"{name}-cognition.png")
            lines.append(f"![cognitive models of {name}](figures/{name}-cognition.png)")
    text = "\n".join(lines) + "\n"
    write_atomically(folder / "table.md", lambda file: file.write_text(text, encoding="utf-8"))
    manifest = json.dumps(_manifest(study, done), indent=2) + "\n"
    write_atomically(folder / "manifest.json", lambda file: file.write_text(manifest, encoding="utf-8"))
    return text


def _statistics(study: Study, runs: Mapping[str, Seeds], left_out: Sequence[str], figures: Path) -> list[str]:
    """Tables whose units are seeds, where a run has several or the study compares; curves are drawn in `figures`."""
    tables = []
    if any(len(seeds.cells) > 1 for seeds in runs.values()):
        tables += [*table_of_runs(study, runs), ""]
    if study.comparisons:
        tables += [*table_of_comparisons(study, runs), ""]
    curves = table_of_areas(study, runs)
    if curves:
        draw_areas(study, runs, figures / f"{FIGURE_OF_AREAS}.png")
        tables += [*curves, "", f"![what runs had earned after how many steps](figures/{FIGURE_OF_AREAS}.png)", ""]
    if tables and left_out:
        tables += [f"Not in these tables: {'; '.join(left_out)}.", ""]
    return tables


def _manifest(study: Study, done: Sequence[Cell]) -> dict[str, Any]:
    return {
        "study": study.model_dump(),
        "versions": {"maml_rl": __version__, **_versions()},
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


def _versions() -> dict[str, str]:
    """Of the packages results depend on, those that are there."""
    found = {}
    for name in _VERSIONS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
