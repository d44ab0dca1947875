"""Cognitive models of the agents of a drifting bandit, and what their memory holds: computed once, kept in a file."""

from __future__ import annotations

import hashlib
import multiprocessing
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from maml_rl.analysis import (
    ChoiceModel,
    Choices,
    DriftingArms,
    KalmanRule,
    ModelFit,
    SamplingModel,
    TDModel,
    choice_autocorrelation,
    commonest_choice,
    cross_validated,
    decode_choices,
    fit_model,
    kalman_greedy,
    kalman_thompson,
    kalman_ucb,
    play_drifting_bandit,
    state_similarity,
)
from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.memory_states import check_decoder
from maml_rl.blueprint import Blueprint, EnsembleBlueprint
from maml_rl.config import ConfigError
from maml_rl.envs import MetaEpisodeVectorEnv
from maml_rl.envs.drifting_bandit import DriftingBanditVectorEnv
from maml_rl.envs.meta_episode import observed_in_one_episode
from maml_rl.policies import Policy
from maml_rl.studies.study import Cell
from maml_rl.utils.files import write_arrays
from maml_rl.utils.random import Purpose, generator

DRIFTING = r"DriftingBandit-v0"
"""Name of the environment with drifting arms."""
_FITTED_TASKS = 10
_MAX_LAG = 60
_MAX_DECODED_LAG = 20
_NUM_FOLDS = 5
_FEWEST_TRIALS = 3
_NUM_CONTROLS = 4
PLAYERS: Mapping[str, KalmanRule] = {
    "Kalman + UCB": kalman_ucb(),
    "Kalman + Thompson": kalman_thompson,
    "Kalman, greedy": kalman_greedy,
}
"""Players who know how arms drift."""
CONTROLS = (*PLAYERS, "TD, median agent", "sampling, median agent")
"""Players whose choices are fitted as the agents' are, see `_controls`."""
_KEYS = frozenset(
    {"rewards", "control_factor", "control_held_out", "num_choices", "autocorrelation", "similarity", "commonest"}
    | {f"{model}_{part}" for model in ("td", "sampling") for part in ("parameters", "log_likelihood", "at_bound")}
    | {f"{model}_cross_validated" for model in ("td", "sampling")}
    | {"decoded", "decoded_from_choice", "decoded_from_values"}
)


def analyse(cell: Cell, blueprint: Blueprint, num_workers: int, show: Callable[[str], None]) -> None:
    """Fit both models to every agent of an evaluated run, decode its memory, and write ``cognition.npz``.

    Keys, for A agents: ``rewards`` (A, N), of each task; for each model its ``parameters`` (A, 3), ``log_likelihood``,
    ``cross_validated`` and ``at_bound`` (A,); ``num_choices`` (A,); ``autocorrelation`` and ``similarity`` (A, 60);
    ``decoded``, ``decoded_from_choice`` and ``decoded_from_values`` (A, 20), and ``commonest`` (A,). All but rewards
    are of the first ten tasks. To autocorrelation and decoding a trial without a choice is one more arm. Of the P
    players that `_controls` names, ``control_factor`` and ``control_held_out`` (R, P): what the models make of them, R
    times. ``digest`` names the results this is of.
    """
    results = cell.results()
    if results is None or load_cognition(cell) is not None:
        return
    env = bandit_of(blueprint)
    initial_value = env.centre / env.payoff_scale
    agents = blueprint.agents if isinstance(blueprint, EnsembleBlueprint) else (blueprint,)
    whole = {key: _by_agent(results[key], len(agents)) for key in ("observations", "actions", "rewards")}
    fitted = {key: part[:, :_FITTED_TASKS] for key, part in whole.items()}
    jobs = [
        Job(
            index,
            choices_of(fitted["actions"][index], fitted["rewards"][index], env.num_arms),
            memory_of(agent.policy, fitted, index),
            initial_value,
        )
        for index, agent in enumerate(agents)
    ]
    show(f"{cell.name} seed {cell.seed}: fitting cognitive models to {len(agents)} agents")
    found = []
    try:
        with _several(min(num_workers, len(agents))) as each:
            for index, one in enumerate(each(_analyse_agent, jobs), 1):
                found.append(one)
                if index % 10 == 0:
                    show(f"{cell.name} seed {cell.seed}: {index}/{len(agents)} agents fitted")
            arrays = {key: np.array([one[key] for one in found]) for key in found[0]}
            means = results["tasks"].reshape(-1, env.num_trials, env.num_arms)[:_FITTED_TASKS]
            controls = _controls(env, means, arrays, initial_value)
            compared = np.array(list(each(_compare_models, controls))).reshape(_NUM_CONTROLS, -1, 2)
    except BrokenProcessPool as error:
        raise ConfigError(
            f"{cell.name} seed {cell.seed}: a process of the analysis has died, perhaps for want of memory; "
            "run the same command to analyse again, with fewer --num-workers"
        ) from error
    arrays["control_factor"], arrays["control_held_out"] = np.moveaxis(compared, -1, 0)
    arrays["rewards"] = whole["rewards"].sum(axis=2, dtype=np.float64)
    arrays["digest"] = np.array(_digest(results))
    write_arrays(cognition_path(cell), arrays)


def _controls(
    env: DriftingBanditVectorEnv, means: np.ndarray, fitted: Mapping[str, np.ndarray], initial_value: float
) -> list[Job]:
    """Players whose way to choose is known, on the same tasks, each several times: `CONTROLS`, in this order.

    None of the Kalman players samples its past. The two models play with the medians of what agents were fitted with.
    """
    arms = DriftingArms(env.decay, env.centre, env.drift_deviation, env.payoff_deviation)
    noise, scale = env.payoff_deviation / env.payoff_scale, env.payoff_scale
    jobs = []
    for number in range(_NUM_CONTROLS):
        rng = generator(0, Purpose.STATISTICS, task=number, iteration=1)
        for rule in PLAYERS.values():
            play = play_drifting_bandit(rule, means, rng, arms=arms)
            jobs.append(Choices(play.choices, play.payoffs / scale, env.num_arms))
        for name, model in _models(initial_value).items():
            parameters = np.median(fitted[f"{name}_parameters"], axis=0)
            jobs.append(model.simulate(means / scale, parameters, noise, rng))
    return [Job(number, data, np.empty(0), initial_value) for number, data in enumerate(jobs)]


def _compare_models(job: Job) -> tuple[float, float]:
    """Log likelihoods of choices under the sampling model minus the TD model's, as fitted and cross-validated."""
    fits = _fits(job)
    sampling, td = fits["sampling"], fits["td"]
    return sampling[0].log_likelihood - td[0].log_likelihood, sampling[1] - td[1]


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


def load_cognition(cell: Cell) -> dict[str, np.ndarray] | None:
    """What `analyse` has written of the results that are there now; ``None`` if there is no such thing.

    Raises
    ------
    ConfigError
        In one line, if it cannot be read.
    """
    path, results = cognition_path(cell), cell.results()
    if results is None or not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # numpy would leave it open
            found = dict(arrays)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{str(path)!r}: got a file that is no analysis; remove it, and it is made anew") from error
    return found if str(found.get("digest")) == _digest(results) and found.keys() >= _KEYS else None


def _digest(results: Mapping[str, np.ndarray]) -> str:
    parts = (np.ascontiguousarray(results[key]).tobytes() for key in ("actions", "rewards"))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def check_analysis(blueprint: Blueprint) -> None:
    """Refuse, before anything is trained, what could not be analysed afterwards.

    Raises
    ------
    InputError
        In one line.
    """
    config = blueprint.config
    if not re.fullmatch(DRIFTING, config.env_name):
        if config.num_agents > 1:
            raise ConfigError(
                f"num-agents: got {config.num_agents} with {config.env_name}, expected 1; studies analyse ensembles on "
                "DriftingBandit-v0 only, use seeds"
            )
        return
    if config.algorithm != "rl2" or config.fast_batch_size != 1 or config.show_progress:
        raise ConfigError(
            f"{config.env_name}: studies analyse algorithm rl2 with fast-batch-size 1 and without show-progress; "
            f"got {config.algorithm}, {config.fast_batch_size}, show-progress {config.show_progress}"
        )
    if config.reward_clip is not None:
        raise ConfigError(f"reward-clip: got {config.reward_clip}, expected null for the analysis of a study")
    env = bandit_of(blueprint)
    for name, least in (("num_trials", _FEWEST_TRIALS), ("num_arms", 2)):
        if getattr(env, name) < least:
            raise ConfigError(
                f"env-kwargs.{name}: got {getattr(env, name)}, expected at least {least} for the analysis of a study"
            )
    if env.payoff_deviation == 0:
        raise ConfigError("env-kwargs.payoff_deviation: got 0, expected > 0 for the analysis of a study")
    check_decoder()


def bandit_of(blueprint: Blueprint) -> DriftingBanditVectorEnv:
    """The environment whose tasks are played."""
    env = blueprint.env.env if isinstance(blueprint.env, MetaEpisodeVectorEnv) else blueprint.env
    assert isinstance(env, DriftingBanditVectorEnv)
    return env


def _by_agent(array: np.ndarray, num_agents: int) -> np.ndarray:
    """Results (A, N, ...), of one agent too."""
    return array if num_agents > 1 else array[np.newaxis]


def choices_of(actions: np.ndarray, rewards: np.ndarray, num_arms: int) -> Choices:
    """Choices and rewards (N, T) of episodes with 2 T steps; trials without a choice count as missed."""
    chosen = actions[:, 1::2]
    return Choices(np.where(chosen == num_arms, MISSED, chosen), rewards[:, 1::2], num_arms)


def memory_of(policy: Policy, fitted: dict[str, np.ndarray], agent: int) -> np.ndarray:
    """What memory holds (N, T, H) when a choice is due, see `Policy.remembered`."""
    shown, actions, rewards = (fitted[key][agent] for key in ("observations", "actions", "rewards"))
    num_tasks, num_steps = actions.shape
    observations = torch.from_numpy(observed_in_one_episode(shown, actions, rewards, policy.output_size))
    params = policy.params()
    state = policy.initial_state(params, (num_tasks, 1))
    states = []
    with torch.no_grad():
        for step in range(num_steps):
            _, state = policy.step(params, observations[:, step : step + 1], state)
            if step % 2:
                states.append(policy.remembered(state)[:, 0].numpy())
    return np.stack(states, axis=1)


class Job(NamedTuple):
    """An agent to be analysed: its number, choices, memory (N, T, H) at each, and what it takes unknown arms for."""

    number: int
    data: Choices
    states: np.ndarray
    initial_value: float


def _analyse_agent(job: Job) -> dict[str, Any]:
    from threadpoolctl import threadpool_limits  # comes with scikit-learn

    torch.set_num_threads(1)
    with threadpool_limits(1):
        return _analysis(job)


def _analysis(job: Job) -> dict[str, Any]:
    data, folds = job.data, min(_NUM_FOLDS, len(job.data))
    found: dict[str, Any] = {"num_choices": data.num_choices}
    for name, (fit, held_out) in _fits(job).items():
        found[f"{name}_parameters"], found[f"{name}_log_likelihood"] = fit.parameters, fit.log_likelihood
        found[f"{name}_cross_validated"], found[f"{name}_at_bound"] = held_out, fit.at_bound
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an agent with one choice in all episodes has none
        found["autocorrelation"] = np.nanmean(choice_autocorrelation(data.choices, _lags(data, _MAX_LAG)), axis=0)
    values = TDModel(job.initial_value).values(data, found["td_parameters"])
    chosen = (data.choices[..., np.newaxis] == np.arange(-1, data.num_arms)).astype(np.float64)
    for name, states in (("decoded", job.states), ("decoded_from_choice", chosen), ("decoded_from_values", values)):
        found[name] = decode_choices(states, data.choices, _lags(data, _MAX_DECODED_LAG), num_folds=folds)
    found["commonest"] = commonest_choice(data.choices)
    found["similarity"] = state_similarity(job.states, _lags(data, _MAX_LAG))
    return found


def _models(initial_value: float) -> dict[str, ChoiceModel]:
    return {"td": TDModel(initial_value), "sampling": SamplingModel(initial_value, spacing=0.5)}


def _fits(job: Job) -> dict[str, tuple[ModelFit, float]]:
    """Both models' fits to the choices, and their cross-validated log likelihoods."""
    rng, folds = generator(0, Purpose.STATISTICS, task=job.number), min(_NUM_FOLDS, len(job.data))
    found = {}
    for name, model in _models(job.initial_value).items():
        fit = fit_model(model, job.data, rng)
        found[name] = fit, cross_validated(model, job.data, rng, num_folds=folds, start=fit.parameters)
    return found


def _lags(data: Choices, most: int) -> int:
    return min(most, data.choices.shape[1] - 1)
