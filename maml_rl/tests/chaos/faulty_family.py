"""A task family that does, once, what no environment should: as soon as a file that tells it so is there."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

import numpy as np

from maml_rl.envs import register_meta_env
from maml_rl.envs.control.navigation import NavigationVectorEnv

Result = tuple[np.ndarray, np.ndarray, np.ndarray]


def _raise() -> None:
    raise ArithmeticError("the simulator has lost its balance")


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


TROUBLES: dict[str, Callable[[], None]] = {
    "raises": _raise,
    "hangs": lambda: time.sleep(3600),
    "leaves": lambda: sys.exit("no licence for this simulator"),
    "kills": _kill,
}
BAD_NUMBERS = {"NaN reward": np.nan, "infinite reward": np.inf, "NaN observation": np.nan}


class FaultyEnv(NavigationVectorEnv):
    """2DNavigation with a fuse.

    Parameters
    ----------
    num_envs
        Number of sub-environments.
    fuse
        A file; once it is there the next step removes it and does what it says: one of `TROUBLES` or `BAD_NUMBERS`.
        Bad numbers last to the end of the episode.
    """

    def __init__(self, num_envs: int = 1, *, fuse: str) -> None:
        super().__init__(num_envs, max_episode_steps=8)
        self.fuse = fuse
        self._bad = ""

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        self._bad = ""
        return super()._reset(mask)

    def _step(self, actions: np.ndarray, active: np.ndarray) -> Result:
        trouble = self._burn()
        if trouble in TROUBLES:
            TROUBLES[trouble]()
        if trouble in BAD_NUMBERS:
            self._bad = trouble
        observations, rewards, terminated = super()._step(actions, active)
        if self._bad.endswith("reward"):
            rewards = np.full_like(rewards, BAD_NUMBERS[self._bad])
        elif self._bad:
            observations = np.full_like(observations, BAD_NUMBERS[self._bad])
        return observations, rewards, terminated

    def _burn(self) -> str:
        """What the fuse says, for the one that takes it; "" without one."""
        if not os.path.exists(self.fuse):
            return ""
        taken = f"{self.fuse}.{os.getpid()}"
        try:
            os.rename(self.fuse, taken)
        except FileNotFoundError:
            return ""
        with open(taken, encoding="utf-8") as file:
            return file.read()


register_meta_env("Faulty-v0", f"{__name__}:FaultyEnv")
