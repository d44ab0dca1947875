"""Agents side by side are the agents alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from maml_rl import cli
from maml_rl.algorithms import make_algorithm
from maml_rl.algorithms.ensemble import mean_report
from maml_rl.config import Config, ConfigError, load_config
from maml_rl.evaluation import evaluate
from maml_rl.experiment import train
from maml_rl.metalearners import RL2, Report
from maml_rl.run_folder import RunFolder, RunFolderError
from maml_rl.tests.builders import NAN_REWARD, UNEVEN, write_config

pytestmark = pytest.mark.numerical

EXACT = 1e-9
"""Largest difference that rounding in float64 makes here, with room to spare."""

BASE = Config(
    algorithm="rl2",
    env_name="DriftingBandit-v0",
    env_kwargs={"num_trials": 6},
    policy="lstm",
    hidden_sizes=(5,),
    fast_batch_size=1,
    meta_batch_size=4,
    num_minibatches=2,
    num_batches=3,
    gamma=0.9,
    learning_rate=0.01,
    seed=3,
)
THREE = BASE.replace(num_agents=3)
CASES = {
    "ppo": {},
    "a2c": {"outer_step": "a2c", "optimiser": "rmsprop"},
    "trpo": {"outer_step": "trpo", "cg_damping": 0.1, "cg_iters": 3},
    "geometric": {"policy": "geometric", "memory_slots": 3, "memory_width": 2},
    "frozen": {"policy": "rnn", "train_recurrent": False},
    "episodes": {"env_name": "Bandit-K5-v0", "env_kwargs": {}, "fast_batch_size": 7, "gamma": 1.0},
    "uneven": {"env_name": UNEVEN, "env_kwargs": {"longest": 5}, "fast_batch_size": 2},
    "continuous": {"env_name": "2DNavigation-v0", "env_kwargs": {"max_episode_steps": 4}, "fast_batch_size": 2},
    "schedules": {"learning_rate_end": 0.0, "entropy_weight_end": 0.0, "gae_lambda_end": 0.5, "backprop_steps": 4},
}


def trained(config, num_workers=1, **kwargs):
    """Parameters after training in float64, where rounding hides no mistake."""
    return train(make_algorithm(config, dtype="float64"), num_workers=num_workers, **kwargs)


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_an_agent_of_an_ensemble_is_the_agent_of_its_seed_alone(changes):
    together = trained(THREE.replace(**changes)).reshape(3, -1)
    for agent in range(3):
        alone = trained(BASE.replace(**{**changes, "seed": BASE.seed + agent}))[0]
        np.testing.assert_allclose(together[agent], alone, rtol=0, atol=EXACT)
        start = make_algorithm(BASE.replace(**{**changes, "seed": BASE.seed + agent})).initial_parameters()
        assert np.abs(alone - start).max() > 1e-3


def test_the_number_of_workers_changes_nothing():
    expected = trained(THREE)
    np.testing.assert_allclose(trained(THREE, 2), expected, rtol=0, atol=EXACT)


def test_an_interrupted_ensemble_resumes_bit_for_bit(tmp_path):
    expected = trained(THREE, folder=RunFolder(tmp_path / "whole"))
    trained(THREE.replace(num_batches=1), folder=RunFolder(tmp_path / "part"))
    resumed = trained(THREE, folder=RunFolder(tmp_path / "part"), resume=True)
    np.testing.assert_array_equal(resumed, expected)
    with pytest.raises(RunFolderError, match=r"--resume: num-agents is 2, but the run .* has 3"):
        trained(THREE.replace(num_agents=2), folder=RunFolder(tmp_path / "part"), resume=True)


def test_a_run_starts_from_the_weights_of_as_many_agents(tmp_path):
    folder = RunFolder(tmp_path)
    parameters = trained(THREE, folder=folder)
    start = make_algorithm(THREE.replace(seed=0)).with_policy(folder.policy_path)
    np.testing.assert_array_equal(start.initial_parameters(), parameters.astype(np.float32))
    with pytest.raises(RunFolderError, match=r"is \(3, .*expected \(2, "):
        make_algorithm(THREE.replace(num_agents=2)).with_policy(folder.policy_path)
    with pytest.raises(RunFolderError, match=r"is \(3, .*expected \("):
        make_algorithm(BASE).with_policy(folder.policy_path)


@pytest.mark.parametrize("env_name", ["DriftingBandit-v0", UNEVEN])
def test_every_agent_is_evaluated_on_all_tasks_as_it_would_be_alone(env_name):
    changes = {"env_name": env_name, "env_kwargs": {"longest": 5}} if env_name == UNEVEN else {}
    algorithm = make_algorithm(THREE.replace(**changes), dtype="float64")
    sizes: dict[str, Any] = {"num_batches": 2, "meta_batch_size": 3, "num_adaptation_steps": 0, "seed": 8}
    whole = evaluate(algorithm, algorithm.initial_parameters(), num_workers=2, **sizes)
    assert whole.returns.shape == (1, 6, 3)
    assert whole.meta_episodes is not None
    for agent in range(3):
        single = make_algorithm(BASE.replace(**{**changes, "seed": BASE.seed + agent}), dtype="float64")
        alone = evaluate(single, single.initial_parameters(), **sizes)
        assert alone.meta_episodes is not None
        np.testing.assert_allclose(whole.returns[..., agent], alone.returns[..., 0], rtol=0, atol=EXACT)
        for together, own in zip(whole.meta_episodes[:-1], alone.meta_episodes[:-1], strict=True):
            length = own.shape[2]
            np.testing.assert_allclose(together[agent, :, :length], own[0], rtol=0, atol=EXACT)
            assert not together[agent, :, length:].any()


def test_the_commands_take_ensembles(tmp_path, capsys):
    config = write_config(tmp_path / "three.json", THREE)
    folder = tmp_path / "run"
    assert cli.train_command(["--config", str(config), "--output-folder", str(folder), "--backend", "serial"]) == 0
    flags = ["--config", str(folder / "config.json"), "--policy", str(folder / "policy.th"), "--backend", "serial"]
    flags += ["--num-batches", "2", "--meta-batch-size", "3", "--output", str(tmp_path / "results.npz")]
    assert cli.test_command(flags) == 0
    assert "6 tasks, 3 agents' meta-episodes of each" in capsys.readouterr().out
    with np.load(tmp_path / "results.npz") as results:
        assert results["returns"].shape == (1, 6, 3)
        assert results["actions"].shape == (3, 6, 12)
        total = results["rewards"].sum(axis=2)
    np.testing.assert_allclose(total.T, np.load(tmp_path / "results.npz")["returns"][0], rtol=1e-5)
    assert cli.test_command([*flags, "--render", str(tmp_path / "film.gif")]) == 2
    assert "film: a film shows one agent, and these are several" in capsys.readouterr().err
    assert load_config(folder / "config.json").num_agents == 3
    policy = torch.load(folder / "policy.th", weights_only=True)
    assert all(len(value) == 3 for value in policy.values())


def test_an_agent_without_numbers_stays_where_it_is_and_the_others_go_on(tmp_path, monkeypatch):
    alone = [trained(BASE.replace(seed=BASE.seed + agent))[0] for agent in range(3)]
    learn = RL2.learn

    def spoilt(self, reports, iteration, sampling_seconds):
        ill = self.outer.run.seed == BASE.seed + 1 and iteration == 0
        told = [replace(report, finite=False) for report in reports] if ill else reports
        return learn(self, told, iteration, sampling_seconds)

    monkeypatch.setattr(RL2, "learn", spoilt)
    whole = trained(THREE).reshape(3, -1)
    for agent in (0, 2):
        np.testing.assert_allclose(whole[agent], alone[agent], rtol=0, atol=EXACT)
    assert np.abs(whole[1] - alone[1]).max() > 1e-3
    trained(THREE.replace(num_batches=1), folder=RunFolder(tmp_path))
    np.testing.assert_array_equal(trained(THREE, folder=RunFolder(tmp_path), resume=True).reshape(3, -1), whole)


def test_agents_whose_rewards_are_no_numbers_stop_where_they_are(tmp_path):
    changes = {"env_name": NAN_REWARD, "env_kwargs": {"healthy_resets": 0}, "num_batches": 1}
    config = THREE.replace(**changes)
    np.testing.assert_array_equal(
        trained(config, folder=RunFolder(tmp_path)), make_algorithm(config, dtype="float64").initial_parameters()
    )
    assert RunFolder(tmp_path).resume(config, make_algorithm(config, dtype="float64").run_format) is not None


def test_maml_has_one_agent():
    with pytest.raises(ConfigError, match="num-agents in here: got 2, which algorithm 'maml' has no use for; leave it"):
        Config.from_mapping({"env-name": "Bandit-K5-v0", "num-agents": 2}, source="here")


def test_an_agent_that_is_lost_is_not_among_the_means():
    well = Report(1, 1.0, 1.0, 1.0, 1.0, 1.0, True, True, {"entropy": 1.5})
    lost = replace(well, finite=False, details={"entropy": 0.0}, return_total=np.nan, step_accepted=False)
    mean = mean_report([well, lost, well], 5.0, 1)
    assert (mean.return_total, mean.details["entropy"], mean.env_steps) == (1.0, 1.5, 3)
    assert mean.finite
    assert not mean.step_accepted
    assert not mean_report([lost, lost], 5.0, 1).finite
