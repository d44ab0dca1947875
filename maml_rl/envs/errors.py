"""What can go wrong at the door of an environment, said in one line."""

from __future__ import annotations


class MetaEnvError(Exception):
    """A task family breaks the contract of `maml_rl.envs.meta_env.MetaVectorEnv`."""


class UnknownEnvironmentError(ValueError):
    """No task family is registered under this name."""
