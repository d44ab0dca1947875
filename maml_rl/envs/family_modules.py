"""Import of the modules that register and hold task families; they are anyone's, and may raise anything."""

from __future__ import annotations

import importlib
from typing import Any

from maml_rl.envs.errors import MissingPackageError, UnknownEnvironmentError
from maml_rl.envs.task_family import TaskFamily
from maml_rl.utils.modules import check_may_import

# Importable name of a package -> what to install for it.
_CURES = {"mujoco": "mujoco", "ale_py": "'maml_rl[atari]'", "metaworld": "'maml_rl[metaworld]'"}


def import_module_of(env_name: str, module: str) -> None:
    """Import the module that `env_name` names before its colon.

    Raises
    ------
    UnknownEnvironmentError
        If that fails.
    InputError
        If it is not allowed.
    """
    if not all(module.split(".")):
        raise UnknownEnvironmentError(
            f"env-name: got {env_name!r}, expected a module's full name before the colon, "
            "such as my_package.envs:Maze-v0"
        )
    check_may_import(module, field="env-name", value=env_name)
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise UnknownEnvironmentError(
            f"env-name: cannot import {module!r} of {env_name!r} ({first_line(error)}); "
            "install it or put its folder into PYTHONPATH"
        ) from error
    except (Exception, SystemExit) as error:
        raise UnknownEnvironmentError(
            f"env-name: {module!r} of {env_name!r} raises when it is imported ({_kind_and_line(error)}); "
            f"mend it, python -c 'import {module}' shows where"
        ) from error


def load_family(family: str, package: str | None) -> type[Any]:
    """Return the class named by `family`, ``"module:class"``, whose module may need an optional `package`.

    It is a `MetaVectorEnv` or a `TensorMetaVectorEnv`; for the latter alone torch is imported.

    Raises
    ------
    MissingPackageError
        If that package is not installed.
    UnknownEnvironmentError
        If there is no such class, or its module raises.
    """
    module_name, _, class_name = family.partition(":")
    try:
        family_class = getattr(importlib.import_module(module_name), class_name)
        if not issubclass(family_class, TaskFamily):
            raise TypeError(f"got {class_name}, expected a subclass of MetaVectorEnv or TensorMetaVectorEnv")
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and package and (error.name or "").partition(".")[0] == package:
            cure = _CURES.get(package, package)
            raise MissingPackageError(f"{class_name} needs {package}: pip install {cure}") from error
        raise UnknownEnvironmentError(
            f"env-name: the family {family!r} cannot be loaded ({_kind_and_line(error)}); "
            "mend its module or what register_meta_env was given"
        ) from error
    return family_class


def first_line(error: BaseException) -> str:
    """First line of an error's message."""
    return next(iter(str(error).strip().splitlines()), "")


def _kind_and_line(error: BaseException) -> str:
    text = first_line(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
