"""Learning rates of agents on restless bandits: those that explain their choices best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_rl.analysis.delta_rule import DeltaRuleFit, fit_learning_rate
from maml_rl.studies.displays.display import Display, evaluations
from maml_rl.studies.study_run import StudyRun, by_name

_HEAD = [
    "## Learning rates",
    "",
    "Delta rule fitted to the choices of all tasks of one volatility by maximum likelihood, one fit per seed: mean "
    "learning rate (single seeds) and mean inverse temperature. An agent that learns at one rate everywhere was not "
    "fitted beside these: how much of a trend is the fit's own is open.",
    "",
    "| run | volatility | seeds | learning rate | inverse temperature |",
    "|---|---|---|---|---|",
]


class RestlessBanditDisplay(Display):
    """Learning rates on arms that change while they are pulled."""

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """One row per run and volatility; nothing if there is no restless bandit that was evaluated."""
        rows = []
        for name, seeds in by_name([run for run in runs if self.applies(run.config)]).items():
            for volatility, fits in fits_by_volatility(seeds).items():
                rates = np.array([fit.learning_rate for fit in fits])
                slopes = np.array([fit.inverse_temperature for fit in fits])
                rows.append(
                    f"| {name} | {volatility:g} | {len(fits)} | {rates.mean():.2f} "
                    f"({', '.join(f'{rate:.2f}' for rate in rates)}) | {slopes.mean():.1f} |"
                )
        return [*_HEAD, *rows] if rows else []


def fits_by_volatility(seeds: Sequence[StudyRun]) -> dict[float, list[DeltaRuleFit]]:
    """A fit of each seed on all tasks of one volatility that it was evaluated on, slow ones first."""
    fits: dict[float, list[DeltaRuleFit]] = {}
    for run in seeds:
        found = [results for test_set in run.configs for results in evaluations([run], test_set)]
        if not found:
            continue
        volatilities = [_volatilities(results["tasks"], results["task_fields"]) for results in found]
        choices, rewards = (np.concatenate([results[key] for results in found]) for key in ("actions", "rewards"))
        steady = np.concatenate(volatilities)
        for volatility in np.unique(steady[~np.isnan(steady)]):
            mine = steady == volatility
            fits.setdefault(float(volatility), []).append(fit_learning_rate(choices[mine], rewards[mine]))
    return dict(sorted(fits.items()))


def _volatilities(tasks: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """The volatility (N,) of every task, NaN where it changes."""
    blocks = tasks[:, [str(field).startswith("volatility") for field in fields]]
    return np.where((blocks == blocks[:, :1]).all(1), blocks[:, 0], np.nan)
