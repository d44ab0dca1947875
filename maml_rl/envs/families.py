"""The task families of this package."""

from __future__ import annotations

from typing import Any

from maml_rl.envs.registration import register_meta_env

# fmt: off
META_WORLD_TASKS = (
    "assembly", "basketball", "bin-picking", "box-close", "button-press-topdown", "button-press-topdown-wall",
    "button-press", "button-press-wall", "coffee-button", "coffee-pull", "coffee-push", "dial-turn", "disassemble",
    "door-close", "door-lock", "door-open", "door-unlock", "hand-insert", "drawer-close", "drawer-open",
    "faucet-open", "faucet-close", "hammer", "handle-press-side", "handle-press", "handle-pull-side", "handle-pull",
    "lever-pull", "pick-place-wall", "pick-out-of-hole", "pick-place", "plate-slide", "plate-slide-side",
    "plate-slide-back", "plate-slide-back-side", "peg-insert-side", "peg-unplug-side", "soccer", "stick-push",
    "stick-pull", "push", "push-wall", "push-back", "reach", "reach-wall", "shelf-place", "sweep-into", "sweep",
    "window-open", "window-close",
)
# fmt: on
"""Meta-World's tasks, which are known without its package."""


def register_families() -> None:
    """Register all of them."""
    _register_bandits()
    _register_behaviour()
    _register_control()
    register_meta_env("MetaEpisode-v0", "maml_rl.envs.meta_episode:MetaEpisodeFamily")
    register_meta_env("ToldTask-v0", "maml_rl.envs.told_task:ToldTaskVectorEnv")
    register_meta_env("AttributeSweep-v0", "maml_rl.envs.adapter:AttributeSweepVectorEnv")
    _register_engines()


def _register_bandits() -> None:
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
    drifting = "maml_rl.envs.bandits.drifting_bandit:DriftingBanditVectorEnv"
    register_meta_env("DriftingBandit-v0", drifting, displays=["drifting-bandit"])


def _register_behaviour() -> None:
    register_meta_env("TwoStep-v0", "maml_rl.envs.behaviour.two_step:TwoStepVectorEnv", displays=["two-step"])
    for name, family in (
        ("HarlowStrip-v0", "harlow_strip:HarlowStripVectorEnv"),
        ("HarlowFixation-v0", "harlow_fixation:HarlowFixationVectorEnv"),
    ):
        register_meta_env(name, f"maml_rl.envs.behaviour.{family}", max_episode_steps=250, displays=["harlow"])
    contextual = "maml_rl.envs.behaviour.contextual"
    bandits = f"{contextual}_bandit:ContextualBanditVectorEnv"
    register_meta_env("ContextualBandit-v0", bandits, displays=["contextual-bandit", "gates"])
    two_step = f"{contextual}_two_step:ContextualTwoStepVectorEnv"
    register_meta_env("ContextualTwoStep-v0", two_step, displays=["contextual-two-step"])
    register_meta_env("DelayedRecall-v0", "maml_rl.envs.behaviour.delayed_recall:DelayedRecallVectorEnv", delay=10)


def _register_control() -> None:
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

    register_meta_env(
        "PendulumMass-v0",
        "maml_rl.envs.control.pendulum:PendulumSwingUp",
        max_episode_steps=200,
        displays=["lives"],
        length=[1.0, 1.0],
        mass=[0.5, 1.5],
        gravity=[10.0, 10.0],
        torque=2.0,
        flip_probability=0.0,
        start="uniform",
    )


def _register_manipulation() -> None:
    """Meta-World's benchmarks; names of tasks are those of its version 3."""
    arm: dict[str, Any] = {
        "family": "maml_rl.envs.manipulation.meta_world:MetaWorldVectorEnv",
        "package": "metaworld",
        "max_episode_steps": 500,
        "displays": ["meta-world"],
    }
    for task in META_WORLD_TASKS:
        register_meta_env(f"ML1-{task}-v0", **arm, benchmark="ML1", task=task)
    for benchmark in ("ML10", "ML45"):
        register_meta_env(f"{benchmark}-v0", **arm, benchmark=benchmark)


def _register_engines() -> None:
    """Families that need an optional package."""
    atari: dict[str, Any] = {
        "family": "maml_rl.envs.atari:AtariModesVectorEnv",
        "package": "ale_py",
        "max_episode_steps": 500,
    }
    register_meta_env("AtariModes-v0", **atari)
    register_meta_env("SpaceInvadersModes-v0", **atari, game="space_invaders", held_out_modes=[3, 7, 11, 15])
    register_meta_env("DemonAttackModes-v0", **atari, game="demon_attack", held_out_modes=[7])
    _register_manipulation()
    for name, family in (
        ("HalfCheetahDir-v2", "half_cheetah:HalfCheetahDirVectorEnv"),
        ("HalfCheetahVel-v2", "half_cheetah:HalfCheetahVelVectorEnv"),
        ("AntDir-v2", "ant:AntDirVectorEnv"),
        ("AntVel-v2", "ant:AntVelVectorEnv"),
        ("AntPos-v1", "ant:AntPosVectorEnv"),
        ("Walker2DDir-v0", "walker2d:Walker2DDirVectorEnv"),
        ("Walker2DVel-v0", "walker2d:Walker2DVelVectorEnv"),
        ("WalkerRandParams-v0", "walker2d:WalkerRandParamsVectorEnv"),
        ("HopperRandParams-v0", "hopper:HopperRandParamsVectorEnv"),
        ("HumanoidDir-v0", "humanoid:HumanoidDirVectorEnv"),
    ):
        register_meta_env(name, f"maml_rl.envs.mujoco.{family}", max_episode_steps=200, package="mujoco")
