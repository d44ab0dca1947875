"""Held-out log likelihoods of models of choices on the drifting bandit, kept in one file.

Fitted are the agents of the study `drifting-bandit`, baseline agents on the same tasks, and agents that the models
simulate with the parameters of agents. `benchmarks.drifting_models` reports what is found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.drifting_memory import decode, replay
from maml_rl.analysis.choice_models import ChoiceModel
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.drifting_bandits import DriftingArms, roll_out_drifting_bandit
from maml_rl.analysis.kalman_models import KalmanModel
from maml_rl.analysis.model_fits import held_out
from maml_rl.analysis.sampling_model import ForgettingSamplingModel, SamplingModel
from maml_rl.analysis.value_models import BonusModel, ForgettingModel, TDModel
from maml_rl.studies.archive import DIGEST, archived_evaluation
from maml_rl.studies.displays.drifting_bandit_analysis import BASELINES
from maml_rl.studies.displays.drifting_bandit_fits import choices_of
from maml_rl.studies.run_files import digest_of
from maml_rl.utils.files import write_arrays
from maml_rl.utils.random import Purpose, generator

NUM_ARMS, POINTS = 4, 50.0
NUM_FOLDS = 2
NUM_REPEATS = 2
NUM_SIMULATED, NUM_SIMULATED_TASKS = 20, 20
BLIND = "reward-blind"
MODELS: Mapping[str, ChoiceModel] = {
    "TD": TDModel(),
    "sampling": SamplingModel(spacing=0.7),
    "sampling, age in trials": SamplingModel(age="trials", spacing=0.7),
    "forgetting": ForgettingModel(),
    "TD + bonus": BonusModel(),
    "Kalman + UCB": KalmanModel(),
    "sampling that forgets": ForgettingSamplingModel(spacing=0.7),
}
"""Models that are fitted, beside `BLIND`: TD that is told of rewards as expected, so that perseveration is left."""
NAMES = (BLIND, *MODELS)
_STARTS: Mapping[str, tuple[float, ...]] = {
    BLIND: (0.51, 10.67, 1.0),
    "TD": (0.51, 10.67, 1.0),
    "sampling": (0.68, 12.45, 1.45),
    "sampling, age in trials": (0.68, 12.45, 1.45),
    "forgetting": (0.51, 10.67, 1.0, 0.0),
    "TD + bonus": (0.51, 10.67, 1.0, 0.0),
    "Kalman + UCB": (0.0, 10.67, 1.0),
    "sampling that forgets": (0.68, 12.45, 1.45, 0.0),
}
"""Where searches begin: medians of the study's own fits to ten tasks, without forgetting or bonus."""
_NUM_PARAMETERS = max(len(model.ranges) for model in MODELS.values())
_SEED = 0


class Study(NamedTuple):
    """The archived evaluation, its choices of P agents, and mean payoffs (N, T, K) of their tasks in points."""

    results: Mapping[str, np.ndarray]
    agents: Sequence[Choices]
    means: np.ndarray


class Fits(NamedTuple):
    """Held-out log likelihoods (..., N, M) of each task by each of `NAMES`, and parameters (..., M, 2, Q) of folds."""

    log_likelihoods: np.ndarray
    parameters: np.ndarray


def read_study(folder: Path) -> Study:
    """Evaluation of the run `lstm` in the archive of the study's `folder`."""
    found = archived_evaluation(folder / "lstm" / "seed-1" / "results.npz")
    if found is None:
        raise SystemExit(f"--study: got {str(folder)!r}, expected a folder with the study's scores.npz")
    pairs = zip(found["actions"], found["rewards"], strict=True)
    agents = [choices_of(actions, rewards, NUM_ARMS) for actions, rewards in pairs]
    return Study(found, agents, found["tasks"].reshape(len(found["tasks"]), -1, NUM_ARMS))


def fit_all(study: Study, path: Path, first: str, show: Callable[[str], None]) -> None:
    """Fit agents, baseline agents and simulated agents, decode one agent's memory; write to `path` after each.

    The weights of the study's first agent are in `first`, see `replay`.
    """
    agents = fit_each(study.agents, 1, show)
    arrays = {DIGEST: np.array(digest_of(study.results))} | _named("agents", agents)
    write_arrays(path, arrays, smallest=True)
    arrays |= _named("baselines", fit_each(baseline_agents(study.means), 2, show), (len(BASELINES), NUM_REPEATS))
    write_arrays(path, arrays, smallest=True)
    simulated = simulated_agents(study.means, agents.parameters[:NUM_SIMULATED].mean(axis=2))
    arrays |= _named("simulated", fit_each(simulated, 3, show), (len(MODELS), NUM_SIMULATED))
    write_arrays(path, arrays, smallest=True)
    found = replay(study.results, first)
    own = {name: agents.parameters[0, NAMES.index(name)].mean(axis=0) for name in ("TD", "forgetting")}
    fitted = {name: part[: len(MODELS[name].ranges)].astype(np.float64) for name, part in own.items()}
    arrays["own_log_likelihoods"] = found.log_probabilities.sum(axis=1)
    arrays["decoded"] = decode(found.states, study.agents[0], fitted).astype(np.float32)
    write_arrays(path, arrays, smallest=True)


def fit_each(agents: Sequence[Choices], group: int, show: Callable[[str], None]) -> Fits:
    """Fit every model to every agent of a group: to even tasks and asked about odd ones, and the other way round."""
    num_tasks = len(agents[0])
    logs = np.empty((len(agents), num_tasks, len(NAMES)), dtype=np.float32)
    parameters = np.full((len(agents), len(NAMES), NUM_FOLDS, _NUM_PARAMETERS), np.nan, dtype=np.float32)
    rng = generator(_SEED, Purpose.STATISTICS)  # of searches that begin at random; these begin at `_STARTS`
    for index, data in enumerate(agents):
        blind = Choices(data.choices, np.ones_like(data.rewards), data.num_arms)
        for number, name in enumerate(NAMES):
            model, told = (TDModel(), blind) if name == BLIND else (MODELS[name], data)
            found = held_out(model, told, rng, num_folds=NUM_FOLDS, start=np.array(_STARTS[name]))
            logs[index, :, number] = np.round(found.log_likelihoods, 2)  # nearer ones are ties
            parameters[index, number, :, : found.parameters.shape[1]] = np.round(found.parameters, 4)
        if index % 10 == 9:
            show(f"group {group} of 3: {index + 1}/{len(agents)} agents fitted")
    return Fits(logs, parameters)


def baseline_agents(means: np.ndarray) -> list[Choices]:
    """Choices of each of `BASELINES`, `NUM_REPEATS` times, on tasks with these means (N, T, K)."""
    found = []
    for row in range(len(BASELINES) * NUM_REPEATS):
        rule = list(BASELINES.values())[row // NUM_REPEATS]
        rng = generator(_SEED, Purpose.STATISTICS, iteration=301, task=row)
        rollout = roll_out_drifting_bandit(rule, means, rng)
        found.append(Choices(rollout.choices, rollout.payoffs / POINTS, NUM_ARMS))
    return found


def simulated_agents(means: np.ndarray, parameters: np.ndarray) -> list[Choices]:
    """Choices of each model with parameters (S, 1 + M, Q), S times each, on the first tasks of `means` (N, T, K)."""
    found = []
    noise = DriftingArms().payoff_deviation / POINTS
    for number, model in enumerate(MODELS.values(), 1):
        for index, own in enumerate(parameters[:, number, : len(model.ranges)]):
            rng = generator(_SEED, Purpose.STATISTICS, iteration=310 + number, task=index)
            tasks = means[:NUM_SIMULATED_TASKS] / POINTS
            found.append(model.simulate(tasks, np.asarray(own, dtype=np.float64), noise, rng))
    return found


def _named(name: str, fits: Fits, shape: tuple[int, ...] | None = None) -> dict[str, np.ndarray]:
    """Arrays of a group for the file, its agents in this shape."""
    return {
        f"{name}_{key}": part if shape is None else part.reshape(*shape, *part.shape[1:])
        for key, part in fits._asdict().items()
    }
