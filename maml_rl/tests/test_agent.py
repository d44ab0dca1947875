"""Agents in Python: what they adapt to, what they remember, and what they refuse."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.testing import assert_close

import maml_rl
from maml_rl.agent import Agent, load_agent
from maml_rl.algorithms import make_algorithm
from maml_rl.baseline import LinearFeatureBaseline
from maml_rl.episode import RecordedEpisode, discounted_returns, generalised_advantages, normalise
from maml_rl.tests.builders import tiny_config
from maml_rl.utils.errors import InputError

NAVIGATION = tiny_config("2DNavigation-v0", fast_batch_size=2)
BANDIT = {"env_name": "Bandit-K5-v0", "hidden_sizes": (6,), "meta_batch_size": 2, "seed": 3}
WITH_MEMORY = [
    tiny_config("Bandit-K5-v0", algorithm="rl2", policy="lstm", fast_batch_size=3),
    tiny_config("Bandit-K5-v0", algorithm="rl2", policy="attention", attention_width=8, attention_heads=2),
    tiny_config("TwoStep-v0", algorithm="rl2", policy="episodic"),
    tiny_config("TabularMDP-v0", algorithm="rl2", policy="gru", observe_reward_change=0.5),
]


def agent_of(config, *, dtype="float64"):
    """An agent with random weights, all of them."""
    algorithm = make_algorithm(config, dtype=dtype)
    rng = np.random.default_rng(0)
    params = {k: torch.from_numpy(0.3 * rng.standard_normal(tuple(v.shape))).to(v) for k, v in
              algorithm.individuals()[0].items()}  # fmt: skip
    return Agent(algorithm.with_individuals([params]))


def recorded(agent, count, length=6, seed=0):
    """Episodes that nobody has played."""
    rng = np.random.default_rng(seed)
    shape = agent.observation_space.shape
    discrete = isinstance(agent.action_space, gym.spaces.Discrete)
    return [
        RecordedEpisode(
            rng.random((length, *shape)).astype(agent.observation_space.dtype),
            rng.integers(agent.action_space.n, size=length)
            if discrete
            else rng.normal(size=(length, *agent.action_space.shape)),
            rng.normal(size=length),
        )
        for _ in range(count)
    ]


def test_a_gradient_step_on_recorded_episodes_is_that_of_the_policy_gradient():
    agent = agent_of(NAVIGATION)
    episodes = recorded(agent, 3)
    config, policy = NAVIGATION, agent.algorithm.policy
    before = {k: v[0].clone().requires_grad_() for k, v in agent._start.params.items()}
    observations, actions, rewards = (
        torch.from_numpy(np.stack(part, axis=1)).double() for part in zip(*episodes, strict=True)
    )
    mask = torch.ones(1, *rewards.shape, dtype=torch.float64)
    returns = discounted_returns(rewards[None], mask, config.gamma)
    values = LinearFeatureBaseline().fit_predict(observations[None], returns, mask)
    advantages = generalised_advantages(rewards[None], values, mask, gamma=config.gamma, gae_lambda=config.gae_lambda)
    loss = -(policy.unroll(before, observations).log_prob(actions) * normalise(advantages, mask)[0]).mean()
    gradients = torch.autograd.grad(loss, list(before.values()))
    after = agent.adapt(episodes)._start.params
    for (name, value), gradient in zip(before.items(), gradients, strict=True):
        assert_close(after[name][0], (value - config.fast_lr * gradient).detach(), rtol=0, atol=1e-12)
    assert_close(agent._start.params["sigma"][0], before["sigma"].detach(), rtol=0, atol=0)  # it stays as it was


def test_steps_after_the_first_are_smaller_by_the_factor():
    first, second = (recorded(agent_of(NAVIGATION), 3, seed=seed) for seed in (0, 1))
    start = []
    for factor in (1.0, 0.25):
        once = agent_of(NAVIGATION.replace(fast_lr_later_factor=factor)).adapt(first)
        start.append((once._start.params, once.adapt(second)._start.params))
    (once, whole), (same, quarter) = start
    for name, value in once.items():
        assert_close(same[name], value, rtol=0, atol=0)
        assert_close(4.0 * (quarter[name] - value), whole[name] - value, rtol=0, atol=1e-12)


def test_recorded_episodes_of_unequal_length_weigh_by_their_steps():
    agent = agent_of(NAVIGATION)
    short, long = recorded(agent, 1, length=3)[0], recorded(agent, 1, length=9, seed=1)[0]
    one, other = (agent.adapt(order)._start.params for order in ([short, long], [long, short]))
    for name, value in one.items():
        assert_close(other[name], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("config", WITH_MEMORY, ids=lambda c: c.policy)
def test_what_an_agent_has_lived_through_is_what_it_is_told(config):
    agent = agent_of(config)
    env = agent._env_of(agent.sample_tasks(1)[0])
    episodes, reward, ended = [], 0.0, False
    for index in range(3):
        observation, _ = env.reset(seed=index)
        rows, over = [], False
        while not over:
            action = agent.act(observation, reward=reward, ended=ended)
            following, reward, terminated, truncated, _ = env.step(action)
            rows.append((observation, action, reward))
            ended, over, observation = False, terminated or truncated, following
        episodes.append(RecordedEpisode(*(np.array(part) for part in zip(*rows, strict=True))))
        ended = True
    told = agent_of(config).adapt(episodes)
    observation, _ = env.reset(seed=9)
    agent.act(observation, reward=reward, ended=True)
    told.act(observation)
    for mine, theirs in zip(*(torch.utils._pytree.tree_leaves(one._mind.state) for one in (agent, told)), strict=True):
        assert_close(mine, theirs, rtol=0, atol=1e-12)


class Counted(gym.Env):
    """Three trials, of which each pays one more than the one before."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.age = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self.age += 1
        return np.ones(1, np.float32), float(self.age), False, self.age == 3, {}


def test_an_episode_begins_with_what_the_last_action_before_it_obtained(monkeypatch):
    agent, told = agent_of(WITH_MEMORY[0]), []
    act = Agent.act

    def noted(self, observation, **own):
        told.append(own)
        return act(self, observation, **own)

    monkeypatch.setattr(Agent, "act", noted)
    agent.adapt(Counted(), 1, episodes=2)
    first = [(0.0, False), (1.0, False), (2.0, False)]
    assert [(own["reward"], own["ended"]) for own in told] == [*first, (3.0, True), *first[1:]]


@pytest.mark.parametrize("config", WITH_MEMORY, ids=lambda c: c.policy)
def test_reset_brings_back_the_memory_as_it_was(config):
    agent = agent_of(config)
    adapted = agent.adapt(recorded(agent, 3))
    observations = recorded(agent, 1, length=8, seed=5)[0].observations

    before = torch.utils._pytree.tree_map(torch.clone, adapted._start.state)
    for index, observation in enumerate(observations):
        adapted.act(observation, reward=0.5, ended=index % 3 == 2)
    adapted.reset()
    leaves = zip(*(torch.utils._pytree.tree_leaves(one) for one in (before, adapted._start.state)), strict=True)
    for mine, theirs in leaves:
        assert_close(mine, theirs, rtol=0, atol=0)


def test_an_agent_adapts_to_a_task_and_acting_changes_nothing_that_reset_does_not_bring_back():
    agent = load_agent("2d-navigation")
    task = {"goal": np.array([-0.49, 0.47])}
    adapted = agent.adapt(task, episodes=20)
    again = agent.adapt(task, episodes=20)
    for name, value in adapted._start.params.items():
        assert_close(again._start.params[name], value, rtol=0, atol=0)

    def mean_return(one):
        env, total = one._env_of(task), 0.0
        for seed in range(10):
            one.reset()
            observation, _ = env.reset(seed=seed)
            over = False
            while not over:
                observation, reward, terminated, truncated, _ = env.step(one.act(observation))
                over, total = terminated or truncated, total + reward
        return total / 10

    assert mean_return(adapted) > mean_return(agent) + 20.0
    assert agent.evaluate(3).returns.shape == (2, 3, agent.algorithm.config.fast_batch_size)


class Walk(gym.Env):
    """Somebody's own environment: a walk in the plane."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Box(-0.1, 0.1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.age = np.zeros(2, np.float32), 0
        return self.place.copy(), {}

    def step(self, action):
        self.place, self.age = self.place + action, self.age + 1
        return self.place.copy(), float(self.place[0]), False, self.age == 20, {}


def test_an_agent_adapts_to_ones_own_environment():
    agent = load_agent("2d-navigation")
    action = agent.adapt(Walk()).act(np.zeros(2))
    assert action.shape == (2,)
    assert (np.abs(action) <= np.float32(0.1)).all()


def test_an_agent_of_an_ensemble_is_loaded_alone(tmp_path):
    config = tiny_config("Bandit-K5-v0", algorithm="rl2", policy="lstm", num_agents=2)
    algorithm = make_algorithm(config)
    for index in (0, 1):
        alone = algorithm.individual(index)
        np.testing.assert_array_equal(alone.initial_parameters(), algorithm.initial_parameters()[index : index + 1])
    with pytest.raises(InputError, match=r"^index: got 2, expected a whole number in \[0, 1\]$"):
        algorithm.individual(2)


class Scalar(Walk):
    """An environment with other spaces."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda agent: agent.act([1.0]), r"observation: got shape \(1,\), expected \(2,\) as observation_space has it"),
        (lambda agent: agent.act([np.nan, 0.0]), "observation: got NaN or infinity, expected finite numbers; check"),
        (lambda agent: agent.adapt([]), "source: got no episodes, expected at least one"),
        (lambda agent: agent.adapt([([[0.0, 0.0]], [[0.0, 0.0]])]), "episode 0: got 2 parts, expected observations,"),
        (lambda agent: agent.adapt([([[0.0, 0.0]], [[0.0]], [1.0])]), r"episode 0: actions: got shape \(1, 1\), expec"),
        (
            lambda agent: agent.adapt([([], [], [])]),
            r"episode 0: observations: got shape \(0,\), expected at least one",
        ),
        (lambda agent: agent.adapt(Scalar()), r"observation_space: got Box.*, expected Box.*; wrap the environment"),
        (lambda agent: agent.adapt(Walk(), 0), "num_steps: got 0, expected at least 1"),
        (lambda agent: agent.adapt(Walk(), episodes=0), "episodes: got 0, expected at least 1"),
        (lambda agent: agent.adapt(recorded(agent, 2), 3), "num_steps: got 3, expected at most one an episode, 2"),
        (lambda agent: load_agent("2d-navigations"), "zoo: got '2d-navigations', expected one of .*did you mean"),
        (lambda agent: load_agent("no-such.yaml"), "config: no such file"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(use, words):
    with pytest.raises(InputError, match=f"^{words}") as caught:
        use(agent_of(NAVIGATION))
    assert "\n" not in str(caught.value)


def test_the_package_exports_what_it_says():
    assert maml_rl.load_agent is load_agent
    assert maml_rl.Agent is Agent
    with pytest.raises(AttributeError, match="module 'maml_rl' has no attribute 'nothing'"):
        maml_rl.nothing  # noqa: B018


@pytest.mark.slow
def test_three_lines_from_a_script_outside_the_checkout(tmp_path):
    script = tmp_path / "use.py"
    script.write_text(
        "import sys, maml_rl\n"
        "assert 'torch' not in sys.modules\n"
        "agent = maml_rl.load_agent('bandit-k10-n100')\n"
        "adapted = agent.adapt(agent.sample_tasks(1)[0], num_steps=20)\n"
        "print(adapted.act(agent.observation_space.sample()))\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) in range(10)
