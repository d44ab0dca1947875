"""RL²: meta-learn all weights of an agent whose memory learns the task."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from maml_rl.actor_critic import PARTS, Weights
from maml_rl.envs.meta_env import Task
from maml_rl.metalearners.learner import Report, StateTensor, Workers
from maml_rl.metalearners.minibatches import minibatches
from maml_rl.metalearners.optimiser import VectorOptimiser
from maml_rl.metalearners.schedule import linear_schedule
from maml_rl.metalearners.trpo import StepResult, trust_region_step
from maml_rl.settings import ReturnSettings, RL2Settings, RunSettings, TrustRegion
from maml_rl.shard import Shard
from maml_rl.utils.random import Purpose, generator
from maml_rl.utils.vectors import dot


@dataclass(frozen=True)
class RL2Report:
    """Statistics of a shard's meta-episodes.

    Attributes
    ----------
    returns
        Undiscounted return (M, 3) float64 of the first and of the last episode of each meta-episode, and of all of it.
    env_steps
        Environment steps of all.
    moments
        Number of steps, sums of their advantages, squared advantages, targets of the values and squared targets, (5,):
        what all shards together need to normalise.
    finite
        Whether all numbers are finite.
    """

    returns: np.ndarray
    env_steps: int
    moments: np.ndarray
    finite: bool


@dataclass(frozen=True)
class RL2Step:
    """Settings of an outer step of RL², schedules resolved by `at`.

    Attributes
    ----------
    run, returns, settings, trust_region
        The sections of a configuration that it needs.
    """

    run: RunSettings
    returns: ReturnSettings
    settings: RL2Settings
    trust_region: TrustRegion

    @property
    def outer_step(self) -> str:
        """``"ppo"``, ``"a2c"`` or ``"trpo"``."""
        return "ppo" if self.settings.outer_step == "auto" else self.settings.outer_step

    def at(self, iteration: int, begin: float, end: float | None) -> float:
        """Value of a linear schedule from `begin` to `end` over the run; ``None``: constant."""
        return linear_schedule(begin, end, iteration=iteration, num_batches=self.run.num_batches)


class RL2:
    """Reinforcement learning of reinforcement learners (Duan et al. 2016; Wang et al. 2016).

    The outer step is A2C, PPO or TRPO on meta-episodes: what happens between the episodes of a task is left to the
    policy's memory. Which weights a minibatch moves does not depend on how tasks are divided among workers.

    Its report has as details ``policy_loss``, ``value_loss`` and ``entropy``, means over environment steps, before the
    step with TRPO, else of all minibatches; ``kl``, the divergence of the policies from those that rolled out: after a
    TRPO step exact, else an estimate on the last minibatch before its step, and so 0 with A2C; ``clipped``, the
    fraction of steps whose probability ratio was outside the clip range; ``gradient_norm``, mean over minibatches.

    Parameters
    ----------
    workers
        A backend of workers made of `maml_rl.samplers.RL2WorkerSpec`.
    parameters
        Initial parameters (1, D) float64.
    outer
        Settings of the outer step.
    """

    details: tuple[str, ...] = ("policy_loss", "value_loss", "entropy", "kl", "clipped", "gradient_norm")

    def __init__(self, workers: Workers, parameters: np.ndarray, outer: RL2Step) -> None:
        self.workers = workers
        self.outer = outer
        (vector,) = parameters
        self._optimiser = VectorOptimiser(outer.settings.optimiser, vector)

    @property
    def parameters(self) -> np.ndarray:
        """See `Learner.parameters`: (1, D)."""
        return self._optimiser.vector[np.newaxis]

    def state_layout(self) -> dict[str, StateTensor]:
        """See `Learner.state_layout`: nothing with TRPO."""
        return {} if self.outer.outer_step == "trpo" else self._optimiser.state_layout()

    def state_dict(self) -> dict[str, Tensor]:
        """See `Learner.state_dict`."""
        return {} if self.outer.outer_step == "trpo" else self._optimiser.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """See `Learner.load_state_dict`."""
        self._optimiser.load_state_dict(state)

    def step(self, tasks: Sequence[Task], iteration: int) -> Report:
        """Roll out a meta-episode of every task and take one outer step."""
        start = time.perf_counter()
        whole = Shard.whole(tasks, iteration=iteration, seed=self.outer.run.seed)
        gae_lambda, vector = self.gae_lambda(iteration), self._optimiser.vector
        calls = [(part, vector, gae_lambda) for part in whole.split(self.workers.num_shards)]
        return self.learn(self.workers.map("collect", calls), iteration, time.perf_counter() - start)

    def gae_lambda(self, iteration: int) -> float:
        """Lambda of the advantages in an iteration."""
        return self.outer.at(iteration, self.outer.returns.gae_lambda, self.outer.settings.gae_lambda_end)

    def learn(self, reports: Sequence[RL2Report], iteration: int, sampling_seconds: float) -> Report:
        """Outer step on the meta-episodes that the workers hold and have told of."""
        start = time.perf_counter()
        returns = np.concatenate([report.returns for report in reports])  # (M, 3)
        parts = dict(_NOTHING)
        if all(report.finite for report in reports):
            moments = sum((report.moments for report in reports[1:]), reports[0].moments)
            parts.update(self._learn(len(returns), iteration, moments))
        accepted, finite = bool(parts.pop("accepted")), bool(parts.pop("finite"))
        return Report(
            env_steps=sum(report.env_steps for report in reports),
            sampling_seconds=sampling_seconds,
            learning_seconds=time.perf_counter() - start,
            return_before=float(returns[:, 0].mean()),
            return_after=float(returns[:, 1].mean()),
            return_total=float(returns[:, 2].mean()),
            step_accepted=accepted,
            finite=finite,
            details={name: float(parts[name]) for name in self.details},
            headline=("return_total", "kl"),
        )

    def _learn(self, num_tasks: int, iteration: int, moments: np.ndarray) -> Mapping[str, float]:
        count = moments[0]
        mean, variance = _mean_and_variance(count, *moments[1:3])
        weights = self._weights(iteration, _mean_and_variance(count, *moments[3:])[1])
        standard_deviation = float(np.sqrt(variance)) + 1e-8
        trust_region = self.outer.outer_step == "trpo"
        self.workers.broadcast("remember", mean, standard_deviation, trust_region)
        if trust_region:
            return self._trust_region_step(count, weights)
        return self._descend(num_tasks, iteration, weights)

    def _weights(self, iteration: int, variance: float) -> Weights:
        """Weights of the loss where the targets of the values have this variance: errors count in units of it."""
        s = self.outer.settings
        clip_range = s.clip_range if self.outer.outer_step == "ppo" else None
        entropy_coef = self.outer.at(iteration, s.entropy_coef, s.entropy_coef_end)
        return Weights(s.value_coef / max(variance, 1e-6), entropy_coef, clip_range)

    def _descend(self, num_tasks: int, iteration: int, weights: Weights) -> Mapping[str, float]:
        """Epochs of minibatches of tasks; one whole one for A2C."""
        s, several = self.outer.settings, self.outer.outer_step == "ppo"
        epochs, count = (s.num_epochs, min(s.num_minibatches, num_tasks)) if several else (1, 1)
        learning_rate = self.outer.at(iteration, s.learning_rate, s.learning_rate_end)
        begin = self._optimiser.vector, self._optimiser.state_dict()
        seen: list[dict[str, float]] = []
        for epoch in range(epochs):
            rng = generator(self.outer.run.seed, Purpose.MINIBATCHES, iteration=iteration, inner_step=epoch)
            for chosen in minibatches(num_tasks, count, rng):
                gradient, parts = self._gradient(chosen, weights, None if not seen else self._optimiser.vector)
                if not (np.isfinite(gradient).all() and np.isfinite(list(parts.values())).all()):
                    return self._back_to(*begin)
                norm = math.sqrt(dot(gradient, gradient))
                self._optimiser.step(gradient * min(1.0, s.max_grad_norm / (norm + 1e-12)), learning_rate)
                seen.append({**parts, "gradient_norm": norm})
        with np.errstate(over="ignore"):
            finite = bool(np.isfinite(self._optimiser.vector.astype(np.float32)).all())  # policies are of that type
        if not finite:
            return self._back_to(*begin)
        means = {name: float(np.mean([parts[name] for parts in seen])) for name in seen[0]}
        return {**means, "kl": seen[-1]["kl"], "accepted": 1.0, "finite": 1.0}

    def _back_to(self, vector: np.ndarray, optimiser: Mapping[str, Tensor]) -> Mapping[str, float]:
        """Undo what minibatches of this iteration have moved."""
        self._optimiser.vector = vector
        self._optimiser.load_state_dict(optimiser)
        return _NOTHING

    def _gradient(
        self, chosen: Sequence[int] | None, weights: Weights, vector: np.ndarray | None
    ) -> tuple[np.ndarray, dict[str, float]]:
        """Gradient of the mean loss over the steps of these tasks, and the parts of the loss.

        They are those at parameters `vector` (D,); ``None``: at those that rolled out, which workers have.
        """
        results = self.workers.broadcast("gradient", vector, chosen, weights)
        sums = {name: sum(parts.get(name, 0.0) for _, parts in results) for name in (*PARTS, "steps")}
        steps = max(sums.pop("steps"), 1.0)
        gradient = np.sum([gradient for gradient, _ in results], axis=0) / steps
        return gradient, {name: value / steps for name, value in sums.items()}

    def _trust_region_step(self, count: float, weights: Weights) -> Mapping[str, float]:
        old = self._optimiser.vector
        gradient, parts = self._gradient(None, weights, None)

        def curvature(vector: np.ndarray) -> np.ndarray:
            products = self.workers.broadcast("fisher_vector_product", vector, old, weights.value_coef)
            return np.sum(products, axis=0) / count

        def evaluate(vector: np.ndarray) -> tuple[float, float]:
            losses, moved = zip(*self.workers.broadcast("losses", vector, weights), strict=True)
            return sum(losses) / count, sum(moved) / count

        loss = parts["policy_loss"] + weights.value_coef * parts["value_loss"]
        loss -= weights.entropy_coef * parts["entropy"]
        finite = bool(np.isfinite(gradient).all() and np.isfinite(loss))
        result = StepResult(old, loss, 0.0, 0, False, False)
        if finite:
            result = trust_region_step(
                old, loss, gradient, curvature=curvature, evaluate=evaluate, settings=self.outer.trust_region
            )
        self._optimiser.vector = result.parameters
        return {
            **parts,
            "kl": result.kl,
            "gradient_norm": math.sqrt(dot(gradient, gradient)),
            "accepted": float(result.accepted),
            "finite": float(result.finite),
        }


def _mean_and_variance(count: float, total: float, squares: float) -> tuple[float, float]:
    mean = total / count
    return mean, max(squares / count - mean**2, 0.0)


_NOTHING: Mapping[str, float] = dict.fromkeys((*PARTS, "gradient_norm", "accepted", "finite"), 0.0)
