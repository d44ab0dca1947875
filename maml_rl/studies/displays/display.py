"""The contract of a display: everything that the runner and the report know of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import matplotlib.figure
import numpy as np

from maml_rl.algorithms import Algorithm
from maml_rl.config import Config
from maml_rl.envs.registration import displays_of_family
from maml_rl.studies.archive import TRIALS
from maml_rl.studies.study_run import StudyRun, by_name


class Display:
    """Tables, figures and analyses of the runs of some task families, which name it where they are registered.

    Each method shows nothing unless it is overridden.

    Parameters
    ----------
    name
        The name it is registered with.
    """

    figure_name: str = "behaviour"
    """End of its figures' file names, ``RUN-behaviour.png``; displays of one family have different ones."""
    caption: str = "behaviour"
    """Words for its figures, followed by the run's name."""
    analysis_file: str | None = None
    """File that `analyse` writes into the run's folder."""
    trials_read: frozenset[str] = TRIALS
    """Arrays of `maml_rl.studies.archive.TRIALS` that it needs of evaluations; archives leave out what none needs."""
    shows_ensembles: bool = False
    """True if it can show runs of several agents; others are refused where no display can."""

    def __init__(self, name: str) -> None:
        self.name = name

    def applies(self, config: Config) -> bool:
        """True if runs of this configuration are shown: if its family names the display."""
        return self.name in displays_of_family(config.env_name)

    def check(self, algorithm: Algorithm) -> None:
        """Refuse, before anything is trained, what could not be analysed afterwards.

        Raises
        ------
        InputError
            In one line.
        """

    def analyse(self, run: StudyRun, algorithm: Algorithm, num_workers: int, show: Callable[[str], None]) -> None:
        """Compute what takes long from the evaluation of a run with its final policy, if that is not done."""

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """Lines of Markdown about these runs; of those alone to which the display applies, on whatever test set."""
        return []

    def scores(self, run: StudyRun, test_set: str | None = None) -> dict[str, float]:
        """Numbers of a run on a test set, by what they say; `paired_by_seed` compares them beside returns."""
        return {}

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """A figure of the seeds of one run, to which the display applies; ``None``: nothing to draw yet."""
        return None

    def analysis_path(self, run: StudyRun) -> Path:
        """Path of the file that `analyse` writes."""
        assert self.analysis_file is not None
        return run.folder / self.analysis_file


def evaluations(seeds: Sequence[StudyRun], test_set: str | None = None) -> list[dict[str, np.ndarray]]:
    """Evaluations of these seeds that hold trials: actions and rewards."""
    found = [run.results(test_set) for run in seeds]
    return [results for results in found if results is not None and "actions" in results]


def named_evaluations(
    display: Display, runs: Sequence[StudyRun]
) -> Iterator[tuple[str, Config, list[dict[str, np.ndarray]]]]:
    """Name, configuration and `evaluations` of each run and test set that a display applies to, if there are any."""
    for name, seeds in by_name(runs).items():
        for test_set, config in seeds[0].configs.items():
            if display.applies(config) and (results := evaluations(seeds, test_set)):
                yield name if test_set is None else f"{name} on {test_set}", config, results


def seeds_in_words(num_seeds: int) -> str:
    """Number of seeds, for titles."""
    return f"{num_seeds} seed{'' if num_seeds == 1 else 's'}"


def observes_more(config: Config) -> bool:
    """True if agents observe more of the past than previous action, reward and done."""
    keys = ("observe_episode_fraction", "observe_previous", "observe_reward_change")
    return any(getattr(config, key, None) for key in keys)
