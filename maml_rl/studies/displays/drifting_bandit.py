"""Agents of a drifting bandit: their rewards, the models that explain their choices, the contents of their memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import matplotlib.figure
import numpy as np

from maml_rl.algorithms import Algorithm, make_algorithm
from maml_rl.analysis.drifting_bandits import roll_out_drifting_bandit
from maml_rl.analysis.memory_states import check_decoder
from maml_rl.config import ConfigError
from maml_rl.studies.displays.display import Display, observes_more
from maml_rl.studies.displays.drifting_bandit_analysis import BASELINES, analyse, arms_of, bandit_of, is_whole
from maml_rl.studies.displays.drifting_bandit_figure import draw_agents
from maml_rl.studies.displays.drifting_bandit_tables import (
    Found,
    table_of_correlations,
    table_of_models,
    table_of_rewards,
)
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.utils.random import Purpose, generator

_FEWEST_TRIALS = 3


class DriftingBanditDisplay(Display):
    """Cognitive models of every agent of runs, also of ensembles."""

    figure_name = "cognition"
    caption = "cognitive models"
    analysis_file = "cognition.npz"
    shows_ensembles = True

    def check(self, algorithm: Algorithm) -> None:
        """See `Display.check`."""
        config = algorithm.config
        told = observes_more(config)
        if not algorithm.adaptation.keeps_trials or config.fast_batch_size != 1 or told:
            raise ConfigError(
                f"{config.env_name}: studies analyse algorithm rl2 with fast-batch-size 1 and without "
                "observe-episode-fraction, observe-previous or observe-reward-change; "
                f"got {config.algorithm}, {config.fast_batch_size}, {told}"
            )
        if config.reward_clip is not None:
            raise ConfigError(f"reward-clip: got {config.reward_clip}, expected null for the analysis of a study")
        env = bandit_of(algorithm)
        for name, least in (("num_trials", _FEWEST_TRIALS), ("num_arms", 2)):
            if getattr(env, name) < least:
                raise ConfigError(
                    f"env-kwargs.{name}: got {getattr(env, name)}, expected at least {least} for the analysis of a "
                    "study"
                )
        if env.payoff_deviation == 0:
            raise ConfigError("env-kwargs.payoff_deviation: got 0, expected > 0 for the analysis of a study")
        check_decoder()

    def analyse(self, run: StudyRun, algorithm: Algorithm, num_workers: int, show: Callable[[str], None]) -> None:
        """See `Display.analyse`."""
        results = run.results()
        if results is not None and not is_whole(run.analysis(self.analysis_path(run))):
            analyse(self.analysis_path(run), results, algorithm, num_workers, show)

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """Tables of every run that has been analysed; nothing if there is none."""
        lines: list[str] = []
        for name, seeds in by_name(runs).items():
            found = self._found(seeds)
            if found is not None:
                lines += [f"## Agents of {name}", "", *table_of_rewards(found), "", *table_of_models(found), ""]
                lines += [*table_of_correlations(found), ""]
        return lines[:-1]

    def figure(self, runs: Sequence[StudyRun]) -> matplotlib.figure.Figure | None:
        """Rewards, model preference, its correlates, and the contents of memory: six panels."""
        found = self._found(runs)
        return None if found is None else draw_agents(found, runs[0].name)

    def _found(self, seeds: Sequence[StudyRun]) -> Found | None:
        """Analyses of all agents of a run, all seeds together, beside the rewards of others on their tasks."""
        parts = [part for run in seeds if (part := self._load(run)) is not None]
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]} if parts else None

    def _load(self, run: StudyRun) -> Found | None:
        results, found = run.results(), run.analysis(self.analysis_path(run))
        if results is None or found is None or not is_whole(found):
            return None
        env = bandit_of(make_algorithm(run.config.replace(num_agents=1)))
        means = results["tasks"].reshape(len(results["tasks"]), env.num_trials, env.num_arms)  # (N, T, K), in points
        rng, shape = generator(0, Purpose.STATISTICS), found["rewards"].shape
        rewards = {"oracle": means.max(axis=2).sum(axis=1) / env.payoff_scale}
        for name, rule in BASELINES.items():
            rollout = roll_out_drifting_bandit(rule, means, rng, arms=arms_of(env))
            rewards[name] = rollout.payoffs.sum(axis=1) / env.payoff_scale
        return found | {f"baseline {name}": np.broadcast_to(reward, shape) for name, reward in rewards.items()}
