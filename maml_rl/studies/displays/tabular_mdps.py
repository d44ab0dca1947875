"""Rewards of agents on tabular MDPs, beside baseline agents that know how such tasks are drawn, on the same tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from maml_rl.analysis.intervals import mean_interval
from maml_rl.analysis.mdp_baselines import MDPPolicy, opsrl, psrl, roll_out_mdp, value_iteration
from maml_rl.studies.displays.display import Display, evaluations
from maml_rl.studies.study_run import StudyRun, by_name
from maml_rl.studies.tables import two_decimals
from maml_rl.utils.random import Purpose, generator

_FEWEST_TASKS, _MOST_EPISODES = 100, 4000
"""Baseline agents take long: of longer meta-episodes they have fewer tasks."""
_HEAD = [
    "## Beside baseline agents that know how tasks are drawn",
    "",
    "Tasks of all seeds together, means with their 95 % intervals over tasks: they hold for these agents, not for "
    "others that would be trained. Reward: of a meta-episode. Known MDP: "
    "what optimal behaviour obtains that need not find out anything, and the agent's fraction of it. Last columns: "
    "reward minus that of posterior sampling and of its optimistic variant on the same tasks, the first "
    f"{_MOST_EPISODES:,} episodes of them or at least {_FEWEST_TASKS} tasks; positive: the agent is better; "
    "not where only some states can be reached, which they do not know.",
    "",
    "| run | seeds x tasks | reward | known MDP | fraction | - PSRL | - OPSRL |",
    "|---|---|---|---|---|---|---|",
]


class TabularMDPDisplay(Display):
    """Rewards on MDPs with tables of transitions and mean rewards."""

    def table(self, runs: Sequence[StudyRun]) -> list[str]:
        """One row per run of an MDP; nothing if there is none that was evaluated."""
        rows = []
        for name, seeds in by_name([run for run in runs if self.applies(run.config)]).items():
            if results := evaluations(seeds):
                fewer = "reachable_states" in seeds[0].config.env_kwargs
                rows.append(_row(name, results, {} if fewer else {"PSRL": psrl(), "OPSRL": opsrl()}))
        return [*_HEAD, *rows] if rows else []


def _row(run: str, results: Sequence[Mapping[str, np.ndarray]], mdp_baselines: Mapping[str, MDPPolicy]) -> str:
    """Rewards of the agent and of baseline agents, all seeds together."""
    returns = np.concatenate([part["returns"][..., 0].T for part in results])  # (N, E)
    tables = [_tables(part["tasks"], part["task_fields"]) for part in results]
    transitions, rewards_mean = (np.concatenate(parts) for parts in zip(*tables, strict=True))
    num_episodes = returns.shape[1]
    num_steps = results[0]["rewards"].shape[1] // num_episodes
    best = value_iteration(transitions, rewards_mean, num_steps).values[:, 0, 0] * num_episodes  # (N,)
    obtained = returns.sum(1, dtype=np.float64)
    rng = generator(0, Purpose.STATISTICS)
    few = min(len(obtained), max(_FEWEST_TASKS, _MOST_EPISODES // num_episodes))

    def behind(policy: MDPPolicy) -> str:
        returns = roll_out_mdp(policy, transitions[:few], rewards_mean[:few], num_episodes, rng, num_steps=num_steps)
        return two_decimals(mean_interval(obtained[:few] - returns.sum(1)))

    columns = [
        run,
        f"{len(results)} x {len(returns) // len(results)}",
        two_decimals(mean_interval(obtained)),
        two_decimals(mean_interval(best)),
        f"{obtained.mean() / best.mean():.3f}",
        *(behind(mdp_baselines[name]) if name in mdp_baselines else "-" for name in ("PSRL", "OPSRL")),
    ]
    return f"| {' | '.join(columns)} |"


def _tables(tasks: np.ndarray, fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Transitions (N, S, A, S) and mean rewards (N, S, A) of rows (N, D)."""
    kinds = np.array([str(field).split("[")[0] for field in fields])
    transitions, rewards_mean = (tasks[:, kinds == kind] for kind in ("transitions", "rewards_mean"))
    num_states = transitions.shape[1] // rewards_mean.shape[1]
    shape = (len(tasks), num_states, rewards_mean.shape[1] // num_states)
    return transitions.reshape(*shape, num_states), rewards_mean.reshape(shape)
