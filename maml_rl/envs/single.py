"""One environment of a task family, for `gymnasium.make` and everything written for it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded

from maml_rl.envs.meta_env import MetaVectorEnv, Task


class SingleMetaEnv(gym.Env[Any, Any]):
    """A `MetaVectorEnv` of one sub-environment behind the interface of `gymnasium.Env`.

    Parameters
    ----------
    vector_env
        Task family made with ``num_envs=1``.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(self, vector_env: MetaVectorEnv) -> None:
        if vector_env.num_envs != 1:
            raise ValueError(f"vector_env: got num_envs = {vector_env.num_envs}, expected 1")
        self.vector_env = vector_env
        self.observation_space = vector_env.single_observation_space
        self.action_space = vector_env.single_action_space
        self.render_mode = vector_env.render_mode
        self.metadata = {k: v for k, v in vector_env.metadata.items() if k != "autoreset_mode"}

    @property
    def task(self) -> Task:
        """The task of the present episode."""
        return self.vector_env.tasks[0] if self.vector_env.tasks else self.vector_env.default_task()

    def sample_tasks(
        self, num_tasks: int, rng: np.random.Generator | None = None, *, split: str | None = None
    ) -> list[Task]:
        """Draw tasks from the family; without `rng`, from this environment's own generator."""
        return self.vector_env.sample_tasks(num_tasks, self.np_random if rng is None else rng, split=split)

    def set_task(self, task: Task) -> None:
        """Use `task` from the next `reset` on."""
        self.vector_env.set_tasks([task])

    def reset_task(self, task: Task) -> None:
        """Do what `set_task` does, under pytorch-maml-rl's name."""
        self.set_task(task)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode; ``options={"task": task}`` changes the task first."""
        super().reset(seed=seed)
        if options and "task" in options:
            self.set_task(options["task"])
        observations, info = self.vector_env.reset(options={"rngs": [self.np_random]})
        return observations[0], info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Advance by one step; after the end of an episode only `reset` is allowed."""
        if self.vector_env.finished[0]:
            raise ResetNeeded("step: the episode has ended or none was started; call reset() first")
        observations, rewards, terminated, truncated, info = self.vector_env.step(np.asarray(action)[None])
        own_info = {name: values[0] for name, values in info.items()}
        return observations[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), own_info

    def render(self) -> Any:
        """Return the picture of the sub-environment."""
        frames = self.vector_env.render()
        return None if frames is None else frames[0]

    def close(self) -> None:
        """Free what the task family holds; closing twice is allowed."""
        self.vector_env.close()
