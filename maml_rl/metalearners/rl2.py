"""RL²: meta-learn all weights of an agent whose memory learns the task."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from maml_rl.actor_critic import Weights
from maml_rl.envs.meta_env import Task
from maml_rl.metalearners.dealing import Workers, shards
from maml_rl.metalearners.trpo import StepResult, TrustRegion, trust_region_step
from maml_rl.utils.random import Purpose, generator
from maml_rl.utils.vectors import dot

OPTIMISERS = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}


@dataclass(frozen=True)
class RL2Settings:
    """Hyper-parameters of the outer step, documented on `maml_rl.config.Config`."""

    outer_step: str
    num_batches: int
    num_epochs: int
    num_minibatches: int
    clip_range: float
    learning_rate: float
    learning_rate_end: float
    entropy_weight: float
    entropy_weight_end: float
    value_weight: float
    max_grad_norm: float
    optimiser: str
    gae_lambda: float
    gae_lambda_end: float
    seed: int

    def at(self, iteration: int, begin: float, end: float) -> float:
        """A value that goes evenly from `begin` to `end` over the run."""
        return begin + (end - begin) * min(1.0, iteration / max(1, self.num_batches - 1))


@dataclass(frozen=True)
class RL2IterationReport:
    """One outer iteration in numbers; the columns of ``metrics.csv`` with these names.

    Attributes
    ----------
    env_steps
        Environment steps of this iteration.
    sampling_seconds, learning_seconds
        Wall-clock time of the two halves.
    return_before, return_after
        Mean undiscounted return of the first and of the last episode of the meta-episodes.
    return_total
        Mean undiscounted return of whole meta-episodes.
    policy_loss, value_loss, entropy
        Means over environment steps, before the step with TRPO, else of all minibatches.
    kl
        Divergence of the policies from those that played: after a TRPO step exact, else an estimate on the last
        minibatch before its step, and so 0 with A2C.
    clipped
        Share of steps whose probability ratio was outside the clip range.
    gradient_norm
        Euclidean norm of the gradient, mean over minibatches.
    step_accepted
        Whether the parameters moved.
    finite
        False when an environment, a loss or a gradient gave NaN or infinity; all of the iteration was undone.
    """

    env_steps: int
    sampling_seconds: float
    learning_seconds: float
    return_before: float
    return_after: float
    return_total: float
    policy_loss: float
    value_loss: float
    entropy: float
    kl: float
    clipped: float
    gradient_norm: float
    step_accepted: bool
    finite: bool


class RL2:
    """Reinforcement learning of reinforcement learners (Duan et al. 2016; Wang et al. 2016).

    The outer step is A2C, PPO or TRPO on meta-episodes: what happens between the episodes of a task is left to the
    policy's memory. Which weights a minibatch moves does not depend on how tasks are dealt to workers.

    Parameters
    ----------
    workers
        A backend of workers made of `maml_rl.samplers.RL2WorkerSpec`.
    parameters
        Initial parameters (P,) float64.
    settings
        Of the outer step.
    trust_region
        Settings of a TRPO step.
    """

    def __init__(
        self, workers: Workers, parameters: np.ndarray, settings: RL2Settings, trust_region: TrustRegion
    ) -> None:
        self.workers = workers
        self.settings = settings
        self.trust_region = trust_region
        self._vector = torch.nn.Parameter(torch.from_numpy(parameters.copy()))
        self._optimiser = OPTIMISERS[settings.optimiser]([self._vector], lr=settings.learning_rate)

    @property
    def parameters(self) -> np.ndarray:
        """Parameters (P,) float64."""
        return self._vector.detach().numpy().copy()

    def optimiser_state(self) -> dict[str, torch.Tensor]:
        """What the optimiser remembers, as tensors by name; empty before the first step."""
        state = self._optimiser.state_dict()["state"].get(0, {})
        return {name: torch.as_tensor(value).clone() for name, value in state.items() if value is not None}

    def load_optimiser_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on from what `optimiser_state` gave."""
        whole = self._optimiser.state_dict()
        whole["state"] = {0: {name: value.clone() for name, value in state.items()}} if state else {}
        self._optimiser.load_state_dict(whole)

    def step(self, tasks: Sequence[Task], iteration: int) -> RL2IterationReport:
        """Play a meta-episode of every task and take one outer step."""
        start = time.perf_counter()
        gae_lambda = self.settings.at(iteration, self.settings.gae_lambda, self.settings.gae_lambda_end)
        arguments = [
            (indices, [tasks[i] for i in indices], self.parameters, iteration, gae_lambda)
            for indices in shards(len(tasks), self.workers.num_workers)
        ]
        reports = self.workers.map("collect", arguments)
        sampled = time.perf_counter()
        returns = np.concatenate([report.returns for report in reports])  # (M, E)
        parts = _NOTHING
        if all(report.finite for report in reports):
            parts = self._learn(len(tasks), iteration, sum(report.moments for report in reports))
        return RL2IterationReport(
            env_steps=sum(report.env_steps for report in reports),
            sampling_seconds=sampled - start,
            learning_seconds=time.perf_counter() - sampled,
            return_before=float(returns[:, 0].mean()),
            return_after=float(returns[:, -1].mean()),
            return_total=float(returns.sum(axis=1).mean()),
            policy_loss=parts["policy_loss"],
            value_loss=parts["value_loss"],
            entropy=parts["entropy"],
            kl=parts["kl"],
            clipped=parts["clipped"],
            gradient_norm=parts["gradient_norm"],
            step_accepted=bool(parts["accepted"]),
            finite=bool(parts["finite"]),
        )

    def _learn(self, num_tasks: int, iteration: int, moments: np.ndarray) -> Mapping[str, float]:
        count = moments[0]
        mean, variance = _mean_and_variance(count, *moments[1:3])
        weights = self._weights(iteration, _mean_and_variance(count, *moments[3:])[1])
        deviation = float(np.sqrt(variance)) + 1e-8
        trust_region = self.settings.outer_step == "trpo"
        self.workers.broadcast("remember", mean, deviation, self.parameters if trust_region else None)
        if trust_region:
            return self._trust_region_step(count, weights)
        return self._descend(num_tasks, iteration, weights)

    def _weights(self, iteration: int, variance: float) -> Weights:
        """Weights of the loss where the targets of the values have this variance: errors count in units of it."""
        s = self.settings
        clip_range = s.clip_range if s.outer_step == "ppo" else None
        value_weight = s.value_weight / max(variance, 1e-6)
        return Weights(value_weight, s.at(iteration, s.entropy_weight, s.entropy_weight_end), clip_range)

    def _descend(self, num_tasks: int, iteration: int, weights: Weights) -> Mapping[str, float]:
        """Epochs of minibatches of tasks; one whole one for A2C."""
        s = self.settings
        epochs, count = (s.num_epochs, min(s.num_minibatches, num_tasks)) if s.outer_step == "ppo" else (1, 1)
        for group in self._optimiser.param_groups:
            group["lr"] = s.at(iteration, s.learning_rate, s.learning_rate_end)
        begin = self.parameters, self.optimiser_state()
        seen: list[dict[str, float]] = []
        for epoch in range(epochs):
            rng = generator(s.seed, Purpose.MINIBATCHES, iteration=iteration, inner_step=epoch)
            for chosen in minibatches(num_tasks, count, rng):
                gradient, parts = self._gradient(chosen, weights)
                if not (np.isfinite(gradient).all() and np.isfinite(list(parts.values())).all()):
                    return self._back_to(*begin)
                norm = math.sqrt(dot(gradient, gradient))
                self._vector.grad = torch.from_numpy(gradient * min(1.0, s.max_grad_norm / (norm + 1e-12)))
                self._optimiser.step()
                seen.append({**parts, "gradient_norm": norm})
        if not self._vector.detach().float().isfinite().all():  # most policies are of that type
            return self._back_to(*begin)
        means = {name: float(np.mean([parts[name] for parts in seen])) for name in seen[0]}
        return {**means, "kl": seen[-1]["kl"], "accepted": 1.0, "finite": 1.0}

    def _back_to(self, parameters: np.ndarray, optimiser: Mapping[str, torch.Tensor]) -> Mapping[str, float]:
        """Undo what minibatches of this iteration have moved."""
        with torch.no_grad():
            self._vector.copy_(torch.from_numpy(parameters))
        self.load_optimiser_state(optimiser)
        return _NOTHING

    def _gradient(self, chosen: Sequence[int] | None, weights: Weights) -> tuple[np.ndarray, dict[str, float]]:
        """Gradient of the mean loss over the steps of these tasks, and the parts of the loss."""
        results = self.workers.broadcast("gradient", self.parameters, chosen, weights)
        sums = {name: sum(parts.get(name, 0.0) for _, parts in results) for name in (*_PARTS, "steps")}
        steps = max(sums.pop("steps"), 1.0)
        gradient = np.sum([gradient for gradient, _ in results], axis=0) / steps
        return gradient, {name: value / steps for name, value in sums.items()}

    def _trust_region_step(self, count: float, weights: Weights) -> Mapping[str, float]:
        old = self.parameters
        gradient, parts = self._gradient(None, weights)

        def curvature(vector: np.ndarray) -> np.ndarray:
            products = self.workers.broadcast("fisher_vector_product", vector, old, weights.value_weight)
            return np.sum(products, axis=0) / count

        def evaluate(vector: np.ndarray) -> tuple[float, float]:
            losses, moved = zip(*self.workers.broadcast("losses", vector, weights), strict=True)
            return sum(losses) / count, sum(moved) / count

        loss = parts["policy_loss"] + weights.value_weight * parts["value_loss"]
        loss -= weights.entropy_weight * parts["entropy"]
        finite = bool(np.isfinite(gradient).all() and np.isfinite(loss))
        result = StepResult(old, loss, 0.0, 0, False, False)
        if finite:
            result = trust_region_step(
                old, loss, gradient, curvature=curvature, evaluate=evaluate, settings=self.trust_region
            )
        with torch.no_grad():
            self._vector.copy_(torch.from_numpy(result.parameters))
        return {
            **parts,
            "kl": result.kl,
            "gradient_norm": math.sqrt(dot(gradient, gradient)),
            "accepted": float(result.accepted),
            "finite": float(result.finite),
        }


def minibatches(num_tasks: int, count: int, rng: np.random.Generator) -> list[list[int]]:
    """Divide tasks at random into `count` groups, each with one task of every `count` consecutive ones.

    Tasks are alike, so this is as random as any division, and whoever has a stretch of the tasks has the same share of
    every group, give or take one.
    """
    positions = np.arange(num_tasks)
    order = np.lexsort((rng.random(num_tasks), positions // count))  # at random within each stretch of `count`
    return [sorted(order[group::count].tolist()) for group in range(count)]


def _mean_and_variance(count: float, total: float, squares: float) -> tuple[float, float]:
    mean = total / count
    return mean, max(squares / count - mean**2, 0.0)


_PARTS = ("policy_loss", "value_loss", "entropy", "kl", "clipped")
_NOTHING: Mapping[str, float] = dict.fromkeys((*_PARTS, "gradient_norm", "accepted", "finite"), 0.0)
