"""Areas under learning curves against environment steps, of which some runs make more than others in an iteration."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from maml_rl.analysis.comparisons import compare
from maml_rl.analysis.intervals import mean_interval
from maml_rl.studies.scores import Seeds
from maml_rl.studies.study import Study
from maml_rl.studies.tables import interval_in_words, probability, three_figures
from maml_rl.utils.random import Purpose, generator


def learning_curve_areas(runs: Mapping[str, Seeds]) -> tuple[dict[str, np.ndarray], float]:
    """Mean score (S,) of each run's seeds over the first environment steps, as many as all of them have made.

    The score of an iteration counts for the steps it made: ``sum_i score_i * steps_i / sum_i steps_i``, the last
    iteration cut where the steps are used up.
    """
    found, steps = running_areas(runs, 1)
    return {name: values[:, -1] for name, values in found.items()}, float(steps[-1])


def running_areas(runs: Mapping[str, Seeds], num_points: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """`learning_curve_areas` (S, G) of each run over its first steps, for G = `num_points` numbers of steps (G,)."""
    ends = {
        name: [run.metrics()["env_steps"][: seeds.returns.shape[1]] for run in seeds.runs]
        for name, seeds in runs.items()
    }
    horizon = min(float(end[-1]) for of_seeds in ends.values() for end in of_seeds)
    steps = np.linspace(0.0, horizon, num_points + 1)[1:]
    return {
        name: np.array(
            [
                [_mean(returns, end, until) for until in steps]
                for returns, end in zip(runs[name].returns, of_seeds, strict=True)
            ]
        )
        for name, of_seeds in ends.items()
    }, steps


def _mean(scores: np.ndarray, ends: np.ndarray, horizon: float) -> float:
    steps = np.diff(np.minimum(ends, horizon), prepend=0.0)
    return float(scores @ steps / horizon)


def table_of_learning_curve_areas(study: Study, runs: Mapping[str, Seeds]) -> list[str]:
    """Areas of the runs and of the study's comparisons; empty if every iteration has the same steps in all runs."""
    curves = {tuple(run.metrics()["env_steps"]) for seeds in runs.values() for run in seeds.runs}
    shortest = min((len(curve) for curve in curves), default=0)
    if not study.comparisons or len({curve[:shortest] for curve in curves}) < 2:
        return []
    found, horizon = learning_curve_areas(runs)
    lines = [
        "## Learning curves",
        "",
        "Area: mean total reward of a batch (after adaptation; of meta-episodes where these count) over the first "
        f"{horizon / 1e6:.2f} million environment steps of a run, as many as all have made; mean over seeds with its "
        "95 % interval (Student), and the seeds themselves. Comparisons: first minus second with its 95 % interval "
        "(Welch), two-sided p of a permutation test.",
        "",
        "| run | area | seeds |",
        "|---|---|---|",
    ]
    for name, values in found.items():
        shown = interval_in_words(mean_interval(values)) if len(values) > 1 else three_figures(float(values[0]))
        lines.append(f"| {name} | {shown} | {', '.join(three_figures(float(value)) for value in values)} |")
    lines += ["", "| comparison | difference of areas | permutation p |", "|---|---|---|"]
    for first, second in study.comparisons:
        if min(len(found.get(first, ())), len(found.get(second, ()))) < 2:
            lines.append(f"| {first} - {second} | too few seeds | - |")
            continue
        result = compare(found[first], found[second], generator(0, Purpose.STATISTICS))
        difference, low, high = (three_figures(x) for x in (result.difference, result.low, result.high))
        lines.append(f"| {first} - {second} | {difference} [{low}, {high}] | {probability(result.permutation_p)} |")
    return lines
