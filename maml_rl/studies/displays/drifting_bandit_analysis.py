"""Analysis of the agents of a drifting bandit: computed once for a run, kept in a file."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from maml_rl.algorithms import Algorithm
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.drifting_bandits import (
    DriftingArms,
    KalmanRule,
    kalman_greedy,
    kalman_thompson,
    kalman_ucb,
    roll_out_drifting_bandit,
)
from maml_rl.config import ConfigError
from maml_rl.envs import MetaEpisodeVectorEnv
from maml_rl.envs.bandits.drifting_bandit import DriftingBanditVectorEnv
from maml_rl.studies.archive import DIGEST
from maml_rl.studies.displays.drifting_bandit_fits import (
    Job,
    analyse_agent,
    choices_of,
    compare_models,
    memory_of,
    models,
)
from maml_rl.studies.run_files import digest_of
from maml_rl.utils.files import write_arrays
from maml_rl.utils.random import Purpose, generator

_FITTED_TASKS = 10
_NUM_CONTROLS = 4
BASELINES: Mapping[str, KalmanRule] = {
    "Kalman + UCB": kalman_ucb(),
    "Kalman + Thompson": kalman_thompson,
    "Kalman, greedy": kalman_greedy,
}
"""Baseline agents: they know how arms drift."""
CONTROLS = (*BASELINES, "TD, median agent", "sampling, median agent")
"""Agents whose way to choose is known and whose choices are fitted as the others' are, see `_controls`."""
_KEYS = frozenset(
    {"rewards", "control_factor", "control_held_out", "num_choices", "autocorrelation", "similarity", "commonest"}
    | {f"{model}_{part}" for model in ("td", "sampling") for part in ("parameters", "log_likelihood", "at_bound")}
    | {f"{model}_cross_validated" for model in ("td", "sampling")}
    | {"decoded", "decoded_from_choice", "decoded_from_values"}
)


def analyse(
    path: Path, results: Mapping[str, np.ndarray], algorithm: Algorithm, num_workers: int, show: Callable[[str], None]
) -> None:
    """Fit both models to every agent of a run's `results`, decode its memory, and write all to `path`.

    Keys, for P agents: ``rewards`` (P, N), of each task; for each model its ``parameters`` (P, 3), ``log_likelihood``,
    ``cross_validated`` and ``at_bound`` (P,); ``num_choices`` (P,); ``autocorrelation`` and ``similarity`` (P, 60);
    ``decoded``, ``decoded_from_choice`` and ``decoded_from_values`` (P, 20), and ``commonest`` (P,). All but rewards
    are of the first ten tasks. To autocorrelation and decoding a trial without a choice is one more arm. Of the C
    `CONTROLS`, ``control_factor`` and ``control_held_out`` (R, C): what the models make of them, R times. ``digest``
    names the results this is of.

    Raises
    ------
    ConfigError
        In one line, if a process dies.
    """
    env = bandit_of(algorithm)
    initial_value = env.centre / env.payoff_scale
    agents = algorithm.individuals()
    whole = {key: _by_agent(results[key], len(agents)) for key in ("observations", "actions", "rewards")}
    fitted = {key: part[:, :_FITTED_TASKS] for key, part in whole.items()}
    jobs = [
        Job(
            index,
            choices_of(fitted["actions"][index], fitted["rewards"][index], env.num_arms),
            memory_of(algorithm.policy, params, fitted, index),
            initial_value,
        )
        for index, params in enumerate(agents)
    ]
    show(f"fitting cognitive models to {len(agents)} agents")
    found = []
    try:
        with _several(min(num_workers, len(agents))) as each:
            for index, one in enumerate(each(analyse_agent, jobs), 1):
                found.append(one)
                if index % 10 == 0:
                    show(f"{index}/{len(agents)} agents fitted")
            arrays = {key: np.array([one[key] for one in found]) for key in found[0]}
            means = results["tasks"].reshape(-1, env.num_trials, env.num_arms)[:_FITTED_TASKS]
            controls = _controls(env, means, arrays, initial_value)
            compared = np.array(list(each(compare_models, controls))).reshape(_NUM_CONTROLS, -1, 2)
    except BrokenProcessPool as error:
        raise ConfigError(
            "a process of the analysis has died, perhaps for want of memory; run the same command to analyse again, "
            "with fewer --num-workers"
        ) from error
    arrays["control_factor"], arrays["control_held_out"] = np.moveaxis(compared, -1, 0)
    arrays["rewards"] = whole["rewards"].sum(axis=2, dtype=np.float64)
    arrays[DIGEST] = np.array(digest_of(results))
    write_arrays(path, arrays)


def _controls(
    env: DriftingBanditVectorEnv, means: np.ndarray, fitted: Mapping[str, np.ndarray], initial_value: float
) -> list[Job]:
    """Agents whose way to choose is known, on the same tasks, each several times: `CONTROLS`, in this order.

    No baseline agent samples its past. The two models have the medians of what agents were fitted with.
    """
    noise, scale = env.payoff_deviation / env.payoff_scale, env.payoff_scale
    jobs = []
    for number in range(_NUM_CONTROLS):
        rng = generator(0, Purpose.STATISTICS, task=number, iteration=1)
        for rule in BASELINES.values():
            rollout = roll_out_drifting_bandit(rule, means, rng, arms=arms_of(env))
            jobs.append(Choices(rollout.choices, rollout.payoffs / scale, env.num_arms))
        for name, model in models(initial_value).items():
            parameters = np.median(fitted[f"{name}_parameters"], axis=0)
            jobs.append(model.simulate(means / scale, parameters, noise, rng))
    return [Job(number, data, np.empty(0), initial_value) for number, data in enumerate(jobs)]


@contextmanager
def _several(num_workers: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """`map`, in this number of processes."""
    if num_workers == 1:
        yield map
        return
    with ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:
        yield pool.map


def is_whole(found: Mapping[str, np.ndarray] | None) -> bool:
    """True of an analysis with all that `analyse` writes, not one of an earlier version.

    `found` are its arrays by name, (P, ...) of P agents.
    """
    return found is not None and found.keys() >= _KEYS


def bandit_of(algorithm: Algorithm) -> DriftingBanditVectorEnv:
    """Environment of a configuration, without the meta-episodes around it."""
    env = algorithm.env.env if isinstance(algorithm.env, MetaEpisodeVectorEnv) else algorithm.env
    assert isinstance(env, DriftingBanditVectorEnv)
    return env


def arms_of(env: DriftingBanditVectorEnv) -> DriftingArms:
    """Parameters of its arms."""
    return DriftingArms(env.decay, env.centre, env.drift_deviation, env.payoff_deviation)


def _by_agent(array: np.ndarray, num_agents: int) -> np.ndarray:
    """Results (P, N, ...), of one agent too."""
    return array if num_agents > 1 else array[np.newaxis]
