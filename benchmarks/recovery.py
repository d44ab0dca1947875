"""Recovery of models of choices: which of them can be told apart, which of their parameters found, from 150 trials.

`python -m benchmarks.recovery --output results/recovery` simulates subjects with every model, fits all models to them,
and writes tables (recovery.md, parameters.csv, models.csv) and a figure. The default takes about ten minutes on one
core.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np

from maml_rl.analysis.people.catalogue import bandit_models, two_step_models
from maml_rl.analysis.people.designs import BanditDesign, Design, TwoStepDesign
from maml_rl.analysis.people.fit_plots import plot_confusion
from maml_rl.analysis.people.recovery import ModelRecovery, recover_models
from maml_rl.utils.files import write_atomically

NUM_SUBJECTS, NUM_TRIALS = 14, 150


def main() -> None:
    """Parse arguments, simulate and fit group by group, print; write after every group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder")
    parser.add_argument("--groups", type=int, default=3, help=f"groups of {NUM_SUBJECTS} subjects for each model")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    tasks: dict[str, tuple[Mapping[str, Any], Design]] = {
        "bandit": (bandit_models(), BanditDesign(num_trials=NUM_TRIALS)),
        "two-step": (two_step_models(), TwoStepDesign(num_trials=NUM_TRIALS)),
    }
    found: dict[str, ModelRecovery] = {}
    for group in range(arguments.groups):
        for task, (models, design) in tasks.items():
            one = recover_models(
                models,
                design,
                num_subjects=NUM_SUBJECTS,
                seed=arguments.seed + group,
                show=lambda line: print(line, flush=True),
            )
            found[task] = found[task] + one if task in found else one
        command = f"python -m benchmarks.recovery --output {arguments.output} --groups {group + 1}"
        save(arguments.output, found, f"{command} --seed {arguments.seed}")
    print((arguments.output / "recovery.md").read_text(encoding="utf-8"))


def save(folder: Path, found: Mapping[str, ModelRecovery], command: str) -> None:
    """Write tables and the figure of all groups so far."""
    num_groups = next(iter(found.values())).log_evidences.shape[1]
    minutes = time.process_time() / 60.0
    lines = [
        "# Recovery",
        "",
        f"{num_groups} groups of {NUM_SUBJECTS} simulated subjects for each model, one episode of {NUM_TRIALS} trials "
        "each: four drifting arms (Daw et al. 2006), or the two-step task (Daw et al. 2011). Parameters are uniform in "
        "the ranges that searches start in. Fits: maximum likelihood; log evidence: -BIC / 2. "
        f"`{command}`: {minutes:.0f} minutes on one core.",
        "",
    ]
    for task, one in found.items():
        lines += [f"## Models of the {task} task", "", *one.table(), ""]
        for name in one.names:
            lines += [f"### Parameters of {name}", "", *one.parameters[name].table(group_size=NUM_SUBJECTS), ""]
    text = "\n".join(lines).rstrip() + "\n"
    write_atomically(folder / "recovery.md", lambda path: path.write_text(text, encoding="utf-8"))
    save_parameters(folder / "parameters.csv", found)
    save_models(folder / "models.csv", found)
    figure = draw(found)
    write_atomically(folder / "models.png", lambda path: figure.savefig(path, dpi=70))


def save_parameters(path: Path, found: Mapping[str, ModelRecovery]) -> None:
    """Write true and fitted parameters, a line each."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("task", "model", "parameter", "subject", "true", "fitted", "at_bound"))
            each = ((task, *item) for task, models in found.items() for item in models.parameters.items())
            for task, model, one in each:
                for subject, index in np.ndindex(one.true.shape):
                    values = (f"{part[subject, index]:.4g}" for part in (one.true, one.found))
                    at_bound = int(one.at_bounds[subject, index])
                    writer.writerow((task, model, one.names[index], subject + 1, *values, at_bound))

    write_atomically(path, write)


def save_models(path: Path, found: Mapping[str, ModelRecovery]) -> None:
    """Write both confusion matrices of each task, a line for each pair of models."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("task", "made_by", "model", "fraction_of_subjects", "mean_protected_exceedance"))
            for task, one in found.items():
                both = (one.by_subject, one.by_group)
                for row, column in np.ndindex(both[0].shape):
                    values = (f"{part[row, column]:.2f}" for part in both)
                    writer.writerow((task, one.names[row], one.names[column], *values))

    write_atomically(path, write)


def draw(found: Mapping[str, ModelRecovery]) -> matplotlib.figure.Figure:
    """Confusion matrices of subjects, and of groups, for each task."""
    figure = matplotlib.figure.Figure(figsize=(11, 10), layout="constrained")
    axes = figure.subplots(len(found), 2, squeeze=False)
    for row, (task, one) in zip(axes, found.items(), strict=True):
        for ax, matrix, title in (
            (row[0], one.by_subject, "fraction of subjects with the least BIC"),
            (row[1], one.by_group, f"protected exceedance, groups of {one.log_evidences.shape[2]}"),
        ):
            plot_confusion(ax, matrix, one.names)
            ax.set_title(f"{task}: {title}", fontsize="medium")
    return figure


if __name__ == "__main__":
    main()
