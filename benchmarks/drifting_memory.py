"""Memory of the one agent of a study of drifting arms whose weights were kept, asked about its choices on all tasks.

Of the hundred agents of `drifting-bandit` the zoo has the first; another study's is a run folder that is named. Memory
is replayed from the archived evaluation, beside the agent's own probabilities of what it chose: no model of its choices
can be expected to do better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch

from maml_rl.agent import load_agent
from maml_rl.analysis.choices import Choices
from maml_rl.analysis.kalman_models import KalmanModel
from maml_rl.analysis.memory_states import decode_episodes
from maml_rl.analysis.value_models import ForgettingModel, TDModel
from maml_rl.envs.meta_episode import replayed_observations

LAGS = (1, 2, 5, 10, 20)
NUM_FOLDS = 5
NUM_COMPONENTS = 128
"""All units of any of the studies' networks, so that what decodes worse is not what was cut off."""
HALF_LIVES = (1, 2, 5, 10, 20)
"""Trials in which traces of choices fade to one half: a memory that is smooth, with no place for a single choice."""
SOURCES = (
    "memory",
    "present choice",
    "TD values",
    "forgetting values",
    "Kalman beliefs",
    "these four together",
    "... and traces of choices",
)


class Replay(NamedTuple):
    """Memory (N, T, H) when each choice is due, and the network's own log probabilities (N, T) of its choices."""

    states: np.ndarray
    log_probabilities: np.ndarray


def replay(results: Mapping[str, np.ndarray], source: str) -> Replay:
    """Replay of the first agent along its evaluation, arrays `results` (P, N, T, ...).

    Its weights are those of `source`, an entry of the zoo or the folder of a run.
    """
    agent = load_agent(source).algorithm
    policy, params = agent.policy, agent.individuals()[0]
    shown, actions, rewards = (results[key][0] for key in ("observations", "actions", "rewards"))
    observations = torch.from_numpy(replayed_observations(shown, actions, rewards, policy.output_size))
    state = policy.initial_state(params, (len(actions), 1))
    states, logs = [], []
    with torch.no_grad():
        for step in range(actions.shape[1]):
            distribution, state = policy.step(params, observations[:, step : step + 1], state)
            if step % 2:  # the choice of a trial follows its fixation
                states.append(policy.remembered(state)[:, 0].numpy())
                logs.append(distribution.log_prob(torch.from_numpy(actions[:, step : step + 1]))[:, 0].numpy())
    return Replay(np.stack(states, axis=1), np.stack(logs, axis=1))


def decode(states: np.ndarray, data: Choices, parameters: Mapping[str, np.ndarray]) -> np.ndarray:
    """Fractions (`SOURCES`, N, `LAGS`) of the choices in `data` decoded from `states` (N, T, H) and from others.

    The others hold no single choice, save the present one, which is yet to be made when memory is asked: values of TD
    and of forgetting with `parameters` (Q,) fitted to the agent, means and standard deviations of a Kalman filter, and
    traces of choices.
    """
    present = (data.choices[..., np.newaxis] == np.arange(data.num_arms)).astype(np.float64)
    td = TDModel().values(data, parameters["TD"])
    forgetting = ForgettingModel().values(data, parameters["forgetting"])
    means, variances = KalmanModel().known(data, ())
    beliefs = np.concatenate([means, np.sqrt(variances)], axis=2)
    together = np.concatenate([present, td, forgetting, beliefs], axis=2)
    traced = np.concatenate([together, choice_traces(present)], axis=2)
    sources = (states, present, td, forgetting, beliefs, together, traced)
    each = [
        decode_episodes(source, data.choices, LAGS, num_components=NUM_COMPONENTS, num_folds=NUM_FOLDS)
        for source in sources
    ]
    return np.array(each)


def choice_traces(chosen: np.ndarray) -> np.ndarray:
    """Traces (N, T, K * `HALF_LIVES`) of what was `chosen` (N, T, K) before each trial, fading exponentially."""
    traces = np.zeros((*chosen.shape, len(HALF_LIVES)))
    kept = 0.5 ** (1.0 / np.array(HALF_LIVES))
    for trial in range(1, chosen.shape[1]):
        traces[:, trial] = kept * traces[:, trial - 1] + (1.0 - kept) * chosen[:, trial - 1, :, np.newaxis]
    return traces.reshape(*chosen.shape[:2], -1)  # (N, T, K, F) -> (N, T, K F)
