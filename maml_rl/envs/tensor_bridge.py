"""Tensor families behind the contract on arrays: one implementation of the dynamics serves both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from maml_rl.envs.meta_env import MetaVectorEnv
from maml_rl.envs.task_table import Task
from maml_rl.envs.tensor_env import TensorMetaVectorEnv


class TensorBridgeVectorEnv(MetaVectorEnv):
    """A tensor family of one individual as a `MetaVectorEnv`: its L lives are the N sub-environments.

    Parameters
    ----------
    env
        Family of one individual on the CPU. It belongs to this one from now on.
    """

    def __init__(self, env: TensorMetaVectorEnv) -> None:
        if env.num_individuals != 1 or env.device.type != "cpu":
            raise ValueError(f"env: got {env.num_individuals} individuals on {env.device}, expected 1 on the CPU")
        self.env = env
        self.splits, self.split, self.measures = env.splits, env.split, env.measures
        self.render_mode = env.render_mode
        self.metadata = {**self.metadata, "render_modes": list(env.render_modes), "render_fps": env.render_fps}
        super().__init__(
            env.num_lives,
            env.single_observation_space,
            env.single_action_space,
            max_episode_steps=env.max_episode_steps,
        )
        self._lived: list[np.random.Generator] | None = None
        self._info: dict[str, np.ndarray] = {}

    def default_task(self) -> Task:
        """The family's default task."""
        return self.env.default_task()

    def _sample_tasks(self, num_tasks: int, rng: np.random.Generator, split: str) -> list[Task]:
        return self.env.sample_tasks(num_tasks, rng, split=split)

    @property
    def num_distinct_tasks(self) -> int | None:
        """That of the family."""
        return self.env.num_distinct_tasks

    def task_features(self, tasks: Sequence[Task]) -> np.ndarray:
        """The family's features (M, K) of `tasks` (M)."""
        return self.env.task_features(tasks)

    def _apply_tasks(self, tasks: Sequence[Task]) -> None:
        self.env.set_tasks(tasks)

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        options: dict[str, object] = {"reset_mask": torch.from_numpy(mask)[None]}  # (N,) -> (1, L)
        if self._lived is not self._rngs:  # new generators: new lives
            self._lived = options["rngs"] = self._rngs
        return self._array(self.env.reset(options=options)[0])

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        observations, rewards, terminated, _, info = self.env.step(torch.from_numpy(actions)[None])
        self._info = {name: values[0].numpy() for name, values in info.items()}
        return self._array(observations), rewards[0].numpy().astype(np.float64), terminated[0].numpy()

    def _measure(self) -> dict[str, np.ndarray]:
        return self._info

    def render(self) -> tuple[np.ndarray, ...]:
        """An RGB picture (H, W, 3) uint8 of each of the N sub-environments."""
        return self.env.pictures()

    def _array(self, observations: Tensor) -> np.ndarray:
        """(1, L, O*) -> (N, O*), in the type of the observation space."""
        return observations[0].numpy().astype(self._observation_dtype, copy=False)
