"""Accuracy of agents in Harlow's task, trial by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.figure
import numpy as np

from maml_rl.analysis.behaviour_plots import plot_accuracy_by_trial
from maml_rl.analysis.harlow import accuracy, accuracy_by_trial, fraction_made, harlow_choices
from maml_rl.analysis.intervals import Interval, mean_interval
from maml_rl.config import Config
from maml_rl.studies.displays.display import Display, evaluations, seeds_in_words
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.studies.tables import interval_in_words

_HEAD = [
    "## Accuracy by trial",
    "",
    "Fraction of right choices among those made, mean over seeds with its 95 % interval over seeds (Student), none of "
    "one seed. The first choice of an episode is a guess: 0.5 is the best there is; who remembers its outcome has 1 in "
    "all others. Made: fraction of the trials in which there was a choice before the episode ended.",
    "",
    "| run | seeds x episodes | trial 1 | trial 2 | trials 3 on | made |",
    "|---|---|---|---|---|---|",
]


class HarlowDisplay(Display):
    """Accuracy of trial 1, 2 and the others; of runs whose rewards tell right choices from wrong ones."""

    trials_read = frozenset({"actions", "rewards", "mask"})

    def applies(self, config: Config) -> bool:
        """True if the family names the display, has choices and rewards wrong ones with less than 0."""
        options = config.env_kwargs
        chooses = options.get("stage") != "fixation" and options.get("wrong_reward", -1.0) < 0
        return chooses and super().applies(config)

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """One row per run and test set; nothing if there is none that was evaluated."""
        rows = []
        for name, seeds in by_name(runs).items():
            for test_set, config in seeds[0].configs.items():
                if self.applies(config) and (results := evaluations(seeds, test_set)):
                    rows.append(_row(name if test_set is None else f"{name} on {test_set}", config, results))
        return [*_HEAD, *rows] if rows else []

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """Mean over seeds with its interval, each seed a point; of one seed the interval over its episodes."""
        results = evaluations(runs)
        if not results:
            return None
        choices = _choices(runs[0].config, results)
        each = np.stack([accuracy_by_trial(part).mean for part in choices])  # (S, K)
        interval = _over_seeds(each.T) if len(each) > 1 else accuracy_by_trial(choices[0])
        figure = matplotlib.figure.Figure(figsize=(6.4, 4.2), layout="constrained")
        ax = figure.subplots()
        plot_accuracy_by_trial(ax, interval, seeds=each)
        units = "seeds" if len(each) > 1 else "episodes"
        ax.set_title(f"{runs[0].name}: {seeds_in_words(len(each))}; bar: 95% interval over {units}, points: each seed")
        return figure


def _choices(config: Config, results: Sequence[Mapping[str, np.ndarray]]) -> list[np.ndarray]:
    """Choices (N, K) of each seed: those of all episodes of a meta-episode, one after another."""
    num_trials = 1 if config.env_kwargs.get("stage") == "choice" else config.env_kwargs.get("num_trials", 6)
    num_trials *= config.fast_batch_size
    return [harlow_choices(part["rewards"], part["mask"], num_trials=num_trials) for part in results]


def _row(name: str, config: Config, results: Sequence[Mapping[str, np.ndarray]]) -> str:
    choices = _choices(config, results)
    parts = (slice(0, 1), slice(1, 2), slice(2, None))
    columns = [np.array([accuracy(each[:, part]) for each in choices]) for part in parts]
    made = np.array([fraction_made(each) for each in choices])
    words = [_in_words(values) for values in (*columns, made)]
    return f"| {name} | {len(choices)} x {len(choices[0])} | {' | '.join(words)} |"


def _in_words(values: np.ndarray) -> str:
    """Fractions (S,) of seeds in words; "-" if none has one."""
    known = values[~np.isnan(values)]
    return interval_in_words(_over_seeds(known), "{:.3f}".format) if len(known) else "-"


def _over_seeds(values: np.ndarray) -> Interval:
    """Mean of fractions (..., S) and its interval, not beyond 0 and 1."""
    interval = mean_interval(values)
    return Interval(interval.mean, np.clip(interval.low, 0.0, 1.0), np.clip(interval.high, 0.0, 1.0))
