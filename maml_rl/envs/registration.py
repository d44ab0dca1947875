"""Names of the task families, and the one function that makes them."""

from __future__ import annotations

import importlib.util
import inspect
import types
import typing
from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
import pydantic
from pydantic.fields import FieldInfo

from maml_rl.envs.errors import EnvironmentArgumentError, MetaEnvError, MissingPackageError, UnknownEnvironmentError
from maml_rl.envs.family_modules import first_line, import_module_of, load_family
from maml_rl.envs.meta_env import MetaVectorEnv
from maml_rl.envs.single import SingleMetaEnv
from maml_rl.utils.field_words import did_you_mean, expected, shown

_VECTOR_ENTRY_POINT = "maml_rl.envs.registration:make_family"
_SINGLE_ENTRY_POINT = "maml_rl.envs.registration:make_single"
# What stands in a constructor's signature but not in a configuration's env-kwargs.
_NOT_KEYWORDS = {"num_envs"}


def register_meta_env(
    env_name: str,
    family: str,
    *,
    max_episode_steps: int | None = None,
    package: str | None = None,
    **kwargs: Any,
) -> None:
    """Register a task family with Gymnasium, for `gymnasium.make`, `gymnasium.make_vec` and `make_meta_env`.

    Parameters
    ----------
    env_name
        Id, e.g. ``"2DNavigation-v0"``.
    family
        ``"module:class"`` of a `MetaVectorEnv`; imported when the first environment is made.
    max_episode_steps
        Default length of an episode; ``None`` if the family needs no limit or has its own.
    package
        Optional package the family's module imports.
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


def make_meta_env(env_name: str, num_envs: int = 1, env_kwargs: Mapping[str, Any] | None = None) -> MetaVectorEnv:
    """Make N sub-environments of a registered task family.

    Parameters
    ----------
    env_name
        Id, optionally with the module that registers it: ``"my_package.envs:MyFamily-v0"``.
    num_envs
        Number of sub-environments N.
    env_kwargs
        Keyword arguments of the family's constructor, over the registered defaults.

    Raises
    ------
    UnknownEnvironmentError
        If no task family has this name.
    EnvironmentArgumentError
        If a keyword is not one of the family's, or its value is impossible.
    ImportError
        If an optional package is missing.

    Examples
    --------
    >>> make_meta_env("Bandit-K5-v0", num_envs=3).num_envs
    3
    """
    spec = _find_spec(env_name)
    env_kwargs = dict(env_kwargs or {})
    family_class = load_family(spec.kwargs["family"], spec.kwargs.get("package"))
    _check_keywords(family_class, env_kwargs)
    _check_types(family_class, env_kwargs)
    kwargs = {**spec.kwargs, **env_kwargs}
    if spec.max_episode_steps is not None:
        kwargs.setdefault("max_episode_steps", spec.max_episode_steps)
        if kwargs["max_episode_steps"] is None:
            raise EnvironmentArgumentError(
                f"env-kwargs.max_episode_steps: got null, but episodes of {spec.id} may never end by themselves; "
                f"give a number, such as {spec.max_episode_steps}"
            )
    try:
        env = make_family(num_envs, **kwargs)
    except (EnvironmentArgumentError, MissingPackageError):
        raise
    except Exception as error:  # whatever a constructor makes of impossible values
        raise EnvironmentArgumentError(f"env-kwargs of {spec.id}: {_one_line(error)}") from error
    env.spec = spec
    return env


def rehearse(env: MetaVectorEnv) -> None:
    """Play two steps of a new task, so that what only fails in use fails before a run starts.

    Only with two sub-environments or more does it find an array that should have a row for each.

    Raises
    ------
    EnvironmentArgumentError
        If that fails, whatever the reason.
    """
    rng = np.random.default_rng(0)
    name = env.spec.id if env.spec else type(env).__name__
    try:
        env.set_tasks(env.sample_tasks(1, rng))
        env.reset(seed=0)
        for _ in range(2):
            env.action_space.seed(0)
            env.step(env.action_space.sample())
    except MetaEnvError as error:
        raise EnvironmentArgumentError(f"env-name: {name} cannot be used: {error}") from error
    except Exception as error:
        raise EnvironmentArgumentError(f"env-kwargs of {name}: its first steps fail: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    text = first_line(error)
    return text if isinstance(error, ValueError) and text else f"{type(error).__name__}: {text}"


def registered_meta_envs() -> list[str]:
    """Ids of the families that can be made here without further keywords, for tests over all of them."""
    return [name for name in _all_meta_envs() if _is_complete(gym.registry[name].kwargs)]


def make_family(num_envs: int = 1, *, family: str, package: str | None = None, **kwargs: Any) -> MetaVectorEnv:
    """Make N sub-environments of the class named by `family`; the vector entry point of every family."""
    family_class = load_family(family, package)
    _check_keywords(family_class, kwargs)
    missing = _missing_keywords(family_class, kwargs)
    if missing:
        raise EnvironmentArgumentError(f"env-kwargs: {family_class.__name__} needs {', '.join(missing)}; give values")
    return family_class(num_envs=num_envs, **kwargs)


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
    return not _missing_keywords(family_class, kwargs)


def _find_spec(env_name: str) -> gym.envs.registration.EnvSpec:
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
    raise UnknownEnvironmentError(f"unknown environment {name!r}{did_you_mean(name, known)}")


def _missing_keywords(family_class: type[MetaVectorEnv], given: Mapping[str, Any]) -> list[str]:
    return [
        name
        for name, parameter in inspect.signature(family_class).parameters.items()
        if name not in _NOT_KEYWORDS
        and parameter.default is parameter.empty
        and name not in given
        and parameter.kind is parameter.KEYWORD_ONLY
    ]


def _check_keywords(family_class: type[MetaVectorEnv], given: Mapping[str, Any]) -> None:
    parameters = inspect.signature(family_class).parameters
    legal = sorted(parameters.keys() - _NOT_KEYWORDS)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in given:
        if name not in legal and not takes_any:
            raise EnvironmentArgumentError(
                f"env-kwargs: unknown keyword {name!r} for {family_class.__name__}"
                f"{did_you_mean(name, legal)}; legal keywords: {', '.join(legal)}"
            )


def _check_types(family_class: type[MetaVectorEnv], given: Mapping[str, Any]) -> None:
    """Refuse values that the constructor's annotations do not allow; true is no number here, nor text one."""
    hints = typing.get_type_hints(family_class.__init__)
    for name, value in given.items():
        hint = hints.get(name, Any)
        try:
            pydantic.TypeAdapter(hint).validate_python(value, strict=isinstance(value, bool | int | float | str))
            fits = not (isinstance(value, float) and not np.isfinite(value))
        except pydantic.ValidationError:
            fits = False
        if not fits:
            raise EnvironmentArgumentError(f"env-kwargs.{name}: got {shown(value)}, expected {_words(hint)}")


def _words(hint: Any) -> str:
    """What an annotation accepts, in words."""
    choices = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {', '.join(repr(choice) for choice in typing.get_args(hint))}"
    if set(choices) == {list[int], type(None)}:
        return "a list of whole numbers, or null"
    if set(choices) <= {int, float, bool, str, type(None)}:
        return expected(FieldInfo.from_annotation(hint))
    return (
        "a mapping from names to values" if Mapping in {typing.get_origin(choice) for choice in choices} else str(hint)
    )


def register_families() -> None:
    """Register the families of this package."""
    bandit = "maml_rl.envs.bandit"
    for k in (5, 10, 50):
        register_meta_env(f"Bandit-K{k}-v0", f"{bandit}:BernoulliBanditVectorEnv", k=k)
        register_meta_env(f"GaussianBandit-K{k}-v0", f"{bandit}:GaussianBanditVectorEnv", k=k, std=1.0)
    for arms in ("uniform", "easy", "medium", "hard", "independent"):
        two_armed = "maml_rl.envs.two_armed_bandit:TwoArmedBanditVectorEnv"
        register_meta_env(f"TwoArmedBandit-{arms.capitalize()}-v0", two_armed, arms=arms)
    register_meta_env("InformativeArm-v0", "maml_rl.envs.informative_arm:InformativeArmVectorEnv")
    restless = "maml_rl.envs.restless_bandit"
    register_meta_env("RestlessBandit-Reversal-v0", f"{restless}:ReversalBanditVectorEnv")
    register_meta_env("RestlessBandit-RandomWalk-v0", f"{restless}:RandomWalkBanditVectorEnv")
    register_meta_env("TwoStep-v0", "maml_rl.envs.two_step:TwoStepVectorEnv")
    register_meta_env("DriftingBandit-v0", "maml_rl.envs.drifting_bandit:DriftingBanditVectorEnv")
    register_meta_env(
        "TabularMDP-v0",
        "maml_rl.envs.tabular_mdp:TabularMDPVectorEnv",
        max_episode_steps=10,
        num_states=10,
        num_actions=5,
    )
    register_meta_env("2DNavigation-v0", "maml_rl.envs.navigation:NavigationVectorEnv", max_episode_steps=100)
    register_meta_env("DelayedRecall-v0", "maml_rl.envs.delayed_recall:DelayedRecallVectorEnv", delay=10)
    register_meta_env("MetaEpisode-v0", "maml_rl.envs.meta_episode:MetaEpisodeFamily")
    register_meta_env("AttributeSweep-v0", "maml_rl.envs.adapter:AttributeSweepVectorEnv")
    atari: dict[str, Any] = {
        "family": "maml_rl.envs.atari:AtariModesVectorEnv",
        "package": "ale_py",
        "max_episode_steps": 500,
    }
    register_meta_env("AtariModes-v0", **atari)
    register_meta_env("SpaceInvadersModes-v0", **atari, game="space_invaders", held_out_modes=[3, 7, 11, 15])
    register_meta_env("DemonAttackModes-v0", **atari, game="demon_attack", held_out_modes=[7])
    for name, family in (
        ("HalfCheetahDir-v2", "half_cheetah:HalfCheetahDirVectorEnv"),
        ("HalfCheetahVel-v2", "half_cheetah:HalfCheetahVelVectorEnv"),
        ("AntDir-v2", "ant:AntDirVectorEnv"),
        ("AntVel-v2", "ant:AntVelVectorEnv"),
        ("AntPos-v1", "ant:AntPosVectorEnv"),
    ):
        register_meta_env(name, f"maml_rl.envs.{family}", max_episode_steps=200, package="mujoco")
