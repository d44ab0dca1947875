"""An array of another shape than the contract's is refused where it enters: NumPy would repeat it without a word."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from maml_rl.algorithms import make_algorithm
from maml_rl.envs import MetaEnvError, make_meta_env, register_meta_env
from maml_rl.envs.control.navigation import NavigationVectorEnv
from maml_rl.samplers.recorders import EpisodeRecorder
from maml_rl.samplers.rollout import rollout
from maml_rl.shard import Streams
from maml_rl.tests.builders import tiny_config
from maml_rl.utils.errors import InputError


class Reshaped(NavigationVectorEnv):
    """Returns one of its arrays in another shape."""

    def __init__(self, num_envs: int = 1, *, part: str, shape: list[Any] | None = None) -> None:
        super().__init__(num_envs)
        self.part, self.shape = part, tuple(shape or ())

    def _of(self, part: str, array: np.ndarray) -> np.ndarray:
        return np.zeros(self.shape, array.dtype) if part == self.part else array

    def _reset(self, mask):
        return self._of("first", super()._reset(mask))

    def _step(self, actions, active):
        parts = zip(("observations", "rewards", "terminated"), super()._step(actions, active), strict=True)
        return tuple(self._of(name, array) for name, array in parts)

    def _out_of_time(self):
        return self._of("truncated", super()._out_of_time())


class OwnStep(NavigationVectorEnv):
    """Overrides `step` itself and returns one reward for all."""

    def step(self, actions):
        observations, rewards, *rest = super().step(actions)
        return observations, rewards[:1], *rest


class Plain(gym.Env):
    """Ordinary environment whose results have the shapes it is told."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)
    size = 1.0

    def __init__(self, part: str = "", first: int = 3) -> None:
        self.part, self.first = part, first

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(self.first, np.float32), {}

    def step(self, action):
        values = {"observation": np.zeros(3, np.float32), "reward": 1.0, "terminated": False, "truncated": True}
        if self.part:
            values[self.part] = np.ones(1, np.asarray(values[self.part]).dtype)
        return *values.values(), {}


@pytest.fixture(autouse=True)
def registered():
    register_meta_env("Reshaped-v0", f"{__name__}:Reshaped")
    gym.register("Plain-v0", entry_point=lambda **kwargs: Plain(**kwargs))
    yield
    del gym.registry["Reshaped-v0"], gym.registry["Plain-v0"]


RESHAPED = [
    ("first", (1, 2), (8, 2), "_reset: observations"),
    ("first", (8, 1), (8, 2), "_reset: observations"),
    ("observations", (2,), (8, 2), "_step: observations"),
    ("rewards", (1,), (8,), "_step: rewards"),
    ("rewards", (), (8,), "_step: rewards"),
    ("rewards", (8, 1), (8,), "_step: rewards"),
    ("terminated", (1,), (8,), "_step: terminated"),
    ("truncated", (1,), (8,), "_out_of_time"),
]


@pytest.mark.parametrize(("part", "shape", "expected", "words"), RESHAPED)
def test_a_family_that_returns_another_shape_is_refused_at_its_first_step(part, shape, expected, words):
    env = Reshaped(8, part=part, shape=list(shape))
    with pytest.raises(MetaEnvError) as caught:  # noqa: PT012
        env.reset(seed=0)
        env.step(np.zeros((8, 2)))
    assert str(caught.value) == f"{words}: got shape {shape}, expected {expected}; return one row per sub-environment"


def test_a_run_of_such_a_family_does_not_start():
    config = tiny_config("Reshaped-v0", env_kwargs={"part": "rewards", "shape": [1]})
    with pytest.raises(InputError) as caught:
        make_algorithm(config)
    assert str(caught.value) == (
        "env-name: Reshaped-v0 cannot be used: _step: rewards: got shape (1,), expected (2,); "
        "return one row per sub-environment"
    )


def test_a_family_with_a_step_of_its_own_is_refused_when_it_is_rolled_out():
    env = OwnStep(4)
    policy = make_algorithm(tiny_config("2DNavigation-v0")).policy
    rngs = [np.random.default_rng(0)]
    with pytest.raises(MetaEnvError, match=r"^step: rewards: got shape \(1,\), expected \(4,\); return one row per"):
        rollout(env, policy, policy.params(), [env.default_task()], Streams(rngs, rngs), recorder=EpisodeRecorder())


@pytest.mark.parametrize("part", ["observation", "reward", "terminated", "truncated"])
def test_an_ordinary_environment_that_returns_another_shape_is_refused(part):
    env = make_meta_env(
        "AttributeSweep-v0",
        2,
        {"env_id": "Plain-v0", "attributes": {"size": [1.0, 2.0]}, "env_kwargs": {"part": part}},
    )
    env.reset(seed=0)
    expected = r"\(3,\)" if part == "observation" else r"\(\)"
    words = rf"^(reset or )?step of Plain-v0: {part}: got shape \(1,\), expected {expected}; .* wrap the environment$"
    with pytest.raises(MetaEnvError, match=words):
        env.step(np.zeros(2, dtype=int))


def test_an_ordinary_environment_that_begins_with_another_shape_is_refused():
    kwargs = {"env_id": "Plain-v0", "attributes": {"size": [1.0]}, "env_kwargs": {"first": 1}}
    env = make_meta_env("AttributeSweep-v0", 2, kwargs)
    with pytest.raises(MetaEnvError, match=r"step of Plain-v0: observation: got shape \(1,\), expected \(3,\)"):
        env.reset(seed=0)
