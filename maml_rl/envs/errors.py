"""What can go wrong at the door of an environment, said in one line."""

from __future__ import annotations

from maml_rl.utils.errors import InputError


class MetaEnvError(Exception):
    """A task family breaks the contract of `maml_rl.envs.meta_env.MetaVectorEnv`."""


class UnknownEnvironmentError(InputError):
    """No task family is registered under this name."""


class MissingPackageError(InputError, ImportError):
    """A task family needs a package that is not installed."""


class EnvironmentArgumentError(InputError):
    """A task family cannot be made with these keyword arguments; one line: field, got, expected."""
