"""Evolution: parameters are drawn around those before, and the fitness of whole lives decides."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from maml_rl.envs.meta_env import Task
from maml_rl.evolution import CMAES, GeneticAlgorithm, OpenAIES, Strategy
from maml_rl.metalearners.learner import Report, StateTensor, Workers
from maml_rl.settings import EvolutionSettings, RunSettings
from maml_rl.shard import Shard
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator


def make_strategy(settings: EvolutionSettings, initial: np.ndarray) -> Strategy:
    """The strategy that settings ask for, around initial parameters (D,).

    Raises
    ------
    InputError
        If the population does not fit the strategy.
    """
    size, sigma = settings.population_size, settings.es_sigma
    makers = {
        "openai-es": lambda: OpenAIES(
            initial,
            population_size=size,
            sigma=sigma,
            learning_rate=settings.es_learning_rate,
            sigma_decay=settings.es_sigma_decay,
            sigma_limit=settings.es_sigma_limit,
            weight_decay=settings.es_weight_decay,
        ),
        "cma-es": lambda: CMAES(initial, population_size=size, sigma=sigma),
        "genetic-algorithm": lambda: GeneticAlgorithm(initial, population_size=size, sigma=sigma),
    }
    try:
        return makers[settings.es_strategy]()
    except ValueError as error:
        raise InputError(f"{error}; change population-size or es-strategy") from error


def fitness_of(returns: np.ndarray, settings: EvolutionSettings) -> np.ndarray:
    """Fitness (P,) of individuals with returns (P, L, E) of the E episodes in each of their L lives.

    A life's is the mean over its episodes, of which the e-th may count e times.
    """
    num_episodes = returns.shape[2]
    weights = np.arange(1.0, num_episodes + 1.0) if settings.late_episodes_count else np.ones(num_episodes)
    lives = returns @ (weights / weights.sum())  # (P, L)
    mean, least = lives.mean(axis=1), lives.min(axis=1)
    return {"mean": mean, "min": least, "mean-min": 0.5 * (mean + least)}[settings.fitness]


@dataclass(frozen=True)
class LivesReport:
    """Lives of P individuals in numbers.

    Attributes
    ----------
    fitness
        (P,).
    returns
        Sums (3,) over the individuals with finite fitness of their mean return in the first and in the last episode of
        a life, and in all its episodes together.
    env_steps
        Environment steps of all.
    """

    fitness: np.ndarray
    returns: np.ndarray
    env_steps: int


def lives_report(returns: np.ndarray, env_steps: np.ndarray, settings: EvolutionSettings) -> LivesReport:
    """Report of lives with `returns` (P, L, E) of their E episodes, and their `env_steps` (P, L)."""
    fitness = fitness_of(returns, settings)
    lives = returns[np.isfinite(fitness)].astype(np.float64).mean(axis=1)  # (P, L, E) -> (P, E)
    sums = np.array([lives[:, 0].sum(), lives[:, -1].sum(), lives.sum()])
    return LivesReport(fitness, sums, int(env_steps.sum()))


class Evolution:
    """An evolution strategy whose individuals live with the workers.

    Tasks, births and noise are functions of (seed, generation, life), the same for all individuals; mutations of (seed,
    generation, individual). So neither the number of workers nor the size of chunks changes anything but rounding.

    Its report has as details ``best_fitness``, ``mean_fitness`` and ``fitness_std``, over the individuals with finite
    fitness, and ``lost``, the number of others. Returns are means over all individuals.

    Parameters
    ----------
    workers
        A backend of workers made of `maml_rl.samplers.evolution_worker.EvolutionWorkerSpec`.
    parameters
        Initial parameters (1, D) float64.
    settings, run
        Sections of the configuration.
    """

    details = ("best_fitness", "mean_fitness", "fitness_std", "lost")

    def __init__(self, workers: Workers, parameters: np.ndarray, settings: EvolutionSettings, run: RunSettings) -> None:
        self.workers = workers
        self.settings = settings
        self.run = run
        (initial,) = parameters
        self.strategy = make_strategy(settings, initial)

    @property
    def parameters(self) -> np.ndarray:
        """See `Learner.parameters`: the strategy's solution, (1, D)."""
        return self.strategy.solution[np.newaxis]

    def state_layout(self) -> dict[str, StateTensor]:
        """See `Learner.state_layout`."""
        return {name: StateTensor(value.shape) for name, value in self.strategy.state_dict().items()}

    def state_dict(self) -> dict[str, Tensor]:
        """See `Learner.state_dict`."""
        return {name: torch.from_numpy(np.array(value)) for name, value in self.strategy.state_dict().items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `Learner.load_state_dict`."""
        if state:
            self.strategy.load_state_dict({name: value.numpy() for name, value in state.items()})

    def step(self, tasks: Sequence[Task], iteration: int) -> Report:
        """One generation: a life of every individual on every task, then the strategy's step."""
        start = time.perf_counter()
        candidates = self.strategy.ask(generator(self.run.seed, Purpose.MUTATIONS, iteration=iteration))
        shard = Shard.whole(tasks, iteration=iteration, seed=self.run.seed)
        parts = candidates.split(self.workers.num_shards)
        calls = [(shard, part.on(np.empty(0)), part.base) for part in parts]
        reports: list[LivesReport] = self.workers.map("rate", calls)
        lived = time.perf_counter()
        fitness = np.concatenate([report.fitness for report in reports])
        sound = np.isfinite(fitness)
        before, state = self.strategy.solution, self.strategy.state_dict()
        self.strategy.tell(candidates, fitness)
        with np.errstate(over="ignore"):
            moved = bool(np.isfinite(self.strategy.solution.astype(np.float32)).all())  # policies are of that type
        if not moved:
            self.strategy.load_state_dict(state)
        told = fitness[sound] if sound.any() else np.zeros(1)
        first, last, total = np.sum([report.returns for report in reports], axis=0) / max(1, int(sound.sum()))
        return Report(
            env_steps=sum(report.env_steps for report in reports),
            sampling_seconds=lived - start,
            learning_seconds=time.perf_counter() - lived,
            return_before=float(first),
            return_after=float(last),
            return_total=float(total),
            step_accepted=not np.array_equal(before, self.strategy.solution),
            finite=moved and bool(sound.any()),
            details={
                "best_fitness": float(told.max()),
                "mean_fitness": float(told.mean()),
                "fitness_std": float(told.std()),
                "lost": float((~sound).sum()),
            },
            headline=("best_fitness", "mean_fitness"),
        )
