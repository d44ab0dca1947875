"""Models of choices on the drifting bandit, beside each other on all tasks, and claims about the agents.

`python -m benchmarks.drifting_models` fits (`benchmarks.drifting_fits`), keeps the fits in fits.npz, and writes
models.md and models.png; fits that are there are not made again.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.drifting_claims import PUBLISHED_R, RELIABLE, Difference, Relation, difference, preference, relate
from benchmarks.drifting_figure import save
from benchmarks.drifting_fits import (
    MODELS,
    NAMES,
    NUM_REPEATS,
    NUM_SIMULATED_TASKS,
    Study,
    fit_all,
    read_study,
)
from benchmarks.drifting_memory import LAGS, SOURCES
from maml_rl.analysis.behaviour import choice_autocorrelation
from maml_rl.analysis.intervals import Interval, mean_interval
from maml_rl.analysis.people.recovery import ModelRecovery
from maml_rl.analysis.reliability import reliability
from maml_rl.studies.archive import DIGEST, archived_evaluation
from maml_rl.studies.displays.drifting_bandit_analysis import BASELINES
from maml_rl.studies.run_files import digest_of, read_arrays
from maml_rl.utils.files import write_atomically

Arrays = Mapping[str, np.ndarray]
_STUDIED = 10
"""Tasks that the study's own fits are of."""


def main() -> None:
    """Parse arguments, fit what is not fitted yet, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=Path("results/drifting-bandit"), help="folder of the archive")
    parser.add_argument("--output", type=Path, help="folder; default: models/ in that of the archive")
    parser.add_argument("--first", default="drifting-bandit", help="zoo entry or run folder of the study's first agent")
    arguments = parser.parse_args()
    output = arguments.output or arguments.study / "models"
    output.mkdir(parents=True, exist_ok=True)
    study, path = read_study(arguments.study), output / "fits.npz"
    fits = _fits_of(path, study)
    if fits is None:
        fit_all(study, path, arguments.first, lambda line: print(f"{time.process_time():.0f} s: {line}", flush=True))
        fits = _fits_of(path, study)
    assert fits is not None
    archived = archived_evaluation(arguments.study / "lstm" / "seed-1" / "cognition.npz") or read_arrays(
        arguments.study / "lstm" / "seed-1" / "cognition.npz", "analysis", "remove it, and run the study anew"
    )
    preferred, relations = relations_of(study, fits, archived or {})
    text = "\n".join(report(fits, preferred, relations)) + "\n"
    write_atomically(output / "models.md", lambda file: file.write_text(text, encoding="utf-8"))
    save(fits, relations, preferred, study, output / "models.png")
    print(text)


def _fits_of(path: Path, study: Study) -> Arrays | None:
    """Fits of this evaluation by the present models that are whole; ``None`` without them."""
    found = read_arrays(path, "fits", "remove it, and run the command again")
    if found is None or "decoded" not in found or str(found[DIGEST]) != digest_of(study.results):
        return None
    return found if found["agents_log_likelihoods"].shape[-1] == len(NAMES) else None


def relations_of(study: Study, fits: Arrays, archived: Arrays) -> tuple[np.ndarray, list[Relation]]:
    """Preferences (A, N) for sampling, and their correlations with what the `archived` analysis and choices measure."""
    preferred = preference(fits["agents_log_likelihoods"])
    lagged = np.array([choice_autocorrelation(data.choices, 2)[:, 1] for data in study.agents])  # (A, N)
    obtained = study.results["rewards"].sum(axis=2, dtype=np.float64)
    relations = [
        relate("choice autocorrelation at lag 2", preferred, lagged, 0),
        relate("reward", preferred, obtained, 1),
    ]
    if "decoded" in archived:
        decoded = archived["decoded"][:, 1:2]
        relations.append(relate("choices decoded from memory at lag 2, of ten tasks", preferred, decoded, 2))
    return preferred, relations


def report(fits: Arrays, preferred: np.ndarray, relations: Sequence[Relation]) -> list[str]:
    """Lines of the page."""
    num_agents, num_tasks, _ = fits["agents_log_likelihoods"].shape
    return [
        "# Models of choices on the drifting bandit",
        "",
        f"{num_agents} agents of the study, {num_tasks} tasks of 150 choices, the same for all. Every model is fitted "
        "to an agent's even tasks and asked about the odd ones, and the other way round: all figures are of choices "
        "that were not fitted. Intervals are 95 %, over agents and tasks (percentiles of 2,000 resamples of both, "
        "`maml_rl.analysis.two_way`), if nothing else is said. Reliability: `maml_rl.analysis.reliability`. "
        "`python -m benchmarks.drifting_models`.",
        "",
        *table_of_models(fits),
        "",
        *table_of_differences(fits),
        "",
        *table_of_parameters(fits),
        "",
        *table_of_recovery(fits),
        "",
        *table_of_signs(fits),
        "",
        *table_of_relations(preferred, relations),
        "",
        *table_of_memory(fits),
        "",
        "![models of choices](models.png)",
    ]


def table_of_models(fits: Arrays) -> list[str]:
    """Held-out log likelihood of a choice by every model, of agents and of baseline agents."""
    agents, baselines = fits["agents_log_likelihoods"] / 150.0, fits["baselines_log_likelihoods"] / 150.0
    rows = {f"{len(agents)} agents": agents, "agent 0": agents[:1]}
    rows |= {f"{name} baseline": part for name, part in zip(BASELINES, baselines, strict=True)}
    own = fits["own_log_likelihoods"].sum() / (150.0 * agents.shape[1])
    blind, *others = agents[0].mean(axis=0)
    best = max(range(len(others)), key=lambda index: others[index])
    explained = 100 * (others[best] - blind) / (own - blind)
    return [
        "## Agents, baseline agents, models",
        "",
        "Held-out log likelihood of a choice, in nats (chance -1.386). Baseline agents know how arms drift and rolled "
        f"out the same tasks {NUM_REPEATS} times. Reward-blind: perseveration alone. Agent 0's own network, whose "
        f"weights were kept, has {own:.3f}: what a model of its choices can reach. Of the way there from "
        f"reward-blind, the best model of that agent, {NAMES[best + 1]}, goes {explained:.0f} %.",
        "",
        f"| choices of | {' | '.join(NAMES)} |",
        f"|---|{'---|' * len(NAMES)}",
        *(
            f"| {name} | {' | '.join(f'{value:.3f}' for value in part.reshape(-1, len(NAMES)).mean(axis=0))} |"
            for name, part in rows.items()
        ),
    ]


def table_of_differences(fits: Arrays) -> list[str]:
    """Every model minus TD: of the agents."""
    logs = np.asarray(fits["agents_log_likelihoods"], dtype=np.float64)
    best = logs.sum(axis=1).argmax(axis=1)
    lines = [
        "Models minus TD on the agents' choices: nats of a task; agents for whom the model is better than TD on all "
        "tasks together, and for whom it is the best of all; reliability of one agent's difference over these tasks "
        f"(Feldt's interval), and tasks for a reliability of {RELIABLE}, from its ends.",
        "",
        "| model | nats of a task | better than TD, % of agents | best of all, agents | reliability | tasks needed |",
        "|---|---|---|---|---|---|",
    ]
    for number, name in enumerate(NAMES):
        if name != "TD":
            one = difference(logs[..., number] - logs[..., NAMES.index("TD")], number)
            lines.append(_difference(name, one, int((best == number).sum())))
        else:
            lines.append(f"| TD | 0 | - | {(best == number).sum()} | - | - |")
    for number, name in enumerate(("sampling", "sampling that forgets")):
        one = difference(logs[..., NAMES.index("forgetting")] - logs[..., NAMES.index(name)], len(NAMES) + number)
        lines += [
            "",
            f"Forgetting minus {name}: {_interval(one.mean)} nats of a task, above 0 for "
            f"{_interval(one.better, 0, 100.0)} % of agents; reliability {_interval(one.reliability)}.",
        ]
    return [*lines, "", _of_fewer_tasks(preference(logs))]


def _of_fewer_tasks(preferred: np.ndarray) -> str:
    """Sentence on preferences (A, N) in the first ten tasks, which the study's own tables are of, and in the others."""
    parts = {f"the first {_STUDIED}": preferred[:, :_STUDIED], "the others": preferred[:, _STUDIED:]}
    found = (
        f"{name}, {100 * (part.sum(axis=1) > 0).mean():.0f} % of agents with a reliability of "
        f"{_interval(reliability(part))}"
        for name, part in parts.items()
    )
    return f"Sampling better than TD on parts of the tasks: {'; '.join(found)}."


def _difference(name: str, one: Difference, best: int) -> str:
    return (
        f"| {name} | {_interval(one.mean)} | {_interval(one.better, 0, 100.0)} | {best} "
        f"| {_interval(one.reliability, 2)} "
        f"| {' to '.join(_count(float(end)) for end in (one.tasks_needed.low, one.tasks_needed.high))} |"
    )


def table_of_parameters(fits: Arrays) -> list[str]:
    """Medians and quartiles over agents of the parameters, means of both halves."""
    lines = ["Parameters, medians over agents [quartiles], means of both halves of the tasks:", ""]
    for number, (name, model) in enumerate(MODELS.items(), 1):
        found = fits["agents_parameters"][:, number].mean(axis=1)  # (A, Q)
        values = []
        for index, part in enumerate(model.ranges):
            low, median, high = np.quantile(found[:, index], [0.25, 0.5, 0.75])
            values.append(f"{part.name} {median:.3f} [{low:.3f}, {high:.3f}]")
        lines.append(f"- {name}: {'; '.join(values)}")
    return lines


def table_of_recovery(fits: Arrays) -> list[str]:
    """Confusion matrix of the models."""
    logs = np.asarray(fits["simulated_log_likelihoods"][..., 1:], dtype=np.float64).sum(axis=2)  # (M, S, M)
    recovery = ModelRecovery(tuple(MODELS), logs[:, np.newaxis], {})
    return [
        "## Recovery",
        "",
        f"Simulated with the parameters of the first agents, on {NUM_SIMULATED_TASKS} of the tasks, fitted and asked "
        "as the agents are. Of models that are within 0.01 nats in every task, the first one counts.",
        "",
        *recovery.table_by_subject(best="has the largest held-out likelihood"),
    ]


def table_of_signs(fits: Arrays) -> list[str]:
    """Preference for sampling over TD of agents that do neither, or one of both."""
    lines = [
        "Sampling minus TD, nats of a task, for agents that choose in a known way; agents for whom it is above 0:",
        "",
        "| choices of | nats of a task | above 0 |",
        "|---|---|---|",
    ]
    groups = {f"{name}, simulated": part for name, part in zip(MODELS, fits["simulated_log_likelihoods"], strict=True)}
    groups |= {
        f"{name} baseline": part for name, part in zip(BASELINES, fits["baselines_log_likelihoods"], strict=True)
    }
    for number, (name, logs) in enumerate(groups.items()):
        table = preference(logs)
        one = difference(table, 100 + number)
        lines.append(f"| {name} | {_interval(one.mean)} | {(table.sum(axis=1) > 0).sum()} of {len(table)} |")
    return lines


def table_of_relations(preferred: np.ndarray, relations: Sequence[Relation]) -> list[str]:
    """Correlations with the preference for sampling, their reliability and power, and what they decide."""
    own = reliability(preferred)
    lines = [
        "## Correlations with the preference for sampling",
        "",
        "Preference: held-out log likelihood of sampling minus that of TD. Its reliability over these tasks is "
        f"{_interval(own, 2)}. A correlation is decided if both scores have a reliability of {RELIABLE} (fixed before "
        f"the fits). Expected: r of these scores, if that of true scores is {PUBLISHED_R}; power: to see it; "
        "detectable: the smallest of true scores that is seen with a power of 80 %. A reliability that is not known "
        "counts as 1 in all three. Between halves: preference in half of the tasks, measure in the other half. "
        "Intervals of r are of the scores as they are, not corrected for their reliability; with fewer different tasks "
        "in each resample they lie somewhat nearer to 0. Tasks in which an agent chose one arm alone have no "
        "autocorrelation, and are left out of its row.",
        "",
        "| measure | r | expected | r between halves | reliability of the measure | power | detectable | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in relations:
        detectable = f"{one.detectable:.2f}" if math.isfinite(one.detectable) else "none"
        lines.append(
            f"| {one.name} | {_interval(one.r, 3)} | {one.expected:.2f} | {_interval(one.between_halves, 3)} "
            f"| {_interval(one.reliability, 2)} | {one.power:.2f} | {detectable} | {one.verdict(own)} |"
        )
    return lines


def table_of_memory(fits: Arrays) -> list[str]:
    """Decoding of choices from the memory of agent 0, beside sources that hold no single choice."""
    decoded = np.asarray(fits["decoded"], dtype=np.float64)
    memory, traces = decoded[0], decoded[-1]
    return [
        "## Memory of agent 0",
        "",
        "Fraction of choices decoded at a lag of that many trials, means over tasks: from the memory of the one agent "
        "whose weights are kept, from the present choice, from values and beliefs, and from these with exponential "
        "traces of choices, half-lives 1, 2, 5, 10 and 20 trials. All components; five folds of tasks. Intervals over "
        "tasks (Student).",
        "",
        f"| source | {' | '.join(f'lag {lag}' for lag in LAGS)} |",
        f"|---|{'---|' * len(LAGS)}",
        *(
            f"| {name} | {' | '.join(f'{value:.2f}' for value in part.mean(axis=0))} |"
            for name, part in zip(SOURCES, decoded, strict=True)
        ),
        f"| memory minus these four | {_along(memory - decoded[-2])} |",
        f"| memory minus these with traces | {_along(memory - traces)} |",
    ]


def _along(values: np.ndarray) -> str:
    """Cells of intervals of the columns of `values` (N, L)."""
    found = mean_interval(values.T)
    each = zip(found.mean, found.low, found.high, strict=True)
    return " | ".join(_interval(Interval(*map(np.asarray, one)), 3) for one in each)


def _interval(one: Interval, digits: int = 2, scale: float = 1.0) -> str:
    if not np.isfinite(one.mean):
        return "not known"
    mean, low, high = (f"{scale * float(part):.{digits}f}" for part in (one.mean, one.low, one.high))
    return f"{mean} [{low}, {high}]"


def _count(tasks: float) -> str:
    return f"{tasks:,.0f}" if math.isfinite(tasks) else "no number"


if __name__ == "__main__":
    main()
