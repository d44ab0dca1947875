"""One run of a study: a configuration and a seed, its folder, its files and the results in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from maml_rl.algorithms import adaptation_of
from maml_rl.config import Config, ConfigError
from maml_rl.studies.archive import DIGEST, archived_evaluation, archived_metrics, holds_run
from maml_rl.studies.run_files import digest_of, read_arrays, read_evaluation, read_metrics
from maml_rl.studies.tasks import same_tasks


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """Evaluation of a run's final policy that a study asks for.

    Attributes
    ----------
    num_tasks, num_steps
        Tasks, drawn anew, and steps of adaptation to each.
    score
        Column of the metrics that counts.
    test_on
        Configurations of other test sets, by name.
    controls
        Names of `maml_rl.studies.controls.CONTROLS` that are evaluated beside the policy.
    """

    num_tasks: int
    num_steps: int
    score: str
    test_on: Mapping[str, Config]
    controls: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StudyRun:
    """One run of one seed. A `test_set` is a name of ``test_on``; without one the run's own task family is meant.

    Attributes
    ----------
    name, seed
        Name of the run in the study, and its seed.
    config
        Its configuration.
    folder
        Its run folder. Where it holds no files of the run, results are read from the study's archive.
    command
        The command line that makes the same run by hand.
    plan
        Its evaluation.
    start
        The run whose final weights it starts from, if there is one.
    """

    name: str
    seed: int
    config: Config
    folder: Path
    command: str
    plan: EvaluationPlan
    start: StudyRun | None = None

    @property
    def title(self) -> str:
        """Name and seed, for messages."""
        return f"{self.name} seed {self.seed}"

    @property
    def configs(self) -> dict[str | None, Config]:
        """Configurations it is evaluated with, by test set, its own first."""
        found: dict[str | None, Config] = {None: self.config}
        return found | dict(self.plan.test_on)

    @property
    def iterations_done(self) -> int:
        """Whole rows of ``metrics.csv``."""
        return len(next(iter(self._columns().values()), ()))

    @property
    def is_archived(self) -> bool:
        """True if all of it is in the study's archive alone, evaluations too: nothing is left to do."""
        return (
            not holds_run(self.folder)
            and self.iterations_done >= self.config.num_batches
            and all(self.is_evaluated(test_set) for test_set in self.configs)
            and all(
                self.control_returns(control, test_set) is not None
                for control in self.plan.controls
                for test_set in self.configs
            )
        )

    @property
    def is_trained(self) -> bool:
        """True if ``policy.th`` holds its final weights.

        While it trains, the last row of metrics is there a moment before them: where there is a checkpoint, the
        evaluation must have ended too.
        """
        if not holds_run(self.folder):  # an archive holds no weights
            return False
        settled = self.results_path().exists() or not (self.folder / "checkpoint.pt").exists()
        return self.iterations_done >= self.config.num_batches and settled

    @property
    def can_start(self) -> bool:
        """True if the run it starts from, if there is one, is trained."""
        return self.start is None or self.start.is_trained

    def is_evaluated(self, test_set: str | None = None) -> bool:
        """True if there is an evaluation with as many steps as the study asks for, not those of a study before."""
        returns = self.test_returns(test_set)
        return returns is not None and len(returns) == self.plan.num_steps + 1

    def test_returns(self, test_set: str | None = None) -> np.ndarray | None:
        """Returns (S, N, B) on N tasks drawn anew, after each number of steps; ``None`` before the evaluation."""
        results = self.results(test_set)
        return None if results is None else results["returns"]

    def results_path(self, test_set: str | None = None) -> Path:
        """Path of an evaluation."""
        return self.folder / ("results.npz" if test_set is None else f"results-{test_set}.npz")

    def control_path(self, control: str, test_set: str | None = None) -> Path:
        """Path of the evaluation of a control on the tasks of `results_path`."""
        return self.folder / (f"{control}.npz" if test_set is None else f"{control}-{test_set}.npz")

    def results(self, test_set: str | None = None) -> dict[str, np.ndarray] | None:
        """All arrays of an evaluation; ``None`` before it.

        Raises
        ------
        ConfigError
            In one line, if it cannot be read.
        """
        return self._evaluation(self.results_path(test_set))

    def control_returns(self, control: str, test_set: str | None = None) -> np.ndarray | None:
        """Returns (S, N, B) of a control on the same tasks; ``None`` before it was evaluated.

        Random choices do not adapt: S is 1.

        Raises
        ------
        ConfigError
            In one line, if they belong to other tasks than those of `results`.
        """
        path, results = self.control_path(control, test_set), self.results(test_set)
        found = self._evaluation(path)
        if found is None or results is None:
            return None
        if not same_tasks(found["tasks"], results["tasks"]):
            raise ConfigError(
                f"{str(path)!r}: got other tasks than those of {self.results_path(test_set).name}; remove both, and "
                "the study evaluates again"
            )
        return np.asarray(found["returns"])

    def analysis(self, path: Path) -> dict[str, np.ndarray] | None:
        """Arrays of the analysis that a display wrote to `path`; ``None`` without one of the present evaluation.

        Raises
        ------
        ConfigError
            In one line, if it cannot be read.
        """
        results = self.results()
        if results is None or "actions" not in results:
            return None
        found = read_arrays(path, "analysis", "remove it, and it is made anew")
        if found is None and not holds_run(self.folder):
            found = archived_evaluation(path)
        return found if found and str(found.pop(DIGEST, "")) == digest_of(results) else None

    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of ``metrics.csv``, (I,) each, without a last row that is not whole."""
        columns = self._columns()
        if self.plan.score not in columns:
            raise ConfigError(
                f"{str(self.folder / 'metrics.csv')!r}: got no column {self.plan.score!r}; move its folder away, and "
                "the study trains anew"
            )
        return columns

    def _columns(self) -> dict[str, np.ndarray]:
        """Columns of ``metrics.csv``, none without a whole row."""
        if not holds_run(self.folder):
            return archived_metrics(self.folder)
        rows = read_metrics(self.folder / "metrics.csv")
        return {key: np.array([row[key] for row in rows]) for key in rows[0]} if rows else {}

    def _evaluation(self, path: Path) -> dict[str, np.ndarray] | None:
        return read_evaluation(path) if holds_run(self.folder) else archived_evaluation(path)


def trained_stage(config: Config, num_stages: int) -> int:
    """Index of the evaluation after the steps of training, of `num_stages` after 0, 1, 2, ... steps.

    After one step if training had none; the last evaluation if there are fewer than steps in training.
    """
    return min(max(1, adaptation_of(config).trained), num_stages - 1)


def by_name(runs: Sequence[StudyRun]) -> dict[str, list[StudyRun]]:
    """The seeds of each run, by its name."""
    found: dict[str, list[StudyRun]] = {}
    for run in runs:
        found.setdefault(run.name, []).append(run)
    return found
