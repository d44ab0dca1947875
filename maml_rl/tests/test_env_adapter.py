"""An ordinary environment becomes a task family by sweeping its attributes or arguments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium.utils.env_checker import check_env

from maml_rl.envs import check_meta_env, make_meta_env
from maml_rl.utils.random import Purpose, generator

CART_POLE = {"env_id": "CartPole-v1", "attributes": {"length": (0.25, 1.0), "gravity": [5.0, 9.8, 20.0]}}
PENDULUM = {"env_id": "Pendulum-v1", "arguments": {"g": {"low": 2.0, "high": 15.0}}}
FROZEN_LAKE = {"env_id": "FrozenLake-v1", "arguments": {"is_slippery": [False, True]}}


def _make(num_envs, env_kwargs):
    return make_meta_env("AttributeSweep-v0", num_envs, env_kwargs)


@pytest.mark.parametrize("env_kwargs", [CART_POLE, PENDULUM, FROZEN_LAKE], ids=lambda k: k["env_id"])
def test_an_adapted_environment_keeps_the_contract(env_kwargs):
    check_meta_env(_make(4, env_kwargs))


def test_the_adapted_single_environment_passes_gymnasiums_checker():
    env = gym.make("AttributeSweep-v0", env_id="FrozenLake-v1", arguments={"is_slippery": [False, True]})
    check_env(env.unwrapped, skip_render_check=True)
    env.close()


def test_the_documented_examples_work():
    page = Path(__file__).parents[2] / "docs" / "adapting-environments.md"
    if not page.exists():
        pytest.skip("the documentation is not installed with the package")
    text = page.read_text()
    sources = [block.removeprefix("python\n") for block in text.split("```") if block.startswith("python\n")]
    assert len(sources) == 3
    try:
        for source in sources:
            names: dict[str, Any] = {}
            exec(source, names)
    finally:
        gym.registry.pop("MyNavigation-v0", None)
    (block,) = (block for block in text.split("```") if block.startswith("yaml\n"))
    config = yaml.safe_load(block.removeprefix("yaml\n"))
    env = make_meta_env(config["env-name"], 1, config["env-kwargs"])
    assert env.sample_tasks(5, np.random.default_rng(0)) == _make(1, CART_POLE).sample_tasks(
        5, np.random.default_rng(0)
    )


def test_every_copy_has_its_tasks_parameters():
    env = _make(6, CART_POLE)
    tasks = env.sample_tasks(3, generator(0, Purpose.TASKS))
    env.set_tasks(tasks)
    env.reset(seed=0)
    for index, copy in enumerate(env._copies):
        assert copy.unwrapped.length == tasks[index // 2]["length"]
        assert copy.unwrapped.gravity == tasks[index // 2]["gravity"]


def test_the_adapter_plays_what_the_environment_plays():
    env = _make(1, CART_POLE)
    env.set_tasks([{"length": 0.5, "gravity": 5.0}])
    observations, _ = env.reset(options={"rngs": [np.random.default_rng(3)]})
    plain: Any = gym.make("CartPole-v1")
    plain.unwrapped.gravity = 5.0
    observation, _ = plain.reset(seed=int(np.random.default_rng(3).random() * 2**31))
    np.testing.assert_array_equal(observations[0], observation)
    for action in (1, 1, 0, 1):
        observation, reward, *_ = plain.step(action)
        observations, rewards, *_ = env.step(np.array([action]))
        np.testing.assert_array_equal(observations[0], observation)
        assert rewards[0] == reward


def test_tasks_are_drawn_from_the_ranges_and_lists():
    tasks = _make(1, CART_POLE).sample_tasks(600, np.random.default_rng(0))
    lengths = np.array([task["length"] for task in tasks])
    gravities, counts = np.unique([task["gravity"] for task in tasks], return_counts=True)
    assert 0.25 <= lengths.min() < 0.27
    assert 0.98 < lengths.max() < 1.0
    assert gravities.tolist() == [5.0, 9.8, 20.0]
    assert counts.min() > 160


def test_a_copy_is_rebuilt_only_when_its_arguments_change():
    env = _make(2, PENDULUM)
    env.set_tasks([{"g": 3.0}, {"g": 4.0}])
    env.reset(seed=0)
    first, second = env._copies
    assert (first.unwrapped.g, second.unwrapped.g) == (3.0, 4.0)
    env.reset(seed=1)
    assert env._copies == [first, second]
    env.set_tasks([{"g": 3.0}, {"g": 5.0}])
    env.reset(seed=1)
    assert env._copies[0] is first
    assert env._copies[1].unwrapped.g == 5.0


def test_the_default_task_is_the_environment_as_it_is():
    assert _make(1, CART_POLE).default_task() == {"length": 0.5, "gravity": 9.8}
    assert _make(1, PENDULUM).default_task() == {"g": 8.5}


def test_the_limit_is_the_environments_own_unless_given():
    assert _make(1, PENDULUM).max_episode_steps == 200
    env = _make(2, {**PENDULUM, "max_episode_steps": 3})
    env.reset(seed=0)
    assert [env.step(np.zeros((2, 1)))[3].tolist() for _ in range(4)] == [[False] * 2] * 2 + [
        [True] * 2,
        [False] * 2,
    ]


def test_actions_out_of_bounds_are_clipped():
    env = _make(2, PENDULUM)
    env.set_tasks([{"g": 10.0}])
    env.reset(options={"rngs": [np.random.default_rng(0), np.random.default_rng(0)]})
    observations = env.step(np.array([[2.0], [50.0]]))[0]
    np.testing.assert_array_equal(observations[0], observations[1])


def test_discrete_observations_become_one_hot():
    env = _make(2, FROZEN_LAKE)
    observations, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observations, np.tile(np.eye(16, dtype=np.float32)[0], (2, 1)))


class _SelfTruncating(gym.Env):
    """Truncates itself at its second step, without a registered limit."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    size = 1.0

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def render(self):
        return np.ones((4, 6, 3), dtype=np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.elapsed = 0
        return np.zeros(1, dtype=np.float32), {}

    def step(self, action):
        self.elapsed += 1
        return np.zeros(1, dtype=np.float32), self.size, False, self.elapsed == 2, {}


@pytest.fixture
def self_truncating():
    gym.register("SelfTruncating-v0", entry_point=lambda **kwargs: _SelfTruncating(**kwargs))
    yield "SelfTruncating-v0"
    del gym.registry["SelfTruncating-v0"]


def test_an_environment_that_truncates_itself_is_truncated(self_truncating):
    env = _make(2, {"env_id": self_truncating, "attributes": {"size": (1.0, 2.0)}})
    check_meta_env(env)
    env.reset(seed=0)
    actions = np.zeros(2, dtype=int)
    assert [env.step(actions)[3].tolist() for _ in range(3)] == [[False, False], [True, True], [False, False]]


def test_rendering_gives_one_picture_per_copy(self_truncating):
    env = _make(2, {"env_id": self_truncating, "attributes": {"size": (1.0, 2.0)}, "render_mode": "rgb_array"})
    env.reset(seed=0)
    frames = env.render()
    assert [frame.shape for frame in frames] == [(4, 6, 3)] * 2
    assert [frame.max() for frame in frames] == [1, 1]
    env.close()
    with pytest.raises(ValueError, match=r"render: got render_mode None"):
        _make(1, CART_POLE).render()


@pytest.mark.parametrize(
    ("env_kwargs", "message"),
    [
        ({"env_id": "CartPol-v1"}, r"env_id: unknown environment 'CartPol-v1'; did you mean 'CartPole-v1'\?"),
        ({"env_id": "CartPole-v1"}, r"attributes, arguments: got neither"),
        (
            {"env_id": "CartPole-v1", "attributes": {"lenght": (1, 2)}},
            r"attributes: CartPoleEnv has no attribute 'lenght'; did you mean 'length'\?",
        ),
        (
            {"env_id": "CartPole-v1", "attributes": {"np_random_seed": [1]}},
            r"attributes: CartPoleEnv.np_random_seed is read-only",
        ),
        (
            {"env_id": "CartPole-v1", "attributes": {"length": (2, 1)}},
            r"attributes\['length'\]: got low = 2.0, high = 1.0, expected finite low <= high",
        ),
        (
            {"env_id": "CartPole-v1", "attributes": {"length": 1.0}},
            r"attributes\['length'\]: got 1.0, expected \(low, high\), \{low: ..., high: ...\} or a list",
        ),
        (
            {"env_id": "CartPole-v1", "attributes": {"length": []}},
            r"attributes\['length'\]: got an empty list, expected at least one value",
        ),
        (
            {"env_id": "Pendulum-v1", "arguments": {"gravity": (1, 2)}},
            r"arguments, env_kwargs: 'Pendulum-v1' cannot be made with {'gravity'",
        ),
        (
            {"env_id": "Pendulum-v1", "arguments": {"g": (1, 2)}, "env_kwargs": {"g": 3}},
            r"arguments: 'g' is also in attributes or env_kwargs; name it once",
        ),
        (
            {"env_id": "Blackjack-v1", "arguments": {"natural": [True, False]}},
            r"observation space: got Tuple\(.*\), expected Box or Discrete",
        ),
    ],
)
def test_a_wrong_sweep_is_explained_in_one_line(env_kwargs, message):
    with pytest.raises(ValueError, match=message) as caught:
        _make(1, env_kwargs)
    assert "\n" not in str(caught.value)


def test_an_argument_may_not_change_the_spaces():
    env = _make(2, {"env_id": "FrozenLake-v1", "arguments": {"map_name": ["4x4", "8x8"]}})
    env.set_tasks([{"map_name": "4x4"}, {"map_name": "8x8"}])
    with pytest.raises(ValueError, match=r"all tasks of a family share their spaces"):
        env.reset(seed=0)
