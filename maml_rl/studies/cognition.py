"""Cognitive models of the agents of a drifting bandit, and what their memory holds: computed once, kept in a file."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from maml_rl.analysis import (
    ChoiceModel,
    Choices,
    SamplingModel,
    TDModel,
    choice_autocorrelation,
    commonest_choice,
    cross_validated,
    decode_choices,
    fit_model,
    state_similarity,
)
from maml_rl.analysis.choices import MISSED
from maml_rl.blueprint import Blueprint, EnsembleBlueprint
from maml_rl.policies import Policy
from maml_rl.studies.study import Cell
from maml_rl.utils.files import write_arrays
from maml_rl.utils.random import Purpose, generator

DRIFTING = r"DriftingBandit-v0"
"""Name of the environment with drifting arms."""
MODELS: dict[str, ChoiceModel] = {"td": TDModel(), "sampling": SamplingModel(spacing=0.5)}
"""Models that are fitted, by the names of their columns."""
_FITTED_TASKS = 10
_MAX_LAG = 60
_MAX_DECODED_LAG = 20
_NUM_FOLDS = 5


def analyse(cell: Cell, blueprint: Blueprint, num_workers: int, show: Callable[[str], None]) -> None:
    """Fit both models to every agent of an evaluated run, decode its memory, and write ``cognition.npz``.

    Keys, for A agents: ``rewards`` (A, N), of each task; for each model its ``parameters`` (A, 3), ``log_likelihood``
    and ``cross_validated`` (A,); ``num_choices`` (A,); ``autocorrelation`` and ``similarity`` (A, 60); ``decoded``
    (A, 20) and ``commonest`` (A,). Models, decoding and similarity are of the first ten tasks.
    """
    path, results = cognition_path(cell), cell.results()
    newer = path.exists() and path.stat().st_mtime_ns >= cell.results_path().stat().st_mtime_ns
    if results is None or newer:
        return
    agents = blueprint.agents if isinstance(blueprint, EnsembleBlueprint) else (blueprint,)
    whole = {key: _by_agent(results[key], len(agents)) for key in ("observations", "actions", "rewards")}
    fitted = {key: part[:, :_FITTED_TASKS] for key, part in whole.items()}
    jobs = [
        (index, *(fitted[key][index] for key in ("actions", "rewards")), memory_of(agent.policy, fitted, index))
        for index, agent in enumerate(agents)
    ]
    show(f"{cell.name} seed {cell.seed}: fitting cognitive models to {len(agents)} agents")
    found = []
    with _several(min(num_workers, len(agents))) as each:
        for index, one in enumerate(each(_analyse_agent, jobs), 1):
            found.append(one)
            if index % 10 == 0:
                show(f"{cell.name} seed {cell.seed}: {index}/{len(agents)} agents fitted")
    arrays = {key: np.array([one[key] for one in found]) for key in found[0]}
    arrays["rewards"] = whole["rewards"].sum(axis=2, dtype=np.float64)
    write_arrays(path, arrays)


@contextmanager
def _several(num_workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map`, in so many processes."""
    if num_workers == 1:
        yield map
        return
    with ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:
        yield pool.map


def cognition_path(cell: Cell) -> Path:
    """Where `analyse` writes."""
    return cell.folder / "cognition.npz"


def _by_agent(array: np.ndarray, num_agents: int) -> np.ndarray:
    """Results (A, N, ...), of one agent too."""
    return array if num_agents > 1 else array[np.newaxis]


def choices_of(actions: np.ndarray, rewards: np.ndarray) -> Choices:
    """Choices and rewards (N, T) of episodes with 2 T steps; trials without a choice count as missed."""
    num_arms = 4
    chosen = actions[:, 1::2]
    return Choices(np.where(chosen == num_arms, MISSED, chosen), rewards[:, 1::2], num_arms)


def memory_of(policy: Policy, fitted: dict[str, np.ndarray], agent: int) -> np.ndarray:
    """What the last layer holds (N, T, H) when a choice is due: an LSTM's cell, or the state of other cells."""
    shown, actions, rewards = (fitted[key][agent] for key in ("observations", "actions", "rewards"))
    num_tasks, num_steps = actions.shape
    previous = np.zeros((num_tasks, num_steps, policy.output_size + 2), np.float32)  # as in `MetaEpisodeVectorEnv`
    previous[:, 1:, : policy.output_size] = np.eye(policy.output_size)[actions[:, :-1]]
    previous[:, 1:, policy.output_size] = rewards[:, :-1]
    observations = torch.from_numpy(np.concatenate([shown, previous], axis=-1).astype(np.float32))
    params = policy.params()
    state = policy.initial_state(params, (num_tasks, 1))
    states = []
    with torch.no_grad():
        for step in range(num_steps):
            _, state = policy.step(params, observations[:, step : step + 1], state)
            if step % 2:
                states.append(torch.utils._pytree.tree_leaves(state)[-1][:, 0].numpy())
    return np.stack(states, axis=1)


def _analyse_agent(job: tuple[int, np.ndarray, np.ndarray, np.ndarray]) -> dict[str, Any]:
    index, actions, rewards, states = job
    torch.set_num_threads(1)
    data, rng = choices_of(actions, rewards), generator(0, Purpose.STATISTICS, task=index)
    found: dict[str, Any] = {"num_choices": data.num_choices}
    for name, model in MODELS.items():
        fit = fit_model(model, data, rng)
        found[f"{name}_parameters"], found[f"{name}_log_likelihood"] = fit.parameters, fit.log_likelihood
        folds = min(_NUM_FOLDS, len(data))
        found[f"{name}_cross_validated"] = cross_validated(model, data, rng, num_folds=folds, start=fit.parameters)
    found["autocorrelation"] = np.nanmean(choice_autocorrelation(data.choices, _lags(data, _MAX_LAG)), axis=0)
    found["decoded"] = decode_choices(states, data.choices, _lags(data, _MAX_DECODED_LAG), num_folds=folds)
    found["commonest"] = commonest_choice(data.choices)
    found["similarity"] = state_similarity(states, _lags(data, _MAX_LAG))
    return found


def _lags(data: Choices, most: int) -> int:
    return min(most, data.choices.shape[1] - 1)
