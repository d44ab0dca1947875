"""The oracle's family: the same episodes, rewards and ends, with the task behind each observation."""

from __future__ import annotations

import numpy as np
import pytest

from maml_rl.algorithms import make_algorithm
from maml_rl.envs import check_meta_env, make_meta_env
from maml_rl.evaluation import evaluate
from maml_rl.experiment import train
from maml_rl.tests.builders import UNEVEN, tiny_config

FAMILIES = [
    ("Bandit-K5-v0", {}),
    ("2DNavigation-v0", {"max_episode_steps": 4}),
    ("HalfCheetahDir-v2", {"max_episode_steps": 3}),
    ("HopperRandParams-v0", {"max_episode_steps": 3}),
    ("ContextualTwoStep-v0", {}),  # its episodes follow each other on a task
    ("CartPoleControl-v0", {"max_episode_steps": 3}),  # tensors behind arrays
    (UNEVEN, {"longest": 6}),
]
every_family = pytest.mark.parametrize(("name", "kwargs"), FAMILIES, ids=[name.split(":")[-1] for name, _ in FAMILIES])
EPISODES = 2


def told(name, kwargs, num_envs):
    return make_meta_env("ToldTask-v0", num_envs, {"env_name": name, "env_kwargs": kwargs})


def played(env, tasks):
    """Observations, rewards and ends of some episodes on each task, with actions that are a function of the step."""
    env.set_tasks(tasks)
    rngs = [np.random.default_rng(seed) for seed in range(len(tasks))]
    observations, _ = env.reset(options={"rngs": rngs})
    rows = [(observations, None, None, None)]
    for _ in range(EPISODES):
        while not env.finished.all():
            env.action_space.seed(len(rows))
            rows.append(env.step(env.action_space.sample())[:4])
        rows.append((env.reset(options={"reset_mask": np.ones(env.num_envs, bool)})[0], None, None, None))
    return rows


@every_family
def test_an_oracle_meets_the_same_episodes_and_is_told_the_task_of_each(name, kwargs):
    plain = make_meta_env(name, 4, kwargs)
    tasks = plain.sample_tasks(2, np.random.default_rng(3))
    features = np.repeat(plain.task_features(tasks), 2, axis=0).astype(np.float32)
    for told_row, plain_row in zip(played(told(name, kwargs, 4), tasks), played(plain, tasks), strict=True):
        shown = plain_row[0].reshape(4, -1)
        np.testing.assert_array_equal(told_row[0][:, : shown.shape[1]], shown.astype(np.float32))
        np.testing.assert_array_equal(told_row[0][:, shown.shape[1] :], features)
        for one, other in zip(told_row[1:], plain_row[1:], strict=True):
            np.testing.assert_array_equal(one, other)


@every_family
def test_it_is_a_task_family(name, kwargs):
    check_meta_env(told(name, kwargs, 4))


@pytest.mark.slow
def test_only_who_is_told_can_know_the_task_without_adapting():
    returns = {}
    for name, env in {"told": ("ToldTask-v0", {"env_name": "Bandit-K5-v0"}), "untold": ("Bandit-K5-v0", {})}.items():
        config = tiny_config(
            env_name=env[0],
            env_kwargs=env[1],
            num_steps=0,
            num_batches=40,
            meta_batch_size=40,
            maml_outer_step="promp",
            promp_learning_rate=0.02,
            hidden_sizes=(32,),
        )
        algorithm = make_algorithm(config)
        returns[name] = evaluate(
            algorithm, train(algorithm), num_batches=1, meta_batch_size=100, num_adaptation_steps=0
        ).returns.mean()
    assert returns["told"] > returns["untold"] + 0.15, returns
