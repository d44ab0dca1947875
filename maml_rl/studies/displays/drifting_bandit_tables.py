"""Tables of a drifting bandit: rewards, models of choices, correlations with them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_rl.analysis.intervals import fraction_interval, mean_interval
from maml_rl.analysis.regression import Correlation, correlate
from maml_rl.analysis.value_models import TDModel
from maml_rl.studies.displays.drifting_bandit_analysis import CONTROLS

Found = dict[str, np.ndarray]
"""Arrays of `drifting_bandit_analysis.analyse`, all seeds together; rewards of others as ``"baseline NAME"``."""
FEWEST_AGENTS = 4
"""Agents from which a correlation is computed."""
MEASURES = {
    "autocorrelation": "choice autocorrelation",
    "decoded": "choices decoded from memory",
    "similarity": "similarity of memory states",
}
_SHOWN = {
    **MEASURES,
    "decoded_from_choice": "choices decoded from the present choice",
    "decoded_from_values": "choices decoded from TD values",
}
_SHOWN_LAGS = (1, 2, 5, 10, 20)
_TIE = 1e-3
"""Nats that two searches for the same maximum may differ by."""


def preference(found: Found) -> np.ndarray:
    """Log Bayes factors (P,) of the sampling model over the TD model, which has as many parameters."""
    return found["sampling_log_likelihood"] - found["td_log_likelihood"]


def baseline_rewards(found: Found) -> dict[str, np.ndarray]:
    """Rewards (P, N) of the oracle and of baseline agents on the agents' tasks, by name."""
    return {key.removeprefix("baseline "): value for key, value in found.items() if key.startswith("baseline ")}


def table_of_rewards(found: Found) -> list[str]:
    """Rewards of the agents, of the oracle and of baseline agents."""
    each = found["rewards"].mean(axis=1)  # (P,)
    low, median, high = np.quantile(each, [0.25, 0.5, 0.75])
    baselines = baseline_rewards(found)
    return [
        f"Mean reward of each agent on {found['rewards'].shape[1]} new tasks, on which all agents meet the same payoff "
        "noise; of the oracle, which knows every mean, and of baseline agents that know how arms drift, on the same "
        "tasks. Everything below is of the first ten of these tasks.",
        "",
        f"| agents | median | quartiles | worst | best | {' | '.join(baselines)} |",
        f"|---|---|---|---|---|{'---|' * len(baselines)}",
        f"| {len(each)} | {median:.1f} | {low:.1f} to {high:.1f} | {each.min():.1f} | {each.max():.1f} "
        f"| {' | '.join(f'{value.mean():.1f}' for value in baselines.values())} |",
    ]


def table_of_models(found: Found) -> list[str]:
    """Both models beside each other: of the agents, of the controls, and the fitted parameters."""
    factors = preference(found)
    held_out = found["sampling_cross_validated"] - found["td_cross_validated"]
    interval = mean_interval(factors[np.newaxis])
    mean, least, most = (float(part[0]) for part in (interval.mean, interval.low, interval.high))
    return [
        "Sampling minus TD, in nats per agent: agents whose choices the sampling model explains better, with the "
        "fraction's 95 % interval over agents; ties; median; quartiles. Mean log Bayes factor over agents with its "
        f"95 % interval: {mean:.1f} [{least:.1f}, {most:.1f}]. All agents meet the same few tasks: intervals over "
        "agents say what other agents would do on these tasks, and nothing about other tasks.",
        "",
        "| measure | sampling better | ties | median | quartiles |",
        "|---|---|---|---|---|",
        _preferred("log Bayes factor (BIC)", factors),
        _preferred("cross-validated log likelihood", held_out),
        "",
        "The same for agents whose way to choose is known: no Kalman agent samples its past, and the two models have "
        "the medians of what agents were fitted with. Mean and range of "
        f"{len(found['control_factor'])} times as many choices as an agent's. A sign that averaging agents have too "
        "is no evidence of sampling.",
        "",
        "| agent | log Bayes factor (BIC) | cross-validated log likelihood |",
        "|---|---|---|",
        *(
            f"| {name} | {_with_range(factor)} | {_with_range(held_out)} |"
            for name, factor, held_out in zip(
                CONTROLS, found["control_factor"].T, found["control_held_out"].T, strict=True
            )
        ),
        "",
        "Medians over agents [quartiles] of the parameters, and of the log likelihood of a choice; agents with a "
        "parameter at the end of its range.",
        "",
        f"| model | {' | '.join(part.name for part in TDModel.ranges)} | per choice | at a bound |",
        "|---|---|---|---|---|---|",
        *(_parameters(found, key, title) for key, title in (("td", "TD"), ("sampling", "sampling"))),
    ]


def _preferred(title: str, differences: np.ndarray) -> str:
    fraction = fraction_interval(int((differences > _TIE).sum()), len(differences))
    percents = [f"{100 * float(part):.0f}" for part in (fraction.mean, fraction.low, fraction.high)]
    low, median, high = np.quantile(differences, [0.25, 0.5, 0.75])
    return (
        f"| {title} | {percents[0]} % [{percents[1]}, {percents[2]}] | {(np.abs(differences) <= _TIE).sum()} "
        f"| {median:.1f} | {low:.1f} to {high:.1f} |"
    )


def _parameters(found: Found, key: str, title: str) -> str:
    return (
        f"| {title} | {' | '.join(_median(found[f'{key}_parameters'][:, i]) for i in range(3))} "
        f"| {_median(found[f'{key}_log_likelihood'] / np.maximum(found['num_choices'], 1), digits=3)} "
        f"| {int(found[f'{key}_at_bound'].sum())} |"
    )


def table_of_correlations(found: Found) -> list[str]:
    """Measures at several lags, and their correlation with the preference for a model."""
    lags = [lag for lag in _SHOWN_LAGS if lag <= found["decoded"].shape[1]]
    lines = [
        "At a lag of that many trials, means over agents: autocorrelation of choices, fraction of choices decoded from "
        f"memory (the commonest choice: {found['commonest'].mean():.2f}), from the choice that is made now, and from "
        "the values of the fitted TD model, in which no single choice is kept; similarity of memory states. Decoding: "
        "ten principal components and a logistic regression, five folds of episodes. A trial without a choice counts "
        "as one more arm.",
        "",
        f"| lag | {' | '.join(str(lag) for lag in lags)} |",
        f"|---|{'---|' * len(lags)}",
    ]
    for key, title in _SHOWN.items():
        lines.append(f"| {title} | {' | '.join(f'{np.nanmean(found[key][:, lag - 1]):.2f}' for lag in lags)} |")
    if len(found["rewards"]) < FEWEST_AGENTS:
        return lines
    factors = preference(found)
    lines += [
        "",
        "Correlation over agents with the log Bayes factor of sampling, at lag 2 (of the mean reward as a whole) with "
        "its 95 % interval over agents on the same tasks, and lags at which p < .05, not corrected for their number. "
        "How reliable the Bayes factor of one agent is was not measured here: if it is little, a correlation cannot "
        "be seen. `python -m benchmarks.drifting_models` measures it on all tasks.",
        "",
        "| measure | r | p | lags with p < .05 |",
        "|---|---|---|---|",
    ]
    for key, title in MEASURES.items():
        if found[key].shape[1] < 2:
            continue
        all_lags = [correlation_over_agents(column, factors) for column in found[key].T]
        at = all_lags[1]
        significant = [lag for lag, one in enumerate(all_lags, 1) if one.p < 0.05]
        lines.append(f"| {title} | {at.r:.3f} [{at.low:.3f}, {at.high:.3f}] | {at.p:.2g} | {_ranges(significant)} |")
    reward = correlate(found["rewards"].mean(axis=1), factors)
    lines.append(f"| mean reward | {reward.r:.3f} [{reward.low:.3f}, {reward.high:.3f}] | {reward.p:.2g} | - |")
    return lines


def correlation_over_agents(values: np.ndarray, factors: np.ndarray) -> Correlation:
    """Correlation of `values` and `factors` (P,), of agents with both: of one arm there is no autocorrelation."""
    both = np.isfinite(values) & np.isfinite(factors)
    if both.sum() < FEWEST_AGENTS:
        return Correlation(np.nan, np.nan, np.nan, np.nan)
    return correlate(values[both], factors[both])


def _with_range(values: np.ndarray) -> str:
    return f"{values.mean():.1f} ({values.min():.1f} to {values.max():.1f})"


def _median(values: np.ndarray, *, digits: int = 2) -> str:
    low, median, high = np.quantile(values[np.isfinite(values)], [0.25, 0.5, 0.75])
    return f"{median:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _ranges(lags: Sequence[int]) -> str:
    """Whole numbers in words: 1 to 3, 7."""
    parts: list[list[int]] = []
    for lag in lags:
        if parts and lag == parts[-1][-1] + 1:
            parts[-1].append(lag)
        else:
            parts.append([lag])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts) or "none"
