"""Algorithm ``maml``: initial weights that gradient steps adapt, meta-learned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from maml_rl.adaptation import NEED_ALL_STEPS, STEP_SIZE
from maml_rl.algorithms.algorithm import Adaptation, Algorithm, Evaluation, Mind, Stage
from maml_rl.algorithms.building import initial_policy, policy_spec, tried_env
from maml_rl.algorithms.maml_outer_steps import OUTER_STEPS
from maml_rl.config import Config
from maml_rl.episode import RecordedEpisode
from maml_rl.metalearners import MAMLLearner
from maml_rl.metalearners.learner import Workers
from maml_rl.policies import Params, Policy, PolicySpec
from maml_rl.run_folder import load_policy, load_tensors
from maml_rl.samplers import Backend, MAMLWorkerSpec
from maml_rl.settings import CurvatureSample, MAMLSettings, ReturnSettings
from maml_rl.shard import Shard
from maml_rl.utils.errors import InputError

A = TypeVar("A", bound="MAML")

STEP_SIZE_SHAPES: Mapping[str, Callable[[Tensor], tuple[int, ...] | None]] = {
    "none": lambda parameter: None,
    "layer": lambda parameter: (),
    "parameter": lambda parameter: tuple(parameter.shape),
}
"""Shape of a parameter's learned step size; ``None``: it has none."""


class MAML(Algorithm):
    """MAML of a configuration (Finn et al. 2017), with any of its outer steps.

    Parameters
    ----------
    config
        The configuration.
    device, dtype
        Device that learns, and float type of the policy.
    """

    def __init__(self, config: Config, device: str, dtype: str) -> None:
        env = tried_env(config)
        self.spec: PolicySpec = policy_spec(config, env, dtype)
        policy = initial_policy(self.spec, config.run.seed)
        outer_step = OUTER_STEPS[config.section(MAMLSettings).maml_outer_step]
        outer_step.check(config.section(MAMLSettings))
        self.remedy = outer_step.remedy
        if config.section(MAMLSettings).adapted_layers == "head" and not policy.head_parameters():
            raise InputError(
                f"adapted-layers: got 'head' with policy {self.spec.name!r}, whose head has no weights, expected "
                "'all'; leave it out"
            )
        super().__init__(config, env, [policy], device=device)
        sizes = self._initial_step_sizes(policy)
        if sizes:
            values = {**self.layout.values, **{name: size.numpy() for name, size in sizes.items()}}
            self.layouts = (replace(self.layout, names=(*self.layout.names, *sizes), values=values),)
            self._initial = self.layout.vector({**policy.params(), **sizes})[np.newaxis]

    def _initial_step_sizes(self, policy: Policy) -> Params:
        """Step sizes of the inner loop that are learned, by name: each of the shape of its parameter, or ()."""
        settings = self.config.section(MAMLSettings)
        shape_of = STEP_SIZE_SHAPES[settings.fast_lr_learned]
        adapted = policy.head_parameters() if settings.adapted_layers == "head" else self.layout.names
        params = policy.params()
        return {
            STEP_SIZE + name: torch.full(shape, settings.fast_lr, dtype=params[name].dtype)
            for name in adapted
            if (shape := shape_of(params[name])) is not None
        }

    def with_policy(self: A, path: str | Path) -> A:
        """See `Algorithm.with_policy`: weights without learned step sizes begin with `fast_lr`."""
        expected = self.state_dict(self._initial)
        sizes = {name: value for name, value in expected.items() if name.startswith(STEP_SIZE)}
        if not sizes or sizes.keys() & load_tensors(path).keys():
            return super().with_policy(path)
        weights = load_policy(path, {name: value for name, value in expected.items() if name not in sizes})
        return self.with_individuals([{**weights, **sizes}])

    @property
    def settings(self) -> MAMLSettings:
        """The inner loop's, its objective decided."""
        settings = self.config.section(MAMLSettings)
        if settings.inner_objective != "auto":
            return settings
        own = OUTER_STEPS[settings.maml_outer_step].inner_objective
        default = "reinforce" if self.spec.continuous else "lvc"
        return settings.model_copy(update={"inner_objective": own or default})

    @property
    def curvature(self) -> CurvatureSample:
        """Sample for curvature products; all steps with policies that have no such section, those with memory."""
        exact = CurvatureSample(hessian_steps=None, fisher_steps=None)
        sample = next((part for part in self.config.sections if isinstance(part, CurvatureSample)), exact)
        whole = self.settings.inner_objective in NEED_ALL_STEPS
        return sample.model_copy(update={"hessian_steps": None}) if whole else sample

    @property
    def adaptation(self) -> Adaptation:
        """See `Algorithm.adaptation`."""
        return adaptation(self.config)

    @property
    def worker_spec(self) -> MAMLWorkerSpec:
        """See `Algorithm.worker_spec`."""
        config = self.config
        return MAMLWorkerSpec(
            config.task, config.section(ReturnSettings), self.settings, self.curvature, self.spec, self.layout
        )

    def learner(self, backend: Workers, parameters: np.ndarray) -> MAMLLearner:
        """See `Algorithm.learner`: parameters (1, D)."""
        return OUTER_STEPS[self.settings.maml_outer_step].make(self.config, backend, parameters)

    def evaluate(self, backend: Backend, shard: Shard, parameters: np.ndarray, num_adaptation_steps: int) -> Evaluation:
        """See `Algorithm.evaluate`: parameters (1, D)."""
        calls = [(part, parameters[0], num_adaptation_steps) for part in shard.split(backend.num_shards)]
        returns, measures = zip(*backend.map("evaluate", calls), strict=True)
        whole = {name: np.concatenate([part[name] for part in measures], axis=1) for name in measures[0]}
        return Evaluation(list(shard.tasks), np.concatenate(returns, axis=1), self.adaptation.trained, whole)

    def next_episode(self, mind: Mind, closing: Tensor) -> Any:
        """See `Algorithm.next_episode`: memory begins anew unless it lasts for the task."""
        return super().next_episode(mind, closing) if self.settings.memory_scope == "task" else ()

    def learned(self, mind: Mind, episodes: Sequence[RecordedEpisode]) -> Mind:
        """See `Algorithm.learned`: an inner gradient step, as if the agent itself had just rolled out the episodes."""
        params = self.worker_spec.build(lambda: None).adapted_to(mind.params, episodes, step=mind.num_steps)
        return Mind(params, num_steps=mind.num_steps + 1)

    def stages(self, shard: Shard, parameters: np.ndarray, heartbeat: Any = lambda: None) -> list[Stage]:
        """See `Algorithm.stages`: before and after the inner steps from parameters (1, D)."""
        num_steps = max(1, self.settings.num_steps)  # what multi-task learning has made adapts too
        worker = self.worker_spec.build(heartbeat)
        try:
            path = worker.adapted_parameters(shard, parameters[0], num_steps)
        finally:
            worker.close()
        label = f"after {num_steps} gradient step{'s' if num_steps > 1 else ''}"
        return [Stage("before", path[0]), Stage(label, path[-1], self.settings.memory_scope == "task")]

    def without_adaptation(self) -> Config:
        """See `Algorithm.without_adaptation`: no inner steps."""
        return self.config.replace(num_steps=0)


def adaptation(config: Config) -> Adaptation:
    """Adaptation by gradient steps."""
    num_steps = config.section(MAMLSettings).num_steps
    both = "before and after adaptation together"
    after = f"after {num_steps} gradient step{'' if num_steps == 1 else 's'}"
    return Adaptation(num_steps, "gradient steps", "before", after, both)
