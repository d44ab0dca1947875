"""Algorithm ``maml``: initial weights that gradient steps adapt, meta-learned by trust-region steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from maml_rl.algorithms.algorithm import Adaptation, Algorithm, Evaluation, Mind, Stage
from maml_rl.algorithms.building import initial_policy, policy_spec, tried_env
from maml_rl.config import Config
from maml_rl.episode import RecordedEpisode
from maml_rl.metalearners import MAMLTRPO
from maml_rl.metalearners.learner import Workers
from maml_rl.policies import PolicySpec
from maml_rl.samplers import Backend, MAMLWorkerSpec
from maml_rl.settings import CurvatureSample, MAMLSettings, ReturnSettings, TrustRegion
from maml_rl.shard import Shard
from maml_rl.utils.errors import InputError


class MAML(Algorithm):
    """MAML-TRPO of a configuration (Finn et al. 2017).

    Parameters
    ----------
    config
        The configuration.
    device, dtype
        Device that learns, and float type of the policy.
    """

    remedy = "fast-lr or max-kl"

    def __init__(self, config: Config, device: str, dtype: str) -> None:
        env = tried_env(config)
        self.spec: PolicySpec = policy_spec(config, env, dtype)
        policy = initial_policy(self.spec, config.run.seed)
        if config.section(MAMLSettings).adapted_layers == "head" and not policy.head_parameters():
            raise InputError(
                f"adapted-layers: got 'head' with policy {self.spec.name!r}, whose head has no weights, expected "
                "'all'; leave it out"
            )
        super().__init__(config, env, [policy], device=device)

    @property
    def settings(self) -> MAMLSettings:
        """The inner loop's, its objective decided."""
        settings = self.config.section(MAMLSettings)
        if settings.inner_objective != "auto":
            return settings
        return settings.model_copy(update={"inner_objective": "reinforce" if self.spec.continuous else "lvc"})

    @property
    def curvature(self) -> CurvatureSample:
        """Sample for curvature products; all steps with policies that have no such section, those with memory."""
        exact = CurvatureSample(hessian_steps=None, fisher_steps=None)
        return next((part for part in self.config.sections if isinstance(part, CurvatureSample)), exact)

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

    def learner(self, backend: Workers, parameters: np.ndarray) -> MAMLTRPO:
        """See `Algorithm.learner`: parameters (1, D)."""
        return MAMLTRPO(backend, parameters, self.config.section(TrustRegion), seed=self.config.run.seed)

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
        return Mind(self.worker_spec.build(lambda: None).adapted_to(mind.params, episodes))

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
