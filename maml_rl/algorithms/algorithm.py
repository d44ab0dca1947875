"""The contract of an algorithm: everything that command lines, runs, evaluations, films and studies know of one."""

from __future__ import annotations

import abc
import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from maml_rl.checkpoint import RunFormat
from maml_rl.config import Config
from maml_rl.envs import MetaVectorEnv, Task
from maml_rl.envs.meta_episode import Before
from maml_rl.episode import RecordedEpisode
from maml_rl.metalearners import Learner
from maml_rl.metalearners.learner import Workers
from maml_rl.policies import Params, Policy
from maml_rl.policies.layout import ParameterLayout, stack_params
from maml_rl.policies.params import shuffled
from maml_rl.run_folder import load_policy
from maml_rl.samplers import Backend
from maml_rl.samplers.backend import WorkerSpec
from maml_rl.samplers.film_recorders import Part
from maml_rl.samplers.meta_episodes import MetaEpisodes
from maml_rl.shard import Shard
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator

A = TypeVar("A", bound="Algorithm")


@dataclass(frozen=True)
class Adaptation:
    """Adaptation in an algorithm's own units, for tables and plots.

    Attributes
    ----------
    trained
        Steps that training makes.
    unit
        Several steps, as in "gradient steps".
    before, after, total
        Labels of returns before the first step, after the last of training, and of all a task's episodes together.
    label
        Words for steps on a task.
    limit, limit_reason
        Most steps that can be made and why, for error lines; ``None``: any number.
    as_trained
        Whether studies evaluate with the steps of training, whatever they ask for.
    keeps_trials
        Whether evaluations hold observations, actions and rewards.
    """

    trained: int
    unit: str
    before: str
    after: str
    total: str
    label: str = "{unit} on {task}"
    limit: int | None = None
    limit_reason: str = ""
    as_trained: bool = False
    keeps_trials: bool = False

    def axis(self, *, new: bool) -> str:
        """Label of an axis of steps, on tasks that are new or those of training."""
        return self.label.format(unit=self.unit, task="a new task" if new else "a task of training")


@dataclass(frozen=True)
class Evaluation:
    """Returns on tasks of a test, against the amount of adaptation.

    Attributes
    ----------
    tasks
        The N tasks.
    returns
        Undiscounted returns (K + 1, N, B) of B episodes of each task after 0 ... K steps of adaptation; of
        meta-episodes B counts the agents.
    trained
        Steps the configuration asks for, <= K.
    measures
        Further measures of the environment, arrays like `returns` by name.
    meta_episodes
        The same episodes step by step, of P agents (P, N, ...), where those of a task followed one another.
    """

    tasks: list[Task]
    returns: np.ndarray
    trained: int
    measures: Mapping[str, np.ndarray] = field(default_factory=dict)
    meta_episodes: MetaEpisodes | None = None

    @staticmethod
    def joined(parts: Sequence[Evaluation]) -> Evaluation:
        """Evaluation of all the tasks of several, one's behind the other's."""
        traces = [part.meta_episodes for part in parts if part.meta_episodes is not None]
        return Evaluation(
            [task for part in parts for task in part.tasks],
            np.concatenate([part.returns for part in parts], axis=1),
            parts[0].trained,
            {name: np.concatenate([part.measures[name] for part in parts], axis=1) for name in parts[0].measures},
            MetaEpisodes.joined(traces) if traces else None,
        )


@dataclass(frozen=True)
class Stage:
    """One stage of adaptation to M tasks, as a film shows it.

    Attributes
    ----------
    label
        Words for it.
    params
        Parameters (M, ...) of every task's policy, or (1, ...) of all.
    keeps_state
        Whether memory goes on from the stage before.
    part
        The part of an episode that is shown. Where it is not the whole, stages are parts of the same one.
    """

    label: str
    params: Params
    keeps_state: bool = False
    part: Part = "whole"


class Mind(NamedTuple):
    """An agent in the middle of a task.

    Attributes
    ----------
    params
        Parameters (1, ...) of its policy.
    state
        State (1, 1, ...) of its memory; ``()``: the initial one.
    before
        What came before the next observation; ``None``: nothing.
    num_steps
        Inner steps it has taken.
    """

    params: Params
    state: Any = ()
    before: Before | None = None
    num_steps: int = 0


class _NoWorkers:
    """Workers of a learner that is only asked about its state."""

    num_shards = num_workers = 0

    def map(self, method: str, arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
        raise NotImplementedError

    def broadcast(self, method: str, *arguments: Any) -> list[Any]:
        raise NotImplementedError


class Algorithm(abc.ABC):
    """One configuration's environment, policy, workers and learner, checked but not yet running.

    Parameters
    ----------
    config
        The configuration.
    env
        One environment of the family, for spaces and task distribution.
    policies
        A policy with its initial parameters for each individual of the population, P of them.
    device
        Device that learns; what is rolled out stays on the CPU.
    """

    remedy: str = ""
    """Keys to lower when iterations are refused because of NaN or infinity."""

    films: str | None = None
    """Why there can be no film, in one line; ``None``: there can."""

    def __init__(self, config: Config, env: MetaVectorEnv, policies: Sequence[Policy], *, device: str) -> None:
        self.config = config
        self.env = env
        self.policy = policies[0]
        self.device = device
        self.layouts = tuple(
            ParameterLayout.of(policy, train_recurrent=config.train_recurrent).on(device) for policy in policies
        )
        self._initial = np.stack([one.vector(p.params()) for one, p in zip(self.layouts, policies, strict=True)])

    @property
    def layout(self) -> ParameterLayout:
        """Places of the parameters in vectors; of the first individual, whose frozen values are its own."""
        return self.layouts[0]

    def individuals(self) -> list[Params]:
        """Initial parameters of each of the P individuals, by name."""
        return [layout.on("cpu").params(vector) for layout, vector in zip(self.layouts, self._initial, strict=True)]

    @property
    def run_format(self) -> RunFormat:
        """Contents of the files of a run of this algorithm."""
        learner = self.learner(_NoWorkers(), self._initial)
        dtype = str(next(iter(self.layout.values.values())).dtype)
        return RunFormat(self._initial.shape, learner.state_layout(), learner.details, dtype)

    @property
    def population_size(self) -> int:
        """P."""
        return len(self.layouts)

    @property
    @abc.abstractmethod
    def adaptation(self) -> Adaptation:
        """Amount and unit of adaptation."""

    @property
    @abc.abstractmethod
    def worker_spec(self) -> WorkerSpec:
        """Everything a backend builds its workers from."""

    @property
    def max_shards(self) -> int:
        """Parts into which an iteration's work can be divided at most."""
        return self.config.run.meta_batch_size

    def sample_tasks(self, iteration: int) -> list[Task]:
        """Tasks of an iteration's meta-batch."""
        rng = generator(self.config.run.seed, Purpose.TASKS, iteration=iteration)
        return self.env.sample_tasks(self.config.run.meta_batch_size, rng)

    def initial_parameters(self) -> np.ndarray:
        """Meta-parameters (P, D) float64 that a run starts from."""
        return self._initial.copy()

    def check_trainable(self) -> None:  # noqa: B027
        """Refuse settings that an evaluation has a use for, but no training; by default there are none."""

    @abc.abstractmethod
    def learner(self, backend: Workers, parameters: np.ndarray) -> Learner:
        """The learner at meta-parameters (P, D)."""

    @abc.abstractmethod
    def evaluate(self, backend: Backend, shard: Shard, parameters: np.ndarray, num_adaptation_steps: int) -> Evaluation:
        """Returns on a shard of test tasks after 0 ... `num_adaptation_steps` steps from meta-parameters (P, D)."""

    @property
    def task_env(self) -> MetaVectorEnv:
        """The environment of the family, as tasks are without what an algorithm adds to them."""
        return self.env

    @property
    def episodes_per_step(self) -> int:
        """Episodes that an agent's step of adaptation learns from."""
        return self.config.task.fast_batch_size

    def observed(self, shown: np.ndarray, before: Before | None) -> np.ndarray:
        """Observations (N, O) of the policy where the task shows (N, *O); by default what is shown."""
        return shown.reshape(len(shown), -1)

    def next_episode(self, mind: Mind, closing: Tensor) -> Any:
        """State (1, 1, ...) in which a further episode begins, after the observation `closing` (1, 1, O)."""
        return self.policy.begin_episode(mind.params, mind.state, closing, torch.ones((1, 1), dtype=torch.bool))

    def learned(self, mind: Mind, episodes: Sequence[RecordedEpisode]) -> Mind:
        """An agent after a step of adaptation to episodes.

        Raises
        ------
        InputError
            If this algorithm has no agent that adapts.
        """
        raise InputError("agent: this algorithm has none that adapts to episodes; use evaluate")

    def individual(self, index: int) -> Algorithm:
        """The algorithm of one individual of the population alone, with its parameters."""
        if not 0 <= index < self.population_size:
            raise InputError(f"index: got {index}, expected a whole number in [0, {self.population_size - 1}]")
        return self

    def stages(self, shard: Shard, parameters: np.ndarray, heartbeat: Any = lambda: None) -> list[Stage]:
        """Stages of adaptation to a shard's tasks that a film shows, from meta-parameters (P, D).

        Raises
        ------
        InputError
            If this algorithm cannot be filmed.
        """
        raise InputError(f"film: {self.films or 'this algorithm shows no stages'}; make none (leave --render out)")

    def film_env(self, env: MetaVectorEnv) -> MetaVectorEnv:
        """The environment that a film rolls out, around one of the family that can draw; by default that one."""
        return env

    def without_adaptation(self) -> Config:
        """The configuration of the same agent where nothing is spent on adaptation; it need not differ."""
        return self.config

    def state_dict(self, parameters: np.ndarray) -> dict[str, Tensor]:
        """A policy's tensors with meta-parameters (P, D), under its own names: (P, ...), or (...) of a single one."""
        each = [layout.on("cpu").params(vector) for layout, vector in zip(self.layouts, parameters, strict=True)]
        return each[0] if len(each) == 1 else stack_params(each)

    def with_policy(self: A, path: str | Path) -> A:
        """The same with the weights of a ``policy.th`` in place of random ones, those that are not trained among them.

        Raises
        ------
        RunFolderError
            In one line, if the file is missing, damaged or another policy's.
        """
        return self.with_individuals(self._individuals(load_policy(path, self.state_dict(self._initial))))

    def with_shuffled(self: A, beginnings: Sequence[str]) -> A:
        """The same with weights whose names begin so in another order, see `maml_rl.policies.params.shuffled`."""
        rng = generator(self.config.run.seed, Purpose.SHUFFLES)
        own = self._individuals(self.state_dict(self._initial))
        return self.with_individuals([shuffled(one, beginnings, rng) for one in own])

    def _individuals(self, params: Params) -> list[Params]:
        """Parameters of each individual, of those of all as files have them."""
        size = self.population_size
        return [params] if size == 1 else [{name: value[i] for name, value in params.items()} for i in range(size)]

    def with_individuals(self: A, own: Sequence[Params]) -> A:
        """The same with these parameters (...) of each individual, those that are not trained among them."""
        other = copy.copy(self)
        values = [{name: value.cpu().numpy() for name, value in one.items()} for one in own]
        other.layouts = tuple(ParameterLayout(self.layout.names, one, self.device) for one in values)
        other._initial = np.stack([self.layout.vector(one) for one in own])
        return other
