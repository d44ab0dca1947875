"""The environment of a worker, made anew when another size is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from maml_rl.envs.meta_env import MetaVectorEnv

E = TypeVar("E", bound=MetaVectorEnv)


class SizedEnvironment(Generic[E]):
    """Keeps one environment for as long as its size fits: making one can take seconds.

    Parameters
    ----------
    make
        Function of the sizes that makes the environment.
    """

    def __init__(self, make: Callable[..., E]) -> None:
        self._make = make
        self._sizes: tuple[int, ...] = ()
        self._env: E | None = None

    def of(self, *sizes: int) -> E:
        """The environment of these sizes."""
        if self._env is None or self._sizes != sizes:
            self.close()
            self._env, self._sizes = self._make(*sizes), sizes
        return self._env

    def close(self) -> None:
        """Free the environment."""
        if self._env is not None:
            self._env.close()
        self._env = None
