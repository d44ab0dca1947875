"""What a study of a drifting bandit says: what agents earn, which model explains their choices, what goes with it."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.figure
import numpy as np
from matplotlib.axes import Axes

from maml_rl.analysis import (
    Correlation,
    DriftingArms,
    correlate,
    mean_interval,
    play_drifting_bandit,
    share_interval,
)
from maml_rl.analysis.model_fits import PARAMETERS
from maml_rl.blueprint import draw_up
from maml_rl.studies.cognition import CONTROLS, PLAYERS, bandit_of, load_cognition
from maml_rl.studies.study import Cell
from maml_rl.utils.random import Purpose, generator

_SHOWN_LAGS = (1, 2, 5, 10, 20)
_FEWEST = 4
"""Agents from which a correlation is computed."""

Found = dict[str, np.ndarray]


def cognition(seeds: Sequence[Cell]) -> Found | None:
    """What was found of all agents of a run, all seeds together, beside what players earn on their tasks."""
    parts = [part for cell in seeds if (part := _load(cell)) is not None]
    if not parts:
        return None
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _load(cell: Cell) -> Found | None:
    found, results = load_cognition(cell), cell.results()
    if found is None or results is None:
        return None
    del found["digest"]
    env = bandit_of(draw_up(cell.config.model_copy(update={"num_agents": 1})))
    arms = DriftingArms(env.decay, env.centre, env.drift_deviation, env.payoff_deviation)
    means = results["tasks"].reshape(len(results["tasks"]), env.num_trials, env.num_arms)  # (N, T, K), in points
    rng, shape = generator(0, Purpose.STATISTICS), found["rewards"].shape
    earned = {"oracle": means.max(axis=2).sum(axis=1) / env.payoff_scale}
    for name, rule in PLAYERS.items():
        earned[name] = play_drifting_bandit(rule, means, rng, arms=arms).payoffs.sum(axis=1) / env.payoff_scale
    return found | {f"player {name}": np.broadcast_to(reward, shape) for name, reward in earned.items()}


def preference(found: Found) -> np.ndarray:
    """Log Bayes factors (A,) of the sampling model over the TD model, which has as many parameters."""
    return found["sampling_log_likelihood"] - found["td_log_likelihood"]


def tables_of_cognition(done: Sequence[Cell]) -> list[str]:
    """Tables of every run that has been analysed; nothing if there is none."""
    lines: list[str] = []
    for name in dict.fromkeys(cell.name for cell in done):
        found = cognition([cell for cell in done if cell.name == name])
        if found is not None:
            lines += [f"## Agents of {name}", "", *_rewards(found), "", *_models(found), "", *_correlations(found), ""]
    return lines[:-1]


def _rewards(found: Found) -> list[str]:
    each = found["rewards"].mean(axis=1)  # (A,)
    low, median, high = np.quantile(each, [0.25, 0.5, 0.75])
    players = {key.removeprefix("player "): value for key, value in found.items() if key.startswith("player ")}
    return [
        f"Mean reward of each agent on {found['rewards'].shape[1]} new tasks, on which all agents meet the same payoff "
        "noise; of the oracle, who knows every mean, and of players who know how arms drift, on the same tasks. "
        "Everything below is of the first ten of these tasks.",
        "",
        f"| agents | median | quartiles | worst | best | {' | '.join(players)} |",
        f"|---|---|---|---|---|{'---|' * len(players)}",
        f"| {len(each)} | {median:.1f} | {low:.1f} to {high:.1f} | {each.min():.1f} | {each.max():.1f} "
        f"| {' | '.join(f'{value.mean():.1f}' for value in players.values())} |",
    ]


def _models(found: Found) -> list[str]:
    factors = preference(found)
    held_out = found["sampling_cross_validated"] - found["td_cross_validated"]
    interval = mean_interval(factors[np.newaxis])
    mean, least, most = (float(part[0]) for part in (interval.mean, interval.low, interval.high))
    rows = []
    for title, differences in (("log Bayes factor (BIC)", factors), ("cross-validated log likelihood", held_out)):
        share = share_interval(int((differences > _TIE).sum()), len(differences))
        percents = [f"{100 * float(part):.0f}" for part in (share.mean, share.low, share.high)]
        low, median, high = np.quantile(differences, [0.25, 0.5, 0.75])
        rows.append(
            f"| {title} | {percents[0]} % [{percents[1]}, {percents[2]}] | {(np.abs(differences) <= _TIE).sum()} "
            f"| {median:.1f} | {low:.1f} to {high:.1f} |"
        )
    controls = [
        f"| {name} | {_of_control(found['control_factor'][:, i])} | {_of_control(found['control_held_out'][:, i])} |"
        for i, name in enumerate(CONTROLS)
    ]
    parameters = [
        f"| {title} | {' | '.join(_median(found[f'{key}_parameters'][:, i]) for i in range(3))} "
        f"| {_median(found[f'{key}_log_likelihood'] / np.maximum(found['num_choices'], 1), digits=3)} "
        f"| {int(found[f'{key}_at_bound'].sum())} |"
        for key, title in (("td", "TD"), ("sampling", "sampling"))
    ]
    return [
        "Sampling minus TD, in nats per agent: agents whose choices the sampling model explains better, with the "
        "share's 95 % interval over agents; ties; median; quartiles. Mean log Bayes factor over agents with its 95 % "
        f"interval: {mean:.1f} [{least:.1f}, {most:.1f}]. All agents meet the same few tasks: intervals over agents "
        "say what other agents would do on these tasks, and nothing about other tasks.",
        "",
        "| measure | sampling better | ties | median | quartiles |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "The same for players whose way to choose is known: no Kalman player samples its past, and the two models play "
        "with the medians of what agents were fitted with. Mean and range of "
        f"{len(found['control_factor'])} times as many choices as an agent's. A sign that averaging players have too "
        "is no evidence of sampling.",
        "",
        "| player | log Bayes factor (BIC) | cross-validated log likelihood |",
        "|---|---|---|",
        *controls,
        "",
        "Medians over agents [quartiles] of the parameters, and of the log likelihood of a choice; agents with a "
        "parameter at the end of its range.",
        "",
        f"| model | {' | '.join(PARAMETERS)} | per choice | at a bound |",
        "|---|---|---|---|---|---|",
        *parameters,
    ]


def _correlations(found: Found) -> list[str]:
    lags = [lag for lag in _SHOWN_LAGS if lag <= found["decoded"].shape[1]]
    lines = [
        "At a lag of so many trials, means over agents: autocorrelation of choices, share of choices decoded from "
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
    if len(found["rewards"]) < _FEWEST:
        return lines
    factors = preference(found)
    lines += [
        "",
        "Correlation over agents with the log Bayes factor of sampling, at lag 2 (of the mean reward as a whole) with "
        "its 95 % interval over agents on the same tasks, and lags at which p < .05, not corrected for their number. "
        "How reliable the Bayes factor of one agent is was not measured here: if it is little, a correlation cannot "
        "be seen.",
        "",
        "| measure | r | p | lags with p < .05 |",
        "|---|---|---|---|",
    ]
    for key, title in _MEASURES.items():
        if found[key].shape[1] < 2:
            continue
        all_lags = [_correlation(column, factors) for column in found[key].T]
        at = all_lags[1]
        significant = [lag for lag, one in enumerate(all_lags, 1) if one.p < 0.05]
        lines.append(f"| {title} | {at.r:.3f} [{at.low:.3f}, {at.high:.3f}] | {at.p:.2g} | {_ranges(significant)} |")
    reward = correlate(found["rewards"].mean(axis=1), factors)
    lines.append(f"| mean reward | {reward.r:.3f} [{reward.low:.3f}, {reward.high:.3f}] | {reward.p:.2g} | - |")
    return lines


_MEASURES = {
    "autocorrelation": "choice autocorrelation",
    "decoded": "choices decoded from memory",
    "similarity": "similarity of memory states",
}
_SHOWN = {
    **_MEASURES,
    "decoded_from_choice": "choices decoded from the present choice",
    "decoded_from_values": "choices decoded from TD values",
}
_TIE = 1e-3
"""Nats that two searches for the same maximum may differ by."""


def _correlation(values: np.ndarray, factors: np.ndarray) -> Correlation:
    """Over the agents that have both: who chose one arm only has no autocorrelation."""
    both = np.isfinite(values) & np.isfinite(factors)
    if both.sum() < _FEWEST:
        return Correlation(np.nan, np.nan, np.nan, np.nan)
    return correlate(values[both], factors[both])


def _of_control(values: np.ndarray) -> str:
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


def draw_cognition(found: Found, name: str) -> matplotlib.figure.Figure:
    """Rewards, model preference, what it goes with, and what memory holds: six panels."""
    figure = matplotlib.figure.Figure(figsize=(12, 7), layout="constrained")
    axes = figure.subplots(2, 3)
    figure.suptitle(f"{name}: {len(found['rewards'])} agents")
    _draw_rewards(axes[0, 0], found)
    factors = preference(found)
    _draw_histogram(axes[0, 1], factors, "log Bayes factor, sampling over TD (nats)")
    axes[0, 1].axvline(0.0, color="#555555", linewidth=1)
    ax = axes[0, 2]
    if found["autocorrelation"].shape[1] > 1:
        ax.scatter(found["autocorrelation"][:, 1], factors, s=14, color=_COLOURS[0])
    ax.set_xlabel("choice autocorrelation at lag 2")
    ax.set_ylabel("log Bayes factor of sampling")
    for ax, key in zip((axes[1, 0], axes[1, 1]), ("autocorrelation", "decoded"), strict=True):
        _draw_curve(ax, found[key], _MEASURES[key])
    for colour, style, key, title in (
        (_COLOURS[1], "-", "decoded_from_values", "from TD values"),
        (_COLOURS[2], "-", "decoded_from_choice", "from the present choice"),
    ):
        mean = found[key].mean(axis=0)
        axes[1, 1].plot(np.arange(1, len(mean) + 1), mean, color=colour, linestyle=style, label=title)
    axes[1, 1].axhline(
        found["commonest"].mean(), color="#555555", linestyle="--", linewidth=1, label="commonest choice"
    )
    axes[1, 1].legend(frameon=False, fontsize="small")
    ax = axes[1, 2]
    if len(factors) >= _FEWEST:
        for colour, (key, title) in zip(_COLOURS, _MEASURES.items(), strict=False):
            found_r = [_correlation(column, factors).r for column in found[key].T]
            ax.plot(np.arange(1, len(found_r) + 1), found_r, color=colour, label=title)
        ax.legend(frameon=False, fontsize="small")
    ax.axhline(0.0, color="#555555", linewidth=1)
    ax.set_xlabel("lag (trials)")
    ax.set_ylabel("correlation with preference for sampling")
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
    return figure


_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


def _draw_rewards(ax: Axes, found: Found) -> None:
    _draw_histogram(ax, found["rewards"].mean(axis=1), "mean reward of an agent")
    players = {key.removeprefix("player "): value.mean() for key, value in found.items() if key.startswith("player ")}
    for colour, (title, reward) in zip(("#000000", *_COLOURS[1:]), players.items(), strict=True):
        ax.axvline(reward, color=colour, linestyle="--", linewidth=1.2, label=title)
    ax.legend(frameon=False, fontsize="small", loc="upper right")


def _draw_histogram(ax: Axes, values: np.ndarray, title: str) -> None:
    ax.hist(values, bins=min(20, max(5, len(values) // 4)), color=_COLOURS[0], alpha=0.8)
    ax.set_xlabel(title)
    ax.set_ylabel("agents")


def _draw_curve(ax: Axes, values: np.ndarray, title: str) -> None:
    """Mean over agents and the range that holds nine of ten, (A, L)."""
    lags = np.arange(1, values.shape[1] + 1)
    low, high = np.nanquantile(values, [0.05, 0.95], axis=0)
    ax.plot(lags, np.nanmean(values, axis=0), color=_COLOURS[0], linewidth=2)
    ax.fill_between(lags, low, high, color=_COLOURS[0], alpha=0.2, linewidth=0)
    ax.set_xlabel("lag (trials)")
    ax.set_ylabel(f"{title}\n(mean, 5 to 95 % of agents)")
