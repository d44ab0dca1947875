"""A study file, and the runs it asks for."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from maml_rl.config import Config, ConfigError, load_config
from maml_rl.evaluation import trained_num_steps
from maml_rl.utils.field_words import did_you_mean, shown
from maml_rl.utils.strict_parsing import parse_yaml

NAME = r"^[\w.-]*\w[\w.-]*$"
"""What a folder may be called: letters, digits, dots, dashes, underscores."""
FIGURE_OF_COMPARISONS = "comparison"
FIGURE_OF_AREAS = "learning-curves"
"""Names of figures beside those of the runs."""


class StudyRun(BaseModel):
    """One line of a study: a configuration, its overrides and its seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    config: str = Field(description="Configuration file, relative to the working directory.")
    seeds: list[int] = Field(min_length=1, description="Seeds, one run each.")
    set: list[str] = Field(default_factory=list, description="Overrides, as train.py's --set.")
    test_tasks: int | None = Field(default=None, ge=2, description="As the study's, which stands if not given.")
    start_from: str | None = Field(
        default=None,
        description="A run above this one: each seed starts from the weights the same seed ends with there.",
    )

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, value: list[int]) -> list[int]:
        if len(dict.fromkeys(value)) != len(value) or min(value) < 0:
            raise ValueError("expected different whole numbers >= 0")
        return value


class Study(BaseModel):
    """A study file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=NAME, description="Results go to results/NAME.")
    question: str = Field(description="What the study asks, in one sentence.")
    test_tasks: int = Field(default=80, ge=2, description="Tasks each final policy is evaluated on, drawn anew.")
    test_steps: int = Field(
        default=3,
        ge=0,
        description="Gradient steps of the evaluation; rl2 plays one meta-episode, return_total steps as in training.",
    )
    score: Literal["return_after", "return_total"] = Field(
        default="return_after",
        description="What counts: return after adaptation; or of all a task's episodes, before it and between as well.",
    )
    test_on: dict[Annotated[str, Field(pattern=NAME)], list[str]] = Field(
        default_factory=dict,
        description="Other families the final policies are evaluated on too: name, and overrides as train.py's --set.",
    )
    random_policy: bool = Field(
        default=False, description="Whether uniformly random choices are evaluated on the same tasks too."
    )
    runs: dict[Annotated[str, Field(pattern=NAME)], StudyRun] = Field(
        min_length=1, description="Name of a run: what it is."
    )
    comparisons: list[Annotated[tuple[str, str], Field(strict=False)]] = Field(
        default_factory=list, description="Pairs of runs the report compares: first minus second."
    )

    @field_validator("runs")
    @classmethod
    def _check_start_from(cls, value: dict[str, StudyRun]) -> dict[str, StudyRun]:
        above: dict[str, StudyRun] = {}
        for name, run in value.items():
            if run.start_from is not None:
                start = above.get(run.start_from)
                if start is None:
                    raise ValueError(
                        f"run {name!r} starts from {run.start_from!r}; name a run above it{_one_of(above)}"
                    )
                if not set(run.seeds) <= set(start.seeds):
                    raise ValueError(f"run {name!r} has seeds that {run.start_from!r} has not; add them there")
            above[name] = run
        return value

    @field_validator("comparisons")
    @classmethod
    def _check_comparisons(cls, value: list[tuple[str, str]], info: ValidationInfo) -> list[tuple[str, str]]:
        runs = info.data.get("runs")
        if runs is None:  # wrong themselves, which is said instead
            return value
        for name in (name for pair in value for name in pair):
            if name not in runs:
                raise ValueError(f"unknown run {name!r}{did_you_mean(name, runs) or _one_of(runs)}")
        for index, (first, second) in enumerate(value):
            if first == second:
                raise ValueError(f"run {first!r} is compared to itself; name two different runs")
            if {first, second} in [set(pair) for pair in value[:index]]:
                raise ValueError(f"runs {first!r} and {second!r} are compared twice; name each pair once")
        for name in (FIGURE_OF_COMPARISONS, FIGURE_OF_AREAS):
            if value and name in runs:
                raise ValueError(f"a run is called {name!r}, as their figure is; rename the run")
        return value


def _one_of(names: Iterable[str]) -> str:
    return f", expected one of {', '.join(names)}"


@dataclass(frozen=True)
class Cell:
    """One run of one seed.

    Attributes
    ----------
    name, seed
        Which run, which seed.
    config
        Its configuration.
    folder
        Its run folder.
    command
        The command line that makes the same run by hand.
    num_test_tasks, num_test_steps
        Tasks, drawn anew, and steps of adaptation of its evaluation.
    score
        Column of its metrics that counts.
    test_on
        Configurations of other families it is evaluated on, by name.
    random_policy
        Whether random choices are evaluated beside it.
    start
        The run whose final weights it starts from, if there is one.
    """

    name: str
    seed: int
    config: Config
    folder: Path
    command: str
    num_test_tasks: int
    num_test_steps: int
    score: str
    test_on: Mapping[str, Config]
    random_policy: bool = False
    start: Cell | None = None

    @property
    def iterations_done(self) -> int:
        """Whole rows of ``metrics.csv``."""
        return len(self._rows())

    @property
    def is_trained(self) -> bool:
        """Whether ``policy.th`` holds its final weights.

        While it trains, the last row of metrics is there a moment before them: where there is a checkpoint, the
        evaluation must have ended too.
        """
        settled = self.results_path().exists() or not (self.folder / "checkpoint.pt").exists()
        return self.iterations_done >= self.config.num_batches and settled

    @property
    def can_start(self) -> bool:
        """Whether the run it starts from, if there is one, is trained."""
        return self.start is None or self.start.is_trained

    def is_evaluated(self, family: str | None = None) -> bool:
        """Whether there is an evaluation with as many steps as the study asks for, not those of a study before."""
        returns = self.test_returns(family)
        return returns is not None and len(returns) == self.num_test_steps + 1

    def test_scores(self, family: str | None = None) -> np.ndarray | None:
        """Scores (S, N) on N tasks: after each number of steps (S,), or (1, N) of all together where these count.

        ``None`` before the evaluation. Without a `family` of `test_on` those of the one it was trained on.
        """
        returns = self.test_returns(family)
        if returns is None:
            return None
        scores = returns.mean(axis=-1, dtype=np.float64)  # (S, N, B) -> (S, N)
        return scores.sum(axis=0, keepdims=True) if self.score == "return_total" else scores

    def test_returns(self, family: str | None = None) -> np.ndarray | None:
        """Returns (S, N, B) on N tasks drawn anew, after each number of steps; ``None`` before the evaluation."""
        results = self.results(family)
        return None if results is None else results["returns"]

    def results_path(self, family: str | None = None) -> Path:
        """Where the evaluation on a family of `test_on` is, or on the one it was trained on."""
        return self.folder / ("results.npz" if family is None else f"results-{family}.npz")

    def random_path(self, family: str | None = None) -> Path:
        """Where the returns of random choices on the tasks of `results_path` are."""
        return self.folder / ("random.npz" if family is None else f"random-{family}.npz")

    def random_returns(self, family: str | None = None) -> np.ndarray | None:
        """Returns (N, B) of random choices on the same tasks; ``None`` before they have been played.

        Raises
        ------
        ConfigError
            In one line, if they were played on other tasks than those of `results`.
        """
        path, results = self.random_path(family), self.results(family)
        found = _read(path)
        if found is None or results is None:
            return None
        if not np.array_equal(found["tasks"], results["tasks"]):
            raise ConfigError(
                f"{str(path)!r}: got other tasks than those of {self.results_path(family).name}; remove both, and the "
                "study evaluates again"
            )
        return np.asarray(found["returns"][0])

    def results(self, family: str | None = None) -> dict[str, np.ndarray] | None:
        """All of an evaluation; ``None`` before it.

        Raises
        ------
        ConfigError
            In one line, if it cannot be read.
        """
        return _read(self.results_path(family))

    def metrics(self) -> dict[str, np.ndarray]:
        """Columns of ``metrics.csv``, (I,) each, without a last row that is not whole."""
        rows = self._rows()
        if self.score not in rows[0]:
            raise ConfigError(
                f"{str(self.folder / 'metrics.csv')!r}: got no column {self.score!r}; move its folder away, and the "
                "study trains anew"
            )
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}

    def _rows(self) -> list[dict[str, float]]:
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        try:
            lines = path.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last line's end is torn
            header, *rows = [line.split(",") for line in lines] or [[]]
            if rows and len(rows[-1]) != len(header):
                rows.pop()
            return [{k: float(v) for k, v in zip(header, row, strict=True)} for row in rows]
        except ValueError as error:
            raise ConfigError(
                f"{str(path)!r}: got rows that are no numbers; move its folder away, and the study trains anew"
            ) from error


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """An evaluation; ``None`` if there is none."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            results = dict(arrays)
        if results["returns"].ndim != 3:
            raise ValueError
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"{str(path)!r}: got a file that is no evaluation; remove it, and the study evaluates again"
        ) from error
    return results


def load_study(path: str | Path) -> Study:
    """Read a study file.

    Raises
    ------
    ConfigError
        In one line, if it cannot be read or a field is wrong.
    """
    try:
        return Study.model_validate(parse_yaml(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigError(_error_line(path, error)) from error
    except ValueError as error:
        raise ConfigError(f"cannot read {path}: {error}") from error


def _error_line(path: str | Path, error: ValidationError) -> str:
    """Say the first thing that is wrong; an unknown key before what is missing because of it."""
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    *parents, key = [str(part) for part in first["loc"]] or ["study"]
    field = ".".join([*parents, key])
    if first["type"] == "extra_forbidden":
        fields = (StudyRun if parents else Study).model_fields
        return f"unknown key {field!r} in {path}{did_you_mean(key, fields)}"
    if first["type"] == "missing":
        return f"{field} in {path}: got nothing; add it"
    message = first["msg"].removeprefix("Value error, ")
    if isinstance(first["input"], dict):  # all runs together
        return f"{field} in {path}: {message}"
    return f"{field} in {path}: got {shown(first['input'])}; {message}"


def cells(study: Study, root: Path) -> list[Cell]:
    """All runs of the study, seed by seed, below `root`."""
    found: dict[tuple[str, int], Cell] = {}
    for name, run in study.runs.items():
        for seed in run.seeds:
            start = None if run.start_from is None else found[run.start_from, seed]
            initial = None if start is None else str(start.folder / "policy.th")
            config = _configuration(run, [f"seed={seed}"], initial)
            _check_seeds_apart(name, run, config.num_agents)
            folder = root / study.name / name / f"seed-{seed}"
            overrides = "".join(f" --set {setting}" for setting in run.set)
            overrides += "" if initial is None else f" --set initial-policy={initial}"
            command = f"python train.py --config {run.config}{overrides} --seed {seed} --output-folder {folder}"
            as_trained = config.algorithm == "rl2" or study.score == "return_total"
            num_test_steps = trained_num_steps(config) if as_trained else study.test_steps
            test_on = {
                family: _configuration(run, [f"seed={seed}", *changes], initial)
                for family, changes in study.test_on.items()
            }
            found[name, seed] = Cell(
                name,
                seed,
                config,
                folder,
                command,
                run.test_tasks or study.test_tasks,
                num_test_steps,
                study.score,
                test_on,
                study.random_policy,
                start,
            )
    return list(found.values())


def _configuration(run: StudyRun, overrides: Sequence[str], initial_policy: str | None) -> Config:
    config = load_config(run.config, [*run.set, *overrides])
    return config if initial_policy is None else config.model_copy(update={"initial_policy": initial_policy})


def _check_seeds_apart(name: str, run: StudyRun, num_agents: int) -> None:
    """Refuse seeds that have agents in common."""
    apart = np.diff(sorted(run.seeds)).min(initial=num_agents)
    if apart < num_agents:
        raise ConfigError(
            f"runs.{name}.seeds: got {run.seeds} with num-agents {num_agents}, which have agents in common; "
            f"expected seeds at least {num_agents} apart"
        )
