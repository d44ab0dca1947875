"""Policies beside that of a run, which meet the same tasks: what of its gain was meta-learned?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from maml_rl.algorithms import Algorithm, Evaluation, adaptation_of, make_algorithm
from maml_rl.callbacks import Progress
from maml_rl.config import Config, ConfigError
from maml_rl.experiment import train
from maml_rl.run_folder import RunFolder
from maml_rl.studies.study_run import StudyRun
from maml_rl.workforce import Workforce

Evaluate = Callable[[Algorithm, np.ndarray, int], Evaluation]
"""Evaluation of parameters (P, D) after a number of steps of adaptation, on the tasks of a run."""


@dataclass(frozen=True)
class Control:
    """A policy beside that of a run.

    Attributes
    ----------
    title, words
        What it is, for headings and texts of reports.
    adapts
        Whether it makes as many steps of adaptation as the run's policy, or none.
    check
        Refuses algorithms that it is none of, by a `ConfigError`.
    prepare
        Trains what is to be trained for a run, once for all its test sets, if that is not done.
    evaluate
        Evaluates it with a configuration of a run, its own or a test set's.
    """

    title: str
    words: str
    adapts: bool
    check: Callable[[Algorithm], None]
    prepare: Callable[[StudyRun, Workforce, Callable[[str], None]], None]
    evaluate: Callable[[StudyRun, Config, Evaluate], Evaluation]


def _check_choices(algorithm: Algorithm) -> None:
    if not isinstance(algorithm.env.single_action_space, gym.spaces.Discrete):
        raise ConfigError("random_policy: got true with continuous actions, expected choices; leave it out")


def _check_start(algorithm: Algorithm) -> None:
    if algorithm.config.run.initial_policy is not None:
        raise ConfigError(
            "untrained, multitask: got true with a run that starts from trained weights, expected random ones; give "
            "that run 'controls: false', or leave them out"
        )


def _check_adaptation(algorithm: Algorithm) -> None:
    _check_start(algorithm)
    if algorithm.without_adaptation() == algorithm.config:
        raise ConfigError(
            f"multitask: got true with algorithm {algorithm.config.algorithm}, expected one whose steps of adaptation "
            "can be left out in training, and at least one step; leave it out"
        )


def _nothing(*_: object) -> None:
    """No check, and nothing to prepare."""


def _evaluate_random(run: StudyRun, config: Config, evaluate: Evaluate) -> Evaluation:
    chance = make_algorithm(make_algorithm(config).without_adaptation())
    return evaluate(chance, np.zeros_like(chance.initial_parameters()), 0)  # without weights all choices are alike


def _evaluate_untrained(run: StudyRun, config: Config, evaluate: Evaluate) -> Evaluation:
    fresh = make_algorithm(config)
    return evaluate(fresh, fresh.initial_parameters(), run.plan.num_steps)


def multitask_config(config: Config) -> Config:
    """The configuration without steps of adaptation, for as many environment steps: tasks in their place."""
    num_parts = 1 + adaptation_of(config).trained
    without = make_algorithm(config).without_adaptation()
    return without.replace(meta_batch_size=config.meta_batch_size * num_parts)


def _train_multitask(run: StudyRun, workforce: Workforce, show: Callable[[str], None]) -> None:
    folder, config = RunFolder(run.folder / "multitask"), multitask_config(run.config)
    algorithm = make_algorithm(config)
    resume = folder.config_path.exists()
    if resume and folder.checkpoint_path.exists():
        folder.resume(config, algorithm.run_format)
        if folder.load_checkpoint(config, algorithm.run_format).iteration >= config.num_batches:
            return
    show(f"{run.title}: multi-task learning, its control")
    train(
        algorithm,
        num_workers=workforce.num_workers,
        backend=workforce.backend,
        folder=folder,
        resume=resume,
        callbacks=[Progress(show)],
    )


def _evaluate_multitask(run: StudyRun, config: Config, evaluate: Evaluate) -> Evaluation:
    trained = make_algorithm(config).with_policy(run.folder / "multitask" / "policy.th")
    return evaluate(trained, trained.initial_parameters(), run.plan.num_steps)


CONTROLS = {
    "random": Control("random choices", "uniformly random choices", False, _check_choices, _nothing, _evaluate_random),
    "untrained": Control(
        "an untrained policy", "the policy before training", True, _check_start, _nothing, _evaluate_untrained
    ),
    "multitask": Control(
        "multi-task learning",
        "a policy trained on all tasks at once, without adaptation, for as many environment steps",
        True,
        _check_adaptation,
        _train_multitask,
        _evaluate_multitask,
    ),
}
"""By the name that their files have."""
