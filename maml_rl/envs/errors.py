"""Errors at the door of an environment, said in one line."""

from __future__ import annotations

from typing import Any

import numpy as np

from maml_rl.utils.errors import InputError


class MetaEnvError(Exception):
    """A task family breaks the contract of `maml_rl.envs.meta_env.MetaVectorEnv`."""


class UnknownEnvironmentError(InputError):
    """No task family is registered under this name."""


class MissingPackageError(InputError, ImportError):
    """A task family needs a package that is not installed."""


class EnvironmentArgumentError(InputError):
    """A task family cannot be made with these keyword arguments; one line: field, got, expected."""


def check_shape(what: str, array: Any, shape: tuple[int, ...], cure: str) -> None:
    """Raise `MetaEnvError` unless `array` has this shape: NumPy would repeat a smaller one without a word."""
    if np.shape(array) != shape:
        raise MetaEnvError(f"{what}: got shape {np.shape(array)}, expected {shape}; {cure}")
