"""Agents in the contextual two-step task: whether recent or recalled trials, and which learners, explain choices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.figure
import numpy as np

from maml_rl.analysis.behaviour_plots import plot_stay_probabilities
from maml_rl.analysis.contextual_plots import plot_coefficients
from maml_rl.analysis.contextual_two_step import (
    PAIRINGS,
    STAY_TERMS,
    ContextualTrials,
    TrialPairs,
    contextual_two_step_trials,
    regress_choices,
    regress_stays,
    stay_table,
    trial_pairs,
    with_substitutes,
)
from maml_rl.analysis.intervals import mean_interval
from maml_rl.config import Config
from maml_rl.envs import make_meta_env
from maml_rl.envs.behaviour.contextual_two_step import ContextualTwoStepVectorEnv
from maml_rl.studies.displays.display import Display, evaluations, named_evaluations, seeds_in_words
from maml_rl.studies.study_run import StudyRun
from maml_rl.studies.tables import two_decimals
from maml_rl.utils.random import Purpose, generator

SUBSTITUTE = "cued-substitute"
"""Stands beside `PAIRINGS` for cued trials explained by substitutes of the recalled ones."""
_TITLES = {
    "uncued-incremental": "uncued trials, by the trial before",
    "cued-incremental": "cued trials, by the trial before",
    "cued-episodic": "cued trials, by the recalled trial",
    SUBSTITUTE: "cued trials, by a substitute",
}
_LEARNERS = ("model-based", "model-free")
_UNCUED = tuple(f"incremental {name}" for name in _LEARNERS)
_CUED = (*(f"{kind} {name}" for name in _LEARNERS for kind in ("episodic", "substitute")), *_UNCUED)
_REWARDS = (
    "## Trials that are recalled",
    "",
    "Means over seeds with their 95 % intervals (Student). Reward: total of a meta-episode, and mean of an uncued and "
    "of a cued trial, which random choices make the mean of both probabilities.",
    "",
    "| run | seeds x tasks | reward | uncued | cued |",
    f"|{'---|' * 5}",
)
_WEIGHTS = (
    "Weights of reasons in stage-one choices: logistic regression, in log odds, of the reward of an earlier trial (1, "
    "or -1 for none), credited to the choice that commonly leads where that trial led (model-based) or to that trial's "
    "choice (model-free). Cued choices are explained by the recalled trial and the trial before together, uncued ones "
    "by the trial before, with repetition of the earlier choices and a constant preference. Substitute: the weight "
    "that another trial, which the cue could as well have recalled, has in place of the recalled one: an agent that "
    "learns which state was rich, and recalls no trial, has the same weight of both. Beyond: the difference, memory of "
    "single trials.",
    "",
    "| run | learner | recalled trial | substitute | beyond | trial before | trial before, uncued |",
    f"|{'---|' * 7}",
)
_STAYS = (
    "Probability that the choice of the earlier trial is made again, by its reward (R, U: rewarded, unrewarded) and "
    "its transition (C, U: common, uncommon). Effects: logistic regression of staying on reward, transition (1 or -1 "
    "each) and their product, the interaction, which a model-based learner has; last column: seeds in which it is "
    "positive. Each looks at one earlier trial. Since the rich state lasts, and is the same in many trials that are "
    "recalled one after another, a learner without memory of single trials, even a model-free one, has a positive "
    "interaction with the recalled trial too: as large as with a substitute.",
    "",
    "| run | trials | RC | RU | UC | UU | reward | interaction | positive in |",
    f"|{'---|' * 9}",
)

Measured = dict[str, np.ndarray]
"""Of an agent: ``total``, ``uncued``, ``cued``, rewards; for each of `PAIRINGS` and `SUBSTITUTE` its stay probabilities
(2, 2), and ``"effects PAIRING"`` (4,), those of `STAY_TERMS`; ``"cued NAME"`` and ``"uncued NAME"``, weights."""


class ContextualTwoStepDisplay(Display):
    """Rewards, stay probabilities and weights of recent and recalled trials in choices."""

    caption = "choices by recent and recalled trials"

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """Tables of rewards, of weights and of stay probabilities; nothing if there is nothing to show."""
        rewards, weights, stays = [], [], []
        for name, config, results in named_evaluations(self, runs):
            found = _all_measured(results, config)
            rewards.append(_row_of_rewards(name, found, len(results[0]["actions"])))
            weights += [_row_of_weights(name, found, learner) for learner in _LEARNERS]
            stays += [_row_of_stays(name, found, pairing) for pairing in _TITLES]
        return [*_REWARDS, *rewards, "", *_WEIGHTS, *weights, "", *_STAYS, *stays] if rewards else []

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """Stay probabilities by earlier trials of each kind, and the weights in cued choices."""
        results = evaluations(runs)
        if not results:
            return None
        found = _all_measured(results, runs[0].config)
        figure = matplotlib.figure.Figure(figsize=(14, 7.4), layout="constrained")
        panels = figure.subplot_mosaic([[PAIRINGS[0], PAIRINGS[1], "weights"], [PAIRINGS[2], SUBSTITUTE, "weights"]])
        for pairing, title in _TITLES.items():
            ax, stays = panels[pairing], found[pairing]
            plot_stay_probabilities(ax, mean_interval(np.moveaxis(stays, 0, -1)), seeds=stays)
            ax.set_title(title)
            if pairing != PAIRINGS[1] and (legend := ax.get_legend()) is not None:
                legend.remove()  # one of four alike is enough
        plot_coefficients(panels["weights"], {name: found[f"cued {name}"] for name in _CUED})
        panels["weights"].set_title("cued trials, reasons fitted together")
        figure.suptitle(
            f"{runs[0].name}: {seeds_in_words(len(results))}; bar: mean, line: its 95% interval, points: each"
        )
        return figure


def measure_trials(trials: ContextualTrials, rewards: np.ndarray) -> Measured:
    """Measures of an agent, see `Measured`, of its trials and rewards (M, T); NaN of what did not occur."""
    cued = trials.recalled >= 0
    found: dict[str, Any] = {
        "total": rewards.sum(axis=1, dtype=np.float64).mean(),
        "uncued": rewards[~cued].mean(),
        "cued": rewards[cued].mean() if cued.any() else np.nan,
    }
    substituted = with_substitutes(trials, generator(0, Purpose.STATISTICS))
    for pairing in PAIRINGS:
        found |= _stays(pairing, trial_pairs(trials, pairing))
    found |= _stays(SUBSTITUTE, trial_pairs(substituted, "cued-episodic"))
    found |= _weights("uncued", _UNCUED, trials)
    found |= _weights("cued", _CUED, trials)
    others = _weights("cued", _CUED, substituted)
    found |= {f"cued substitute {name}": others[f"cued episodic {name}"] for name in _LEARNERS}
    return {name: np.asarray(values) for name, values in found.items()}


def _stays(pairing: str, pairs: TrialPairs) -> dict[str, np.ndarray]:
    """Stay probabilities and effects."""
    effects = regress_stays(pairs).coefficients if len(pairs.choices) else np.full(len(STAY_TERMS), np.nan)
    return {pairing: stay_table(pairs), f"effects {pairing}": effects}


def _weights(kind: str, names: Sequence[str], trials: ContextualTrials) -> dict[str, float]:
    """Weights in the choices of cued or uncued trials, NaN if there is none that another trial comes before."""
    cued = kind == "cued"
    some = len(trial_pairs(trials, "cued-episodic" if cued else "uncued-incremental").choices) > 0
    weights = regress_choices(trials, cued=cued) if some else {}
    return {f"{kind} {name}": weights[name][0] if name in weights else math.nan for name in names}


def _all_measured(results: Sequence[Mapping[str, np.ndarray]], config: Config) -> Measured:
    """Measures of each seed's agent along the first axis (S, ...), of the first trials up to the task's last one."""
    env = make_meta_env(config.env_name, 1, config.env_kwargs)
    assert isinstance(env, ContextualTwoStepVectorEnv)
    parts = []
    for each in results:
        kept = [each[key][:, : 2 * env.num_trials] for key in ("observations", "actions", "rewards")]
        parts.append(measure_trials(contextual_two_step_trials(*kept), kept[2][:, 1::2]))
    return {key: np.stack([part[key] for part in parts]) for key in parts[0]}


def _row_of_rewards(name: str, found: Measured, num_tasks: int) -> str:
    cells = [_cell(found[key]) for key in ("total", "uncued", "cued")]
    columns = [name, f"{len(found['total'])} x {num_tasks}", *cells]
    return f"| {' | '.join(columns)} |"


def _row_of_weights(name: str, found: Measured, learner: str) -> str:
    recalled, other = (found[f"cued {kind} {learner}"] for kind in ("episodic", "substitute"))
    before = [found[f"{kind} incremental {learner}"] for kind in ("cued", "uncued")]
    columns = [name, learner, *(_cell(values) for values in (recalled, other, recalled - other, *before))]
    return f"| {' | '.join(columns)} |"


def _row_of_stays(name: str, found: Measured, pairing: str) -> str:
    stays, effects = found[pairing].reshape(-1, 4), found[f"effects {pairing}"]
    interaction = effects[:, STAY_TERMS.index("reward x transition")]
    columns = [
        name,
        _TITLES[pairing],
        *(_cell(column) for column in stays.T),
        _cell(effects[:, STAY_TERMS.index("reward")]),
        _cell(interaction),
        f"{(interaction > 0).sum()} of {len(interaction)}",
    ]
    return f"| {' | '.join(columns)} |"


def _cell(values: np.ndarray) -> str:
    """Mean over seeds (S,) with a value, and its interval, in words."""
    known = values[np.isfinite(values)]
    return two_decimals(mean_interval(known)) if len(known) else "-"
