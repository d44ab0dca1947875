"""Meta-World's tasks with their own code and quicker helpers."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

from metaworld.sawyer_xyz_env import SawyerXYZEnv

from maml_rl.envs.manipulation.quick_helpers import QuickArm, QuickRewards, QuickRotation

_HELPERS = {"reward_utils": QuickRewards, "Rotation": QuickRotation}


@cache
def quick_class(task_class: type[Any]) -> type[Any]:
    """A class whose environments do what those of `task_class` do, bit for bit, in less time.

    Its methods are those of `task_class`, their code bound to helpers that compute the same more quickly; nothing of
    the package that they come from is changed.
    """
    own = dict(_functions(task_class))
    namespace: dict[str, Any] = {
        name: _with_helpers(function) for name, function in _functions(SawyerXYZEnv) if name not in own
    }
    namespace |= {name: value for name, value in vars(QuickArm).items() if name[:2] != "__" and name not in own}
    namespace |= {name: _with_helpers(function) for name, function in own.items()}
    return type(task_class.__name__, (task_class,), namespace)


def _functions(owner: type[Any]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Plain functions among the methods of a class, without the check that a task was set."""
    for name, value in vars(owner).items():
        if isinstance(value, types.FunctionType) and not name.startswith("__"):
            inside = value.__code__.co_freevars
            if value.__name__ == "inner" and "func" in inside:
                assert value.__closure__ is not None
                value = value.__closure__[inside.index("func")].cell_contents
            yield name, value


def _with_helpers(function: Any) -> types.FunctionType:
    names = {**function.__globals__, **{k: v for k, v in _HELPERS.items() if k in function.__globals__}}
    copy = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy
