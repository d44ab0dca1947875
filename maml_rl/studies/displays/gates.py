"""Gates of an episodic LSTM, where contexts are new and where they come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import matplotlib.figure
import numpy as np
import torch

from maml_rl.algorithms import Algorithm, adaptation_of
from maml_rl.analysis.contextual_bandits import exposure_numbers
from maml_rl.analysis.contextual_plots import plot_gates
from maml_rl.analysis.intervals import mean_interval
from maml_rl.config import Config
from maml_rl.envs.behaviour.contextual_bandit import ContextualBanditVectorEnv
from maml_rl.envs.meta_episode import replayed_observations
from maml_rl.policies.episodic_lstm_policy import EpisodicLSTMPolicy
from maml_rl.policies.reinstating_gates import GATES
from maml_rl.studies.archive import DIGEST
from maml_rl.studies.displays.contextual_bandit import bandit_of, episodes_of
from maml_rl.studies.displays.display import Display, observes_more, seeds_in_words
from maml_rl.studies.run_files import digest_of
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.studies.tables import two_decimals
from maml_rl.utils.files import write_arrays

NUM_TASKS = 40
"""Tasks of an evaluation whose gates are looked at."""
_KINDS = ("first exposure", "later exposures")
_HEAD = [
    "## Gates",
    "",
    f"Opening of gates, means over units and the episodes of {NUM_TASKS} tasks at most, and over seeds with "
    "their 95 % intervals (Student): 0 closed, 1 open; at the first pull of an episode, and at the others.",
    "",
    "| run | seeds | exposures | gate | first pull | other pulls |",
    f"|{'---|' * 6}",
]


class GatesDisplay(Display):
    """Opening of gates by pull: does what was remembered enter where there is something to remember?"""

    figure_name = "gates"
    caption = "gates"
    analysis_file = "gates.npz"
    trials_read = frozenset({"actions", "rewards"})

    def applies(self, config: Config) -> bool:
        """True for agents into which something is reinstated, if what they have observed is kept with evaluations."""
        reinstates = getattr(config, "dictionary_retrieval", None) == "reinstate"
        replayed = not observes_more(config) and config.reward_clip is None
        return super().applies(config) and reinstates and adaptation_of(config).keeps_trials and replayed

    def analyse(self, run: StudyRun, algorithm: Algorithm, num_workers: int, show: Callable[[str], None]) -> None:
        """See `Display.analyse`: arrays ``GATE`` (K, P), at first and at later exposures, if any; ``digest``."""
        results = run.results()
        if results is None or run.analysis(self.analysis_path(run)) is not None:
            return
        env, policy = bandit_of(run.config), algorithm.policy
        assert isinstance(policy, EpisodicLSTMPolicy)
        (params,) = algorithm.individuals()
        found = gates_by_pull({key: results[key][:NUM_TASKS] for key in _NEEDED} | _tasks(results), env, policy, params)
        write_arrays(self.analysis_path(run), {**found, DIGEST: np.array(digest_of(results))})

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """One row per run, kind of episode and gate; nothing if no run was looked at."""
        rows = [row for name, seeds in by_name(runs).items() for row in self._rows(name, seeds)]
        return [*_HEAD, *rows] if rows else []

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """Gates by pull, at first and at later exposures."""
        found = self._all_found(runs)
        if not found:
            return None
        figure = matplotlib.figure.Figure(figsize=(10.5, 4.4), layout="constrained")
        num_kinds = next(iter(found.values())).shape[1]
        for index, ax in enumerate(figure.subplots(1, num_kinds, squeeze=False)[0]):
            plot_gates(ax, {name: values[:, index] for name, values in found.items()}, title=_KINDS[index])
        figure.suptitle(f"{runs[0].name}: {seeds_in_words(len(next(iter(found.values()))))}")
        return figure

    def _rows(self, name: str, seeds: Sequence[StudyRun]) -> Iterator[str]:
        for gate, values in self._all_found(seeds).items():
            for kind, by_pull in zip(_KINDS, np.moveaxis(values, 1, 0), strict=False):
                cells, others = [two_decimals(mean_interval(by_pull[:, 0])), "-"], by_pull[:, 1:]
                if others.size:
                    cells[1] = two_decimals(mean_interval(others.mean(-1)))
                yield f"| {name} | {len(values)} | {kind} | {gate} | {cells[0]} | {cells[1]} |"

    def _all_found(self, seeds: Sequence[StudyRun]) -> dict[str, np.ndarray]:
        """Gates (S, K, P) by name, of the seeds that were looked at."""
        parts = [
            part
            for run in seeds
            if self.applies(run.config) and (part := run.analysis(self.analysis_path(run))) is not None
        ]
        num_kinds = min((len(part[GATES[0]]) for part in parts), default=0)
        return {name: np.stack([part[name][:num_kinds] for part in parts]) for name in GATES} if parts else {}


_NEEDED = ("observations", "actions", "rewards")


def gates_by_pull(
    results: Mapping[str, np.ndarray],
    env: ContextualBanditVectorEnv,
    policy: EpisodicLSTMPolicy,
    params: Mapping[str, torch.Tensor],
) -> dict[str, np.ndarray]:
    """Gates (K, P) by name, at first and, if there are any, at later exposures, by pull.

    `results` are arrays of an evaluation of N tasks: ``observations`` (N, T, O), ``actions`` and ``rewards`` (N, T),
    ``tasks`` (N, F) and ``task_fields`` (F,). `params` are those of a single agent, of any shapes (...).
    """
    _, _, contexts, _ = episodes_of(results, env)
    ended = np.broadcast_to(
        np.arange(1, results["actions"].shape[1] + 1) % env.num_pulls == 0, results["actions"].shape
    )
    shown, actions, rewards = (results[key] for key in _NEEDED)
    observed = replayed_observations(shown, actions, rewards, policy.output_size, ended)
    started = np.concatenate([np.zeros_like(ended[:, :1]), ended[:, :-1]], axis=1)
    with torch.no_grad():
        gates = policy.gates(dict(params), *(torch.from_numpy(part).movedim(0, 1) for part in (observed, started)))
    later = exposure_numbers(contexts) > 1  # (N, E)
    by_pull = {name: part.T.reshape(*later.shape, env.num_pulls).numpy() for name, part in gates.items()}
    kinds = [~later, later] if later.any() else [~later]
    return {name: np.stack([part[kind].mean(0) for kind in kinds]) for name, part in by_pull.items()}


def _tasks(results: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"tasks": results["tasks"][:NUM_TASKS], "task_fields": results["task_fields"]}
