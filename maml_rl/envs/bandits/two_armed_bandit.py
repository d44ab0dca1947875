"""Two-armed bandits with dependent arms: the rewards of one arm tell of the other one's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from maml_rl.envs.bandits.bandit import BernoulliBanditVectorEnv
from maml_rl.envs.meta_env import Task

# The values that the first arm's probability may have; None: any in [0, 1].
FIRST_ARMS: dict[str, tuple[float, ...] | None] = {
    "uniform": None,
    "easy": (0.1, 0.9),
    "medium": (0.25, 0.75),
    "hard": (0.4, 0.6),
    "independent": None,
}


class TwoArmedBanditVectorEnv(BernoulliBanditVectorEnv):
    """TwoArmedBandit-Uniform-v0, -Easy-, -Medium-, -Hard-, -Independent-: arms with ``p2 = 1 - p1``.

    Wang et al. 2016, section 3.1. Task: ``{"mean": (p1, p2)}``, where p1 is uniform on [0, 1] (``uniform``), one of
    {0.1, 0.9} (``easy``), {0.25, 0.75} (``medium``) or {0.4, 0.6} (``hard``), and ``p2 = 1 - p1``; or both are
    uniform and independent (``independent``). An arm rewards 1 with its probability, else 0. An episode is one run of
    one bandit: 100 pulls in the paper. Any two probabilities may be set as a task, so that an agent trained on one
    distribution can be tested on another; all five have the same observations and actions.

    Parameters
    ----------
    num_envs
        Number of bandits N.
    arms
        Distribution of the tasks: ``"uniform"``, ``"easy"``, ``"medium"``, ``"hard"`` or ``"independent"``.
    num_pulls
        Pulls per episode, >= 1.
    show_time
        True, as in the paper: the observation (1,) is the fraction of the pulls already made. False: it is 1.
    """

    def __init__(
        self, num_envs: int = 1, *, arms: str = "uniform", num_pulls: int = 100, show_time: bool = True
    ) -> None:
        if arms not in FIRST_ARMS:
            raise ValueError(f"arms: got {arms!r}, expected one of {', '.join(FIRST_ARMS)}")
        super().__init__(num_envs, k=2, num_pulls=num_pulls, show_time=show_time)
        self.arms = arms

    @property
    def num_distinct_tasks(self) -> int | None:
        """Values that the first arm's probability may have; ``None`` for a range."""
        values = FIRST_ARMS[self.arms]
        return None if values is None else len(values)

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        """Draw the first arm's probability, and the second one's if it is independent."""
        if self.arms == "independent":
            return super()._sample_tasks(num_tasks, rng, split)
        values = FIRST_ARMS[self.arms]
        first = rng.random(num_tasks) if values is None else rng.choice(values, num_tasks)
        return [{"mean": mean} for mean in np.stack([first, 1.0 - first], axis=1)]

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        super()._apply_tasks(tasks)
        if not ((self._means >= 0) & (self._means <= 1)).all():
            raise ValueError("task['mean']: got numbers outside [0, 1], expected probabilities")
