"""A run is a function of its configuration: workers, interruptions and bad numbers do not change it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from maml_rl.adaptation import adapt, masked_mean, policy_distribution
from maml_rl.algorithms import make_algorithm
from maml_rl.cli import train_command
from maml_rl.config import load_config
from maml_rl.evaluation import evaluate
from maml_rl.experiment import TrainingError, train
from maml_rl.metalearners import MAMLTRPO
from maml_rl.policies import registered_policies
from maml_rl.run_folder import RunFolder, RunFolderError, load_policy
from maml_rl.samplers import MultiprocessBackend, SerialBackend
from maml_rl.samplers.maml_worker import MAMLWorker
from maml_rl.settings import TrustRegion
from maml_rl.shard import Shard
from maml_rl.tests.builders import (
    MAML_VARIANTS,
    NAN_REWARD,
    NEED_REWARDS,
    UNEVEN,
    WITHOUT_RECURRENT_LAYER,
    pick,
    tiny_config,
    without_metrics,
    write_config,
)
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator

EXACT = 1e-9
"""Largest difference that rounding in float64 makes in a few iterations, with room to spare."""

CLOCKS = {"seconds", "sampling_seconds", "learning_seconds"}
SMALL = [tiny_config("2DNavigation-v0"), tiny_config("Bandit-K5-v0", fast_batch_size=10, fast_lr=0.5)]
# Without damping, the curvature that so few steps give would enlarge rounding a thousandfold.
RL2 = {"algorithm": "rl2", "policy": "lstm", "cg_damping": 0.1}
RL2_STEPS = [
    tiny_config("TabularMDP-v0", **RL2, outer_step=step, env_kwargs={"max_episode_steps": 3})
    for step in ("a2c", "ppo", "trpo")
]
CONTEXTS: dict[str, Any] = {"k": 2, "num_contexts": 2, "num_pulls": 2}
EPISODIC = [  # a dictionary of three entries is full in an iteration of five episodes
    tiny_config(
        "ContextualBandit-v0",
        **{**RL2, "policy": "episodic", "dictionary_capacity": 3, "fast_batch_size": 5},
        outer_step=step,
        env_kwargs=CONTEXTS,
    )
    for step in ("ppo", "trpo")
]
RECALL: dict[str, Any] = {"env_name": "DelayedRecall-v0", "env_kwargs": {"delay": 4, "min_delay": 2}}
RECALL_WITH_REWARDS: dict[str, Any] = {"env_name": "MetaEpisode-v0", "env_kwargs": {**RECALL, "num_episodes": 2}}
WITH_MEMORY = [
    tiny_config(**RECALL_WITH_REWARDS if name in NEED_REWARDS else RECALL, policy=name, gamma=0.0, fast_lr=1.0)
    for name in sorted(set(registered_policies()) - {"mlp"})
]
every_memory = pytest.mark.parametrize("config", WITH_MEMORY, ids=lambda c: c.policy)


def name_of(config):
    """Environment and outer step."""
    return f"{config.env_name}-{getattr(config, 'outer_step', 'maml')}"


def run(config, path, *, num_workers=1, resume=False, dtype="float32"):
    """Train and return metrics (without times) and parameters."""
    folder = RunFolder(path)
    algorithm = make_algorithm(config, dtype=dtype)
    parameters = train(algorithm, num_workers=num_workers, folder=folder, resume=resume)
    np.testing.assert_array_equal(folder.load_checkpoint(config, algorithm.run_format).parameters, parameters)
    return metrics(path), parameters


def metrics(path):
    """Rows of metrics.csv without the times."""
    with (path / "metrics.csv").open(newline="", encoding="utf-8") as file:
        return [{k: float(v) for k, v in row.items() if k not in CLOCKS} for row in csv.DictReader(file)]


def assert_close_metrics(first, second, tolerance):
    assert [row.keys() for row in first] == [row.keys() for row in second]
    for row, other in zip(first, second, strict=True):
        for name in row:
            assert row[name] == pytest.approx(other[name], rel=tolerance, abs=tolerance), name


# Starting processes takes long: under other instruction sets only one run of each algorithm is compared.
ONE_OF_EACH = (SMALL[0], RL2_STEPS[2])
COMPARED = [
    pytest.param(config, marks=[pytest.mark.numerical] if config in ONE_OF_EACH else [])
    for config in (*SMALL, *RL2_STEPS, EPISODIC[1])
]


OTHER_OUTER_STEPS = [
    pytest.param(tiny_config(**settings), id=f"variant-{name}") for name, settings in MAML_VARIANTS.items()
]
# Its state holds a coefficient for each inner step: none.
WITHOUT_ADAPTATION = pytest.param(tiny_config(num_steps=0, maml_outer_step="promp"), id="without-adaptation")


@pytest.mark.parametrize("config", [*COMPARED, *OTHER_OUTER_STEPS], ids=name_of)
def test_the_curve_is_the_same_for_one_two_and_three_workers(config, tmp_path):
    expected, parameters = run(config, tmp_path / "1", dtype="float64")
    assert [row["iteration"] for row in expected] == [0, 1, 2]
    assert any(row["step_accepted"] for row in expected)
    for num_workers in (2, 3):
        rows, others = run(config, tmp_path / str(num_workers), num_workers=num_workers, dtype="float64")
        assert_close_metrics(rows, expected, EXACT)
        np.testing.assert_allclose(others, parameters, rtol=0, atol=EXACT)


def test_a_resumed_run_keeps_its_shards_whatever_workers_serve_them(tmp_path):
    config = tiny_config("Bandit-K5-v0", num_batches=2)
    whole = run(config, tmp_path / "whole", num_workers=3)
    assert load_config(tmp_path / "whole" / "config.json").num_shards == 3
    run(config.replace(num_batches=1), tmp_path / "part", num_workers=3)
    with pytest.raises(
        RunFolderError, match=r"--resume: num-shards is 2, but the run in .*/part' has 3; leave it out: "
    ):
        run(config.replace(num_shards=2), tmp_path / "part", resume=True)
    resumed = run(config, tmp_path / "part", num_workers=1, resume=True)
    assert resumed[0] == whole[0]
    np.testing.assert_array_equal(resumed[1], whole[1])
    asked_for = run(config.replace(num_shards=3), tmp_path / "asked-for", num_workers=1)
    np.testing.assert_array_equal(asked_for[1], whole[1])


def test_there_are_never_more_shards_than_tasks(tmp_path):
    config = tiny_config("Bandit-K5-v0", num_batches=1, meta_batch_size=2, num_shards=7)
    run(config, tmp_path)
    assert load_config(tmp_path / "config.json").num_shards == 2


def test_a_run_is_not_resumed_in_another_float_type(tmp_path):
    config = tiny_config("Bandit-K5-v0", num_batches=2)
    expected = run(config, tmp_path / "whole", dtype="float64")
    first = config.replace(num_batches=1)
    run(first, tmp_path / "run", dtype="float64")
    with pytest.raises(RunFolderError, match=r"--resume: dtype is 'float32', .* has 'float64'; give --dtype float64"):
        run(config, tmp_path / "run", resume=True)
    rows, parameters = run(config, tmp_path / "run", resume=True, dtype="float64")
    assert rows == expected[0]
    np.testing.assert_array_equal(parameters, expected[1])


@pytest.mark.slow
@pytest.mark.numerical
def test_a_meta_trained_policy_gains_more_from_twenty_pulls_than_an_untrained_one():
    config = tiny_config("Bandit-K5-v0", hidden_sizes=(16,), fast_batch_size=20, meta_batch_size=40, num_batches=30)
    algorithm = make_algorithm(config.replace(fast_lr=0.5))
    trained = train(algorithm, num_workers=1)
    after, gained = [], []
    for parameters in (algorithm.initial_parameters(), trained):
        evaluation = evaluate(algorithm, parameters, num_batches=1, meta_batch_size=400, num_adaptation_steps=1, seed=1)
        before, after_step = evaluation.returns.mean(axis=-1)  # (2, N, B) -> (N,) each
        assert before.mean() == pytest.approx(0.5, abs=0.05)  # chance
        after.append(after_step)
        gained.append(after_step - before)
    # Standard errors are 0.01; gains of 0.22 to 0.24 against 0.07 untrained were seen with three seeds.
    assert gained[1].mean() > 0.15
    assert (after[1] - after[0]).mean() > 0.1


@pytest.mark.parametrize("train_recurrent", [True, False])
@every_memory
def test_recurrent_weights_learn_or_stay_as_they_are_for_ten_iterations(config, train_recurrent):
    algorithm = make_algorithm(config.replace(train_recurrent=train_recurrent))
    learner = algorithm.learner(SerialBackend(algorithm.worker_spec, 1), algorithm.initial_parameters())
    accepted = 0
    for iteration in range(10):
        tasks = algorithm.env.sample_tasks(5, generator(config.seed, Purpose.TASKS, iteration=iteration))
        accepted += learner.step(tasks, iteration).step_accepted
    assert accepted > 2
    before, after = (algorithm.state_dict(p) for p in (algorithm.initial_parameters(), learner.parameters))
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    recurrent = {name for name in before if "hh" in name.split(".")}
    assert bool(recurrent) == (config.policy not in WITHOUT_RECURRENT_LAYER)
    assert moved & recurrent == (recurrent if train_recurrent else set())
    assert moved - recurrent


def test_a_run_repeats_bit_for_bit_and_the_seed_matters(tmp_path):
    first, again = (run(SMALL[0], tmp_path / name) for name in ("first", "again"))
    assert first[0] == again[0]
    np.testing.assert_array_equal(first[1], again[1])
    other = run(SMALL[0].replace(seed=4), tmp_path / "other")
    assert not np.array_equal(first[1], other[1])


def step_once(algorithm, backend):
    """One outer step: mean returns of every task, parameters before and after."""
    learner = algorithm.learner(backend, algorithm.initial_parameters())
    config = algorithm.config
    tasks = algorithm.env.sample_tasks(config.meta_batch_size, generator(config.seed, Purpose.TASKS))
    reports = learner.collect(tasks, 0)
    returns = np.concatenate([report.returns for report in reports], axis=1)
    assert learner.step(tasks, 0).step_accepted
    return returns, learner.parameters


@pytest.mark.slow
def test_processes_give_bit_for_bit_what_as_many_shards_in_this_process_give():
    algorithm = make_algorithm(SMALL[0])
    with MultiprocessBackend(algorithm.worker_spec, 2) as backend:
        results = step_once(algorithm, backend)
    np.testing.assert_equal(results, step_once(algorithm, SerialBackend(algorithm.worker_spec, 2)))


@pytest.mark.numerical
def test_half_cheetah_has_the_same_episodes_and_update_for_any_number_of_shards():
    pytest.importorskip("mujoco")
    config = tiny_config(
        "HalfCheetahDir-v2", env_kwargs={"max_episode_steps": 20}, meta_batch_size=3, fast_batch_size=2
    )
    algorithm = make_algorithm(config, dtype="float64")
    returns, parameters = step_once(algorithm, SerialBackend(algorithm.worker_spec, 1))
    assert np.abs(parameters - algorithm.initial_parameters()).max() > 1e-3
    for num_workers in (2, 3):
        others = step_once(algorithm, SerialBackend(algorithm.worker_spec, num_workers))
        np.testing.assert_allclose(others[0], returns, rtol=0, atol=EXACT)
        np.testing.assert_allclose(others[1], parameters, rtol=0, atol=EXACT)


@pytest.mark.numerical
@every_memory
def test_memories_have_the_same_episodes_gradient_and_curvature_for_any_number_of_shards(config):
    algorithm = make_algorithm(config, dtype="float64")
    theta = algorithm.initial_parameters()
    (vector,) = theta
    tasks = algorithm.env.sample_tasks(config.meta_batch_size, generator(config.seed, Purpose.TASKS))

    def summed(num_workers):
        backend = SerialBackend(algorithm.worker_spec, num_workers)
        reports = MAMLTRPO(backend, theta, TrustRegion(), seed=config.seed).collect(tasks, 0)
        returns = np.concatenate([report.returns for report in reports], axis=1)
        losses, gradients = zip(*backend.broadcast("surrogate_gradient", vector), strict=True)
        gradient = sum(gradients)
        return returns, sum(losses), gradient, sum(backend.broadcast("fisher_vector_product", gradient, vector))

    expected = summed(1)
    assert np.abs(expected[3]).max() > 1e-3
    for num_workers in (2, 3):
        others = summed(num_workers)
        np.testing.assert_array_equal(others[0], expected[0])
        for other, value in zip(others[1:], expected[1:], strict=True):
            np.testing.assert_allclose(other, value, rtol=0, atol=EXACT * max(1.0, np.abs(value).max()))


@pytest.mark.numerical
@every_memory
def test_the_curvature_of_a_worker_whose_policy_has_memory_is_the_hessian_of_the_divergence(config):
    """Of all its episodes, which end at unequal times, through the inner loop and an initial state that is learned."""
    algorithm = make_algorithm(config.replace(meta_batch_size=2), dtype="float64")
    (vector,) = algorithm.initial_parameters()
    worker = algorithm.worker_spec.build(lambda: None)
    assert isinstance(worker, MAMLWorker)
    worker.collect(Shard.whole(algorithm.sample_tasks(0), iteration=0, seed=config.seed), vector)
    lengths = worker._episodes[0].mask.sum(1)
    assert lengths.min() < lengths.max()
    _, old = worker.surrogate_gradient(vector), worker._old
    train, valid = worker._data(slice(None))
    params = algorithm.layout.params(vector)

    def divergence(learning):
        adapted = adapt(worker.inner, {**params, **learning}, train)
        _, frozen = worker.inner.split(params)
        of_tasks = []
        for task in range(2):
            values, data, before = (pick(part, task) for part in (adapted, valid, old[0]))
            new = policy_distribution(worker.policy, {**frozen, **values}, data)
            of_tasks.append(masked_mean(new.kl(before), data.mask))
        return torch.stack(of_tasks).sum()

    learning = {name: params[name].clone().requires_grad_() for name in algorithm.layout.names}
    direction = np.random.default_rng(0).normal(size=vector.shape)
    along = algorithm.layout.learning(direction)
    slopes = torch.autograd.grad(divergence(learning), list(learning.values()), create_graph=True)
    slope = torch.stack([(part * along[name]).sum() for part, name in zip(slopes, learning, strict=True)]).sum()
    products = dict(zip(learning, torch.autograd.grad(slope, list(learning.values())), strict=True))
    found = worker.fisher_vector_product(direction, vector)
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(found, algorithm.layout.vector(products), rtol=1e-7, atol=1e-9)


@pytest.mark.numerical
def test_sampled_curvature_does_not_depend_on_the_shard_when_episodes_end_early():
    # Shards differ in the length of their longest episode, tasks in theirs.
    config = tiny_config(UNEVEN, env_kwargs={"longest": 12}, hessian_steps=16, fisher_steps=12)
    algorithm = make_algorithm(config, dtype="float64")
    tasks = algorithm.env.sample_tasks(config.meta_batch_size, generator(config.seed, Purpose.TASKS))
    theta = algorithm.initial_parameters()
    products, lengths = [], set()
    for num_workers in (1, 5):
        backend = SerialBackend(algorithm.worker_spec, num_workers)
        MAMLTRPO(backend, theta, TrustRegion(), seed=config.seed).collect(tasks, 0)
        lengths |= {worker._episodes[0].mask.shape[1] for worker in backend._workers}
        products.append(sum(backend.broadcast("fisher_vector_product", np.ones_like(theta[0]), theta[0])))
    assert len(lengths) > 2
    np.testing.assert_allclose(products[1], products[0], rtol=EXACT, atol=EXACT)


class PowerCut(BaseException):
    """Ends a run at the n-th file operation, halfway through it."""


class Saboteur:
    """Stands in front of everything a run writes with."""

    def __init__(self, monkeypatch, fatal):
        self.count, self.fatal = 0, fatal
        monkeypatch.setattr("os.replace", self.around(__import__("os").replace))
        write_bytes = Path.write_bytes
        monkeypatch.setattr(
            "pathlib.Path.write_bytes",
            self.around(write_bytes, lambda path, content: write_bytes(path, content[: len(content) // 2])),
        )
        monkeypatch.setattr("csv.DictWriter.writeheader", self.around(csv.DictWriter.writeheader, self.tear))
        monkeypatch.setattr("csv.DictWriter.writerow", self.around(csv.DictWriter.writerow, self.tear))

    @staticmethod
    def tear(writer: Any, *row: Any) -> None:
        writer.writer.writerow(["torn", "off"])

    def around(self, operation, tear=lambda *arguments: None):
        def patched(*arguments, **keywords):
            self.count += 1
            if self.count == self.fatal:
                tear(*arguments)
                raise PowerCut
            return operation(*arguments, **keywords)

        return patched


def test_a_run_interrupted_at_any_file_operation_resumes_bit_for_bit(tmp_path, monkeypatch):
    config = tiny_config("Bandit-K5-v0", num_batches=2, meta_batch_size=3)
    with monkeypatch.context() as patch:
        nobody = Saboteur(patch, fatal=0)
        expected = run(config, tmp_path / "whole")
    assert nobody.count >= 10
    for fatal in range(1, nobody.count + 1):
        path = tmp_path / str(fatal)
        with monkeypatch.context() as patch:
            Saboteur(patch, fatal)
            with pytest.raises(PowerCut):
                run(config, path)
        rows, parameters = run(config, path, resume=(path / "config.json").exists())
        assert rows == expected[0], fatal
        np.testing.assert_array_equal(parameters, expected[1])
        load_policy(path / "policy.th", make_algorithm(config).policy.params())
        assert not list(path.glob(".*")), fatal


def test_a_metrics_file_that_ends_in_half_a_header_is_started_anew(tmp_path):
    config = tiny_config("Bandit-K5-v0", num_batches=1)
    expected, _ = run(config, tmp_path / "whole")
    RunFolder(tmp_path / "torn").create(config)
    (tmp_path / "torn" / "metrics.csv").write_text("iteration,env_st", encoding="utf-8")
    assert run(config, tmp_path / "torn", resume=True)[0] == expected


def test_metrics_with_other_columns_are_refused_before_anything_is_done(tmp_path):
    config = tiny_config("Bandit-K5-v0", num_batches=1)
    run(config, tmp_path)
    text = (tmp_path / "metrics.csv").read_text(encoding="utf-8")
    (tmp_path / "metrics.csv").write_text(text.replace(",kl,", ",divergence,"), encoding="utf-8")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RunFolderError, match="got columns of another version, which differ in divergence, kl; start"):
        run(config.replace(num_batches=2), tmp_path, resume=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


class Unlucky(SerialBackend):
    """Says that two workers were lost while the second iteration's episodes were collected."""

    def map(self, method, arguments):
        if method == "collect" and arguments[0][0].iteration == 1:
            self.num_restarts += 2
            self.warn("worker 0 is lost")
            self.warn("worker 0 is lost again")
        return super().map(method, arguments)


def test_lost_workers_are_counted_and_shown(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("maml_rl.workforce.start_workers", lambda plan, _: Unlucky(plan.spec))
    rows, _ = run(tiny_config("Bandit-K5-v0"), tmp_path)
    assert [row["workers_replaced"] for row in rows] == [0, 2, 0]
    assert caplog.messages == ["worker 0 is lost", "worker 0 is lost again"]
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [event.value for event in events.Scalars("workers_replaced")] == [0.0, 2.0, 0.0]


def test_a_run_of_an_earlier_version_goes_on_with_the_columns_it_has(tmp_path):
    config = tiny_config("Bandit-K5-v0", num_batches=2)
    expected, _ = run(config, tmp_path / "whole")
    run(config.replace(num_batches=1), tmp_path / "part")
    path = tmp_path / "part" / "metrics.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("".join(line.rpartition(",")[0] + "\n" for line in lines), encoding="utf-8")
    without_metrics(tmp_path / "part" / "checkpoint.pt")
    rows, _ = run(config, tmp_path / "part", resume=True)
    assert rows == [{k: v for k, v in row.items() if k != "workers_replaced"} for row in expected]


@pytest.mark.parametrize(
    "config",
    [tiny_config("Bandit-K5-v0"), *OTHER_OUTER_STEPS, WITHOUT_ADAPTATION, *WITH_MEMORY, *RL2_STEPS, *EPISODIC],
    ids=lambda c: f"{c.policy}-{name_of(c)}",
)
def test_more_iterations_continue_a_finished_run(config, tmp_path):
    expected = run(config, tmp_path / "whole")
    run(config.replace(num_batches=1), tmp_path / "part")
    rows, parameters = run(config, tmp_path / "part", resume=True)
    assert rows == expected[0]
    np.testing.assert_array_equal(parameters, expected[1])
    assert run(config, tmp_path / "part", resume=True)[0] == rows
    assert b"\r" not in (tmp_path / "part" / "metrics.csv").read_bytes()


@pytest.mark.parametrize("train_recurrent", [True, False])
def test_a_run_starts_from_the_weights_of_another(train_recurrent, tmp_path):
    config = next(c for c in WITH_MEMORY if c.policy == "lstm").replace(train_recurrent=train_recurrent, num_batches=1)
    _, parameters = run(config, tmp_path / "first")
    policy = tmp_path / "first" / "policy.th"
    start = make_algorithm(config.replace(seed=9)).with_policy(policy)
    np.testing.assert_array_equal(start.initial_parameters(), parameters.astype(np.float32))  # as in policy.th
    second = config.replace(seed=9, initial_policy=str(policy))
    run(second, tmp_path / "second")
    old, new = (load_policy(tmp_path / name / "policy.th", start.policy.params()) for name in ("first", "second"))
    frozen = start.layout.frozen()
    assert {name for name in old if torch.equal(old[name], new[name])} == set(frozen)
    assert bool(frozen) != train_recurrent


def test_a_start_killed_before_its_checkpoint_begins_with_the_given_weights_again(tmp_path):
    config = tiny_config("Bandit-K5-v0", num_batches=1)
    run(config, tmp_path / "first")
    second = config.replace(seed=9, initial_policy=str(tmp_path / "first" / "policy.th"))
    _, unbroken = run(second, tmp_path / "unbroken")
    run(second, tmp_path / "killed")
    (tmp_path / "killed" / "checkpoint.pt").unlink()  # policy.th is written before it
    _, resumed = run(second, tmp_path / "killed", resume=True)
    np.testing.assert_array_equal(resumed, unbroken)


def test_shuffled_parameters_have_the_same_entries_in_another_order_and_the_others_stay(tmp_path):
    config = tiny_config("Bandit-K5-v0", num_batches=1)
    run(config, tmp_path / "first")
    policy = tmp_path / "first" / "policy.th"
    start = make_algorithm(config.replace(seed=9))
    plain = start.with_policy(policy)
    moved, same = (plain.with_shuffled(["layer1"]) for _ in range(2))
    old, new = (one.state_dict(one.initial_parameters()) for one in (plain, moved))
    assert {name for name in old if not torch.equal(old[name], new[name])} == {"layer1.weight", "layer1.bias"}
    for name, value in old.items():
        assert torch.equal(value.reshape(-1).sort().values, new[name].reshape(-1).sort().values)
    np.testing.assert_array_equal(same.initial_parameters(), moved.initial_parameters())
    run(config.replace(seed=9, initial_policy=str(policy), initial_shuffle=("layer1",)), tmp_path / "second")


@pytest.mark.parametrize(
    ("with_policy", "names", "words"),
    [
        (
            True,
            ("layr",),
            r"^initial-shuffle: got 'layr', expected the beginning of a parameter's name, such as layer1",
        ),
        (False, ("layer1",), r"^initial-shuffle: got \['layer1'\] without initial-policy; give both or neither$"),
    ],
)
def test_what_cannot_be_shuffled_is_refused_in_one_line(with_policy, names, words, tmp_path):
    config = tiny_config("Bandit-K5-v0", num_batches=1)
    run(config, tmp_path / "first")
    initial = {"initial_policy": str(tmp_path / "first" / "policy.th")} if with_policy else {}
    with pytest.raises(InputError, match=words):
        run(config.replace(initial_shuffle=names, **initial), tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_an_initial_policy_that_is_none_costs_nothing_but_a_line(tmp_path):
    config = tiny_config("Bandit-K5-v0", initial_policy=str(tmp_path / "nowhere.th"))
    with pytest.raises(RunFolderError, match=r"initial-policy: no such file: .*nowhere.th"):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_with_a_schedule_is_not_resumed_with_another_end(tmp_path):
    config = RL2_STEPS[1].replace(num_batches=2, learning_rate_end=0.0)
    run(config, tmp_path / "short")
    with pytest.raises(RunFolderError, match=r"--resume: num-batches is 3, but the run .* \(schedules end in the last"):
        run(config.replace(num_batches=3), tmp_path / "short", resume=True)
    assert run(config, tmp_path / "short", resume=True)[0] == metrics(tmp_path / "short")


@pytest.mark.numerical
def test_without_an_inner_loop_all_episodes_teach_and_none_comes_after(tmp_path):
    config = tiny_config("2DNavigation-v0", num_steps=0)
    rows, parameters = run(config, tmp_path / "1", dtype="float64")
    others = run(config, tmp_path / "2", num_workers=2, dtype="float64")[1]
    np.testing.assert_allclose(others, parameters, rtol=0, atol=EXACT)
    assert np.abs(parameters - make_algorithm(config, dtype="float64").initial_parameters()).max() > 1e-3
    for row in rows:
        assert row["env_steps"] <= (row["iteration"] + 1) * 5 * 4 * 15
        assert row["return_before"] == row["return_after"] == row["return_total"]


def test_env_steps_add_up(tmp_path):
    rows, _ = run(tiny_config("Bandit-K5-v0", meta_batch_size=3, fast_batch_size=7), tmp_path)
    assert [row["env_steps"] for row in rows] == [42, 84, 126]


def test_rewards_that_are_no_numbers_move_nothing_and_three_in_a_row_stop_the_run(tmp_path, caplog):
    config = tiny_config(NAN_REWARD, env_kwargs={"healthy_resets": 4}, num_batches=9)
    with pytest.raises(TrainingError, match="3 iterations in a row gave NaN or infinity, the last one iteration 4"):
        run(config, tmp_path / "nan")
    rows = metrics(tmp_path / "nan")
    assert [row["finite"] for row in rows] == [1, 1, 0, 0, 0]
    assert [row["step_accepted"] for row in rows][2:] == [0, 0, 0]
    algorithm = make_algorithm(config)
    healthy = run(config.replace(num_batches=2), tmp_path / "healthy")[1]
    assert any(row["step_accepted"] for row in rows)
    checkpoint = RunFolder(tmp_path / "nan").load_checkpoint(config, algorithm.run_format)
    np.testing.assert_array_equal(checkpoint.parameters, healthy)
    assert checkpoint.iteration == 5
    load_policy(tmp_path / "nan" / "policy.th", algorithm.policy.params())
    assert caplog.messages == [f"iteration {i}: NaN or infinity, step refused, parameters kept" for i in (2, 3, 4)]


@pytest.mark.slow
def test_a_run_that_cannot_go_on_ends_with_one_line_and_exit_code_one(tmp_path, capfd):
    config = tiny_config(NAN_REWARD, env_kwargs={"healthy_resets": 0}, num_batches=9)
    path = write_config(tmp_path / "config.json", config)
    assert train_command(["--config", str(path), "--num-workers", "1"]) == 1
    *warnings, error = capfd.readouterr().err.splitlines()
    assert len(warnings) == 3
    assert error.startswith("error: 3 iterations in a row gave NaN or infinity")
