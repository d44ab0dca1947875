"""Adaptation as studies speak of it: its steps, its labels, evaluations of it; all that differs between algorithms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maml_rl.analysis.plots import labels_of_steps
from maml_rl.config import Config
from maml_rl.evaluation import trained_num_steps


@dataclass(frozen=True)
class Adaptation:
    """Adaptation in an algorithm's own units.

    Attributes
    ----------
    trained
        Steps that training makes.
    steps
        One step and another, as in "gradient steps".
    before, after, total
        Labels of returns before the first step, after the last of training, and of all a task's episodes together.
    label
        Words for steps on a task.
    as_trained
        True if evaluations make the steps of training, whatever the study asks for.
    keeps_trials
        True if evaluations hold observations, actions and rewards.
    without
        Keys of the configuration that stand for no adaptation at all.
    """

    trained: int
    steps: str
    before: str
    after: str
    total: str
    label: str = "{steps} on {task}"
    as_trained: bool = False
    keeps_trials: bool = False
    without: tuple[tuple[str, Any], ...] = ()

    def axis(self, *, new: bool) -> str:
        """Label of an axis of steps, on tasks that are new or those of training."""
        return self.label.format(steps=self.steps, task="a new task" if new else "a task of training")


def adaptation_of(config: Config) -> Adaptation:
    """Adaptation of a configuration's algorithm."""
    return _ADAPTATIONS[config.algorithm](config)


def without_adaptation(config: Config) -> Config:
    """The same configuration, with an agent that stays as it is."""
    return config.model_copy(update=dict(adaptation_of(config).without))


def _by_gradient_steps(config: Config) -> Adaptation:
    before, after = labels_of_steps(config.num_steps)
    return Adaptation(
        trained=trained_num_steps(config),
        steps="gradient steps",
        before=before,
        after=after,
        total="before and after adaptation together",
        without=(("num_steps", 0),),
    )


def _by_episodes(config: Config) -> Adaptation:
    return Adaptation(
        trained=trained_num_steps(config),
        steps="episodes",
        label="{steps} of {task} so far",
        before="first episode of a task",
        after="last episode of a task",
        total="meta-episode",
        as_trained=True,
        keeps_trials=True,
    )


_ADAPTATIONS: dict[str, Callable[[Config], Adaptation]] = {"maml": _by_gradient_steps, "rl2": _by_episodes}
