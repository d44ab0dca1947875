"""The study file and the runs it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, ValidationInfo, field_validator

from maml_rl.algorithms import adaptation_of
from maml_rl.config import Config, ConfigError, load_config
from maml_rl.settings.base import LARGEST_COUNT
from maml_rl.studies.study_run import EvaluationPlan, StudyRun
from maml_rl.utils.config_files import read_mapping
from maml_rl.utils.field_words import did_you_mean, shown

NAME = r"^[\w.-]*\w[\w.-]*$"
"""Names a folder may have: letters, digits, dots, dashes, underscores."""
FIGURE_OF_COMPARISONS = "comparison"
FIGURE_OF_AREAS = "learning-curves"
FIGURE_OF_ORACLE_SHARES = "families"
"""Names of figures beside those of the runs."""


class RunEntry(BaseModel):
    """One line of a study: a configuration, its overrides and its seeds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    config: str = Field(description="Configuration file, relative to the working directory.")
    seeds: list[int] = Field(min_length=1, description="Seeds, one run each.")
    set: list[str] = Field(default_factory=list, description="Overrides, as train.py's --set.")
    test_tasks: int | None = Field(
        default=None, ge=2, le=LARGEST_COUNT, description="As the study's, which stands if not given."
    )
    controls: bool = Field(default=True, description="Whether the controls that the study asks for are made.")
    start_from: str | None = Field(
        default=None,
        description="A run above this one: each seed starts from the weights the same seed ends with there.",
    )

    @field_validator("set")
    @classmethod
    def _check_set(cls, value: list[str]) -> list[str]:
        if any(setting.partition("=")[0].strip() == "seed" for setting in value):
            raise ValueError("expected no seed; name it in seeds")
        return value

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, value: list[int]) -> list[int]:
        if len(dict.fromkeys(value)) != len(value) or min(value) < 0:
            raise ValueError("expected different whole numbers >= 0")
        return value


class OracleShare(BaseModel):
    """Runs of one family beside one that never learned to adapt and one that is told the task."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    control: str = Field(description="A run without adaptation in training.")
    oracle: str = Field(description="A run that is told the task, in 'ToldTask-v0' for one.")
    runs: list[str] = Field(min_length=1, description="Runs that adapt.")


class Study(BaseModel):
    """A study file."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    _allowed: tuple[str, ...] = PrivateAttr(())  # modules, which no file can allow
    _path: str | None = PrivateAttr(None)

    name: str = Field(pattern=NAME, description="Results go to results/NAME.")
    question: str = Field(description="What the study asks, in one sentence.")
    test_tasks: int = Field(
        default=80, ge=2, le=LARGEST_COUNT, description="Tasks each final policy is evaluated on, drawn anew."
    )
    test_steps: int = Field(
        default=3,
        ge=0,
        le=LARGEST_COUNT,
        description="Gradient steps of the evaluation; rl2: one meta-episode; return_total: as many as in training.",
    )
    score: Literal["return_after", "return_total"] = Field(
        default="return_after",
        description="Score: return after adaptation; or of all a task's episodes, before it and between as well.",
    )
    test_on: dict[Annotated[str, Field(pattern=NAME)], list[str]] = Field(
        default_factory=dict,
        description="Other families the final policies are evaluated on too: name, and overrides as train.py's --set.",
    )
    random_policy: bool = Field(
        default=False, description="True: uniformly random choices are evaluated on the same tasks too."
    )
    untrained: bool = Field(
        default=False,
        description="True: so is the policy before training, with as many steps of adaptation: what it gains by them "
        "was not meta-learned.",
    )
    multitask: bool = Field(
        default=False,
        description="True: so is a policy that learned all tasks at once, without adaptation in training, from as many "
        "environment steps.",
    )
    runs: dict[Annotated[str, Field(pattern=NAME)], RunEntry] = Field(
        min_length=1, description="Name of a run: what it is."
    )
    comparisons: list[Annotated[tuple[str, str], Field(strict=False)]] = Field(
        default_factory=list, description="Pairs of runs the report compares: first minus second."
    )

    figures: list[Annotated[str, Field(pattern=NAME)]] | None = Field(
        default=None,
        description="Figures that the table shows, by their file names without .png; others are drawn too. Not given: "
        "all.",
    )

    oracle_shares: dict[Annotated[str, Field(pattern=NAME)], OracleShare] = Field(
        default_factory=dict,
        description="Families whose runs the report sets beside a control and an oracle, which are runs too.",
    )

    paired_by_seed: dict[str, Annotated[list[str], Field(min_length=1)]] = Field(
        default_factory=dict,
        description="Base runs, and the runs that the report sets beside each, seed by seed.",
    )

    @property
    def path(self) -> str:
        """Path of the study file."""
        return self._path or f"studies/{self.name}.yaml"

    @property
    def controls(self) -> tuple[str, ...]:
        """Names of the controls that are asked for."""
        asked = {"random": self.random_policy, "untrained": self.untrained, "multitask": self.multitask}
        return tuple(name for name, wanted in asked.items() if wanted)

    @field_validator("figures")
    @classmethod
    def _check_figures(cls, value: list[str] | None) -> list[str] | None:
        for name in value or ():
            if name.endswith(".png"):
                raise ValueError(f"expected names without their ending; write {name.removesuffix('.png')!r}")
        return value

    @field_validator("runs")
    @classmethod
    def _check_start_from(cls, value: dict[str, RunEntry]) -> dict[str, RunEntry]:
        above: dict[str, RunEntry] = {}
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

    @field_validator("oracle_shares")
    @classmethod
    def _check_oracle_shares(cls, value: dict[str, OracleShare], info: ValidationInfo) -> dict[str, OracleShare]:
        runs = info.data.get("runs")
        if runs is None:  # wrong themselves, which is said instead
            return value
        if value and FIGURE_OF_ORACLE_SHARES in runs:
            raise ValueError(f"a run is called {FIGURE_OF_ORACLE_SHARES!r}, as their figure is; rename the run")
        for family, entry in value.items():
            names = (entry.control, entry.oracle, *entry.runs)
            for name in names:
                if name not in runs:
                    raise ValueError(f"{family}: unknown run {name!r}{did_you_mean(name, runs) or _one_of(runs)}")
            if len(set(names)) < len(names):
                raise ValueError(f"{family}: got {', '.join(names)}; name each run once")
        return value

    @field_validator("paired_by_seed")
    @classmethod
    def _check_paired_by_seed(cls, value: dict[str, list[str]], info: ValidationInfo) -> dict[str, list[str]]:
        runs = info.data.get("runs")
        if runs is None:  # wrong themselves, which is said instead
            return value
        for base, others in value.items():
            for name in (base, *others):
                if name not in runs:
                    raise ValueError(f"unknown run {name!r}{did_you_mean(name, runs) or _one_of(runs)}")
            if base in others or len(set(others)) < len(others):
                raise ValueError(f"{base}: got {', '.join(others)}; name each run once, and not the base itself")
            for name in others:
                if not set(runs[base].seeds) & set(runs[name].seeds):
                    raise ValueError(
                        f"run {name!r} has no seed of its base {base!r}; give both one or more of the same"
                    )
        return value


def _one_of(names: Iterable[str]) -> str:
    known = ", ".join(names)
    return f", expected one of {known}" if known else ", of which there are none"


def load_study(path: str | Path, allowed: Sequence[str] = ()) -> Study:
    """Read a study file, whose configurations may name `allowed` modules.

    Raises
    ------
    ConfigError
        In one line, if it cannot be read or a field is wrong.
    """
    values = read_mapping(Path(path), field="study")
    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_error_line(path, error)) from error
    study._allowed, study._path = tuple(allowed), str(path)
    return study


def _error_line(path: str | Path, error: ValidationError) -> str:
    """Say the first thing that is wrong; an unknown key before what is missing because of it."""
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    *parents, key = [str(part) for part in first["loc"]] or ["study"]
    field = ".".join([*parents, key])
    if first["type"] == "extra_forbidden":
        entries: dict[str, type[BaseModel]] = {"runs": RunEntry, "oracle_shares": OracleShare}
        fields = (entries[parents[0]] if parents else Study).model_fields
        return f"unknown key {field!r} in {path}{did_you_mean(key, fields)}"
    if first["type"] == "missing":
        return f"{field} in {path}: got nothing; add it"
    if first["type"] == "too_short":
        return f"{field} in {path}: got none, expected at least one; add it"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "string_pattern_mismatch":
        message = "expected a name of letters, digits, '.', '_' and '-'"
    if isinstance(first["input"], dict):  # all runs together
        return f"{field} in {path}: {message}"
    return f"{field} in {path}: got {shown(first['input'])}; {message}"


def study_runs(study: Study, root: Path) -> list[StudyRun]:
    """All runs of the study, seed by seed, below `root`."""
    found: dict[tuple[str, int], StudyRun] = {}
    for name, entry in study.runs.items():
        for seed in entry.seeds:
            start = None if entry.start_from is None else found[entry.start_from, seed]
            found[name, seed] = _study_run(study, name, seed, root / study.name / name / f"seed-{seed}", start)
    return list(found.values())


def _study_run(study: Study, name: str, seed: int, folder: Path, start: StudyRun | None) -> StudyRun:
    entry, initial = study.runs[name], None if start is None else str(start.folder / "policy.th")
    config = _configuration(study, name, [f"seed={seed}"], initial)
    _check_seeds_apart(name, entry, getattr(config, "num_agents", 1))
    overrides = "".join(f" --set {setting}" for setting in entry.set)
    overrides += "" if initial is None else f" --set initial-policy={initial}"
    overrides += "".join(f" --allow-module {module}" for module in study._allowed)
    adaptation = adaptation_of(config)
    as_trained = adaptation.as_trained or study.score == "return_total"
    return StudyRun(
        name=name,
        seed=seed,
        config=config,
        folder=folder,
        command=f"python train.py --config {entry.config}{overrides} --seed {seed} --output-folder {folder}",
        plan=EvaluationPlan(
            num_tasks=entry.test_tasks or study.test_tasks,
            num_steps=adaptation.trained if as_trained else study.test_steps,
            score=study.score,
            test_on={
                test_set: _configuration(study, name, [f"seed={seed}", *changes], initial, test_set)
                for test_set, changes in study.test_on.items()
            },
            controls=study.controls if entry.controls else (),
        ),
        start=start,
    )


def _configuration(
    study: Study, name: str, overrides: Sequence[str], initial_policy: str | None, test_set: str | None = None
) -> Config:
    """Configuration of the run of this name, or of its evaluation on a test set."""
    entry = study.runs[name]
    try:
        config = load_config(entry.config, [*entry.set, *overrides], allowed=study._allowed)
    except ConfigError as error:
        where = f"runs.{name}" if test_set is None else f"test_on.{test_set} for runs.{name}"
        raise ConfigError(f"{where} in {study.path}: {error}") from error
    return config if initial_policy is None else config.replace(initial_policy=initial_policy)


def _check_seeds_apart(name: str, entry: RunEntry, num_agents: int) -> None:
    """Refuse seeds that have agents in common."""
    apart = np.diff(sorted(entry.seeds)).min(initial=num_agents)
    if apart < num_agents:
        raise ConfigError(
            f"runs.{name}.seeds: got {entry.seeds} with num-agents {num_agents}, which have agents in common; "
            f"expected seeds at least {num_agents} apart"
        )
