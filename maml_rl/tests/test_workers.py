"""Workers that die, hang or raise: the run goes on as if nothing had happened, or says what did."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from maml_rl.algorithms import make_algorithm
from maml_rl.samplers import (
    BackendChoice,
    MultiprocessBackend,
    SerialBackend,
    WorkerError,
    WorkerPlan,
    register_backend,
    registered_backends,
    start_workers,
)
from maml_rl.samplers.backend import Journal
from maml_rl.samplers.registry import _KINDS
from maml_rl.settings import Settings
from maml_rl.shard import Shard
from maml_rl.tests.builders import FUSED, CounterSpec, is_running, numbers, tiny_config, wait_until
from maml_rl.utils.errors import InputError
from maml_rl.utils.random import Purpose, generator

ROOT = Path(__file__).resolve().parents[2]
RAISED = r"worker 0 raised in add \(seed 7, iteration 0, tasks \[1, 2\]\)"


@pytest.fixture
def fuse(tmp_path):
    """A file that a worker burns when trouble strikes, so that it strikes once."""
    path = tmp_path / "fuse"
    path.touch()
    return str(path)


def counted(backend, between=lambda backend: None):
    """Totals after some calls, with something happening in between."""
    backend.map("begin", [(numbers(1, 2),), (numbers(3, 4),)])
    backend.broadcast("add", 10)
    between(backend)
    sums = backend.map("add", [(100,), (200,)])
    return sums, [total for total, _ in backend.broadcast("read")]


def test_a_killed_worker_is_replaced_in_one_line_and_no_process_is_left_behind(capfd):
    expected = counted(SerialBackend(CounterSpec(), 2))
    seen = []

    def kill_one(backend):
        seen.extend(backend.process_ids)
        os.kill(backend.process_ids[0], signal.SIGKILL)

    with MultiprocessBackend(CounterSpec(), 2) as backend:
        assert counted(backend, kill_one) == expected
        assert backend.num_restarts == 1
        seen.extend(backend.process_ids)
        assert len(set(seen)) == 3
    assert capfd.readouterr().err == (
        f"worker 0 (process {seen[0]}) was killed by SIGKILL in add (seed 7, iteration 0, tasks [1, 2]): "
        "replaced, its work is done again\n"
    )
    assert not any(is_running(process_id) for process_id in seen)
    backend.close()


def serving_here(spec, num_workers):
    plan = WorkerPlan(spec, num_workers, 2, 2, 60.0)
    return start_workers(plan, BackendChoice("multiprocess", {"serve_here": "true"}))


@pytest.mark.parametrize("num_workers", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_this_process_serves_in_place_of_the_last_worker(num_workers, capfd):
    def kill_the_others(backend):
        assert len(backend.process_ids) == min(num_workers, 2) - 1
        for process_id in backend.process_ids:
            os.kill(process_id, signal.SIGKILL)

    with serving_here(CounterSpec(), num_workers) as backend:
        assert isinstance(backend, MultiprocessBackend)
        assert counted(backend, kill_the_others) == counted(SerialBackend(CounterSpec(), 2))
        assert backend.num_restarts == min(num_workers, 2) - 1
        assert os.getpid() in [process_id for _, process_id in backend.broadcast("read")]
    assert capfd.readouterr().err.count("replaced") == min(num_workers, 2) - 1


def test_workers_that_answered_while_this_one_worked_are_not_lost():
    plan = WorkerPlan(CounterSpec(), 2, 2, 2, 0.4)
    with start_workers(plan, BackendChoice("multiprocess", {"serve_here": "true"})) as backend:
        counted(backend)
        backend.map("work", [(0.05,), (1.2,)])
        backend.map("work", [(1.2,), (0.05,)])
        assert backend.num_restarts == 0


def test_an_error_of_the_worker_in_this_process_ends_the_run_like_any_other():
    with serving_here(CounterSpec("raise"), 1) as backend:
        backend.map("begin", [(numbers(1, 2),), (numbers(3, 4),)])
        with pytest.raises(WorkerError, match=RAISED) as caught:
            backend.broadcast("add", 1)
    assert "ArithmeticError: seven is no number here" in str(caught.value)


@pytest.mark.slow
def test_a_worker_that_dies_in_a_call_is_replaced(fuse):
    with MultiprocessBackend(CounterSpec("die", fuse), 2) as backend:
        assert counted(backend) == counted(SerialBackend(CounterSpec(), 2))
        assert backend.num_restarts == 1


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_after_the_timeout(fuse, capfd):
    # The timeout is shorter than the start of a process: importing libraries is no hang.
    with MultiprocessBackend(CounterSpec("hang", fuse), 1, timeout_seconds=0.8) as backend:
        backend.broadcast("begin", numbers(1, 2))
        assert backend.num_restarts == 0
        start = time.monotonic()
        assert backend.broadcast("add", 5) == [8]
        assert 0.8 < time.monotonic() - start < 30
        assert backend.num_restarts == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert "gave no sign of life for 0.8 s in add (seed 7, iteration 0, tasks [1, 2]): replaced, " in line
        assert line.endswith("; raise worker-timeout if it was only slow")
        backend.broadcast("work", 1.5)
        assert backend.num_restarts == 1


@pytest.mark.slow
def test_a_worker_is_not_lost_while_it_is_built_though_it_has_shown_a_sign_of_life(monkeypatch):
    monkeypatch.setattr("maml_rl.samplers.supervised._POLL_SECONDS", 0.05)
    with MultiprocessBackend(CounterSpec(build_seconds=0.5), 1, timeout_seconds=0.2) as backend:
        assert backend.broadcast("begin", numbers(1, 2)) == [3]
        assert backend.num_restarts == 0


@pytest.mark.slow
def test_a_worker_that_always_dies_ends_the_run_with_tasks_and_seed(monkeypatch):
    monkeypatch.setattr("maml_rl.samplers.supervised._MAX_LOSSES", 1)
    words = r"worker 0 died or hung 2 times in add \(seed 7, .*, tasks \[1, 2\]\); the last one was killed by SIGKILL"
    with MultiprocessBackend(CounterSpec("die"), 1) as backend:
        backend.broadcast("begin", numbers(1, 2))
        with pytest.raises(WorkerError, match=words) as caught:
            backend.broadcast("add", 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend_class", [SerialBackend, MultiprocessBackend])
def test_a_worker_that_raises_ends_the_run_with_traceback_tasks_and_seed(backend_class):
    with backend_class(CounterSpec("raise"), 1) as backend:
        backend.broadcast("begin", numbers(1, 2))
        with pytest.raises(WorkerError, match=RAISED) as caught:
            backend.broadcast("add", 1)
    assert "Traceback" in str(caught.value)
    assert "ArithmeticError: seven is no number here" in str(caught.value)


@pytest.mark.parametrize("backend_class", [SerialBackend, MultiprocessBackend])
def test_a_worker_whose_environment_exits_ends_the_run_as_one_that_raises(backend_class):
    with backend_class(CounterSpec("exit"), 1) as backend:
        backend.broadcast("begin", numbers(1, 2))
        with pytest.raises(WorkerError, match=RAISED) as caught:
            backend.broadcast("add", 1)
    assert "Traceback" in str(caught.value)
    assert "SystemExit: no licence for this simulator" in str(caught.value)


def test_a_journal_holds_what_a_successor_must_do_again():
    journal = Journal(CounterSpec())
    first, second, third = (numbers(index) for index in (1, 2, 9))
    for method, argument in (("begin", first), ("add", 1), ("read", 0), ("begin", second), ("add", 3), ("work", 0)):
        journal.record(method, (argument,))
    assert journal.calls == [("begin", (second,)), ("add", (3,))]
    assert journal.before("add") == journal.before("read") == journal.calls
    assert journal.before("begin") == []
    assert journal.describe("add", (1,)) == "seed 7, iteration 0, tasks [2]"
    assert journal.describe("begin", (third,)) == "seed 7, iteration 0, tasks [9]"
    both = "seed 7, iteration 0, tasks [1]; seed 7, iteration 0, tasks [9]"
    assert journal.describe("begin", ([first, third],)) == both
    assert Journal(CounterSpec()).describe("read", ()) == "read"


def everything(backend, algorithm, tasks, between=lambda backend: None):
    """Results of all calls of one iteration."""
    (theta,) = algorithm.initial_parameters()
    calls = [(part, theta) for part in Shard.whole(tasks, iteration=0, seed=3).split(2)]
    results = list(backend.map("collect", calls))
    results += backend.broadcast("surrogate_gradient", theta)
    between(backend)
    results += backend.broadcast("fisher_vector_product", np.ones_like(theta), theta)
    results += backend.broadcast("surrogate", theta + 0.01)
    return [vars(result) if hasattr(result, "returns") else result for result in results]


@pytest.mark.slow
def test_maml_workers_killed_in_an_episode_and_between_calls_change_nothing(fuse):
    algorithm = make_algorithm(tiny_config(FUSED, env_kwargs={"fuse": fuse + "-absent"}))
    tasks = algorithm.env.sample_tasks(4, generator(0, Purpose.TASKS))
    expected = everything(SerialBackend(algorithm.worker_spec, 2), algorithm, tasks)

    def kill_one(backend):
        assert backend.num_restarts == 1
        os.kill(backend.process_ids[1], signal.SIGKILL)

    algorithm = make_algorithm(tiny_config(FUSED, env_kwargs={"fuse": fuse}))
    with MultiprocessBackend(algorithm.worker_spec, 2) as backend:
        results = everything(backend, algorithm, tasks, kill_one)
        assert backend.num_restarts == 2
    assert not Path(fuse).exists()
    np.testing.assert_equal(results, expected)


def test_errors_of_a_maml_worker_name_its_tasks_iteration_and_seed():
    algorithm = make_algorithm(tiny_config(seed=11))
    (theta,) = algorithm.initial_parameters()
    shard = Shard([2, 3], [{"goal": np.zeros(3)}] * 2, iteration=6, seed=11)
    with SerialBackend(algorithm.worker_spec) as backend, pytest.raises(WorkerError) as caught:
        backend.map("collect", [(shard, theta)])
    assert "seed 11, iteration 6, tasks [2, 3]" in str(caught.value)
    assert "task['goal']" in str(caught.value)


def test_backends_are_found_by_name_and_get_what_they_need(monkeypatch):
    monkeypatch.setattr("maml_rl.samplers.registry._KINDS", dict(_KINDS))
    asked = []

    class ToyOptions(Settings):
        colour: str = "red"
        size: float = Field(default=1.0, gt=0)

    def toy(plan, options):
        asked.append((plan.num_workers, plan.timeout_seconds, options.colour, options.size))
        return SerialBackend(plan.spec, plan.shards(room=3))

    register_backend("toy", toy, options=ToyOptions)
    assert registered_backends() == ["multiprocess", "ray", "serial", "toy"]
    plan = WorkerPlan(CounterSpec(), None, None, max_shards=2, timeout_seconds=7.5)
    with start_workers(plan, BackendChoice("toy", {"size": "2.5"})) as backend:
        assert backend.broadcast("begin", numbers(1, 2)) == [3, 3]
    assert asked == [(None, 7.5, "red", 2.5)]
    for choice, words in (
        (BackendChoice("toys"), "--backend: got 'toys', expected one of multiprocess, ray, serial, toy; did you mean "),
        (BackendChoice("toy", {"size": "0"}), "--size: got '0', expected a number > 0; leave it out for 1.0"),
        (
            BackendChoice("serial", {"colour": "blue"}),
            "--colour: got 'blue', expected no such option with --backend serial; leave it out or choose --backend toy",
        ),
    ):
        with pytest.raises(InputError, match=words):
            start_workers(plan, choice)


def hears_interrupts(process_id):
    """True if SIGINT would reach a process; it is neither blocked nor ignored."""
    status = Path(f"/proc/{process_id}/status").read_text(encoding="utf-8").splitlines()
    masks = {line.split()[0]: int(line.split()[1], 16) for line in status if line.startswith(("SigBlk:", "SigIgn:"))}
    return not (masks["SigBlk:"] | masks["SigIgn:"]) >> (signal.SIGINT - 1) & 1


@pytest.mark.parametrize("start", [lambda function: function(), lambda function: run_in_thread(function)])
def test_no_interrupt_ever_reaches_a_worker(start):
    with start(lambda: MultiprocessBackend(CounterSpec(), 2)) as backend:
        assert not any(hears_interrupts(process_id) for process_id in backend.process_ids)
        os.kill(backend.process_ids[0], signal.SIGKILL)
        for process_id in backend.process_ids[1:]:
            os.kill(process_id, signal.SIGINT)
        assert backend.broadcast("begin", numbers(1, 2)) == [3, 3]
        assert backend.num_restarts == 1
        assert not any(hears_interrupts(process_id) for process_id in backend.process_ids)
    assert hears_interrupts(os.getpid())


def run_in_thread(function):
    """Value that a function returns in a thread that is not the main one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


@pytest.mark.parametrize("moment", [1, 2])
def test_an_interrupt_while_workers_start_waits_for_them_and_then_ends_them(monkeypatch, moment):
    launch = SpawnProcess.start
    started: list[int] = []

    def interrupted_start(process):
        if len(started) == moment - 1:
            os.kill(os.getpid(), signal.SIGINT)
        launch(process)
        started.append(process.pid or 0)

    monkeypatch.setattr(SpawnProcess, "start", interrupted_start)
    with pytest.raises(KeyboardInterrupt):
        MultiprocessBackend(CounterSpec(), 2)
    assert len(started) == 2
    assert not any(is_running(process_id) for process_id in started)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert hears_interrupts(os.getpid())


SCRIPT = """
from maml_rl.samplers import MultiprocessBackend
from maml_rl.tests.builders import CounterSpec
backend = MultiprocessBackend(CounterSpec(), 2)
print(*[pid for _, pid in backend.broadcast("read")], flush=True)
backend.map("work", [(0.0,), (60.0,)])
"""


@pytest.mark.slow
def test_workers_idle_or_busy_follow_a_killed_parent():
    with subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [int(word) for word in parent.stdout.readline().split()]
        assert len(workers) == 2
        assert all(is_running(worker) for worker in workers)
        time.sleep(0.2)
        parent.kill()
    assert wait_until(lambda: not any(is_running(worker) for worker in workers), seconds=10)
