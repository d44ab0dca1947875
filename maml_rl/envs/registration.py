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
    raise UnknownEnvironmentError(f"unknown environment {name!r}{did_you_mean(name, known)}")


def register_families() -> None:
    """Register the families of this package."""
    bandit = "maml_rl.envs.bandits.bandit"
    for k in (5, 10, 50):
        register_meta_env(f"Bandit-K{k}-v0", f"{bandit}:BernoulliBanditVectorEnv", k=k, displays=["bandit"])
        register_meta_env(f"GaussianBandit-K{k}-v0", f"{bandit}:GaussianBanditVectorEnv", k=k, std=1.0)
    for arms in ("uniform", "easy", "medium", "hard", "independent"):
        two_armed = "maml_rl.envs.bandits.two_armed_bandit:TwoArmedBanditVectorEnv"
        register_meta_env(f"TwoArmedBandit-{arms.capitalize()}-v0", two_armed, arms=arms, displays=["bandit"])
    register_meta_env("InformativeArm-v0", "maml_rl.envs.bandits.informative_arm:InformativeArmVectorEnv")
    restless = "maml_rl.envs.bandits.restless_bandit"
    register_meta_env("RestlessBandit-Reversal-v0", f"{restless}:ReversalBanditVectorEnv", displays=["restless-bandit"])
    register_meta_env(
        "RestlessBandit-RandomWalk-v0", f"{restless}:RandomWalkBanditVectorEnv", displays=["restless-bandit"]
    )
    register_meta_env("TwoStep-v0", "maml_rl.envs.behaviour.two_step:TwoStepVectorEnv", displays=["two-step"])
    for name, family in (
        ("HarlowStrip-v0", "harlow_strip:HarlowStripVectorEnv"),
        ("HarlowFixation-v0", "harlow_fixation:HarlowFixationVectorEnv"),
    ):
        register_meta_env(name, f"maml_rl.envs.behaviour.{family}", max_episode_steps=250, displays=["harlow"])
    contextual = "maml_rl.envs.behaviour.contextual"
    bandits = f"{contextual}_bandit:ContextualBanditVectorEnv"
    register_meta_env("ContextualBandit-v0", bandits, displays=["contextual-bandit"])
    two_step = f"{contextual}_two_step:ContextualTwoStepVectorEnv"
    register_meta_env("ContextualTwoStep-v0", two_step, displays=["contextual-two-step"])
    drifting = "maml_rl.envs.bandits.drifting_bandit:DriftingBanditVectorEnv"
    register_meta_env("DriftingBandit-v0", drifting, displays=["drifting-bandit"])
    register_meta_env(
        "TabularMDP-v0",
        "maml_rl.envs.control.tabular_mdp:TabularMDPVectorEnv",
        max_episode_steps=10,
        num_states=10,
        num_actions=5,
        displays=["tabular-mdp"],
    )
    register_meta_env("2DNavigation-v0", "maml_rl.envs.control.navigation:NavigationVectorEnv", max_episode_steps=100)
    cart_pole = "maml_rl.envs.control.cart_pole:CartPoleControl"
    register_meta_env("CartPoleControl-v0", cart_pole, max_episode_steps=500, displays=["lives"])
    for name, family in (
        ("PendulumSwingUp-v0", "pendulum:PendulumSwingUp"),
        ("DoublePendulum-v0", "double_pendulum:DoublePendulum"),
        ("FoodWorld-v0", "food_world:FoodWorld"),
    ):
        register_meta_env(name, f"maml_rl.envs.control.{family}", max_episode_steps=200, displays=["lives"])
    register_meta_env("DelayedRecall-v0", "maml_rl.envs.behaviour.delayed_recall:DelayedRecallVectorEnv", delay=10)
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
        register_meta_env(name, f"maml_rl.envs.mujoco.{family}", max_episode_steps=200, package="mujoco")
