"""Tiny policies, episodes and workers for tests."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from maml_rl.adaptation import INNER_OBJECTIVES, STEP_SIZE, InnerLoop
from maml_rl.checkpoint import _checksum
from maml_rl.config import Config
from maml_rl.envs import make_meta_env, register_meta_env
from maml_rl.envs.control.navigation import NavigationVectorEnv
from maml_rl.episode import LearningData
from maml_rl.policies import Params, Policy, PolicySpec, make_policy, policy_kinds, registered_policies
from maml_rl.policies.geometric_policy import GeometricPolicy
from maml_rl.samplers.backend import builds_state
from maml_rl.settings import Settings
from maml_rl.shard import Shard

_SMALL = {
    "attention": {"attention_heads": 2, "attention_width": 4, "attention_window": 5},
    "delta": {"delta_heads": 2, "delta_width": 4, "delta_key_size": 3},
    "geometric": {"memory_slots": 3, "memory_width": 2},
    "plastic": {"plastic_state_size": 1, "plastic_rate": 0.5, "plastic_moves_levels": False},
    "episodic": {"dictionary_capacity": 3, "dictionary_neighbours": 2, "dictionary_detach": False},
}

_INPUT_SIZES = {"plastic": 6, "episodic": 6}  # previous action, reward, done behind two numbers of the environment's
_WITHOUT_ENCODER = {"plastic"}
NEED_REWARDS = {"plastic", "episodic"}
"""Kinds that observe previous action, reward and done."""
WITHOUT_RECURRENT_LAYER = {"attention", "delta", "linear", "mlp", "plastic"}
"""Kinds without hidden-to-hidden weights."""
TWO_LIFETIMES = {"episodic"}
"""Kinds whose working memory begins anew with every episode."""


def small_options(name: str) -> Settings:
    """Options of a policy kind with which it computes little."""
    return policy_kinds()[name].options.model_validate(_SMALL.get(name, {}))


POLICY_SPECS = [
    PolicySpec(name, _INPUT_SIZES.get(name, 3), 2, continuous, (3,), "tanh", small_options(name))
    for name in registered_policies()
    for continuous in (True, False)
]

_ENCODED = {"conv": (81, (1, 9, 9)), "ram": (3, (3,))}
ENCODED_SPECS = [  # numbers follow image and memory
    replace(
        spec,
        input_size=size + (4 if spec.name in NEED_REWARDS else 1),
        encoder=encoder,
        encoder_channels=(2,),
        observation_shape=shape,
    )
    for spec in POLICY_SPECS
    for encoder, (size, shape) in _ENCODED.items()
    if not spec.continuous and spec.name not in _WITHOUT_ENCODER
]


def spec_id(spec: PolicySpec) -> str:
    """Name of a spec in test ids."""
    kind = "continuous" if spec.continuous else "discrete"
    return f"{spec.name}-{kind}" if spec.encoder == "none" else f"{spec.name}-{spec.encoder}"


POLICIES_AND_OBJECTIVES = [
    pytest.param(spec, objective, id=f"{spec_id(spec)}-{objective}")
    for spec in POLICY_SPECS
    for objective in sorted(INNER_OBJECTIVES)
    if objective == "lvc" or spec.name == "mlp"  # what the objectives differ in knows nothing of the policy
]


def tiny_policy(spec: PolicySpec, seed: int = 0) -> tuple[Policy, Params]:
    """Build the policy and draw all its parameters, biases too, from N(0, 0.5^2); what was read saturates nothing.

    They have the default type: float64 under the fixture of that name.
    """
    rng = np.random.default_rng(seed)
    policy = make_policy(replace(spec, dtype=str(torch.get_default_dtype()).removeprefix("torch.")))
    params = {k: torch.from_numpy(rng.normal(0.0, 0.5, tuple(v.shape))).to(v) for k, v in policy.params().items()}
    if isinstance(policy, GeometricPolicy):
        params[f"{policy.head.layer}.weight"][:, policy.controller.hidden_size :] /= policy.read_gain
    return policy, params


def tiny_inner(
    policy: Policy,
    *,
    fast_lr: float = 0.5,
    objective: str = "lvc",
    first_order: bool = False,
    head_only: bool = False,
    learns_step_sizes: bool = False,
    later_factor: float = 0.7,
) -> InnerLoop:
    """Inner loop over all meta-parameters, with steps that are large enough to matter."""
    adapted = tuple(policy.head_parameters()) if head_only else None
    names = tuple(policy.named_meta_parameters())
    return InnerLoop(policy, fast_lr, names, objective, first_order, adapted, learns_step_sizes, later_factor)


def with_step_sizes(inner: InnerLoop, params: Params, shapes: str, seed: int = 0) -> Params:
    """Parameters with random step sizes between 0.2 and 0.8 for all that adapt, one for each "layer" or "parameter"."""
    rng = np.random.default_rng(seed)
    sizes = {
        name: rng.uniform(0.2, 0.8, () if shapes == "layer" else tuple(params[name].shape)) for name in inner.adapting
    }
    return {**params, **{STEP_SIZE + name: torch.as_tensor(size, dtype=torch.float64) for name, size in sizes.items()}}


def begins_after_another(shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Random boundaries (M, T, B) of the episodes in meta-episodes; none at the first step."""
    started = np.random.default_rng(seed + 1000).random(shape) < 0.4
    started[:, 0] = False
    return started


def tiny_data(
    spec: PolicySpec, seed: int, *, num_tasks: int = 2, num_steps: int = 4, num_episodes: int = 3
) -> LearningData:
    """Random float64 episodes (M, T, B, ...) of unequal lengths; at least one of each task is full."""
    rng = np.random.default_rng(seed)
    shape = (num_tasks, num_steps, num_episodes)
    lengths = rng.integers(1, num_steps + 1, (num_tasks, 1, num_episodes))
    lengths[:, :, 0] = num_steps
    mask = (np.arange(num_steps)[:, None] < lengths).astype(np.float64)  # (M, T, B)
    actions = (
        rng.normal(size=(*shape, spec.output_size)) if spec.continuous else rng.integers(0, spec.output_size, shape)
    )
    wide = mask[..., None]
    arrays = (
        rng.normal(size=(*shape, spec.input_size)) * wide,
        actions * (wide if spec.continuous else mask.astype(np.int64)),
        mask,
        rng.normal(-1.0, 0.3, size=shape) * mask,
        rng.normal(size=shape) * mask,
        begins_after_another(shape, seed),
    )
    return LearningData(*(torch.from_numpy(np.asarray(array)) for array in arrays))


def with_garbage(data: LearningData, seed: int) -> LearningData:
    """Fill the padding with garbage, then append masked steps and a masked episode of garbage."""
    rng = np.random.default_rng(seed)
    num_tasks, num_steps, num_episodes = data.mask.shape
    inside = torch.zeros(num_tasks, num_steps + 2, num_episodes + 1, dtype=torch.bool)
    inside[:, :num_steps, :num_episodes] = data.mask.bool()
    parts = []
    for part in data[:-1]:  # all but the state, which has no steps
        shape = (*inside.shape, *part.shape[3:])
        values = rng.normal(0.0, 3.0, shape) if part.is_floating_point() else rng.integers(0, 2, shape)
        padded = torch.from_numpy(np.asarray(values)).to(part)
        padded[inside] = part[data.mask.bool()]
        parts.append(padded)
    return LearningData(*parts)._replace(mask=inside.to(data.mask))


def pick(data: Any, index: Any) -> Any:
    """Index every tensor of a nested tuple along its first dimension."""
    return tree_map(lambda part: part[index], data)


def flat(params: Params, names: Sequence[str]) -> Tensor:
    """Concatenate the named parameters into one vector (D,)."""
    return torch.cat([params[name].reshape(-1) for name in names])


def unflat(vector: Tensor, like: Params, names: Sequence[str]) -> Params:
    """Cut a vector (D,) into the named parameters; differentiable."""
    parts = vector.split([like[name].numel() for name in names])
    return {name: part.reshape(like[name].shape) for name, part in zip(names, parts, strict=True)}


def hessian(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Hessian in the first argument, by reverse mode twice: recurrent layers have no forward mode."""
    return torch.func.jacrev(torch.func.jacrev(function))


def random_like(params: Params, names: Sequence[str], seed: int, num_tasks: int | None = None) -> Params:
    """Draw values of the parameters' shapes, with a leading task dimension if asked for."""
    rng = np.random.default_rng(seed)
    lead = () if num_tasks is None else (num_tasks,)
    return {k: torch.from_numpy(rng.normal(size=(*lead, *params[k].shape))).to(params[k]) for k in names}


def tiny_config(env_name: str = "2DNavigation-v0", **changes: Any) -> Config:
    """Configuration of a run that takes a fraction of a second per iteration."""
    values: dict[str, Any] = {
        "hidden_sizes": (8,),
        "fast_batch_size": 4,
        "meta_batch_size": 5,
        "num_batches": 3,
        "cg_iters": 5,
        "seed": 3,
    }
    if env_name == "2DNavigation-v0":
        values["env_kwargs"] = {"max_episode_steps": 15}
    return Config(env_name=env_name, **{**values, **changes})


MAML_VARIANTS: dict[str, dict[str, Any]] = {
    "promp": {"maml_outer_step": "promp", "promp_inner_kl_target": 0.01, "promp_learning_rate": 0.01},
    "promp-groups": {
        "maml_outer_step": "promp",
        "promp_num_steps": 2,
        "promp_num_minibatches": 3,
        "promp_entropy_coef": 0.1,
    },
    "meta-sgd": {"fast_lr_learned": "parameter"},
    "step-sizes-of-layers": {"fast_lr_learned": "layer", "maml_outer_step": "promp"},
    "smaller-later-steps": {"num_steps": 2, "fast_lr_later_factor": 0.5},
    "e-maml": {"exploration_credit": 0.5},
    "dice": {"inner_objective": "dice"},
    "reptile": {"maml_outer_step": "reptile", "reptile_step_size": 0.5},
}
"""Settings of learners around the inner loop of MAML, by a name for test ids."""


def write_config(path: Path, config: Config) -> Path:
    """Write a configuration that `load_config` reads."""
    path.write_text(json.dumps(config.to_json_dict()), encoding="utf-8")
    return path


class NaNRewardEnv(NavigationVectorEnv):
    """2DNavigation whose rewards are NaN after its first `healthy_resets` resets."""

    def __init__(self, num_envs: int = 1, *, healthy_resets: int) -> None:
        super().__init__(num_envs, max_episode_steps=5)
        self.healthy_resets = healthy_resets
        self.num_resets = 0

    def _reset(self, mask: np.ndarray) -> np.ndarray:
        self.num_resets += 1
        return super()._reset(mask)

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        observations, rewards, terminated = super()._step(actions, active)
        if self.num_resets > self.healthy_resets:
            rewards = np.full_like(rewards, np.nan)
        return observations, rewards, terminated


class UnevenEnv(NavigationVectorEnv):
    """2DNavigation in which the goal decides how many steps an episode has: from 1 to `longest`."""

    def __init__(self, num_envs: int = 1, *, longest: int) -> None:
        super().__init__(num_envs, max_episode_steps=longest)
        self.longest = longest

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        observations, rewards, terminated = super()._step(actions, active)
        over = self._elapsed >= self.longest * (self._goals[:, 0] + 0.5) - 1.0
        return observations, rewards, terminated | over


class FusedEnv(NavigationVectorEnv):
    """2DNavigation whose process is killed in the fifth step, if there is a file to burn: `fuse`."""

    def __init__(self, num_envs: int = 1, *, fuse: str) -> None:
        super().__init__(num_envs, max_episode_steps=8)
        self.fuse = fuse

    def _step(self, actions: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self._elapsed.max() == 4 and burn(self.fuse):
            os.kill(os.getpid(), signal.SIGKILL)
        return super()._step(actions, active)


# They need a keyword, so that they are not among the families that other tests go through.
NAN_REWARD, UNEVEN, FUSED = (f"{__name__}:{kind}-v0" for kind in ("NaNReward", "Uneven", "Fused"))
for _kind in ("NaNReward", "Uneven", "Fused"):
    if f"{_kind}-v0" not in gym.registry:
        register_meta_env(f"{_kind}-v0", f"{__name__}:{_kind}Env")


def without_metrics(path: Path) -> None:
    """Rewrite a checkpoint as versions wrote it that did not say what their metrics were."""
    content = torch.load(path, weights_only=True)
    content = {k: v for k, v in content.items() if k not in ("checksum", "metrics")} | {"format": 3}
    torch.save({**content, "checksum": _checksum(content)}, path)


def burn(fuse: str) -> bool:
    """Remove the file and say whether this call was the one that did."""
    try:
        os.remove(fuse)
    except FileNotFoundError:
        return False
    return True


def is_running(process_id: int) -> bool:
    """True if a process exists and is not a zombie."""
    try:
        status = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def children_of(process_id: int) -> list[int]:
    """Process ids of the running children."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process_id and fields[0] not in "ZX":
            children.append(int(path.parent.name))
    return children


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait for a condition; False if it did not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def travelled(value: Any) -> Any:
    """Copy of a value, as another process receives it."""
    here, there = multiprocessing.Pipe()
    with here, there:
        here.send(value)
        return there.recv()


def numbers(*indices: int) -> Shard:
    """A shard for `Counter`, of which only the indices count."""
    return Shard(list(indices), [{}] * len(indices), iteration=0, seed=7)


@dataclass(frozen=True)
class CounterSpec:
    """A worker that adds numbers and, told so by a file, comes to grief on the way.

    Attributes
    ----------
    trouble
        ``"die"``, ``"hang"``, ``"linger"``, ``"raise"`` or ``"exit"`` in `add`.
    fuse
        File that is removed when the trouble happens, so that it happens once; ``None``: always.
    build_seconds
        How long building it takes, in silence after one sign of life.
    """

    trouble: str = ""
    fuse: str | None = None
    build_seconds: float = 0.0

    @property
    def worker_class(self) -> type[Counter]:
        """See `WorkerSpec`."""
        return Counter

    def build(self, heartbeat: Callable[[], None]) -> Counter:
        """Make the worker."""
        heartbeat()
        time.sleep(self.build_seconds)
        return Counter(self, heartbeat)


class Counter:
    """See `CounterSpec`."""

    def __init__(self, spec: CounterSpec, heartbeat: Callable[[], None]) -> None:
        self.spec = spec
        self.heartbeat = heartbeat
        self.total = 0

    @builds_state("restart")
    def begin(self, shard: Shard) -> int:
        """Start anew with the sum of the shard's indices."""
        self.total = sum(shard.indices)
        return self.total

    @builds_state("keep")
    def add(self, number: int) -> int:
        """Add to the total, unless trouble comes first."""
        if self.spec.fuse is None or burn(self.spec.fuse):
            self._trouble()
        self.total += number
        return self.total

    def read(self) -> tuple[int, int]:
        """The total and the process that holds it."""
        return self.total, os.getpid()

    def work(self, seconds: float) -> None:
        """Be busy, with a sign of life now and then."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.heartbeat()
            time.sleep(0.02)

    def _trouble(self) -> None:
        if self.spec.trouble == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.spec.trouble == "hang":
            time.sleep(60)
        if self.spec.trouble == "linger":
            self.work(60)
        if self.spec.trouble == "raise":
            raise ArithmeticError("seven is no number here")
        if self.spec.trouble == "exit":
            sys.exit("no licence for this simulator")

    def close(self) -> None:
        """Nothing to free."""


def drifting_means(num_tasks: int, num_trials: int, rng: np.random.Generator) -> np.ndarray:
    """Means (M, T, 4) of the arms of new tasks of `DriftingBandit-v0`, in points."""
    env = make_meta_env("DriftingBandit-v0", 1, {"num_trials": num_trials})
    return np.stack([task["means"] for task in env.sample_tasks(num_tasks, rng)])
