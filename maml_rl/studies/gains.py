"""What adaptation is worth on new tasks, and what random actions earn there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_rl.analysis import mean_interval
from maml_rl.studies.study import Cell, Study
from maml_rl.studies.tables import interval_in_words


def table_of_gains(study: Study, done: Sequence[Cell]) -> list[str]:
    """One row per run and family; empty unless the study asks for random play."""
    if not study.random_policy:
        return []
    lines = [
        "## Against random play",
        "",
        "Returns on new tasks of the family a run was trained on (own) or of another one. Random: uniformly random "
        "choices on the same tasks. Gain: return after the inner steps of training, or one step if it had none, minus "
        "before, task by task; and after all steps of the evaluation. Means over the tasks of all seeds with 95 % "
        "intervals.",
        "",
        "| run | family | seeds | random | before | after | after - random | gain | gain of all steps |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(cell.name for cell in done):
        for family in (None, *study.test_on):
            seeds = [cell for cell in done if cell.name == name and _is_evaluated(cell, family)]
            if seeds:
                lines.append(f"| {name} | {family or 'own'} | {len(seeds)} | {' | '.join(_row(seeds, family))} |")
    return lines


def _is_evaluated(cell: Cell, family: str | None) -> bool:
    return cell.results(family) is not None and cell.random_returns(family) is not None


def _row(seeds: Sequence[Cell], family: str | None) -> list[str]:
    scores, random = [], []
    for cell in seeds:
        returns, played = cell.test_returns(family), cell.random_returns(family)
        assert returns is not None
        assert played is not None
        scores.append(returns.mean(axis=-1, dtype=np.float64))  # (S, N, B) -> (S, N)
        random.append(played.mean(axis=-1, dtype=np.float64))
    after_each, by_chance = np.concatenate(scores, axis=1), np.concatenate(random)
    before, last = after_each[0], after_each[-1]
    after = after_each[min(max(1, seeds[0].config.num_steps), len(after_each) - 1)]
    columns = (by_chance, before, after, after - by_chance, after - before, last - before)
    return [interval_in_words(mean_interval(column)) for column in columns]
