"""Evaluation depends on configuration, weights and seed, and on nothing else; its command refuses bad input."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

from maml_rl import cli
from maml_rl.algorithms import Evaluation, make_algorithm
from maml_rl.analysis import mean_interval
from maml_rl.config import Config
from maml_rl.envs.task_table import task_table
from maml_rl.evaluation import (
    evaluate,
    save_results,
    summary_lines,
)
from maml_rl.run_folder import RunFolder, RunFolderError
from maml_rl.samplers import MAMLWorker, SerialBackend
from maml_rl.shard import Shard
from maml_rl.tests.builders import UNEVEN
from maml_rl.utils.errors import InputError

NAVIGATION = Config(
    env_name="2DNavigation-v0",
    env_kwargs={"max_episode_steps": 10},
    hidden_sizes=(8,),
    fast_batch_size=3,
    meta_batch_size=4,
)


@pytest.fixture
def algorithm():
    return make_algorithm(NAVIGATION)


@pytest.fixture
def run(tmp_path, algorithm):
    """Files of a run: config.json and policy.th."""
    folder = RunFolder(tmp_path / "run")
    folder.create(NAVIGATION)
    torch.save(algorithm.state_dict(algorithm.initial_parameters()), folder.policy_path)
    return folder


def command(run, output, *flags):
    files = ["--config", str(run.config_path), "--policy", str(run.policy_path), "--output", str(output)]
    sizes = ["--num-batches", "2", "--meta-batch-size", "3", "--num-workers", "1"]
    return cli.test_command([*files, *sizes, *flags])


def small(algorithm, **settings):
    chosen = {"num_batches": 2, "meta_batch_size": 3, "num_adaptation_steps": 2, **settings}
    return evaluate(algorithm, algorithm.initial_parameters(), **chosen)


@pytest.mark.numerical
def test_returns_do_not_depend_on_the_number_of_workers():
    algorithm = make_algorithm(NAVIGATION, dtype="float64")
    task_rng = np.random.default_rng(0)
    tasks = algorithm.env.sample_tasks(5, task_rng)
    results = []
    for num_workers in (1, 2, 3):
        with SerialBackend(algorithm.worker_spec, num_workers) as backend:
            whole = Shard(range(5), tasks, 0, seed=1, evaluation=True)
            calls = [(part, algorithm.initial_parameters()[0], 2) for part in whole.split(num_workers)]
            results.append(np.concatenate([returns for returns, _ in backend.map("evaluate", calls)], axis=1))
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(results[2], results[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("changes", [{}, {"algorithm": "rl2", "policy": "lstm"}], ids=["maml", "rl2"])
def test_more_workers_than_tasks_of_a_batch_change_nothing(changes):
    algorithm = make_algorithm(NAVIGATION.replace(**changes))
    one, more = (small(algorithm, meta_batch_size=1, num_workers=num_workers) for num_workers in (1, 3))
    np.testing.assert_array_equal(more.returns, one.returns)


@pytest.mark.numerical
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"algorithm": "rl2", "policy": "lstm"},
        {"algorithm": "rl2", "policy": "lstm", "num_agents": 2},
        {"env_name": "Bandit-K5-v0", "env_kwargs": {}},
    ],
    ids=["maml", "rl2", "ensemble", "bandit"],
)
def test_tasks_and_returns_do_not_depend_on_how_many_are_played_at_once(changes):
    algorithm = make_algorithm(NAVIGATION.replace(**changes), dtype="float64")
    one, other = (
        small(algorithm, num_batches=num_batches, meta_batch_size=size) for num_batches, size in ((2, 3), (3, 2))
    )
    for mine, theirs in zip(task_table(one.tasks), task_table(other.tasks), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_allclose(one.returns, other.returns, rtol=0, atol=1e-9)


def test_returns_are_a_function_of_the_seed(algorithm):
    first, again, other = small(algorithm), small(algorithm), small(algorithm, seed=2)
    np.testing.assert_array_equal(first.returns, again.returns)
    assert not np.isclose(first.returns, other.returns).any()


def test_going_further_changes_nothing_of_the_steps_before(algorithm):
    near, far = small(algorithm, num_adaptation_steps=1), small(algorithm, num_adaptation_steps=3)
    assert near.returns.shape == (2, 6, 3)
    np.testing.assert_array_equal(far.returns[:2], near.returns)


def test_without_an_inner_step_size_parameters_stay():
    algorithm = make_algorithm(NAVIGATION.replace(fast_lr=0.0))
    worker = algorithm.worker_spec.build(lambda: None)
    assert isinstance(worker, MAMLWorker)
    shard = Shard.whole(algorithm.env.sample_tasks(2, np.random.default_rng(0)), iteration=0, seed=1)
    path = worker.adapted_parameters(shard, algorithm.initial_parameters()[0], 2)
    assert len(path) == 3
    for params in path:
        for name, value in algorithm.policy.params().items():
            np.testing.assert_allclose(params[name], value.expand(2, *value.shape), atol=1e-7)


def test_a_memory_s_steps_of_adaptation_are_the_episodes_of_one_meta_episode(tmp_path):
    config = Config(
        algorithm="rl2",
        env_name="Bandit-K5-v0",
        policy="lstm",
        hidden_sizes=(8,),
        fast_batch_size=4,
        meta_batch_size=4,
    )
    algorithm = make_algorithm(config)
    near, far = small(algorithm, num_adaptation_steps=0), small(algorithm, num_adaptation_steps=6)
    assert near.trained == 3
    assert near.returns.shape == (4, 6, 1)
    np.testing.assert_array_equal(far.returns[:4], near.returns)
    total = near.returns.sum(axis=0).mean()
    assert summary_lines(near, [0, 3])[-1].split()[:2] == ["all", f"{total:.2f}"]
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    torch.save(algorithm.state_dict(algorithm.initial_parameters()), folder.policy_path)
    assert command(folder, tmp_path / "results.npz") == 0
    with np.load(tmp_path / "results.npz") as results:
        np.testing.assert_array_equal(results["returns"], near.returns)
        assert results["num_steps"].tolist() == [0, 1, 2, 3]
        assert results["observations"].shape == (6, 4, 1)
        assert results["mask"].all()
        np.testing.assert_array_equal(results["rewards"], near.returns[..., 0].T)
        means = results["tasks"]
        assert means.shape == (6, 5)
        certain = np.take_along_axis(means, results["actions"], axis=1)  # chance of every payment
        assert ((certain > 0) | (results["rewards"] == 0)).all()


def test_an_agent_that_sees_how_much_is_over_plays_no_longer_meta_episodes():
    config = Config(algorithm="rl2", env_name="Bandit-K5-v0", policy="rnn", fast_batch_size=3, show_progress=True)
    assert small(make_algorithm(config), num_adaptation_steps=2).returns.shape == (3, 6, 1)
    with pytest.raises(InputError, match="--num-steps: got 3, expected at most 2 with observe-episode-fraction: true"):
        small(make_algorithm(config), num_adaptation_steps=3)


def test_meta_episodes_of_different_lengths_are_joined_with_nothing_behind_their_end():
    config = Config(
        algorithm="rl2",
        env_name=UNEVEN,
        env_kwargs={"longest": 5},
        policy="rnn",
        hidden_sizes=(4,),
        fast_batch_size=2,
    )
    sizes = {"num_adaptation_steps": 1, "meta_batch_size": 5, "num_workers": 1}
    evaluations = [small(make_algorithm(config), **sizes) for _ in range(2)]
    found = evaluations[0].meta_episodes
    assert found is not None
    assert len(set(found.mask[0].sum(axis=1))) > 1
    assert not found.rewards[~found.mask].any()
    np.testing.assert_allclose(found.rewards[0].sum(axis=1), evaluations[0].returns.sum(axis=(0, 2)), rtol=1e-5)
    for part, same in zip(found, evaluations[1].meta_episodes or (), strict=True):
        np.testing.assert_array_equal(part, same)


@pytest.mark.parametrize("num_episodes", [1, 3])
def test_an_agent_with_memory_is_filmed_along_its_meta_episode(tmp_path, num_episodes):
    config = Config(
        algorithm="rl2",
        env_name="2DNavigation-v0",
        env_kwargs={"max_episode_steps": 6},
        policy="rnn",
        hidden_sizes=(8,),
        fast_batch_size=num_episodes,
    )
    folder = RunFolder(tmp_path / "run")
    folder.create(config)
    film = tmp_path / "film.gif"
    assert command(folder, tmp_path / "r.npz", "--policy", "random", "--render", str(film)) == 0
    with Image.open(film) as frames:
        assert frames.n_frames == 1 + min(6 * num_episodes, 6 if num_episodes == 1 else 9)  # type: ignore[attr-defined]


def test_results_load_without_unpickling(tmp_path, algorithm):
    evaluation = small(algorithm)
    save_results(tmp_path / "results.npz", evaluation, [0, 2])
    with np.load(tmp_path / "results.npz", allow_pickle=False) as results:
        assert results["task_fields"].tolist() == ["goal[0]", "goal[1]"]
        np.testing.assert_array_equal(results["tasks"], [task["goal"] for task in evaluation.tasks])
        np.testing.assert_array_equal(results["train_returns"], evaluation.returns[0])
        np.testing.assert_array_equal(results["valid_returns"], evaluation.returns[1])
        np.testing.assert_array_equal(results["returns"], evaluation.returns[[0, 2]])
        assert results["num_steps"].tolist() == [0, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["results.npz"]


@pytest.mark.slow
def test_zero_steps_is_before_adaptation(tmp_path, run):
    assert command(run, tmp_path / "zero.npz", "--num-steps", "0") == 0
    with np.load(tmp_path / "zero.npz", allow_pickle=False) as results:
        assert results["num_steps"].tolist() == [0]
        np.testing.assert_array_equal(results["returns"][0], results["train_returns"])
        assert not np.array_equal(results["valid_returns"], results["train_returns"])


@pytest.mark.slow
def test_saved_weights_of_a_fresh_policy_are_the_random_policy(tmp_path, run):
    assert command(run, tmp_path / "saved.npz") == 0
    assert command(run, tmp_path / "random.npz", "--policy", "random") == 0
    with np.load(tmp_path / "saved.npz") as saved, np.load(tmp_path / "random.npz") as fresh:
        np.testing.assert_array_equal(saved["returns"], fresh["returns"])


def test_the_table_averages_over_tasks_not_episodes():
    returns = np.array([[[1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 3.0]]])
    evaluation = Evaluation([{"k": 0}, {"k": 1}], returns, 0)
    interval = mean_interval(np.array([1.0, 3.0]))
    assert f"2.00  [{interval.low:.2f}, {interval.high:.2f}]" in summary_lines(evaluation, [0])[1]
    alone = Evaluation([{"k": 0}], returns[:, :1], 0)
    assert "needs two tasks" in summary_lines(alone, [0])[1]


def test_tasks_that_are_no_numbers_become_text():
    table, fields = task_table([{"map": "small", "size": 1}, {"map": "large", "size": 2}])
    assert fields == ["map", "size"]
    assert table.tolist() == [["small", "1"], ["large", "2"]]


def test_interval_of_an_unlimited_value_is_nan_without_a_warning():
    assert np.isnan(mean_interval(np.array([1.0, np.inf])).low)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--num-steps", "1", "-1"], r"--num-steps: got \[1, -1\], expected numbers >= 0"),
        (["--num-batches", "0"], "--num-batches: got 0, expected at least 1"),
        (["--meta-batch-size", "0"], "--meta-batch-size: got 0, expected at least 1"),
        (["--num-workers", "0"], "--num-workers: got 0, expected at least 1"),
        (["--num-batches", "1000001"], "--num-batches: got 1000001, expected at most 1000000"),
        (["--num-batches", "1000", "--meta-batch-size", "9999"], "--meta-batch-size: got 9999 with --num-batches 1000"),
        (["--num-steps", "1000001"], "--num-steps: got 1000001, expected at most 1000000"),
        (["--seed", "-1"], "--seed: got -1, expected at least 0"),
        (
            ["--policy", "nowhere.th"],
            "--policy: no such file: 'nowhere.th', expected the policy.th of a run, or random",
        ),
        (["--config", "nowhere.yaml"], "config: no such file"),
        (["--output", "results.txt"], r"--output: got 'results.txt', expected a file that ends in .npz"),
        (["--render", "film.avi"], r"--render: got 'film.avi', expected a file that ends in .gif or .mp4"),
    ],
)
def test_bad_flags_cost_one_line_and_code_2(tmp_path, run, capfd, flags, words):
    assert command(run, tmp_path / "results.npz", *flags) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert re.search(words, error)


def test_an_output_below_a_file_or_in_place_of_a_folder_is_refused(tmp_path, run, capfd):
    assert command(run, run.policy_path / "results.npz") == 2
    assert "--output: cannot write" in capfd.readouterr().err
    (tmp_path / "folder.npz").mkdir()
    assert command(run, tmp_path / "folder.npz") == 2
    assert "is a folder, expected a file" in capfd.readouterr().err


def test_a_damaged_policy_is_refused(run, algorithm):
    run.policy_path.write_bytes(run.policy_path.read_bytes()[:200])
    with pytest.raises(RunFolderError, match=r"cannot load .*policy.th.*damaged"):
        algorithm.with_policy(run.policy_path)


def test_another_configuration_s_policy_is_refused(run):
    other = make_algorithm(NAVIGATION.replace(hidden_sizes=(9,)))
    with pytest.raises(RunFolderError, match=r"layer1.weight is \(8, 2\), expected \(9, 2\)"):
        other.with_policy(run.policy_path)


def test_an_environment_without_pictures_is_refused_before_the_work(tmp_path, capfd):
    flags = ["--config", str(tmp_path / "bandit.yaml"), "--policy", "random", "--output", str(tmp_path / "r.npz")]
    (tmp_path / "bandit.yaml").write_text("env-name: Bandit-K5-v0\n")
    assert cli.test_command([*flags, "--render", str(tmp_path / "film.gif")]) == 2
    assert "film: Bandit-K5-v0 cannot be rendered" in capfd.readouterr().err
    assert not (tmp_path / "r.npz").exists()
