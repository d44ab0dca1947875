"""Names of the task families."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from maml_rl.envs.arguments import check_keywords, missing_keywords
from maml_rl.envs.errors import EnvironmentArgumentError, UnknownEnvironmentError
from maml_rl.envs.family_modules import import_module_of, load_family
from maml_rl.envs.meta_env import MetaVectorEnv
from maml_rl.envs.single import SingleMetaEnv
from maml_rl.utils.field_words import did_you_mean

_VECTOR_ENTRY_POINT = "maml_rl.envs.registration:make_family"
_SINGLE_ENTRY_POINT = "maml_rl.envs.registration:make_single"
# Id of a family -> names of its displays.
_DISPLAYS: dict[str, tuple[str, ...]] = {}


def register_meta_env(
    env_name: str,
    family: str,
    *,
    max_episode_steps: int | None = None,
    package: str | None = None,
    displays: Sequence[str] = (),
    **kwargs: Any,
) -> None:
    """Register a task family with Gymnasium, for `gymnasium.make`, `gymnasium.make_vec` and `make_meta_env`.

    Parameters
    ----------
    env_name
        Id, e.g. ``"2DNavigation-v0"``.
    family
        ``"module:class"`` of a `MetaVectorEnv` or a `TensorMetaVectorEnv`; imported when the first environment is made.
    max_episode_steps
        Default length of an episode; ``None`` if the family needs no limit or has its own.
    package
        Optional package the family's module imports.
    displays
        Names of what a study shows of its runs beyond what it shows of all, see `maml_rl.studies.displays`.
    **kwargs
        Default keyword arguments of the family's constructor.
    """
    gym.register(
        env_name,
        entry_point=_SINGLE_ENTRY_POINT,
        vector_entry_point=_VECTOR_ENTRY_POINT,
        max_episode_steps=max_episode_steps,
        kwargs={"family": family, **({"package": package} if package else {}), **kwargs},
    )
    _DISPLAYS[env_name] = tuple(displays)


def displays_of_family(env_name: str) -> tuple[str, ...]:
    """Names of the displays a family was registered with; imports the module of ``"module:Id"`` first.

    Raises
    ------
    UnknownEnvironmentError
        If no task family has this name.

    Examples
    --------
    >>> displays_of_family("Bandit-K5-v0"), displays_of_family("2DNavigation-v0")
    (('bandit',), ())
    """
    return _DISPLAYS.get(find_spec(env_name).id, ())


def registered_meta_envs() -> list[str]:
    """Ids of the families that can be made here without further keywords, for tests over all of them."""
    return [name for name in _all_meta_envs() if _is_complete(gym.registry[name].kwargs)]


def make_family(num_envs: int = 1, *, family: str, package: str | None = None, **kwargs: Any) -> MetaVectorEnv:
    """Make N sub-environments of the class named by `family`; the vector entry point of every family."""
    family_class = load_family(family, package)
    check_keywords(family_class, kwargs)
    missing = missing_keywords(family_class, kwargs)
    if missing:
        raise EnvironmentArgumentError(f"env-kwargs: {family_class.__name__} needs {', '.join(missing)}; give values")
    if issubclass(family_class, MetaVectorEnv):
        return family_class(num_envs=num_envs, **kwargs)
    from maml_rl.envs.tensor_bridge import TensorBridgeVectorEnv

    return TensorBridgeVectorEnv(family_class(num_lives=num_envs, **kwargs))


def make_single(*, family: str, package: str | None = None, **kwargs: Any) -> SingleMetaEnv:
    """Make one environment of the class named by `family`; the entry point of every family.

    The limit on the length of an episode is left to the `TimeLimit` that `gymnasium.make` adds.
    """
    family_class = load_family(family, package)
    if "max_episode_steps" in inspect.signature(family_class).parameters:
        kwargs.setdefault("max_episode_steps", None)
    return SingleMetaEnv(make_family(1, family=family, package=package, **kwargs))


def _all_meta_envs() -> list[str]:
    return sorted(name for name, spec in gym.registry.items() if spec.vector_entry_point == _VECTOR_ENTRY_POINT)


def _is_complete(kwargs: Mapping[str, Any]) -> bool:
    if "package" in kwargs and importlib.util.find_spec(kwargs["package"]) is None:
        return False
    family_class = load_family(kwargs["family"], kwargs.get("package"))
    return not missing_keywords(family_class, kwargs)


def find_spec(env_name: str) -> EnvSpec:
    """Look a family up, after importing the module that its name may begin with."""
    module, _, name = env_name.rpartition(":")
    if module:
        import_module_of(env_name, module)
    known = _all_meta_envs()
    if name in known:
        return gym.registry[name]
    if name in gym.registry:
        raise UnknownEnvironmentError(
            f"environment {name!r} is no task family; make it one with 'AttributeSweep-v0' and env-kwargs "
            f"{{env_id: {name}, attributes: ...}}"
        )
    hint = did_you_mean(name, known) or "; docs/environments.md lists the task families"
    raise UnknownEnvironmentError(f"unknown environment {name!r}{hint}")
