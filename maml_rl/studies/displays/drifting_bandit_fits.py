"""Cognitive models of one agent of a drifting bandit, and the contents of its memory."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch

from maml_rl.analysis.arms import MISSED
from maml_rl.analysis.behaviour import choice_autocorrelation
from maml_rl.analysis.choice_models import ChoiceModel
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.memory_states import commonest_choice, decode_choices, state_similarity
from maml_rl.analysis.model_fits import ModelFit, cross_validated, fit_model
from maml_rl.analysis.sampling_model import SamplingModel
from maml_rl.analysis.value_models import TDModel
from maml_rl.envs.meta_episode import replayed_observations
from maml_rl.policies import Params, Policy
from maml_rl.utils.random import Purpose, generator

_MAX_LAG = 60
_MAX_DECODED_LAG = 20
_NUM_FOLDS = 5


class Job(NamedTuple):
    """An agent to be analysed: its number, choices, memory (N, T, H) at each, and its value of unknown arms."""

    number: int
    data: Choices
    states: np.ndarray
    initial_value: float


def choices_of(actions: np.ndarray, rewards: np.ndarray, num_arms: int) -> Choices:
    """Choices of episodes with actions and rewards (N, 2 T); trials without a choice count as missed."""
    chosen = actions[:, 1::2]
    return Choices(np.where(chosen == num_arms, MISSED, chosen), rewards[:, 1::2], num_arms)


def memory_of(policy: Policy, params: Params, fitted: dict[str, np.ndarray], agent: int) -> np.ndarray:
    """Memory (N, T, H) when a choice is due, see `Policy.remembered`, of `fitted` results (P, N, ...).

    It is replayed from what has been stored, without an environment: a `StateRecorder` would need a new rollout.
    """
    shown, actions, rewards = (fitted[key][agent] for key in ("observations", "actions", "rewards"))
    num_tasks, num_steps = actions.shape
    observations = torch.from_numpy(replayed_observations(shown, actions, rewards, policy.output_size))
    state = policy.initial_state(params, (num_tasks, 1))
    states = []
    with torch.no_grad():
        for step in range(num_steps):
            _, state = policy.step(params, observations[:, step : step + 1], state)
            if step % 2:
                states.append(policy.remembered(state)[:, 0].numpy())
    return np.stack(states, axis=1)


def analyse_agent(job: Job) -> dict[str, Any]:
    """Measures of one agent by name, see `maml_rl.studies.displays.drifting_bandit_analysis.analyse`."""
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


def compare_models(job: Job) -> tuple[float, float]:
    """Log likelihoods of choices under the sampling model minus the TD model's, as fitted and cross-validated."""
    fits = _fits(job)
    sampling, td = fits["sampling"], fits["td"]
    return sampling[0].log_likelihood - td[0].log_likelihood, sampling[1] - td[1]


def models(initial_value: float) -> dict[str, ChoiceModel]:
    """Both models, with the value of an arm before its first choice."""
    return {"td": TDModel(initial_value), "sampling": SamplingModel(initial_value, spacing=0.5)}


def _fits(job: Job) -> dict[str, tuple[ModelFit, float]]:
    """Both models' fits to the choices, and their cross-validated log likelihoods."""
    rng, folds = generator(0, Purpose.STATISTICS, task=job.number), min(_NUM_FOLDS, len(job.data))
    found = {}
    for name, model in models(job.initial_value).items():
        fit = fit_model(model, job.data, rng)
        found[name] = fit, cross_validated(model, job.data, rng, num_folds=folds, start=fit.parameters)
    return found


def _lags(data: Choices, most: int) -> int:
    return min(most, data.choices.shape[1] - 1)
