"""Supervision of workers over links that a test holds in its hands: who serves a shard, who is late, who is lost."""

from __future__ import annotations

import time
from typing import Any

import pytest

from maml_rl.samplers import SerialBackend, WorkerError
from maml_rl.samplers.hosting import Host, Message
from maml_rl.samplers.link import Link, LinkLostError
from maml_rl.samplers.supervised import SupervisedBackend
from maml_rl.tests.builders import CounterSpec, numbers


class HandLink(Link):
    """A host in this process that answers when it is asked to receive; it can be slow, closed or broken."""

    def __init__(self, spec):
        self.host = Host(spec, lambda: None)
        self.seen: list[Message] = []
        self.waiting: list[Message] = []
        self.slow = self.broken = False
        self.open = True

    @property
    def name(self):
        return "hand"

    @property
    def is_open(self):
        return self.open

    def send(self, message):
        self.seen.append(message)
        self.waiting.append(message)

    def receive(self):
        if self.broken:
            raise LinkLostError
        return self.host.answer(self.waiting.pop(0))

    def last_pulse(self):
        return time.monotonic()

    def ending(self):
        return "broke" if self.broken else ""

    def stop(self):
        self.host.close()


class HandBackend(SupervisedBackend):
    """See `HandLink`; as many workers as `room` says, if it says anything."""

    room: int | None = None

    @property
    def hands(self) -> list[Any]:
        """Links to the workers."""
        return list(self.links)

    def _start(self, number):
        return HandLink(self.spec)

    def _ready(self, links, seconds):
        time.sleep(0.001)
        return [link for link in links if link.waiting and not link.slow]

    def _room(self):
        return super()._room() if self.room is None else self.room


SHARDS = [(numbers(1, 2),), (numbers(3, 4),), (numbers(5),), (numbers(6, 7),), (numbers(8),)]


def counted(backend, between=lambda backend: None):
    """Results of calls that build state on five shards and read it, with something happening in between."""
    results = [backend.map("begin", SHARDS), backend.broadcast("add", 10)]
    between(backend)
    results += [backend.map("add", [(i,) for i in range(5)]), [total for total, _ in backend.broadcast("read")]]
    return results


EXPECTED = counted(SerialBackend(CounterSpec(), 5))


@pytest.mark.parametrize("num_workers", [1, 2, 5, 9])
def test_results_do_not_depend_on_how_many_workers_serve_the_shards(num_workers):
    with HandBackend(CounterSpec(), 5, num_workers=num_workers) as backend:
        assert counted(backend) == EXPECTED
        assert backend.num_workers == min(num_workers, 5)
        # Nothing is done twice, and a shard stays with the worker that holds its state.
        assert sum(len(message.calls) for link in backend.hands for message in link.seen) == 20
        assert counted(backend) == EXPECTED


def test_a_worker_gone_for_good_leaves_its_shards_to_the_others_and_new_ones_take_their_part():
    def lose_one(backend):
        backend.room = 1
        backend.hands[1].broken = True

    with HandBackend(CounterSpec(), 5, num_workers=2) as backend:
        lines: list[str] = []
        backend.warn = lines.append
        assert counted(backend, lose_one) == EXPECTED
        assert (backend.num_workers, backend.num_restarts) == (1, 1)
        assert lines == [
            "worker 1 (hand) broke in add (seed 7, iteration 0, tasks [3, 4]): replaced, its work is done again"
        ]
        (left,) = backend.hands
        backend.room = 3
        assert counted(backend) == EXPECTED
        assert backend.num_workers == 3
        # The state of no shard stays where it is no longer needed.
        held = [set(link.host._workers) for link in backend.hands]
        gone = {shard for link in backend.hands for message in link.seen for shard in message.forget}
        assert set.union(*held) == set(range(5))
        assert left.seen
        assert gone


def test_workers_that_have_not_started_are_not_waited_for():
    with HandBackend(CounterSpec(), 5, num_workers=2) as backend:
        backend.hands[1].open = False
        assert counted(backend) == EXPECTED
        assert not backend.hands[1].seen


def test_where_no_worker_starts_the_run_ends_in_one_line(monkeypatch):
    monkeypatch.setattr("maml_rl.samplers.supervised._START_SECONDS", 0.1)
    with HandBackend(CounterSpec(), 5, num_workers=1, timeout_seconds=0.1) as backend:
        backend.hands[0].open = False
        with pytest.raises(WorkerError, match=r"no worker could be started within 0\.1 s; free memory or cores"):
            backend.broadcast("begin", numbers(1))


def test_a_straggler_s_shard_is_given_to_a_free_worker_and_the_first_answer_counts(monkeypatch):
    monkeypatch.setattr("maml_rl.samplers.supervised._LEAST_LATE_SECONDS", 0.02)

    def slow_down(backend):
        backend.hands[0].slow = True

    with HandBackend(CounterSpec(), 5, num_workers=2, straggler_factor=2.0) as backend:
        assert counted(backend, slow_down) == EXPECTED
        assert backend.num_duplicates >= 1
        assert backend.num_restarts == 0
        slow, quick = backend.hands
        assert slow.waiting
        # It did the shard's calls from the journal on, as nobody else held its state.
        assert any(len(message.calls) > 1 for message in quick.seen)
        slow.slow = False
        assert counted(backend) == EXPECTED
        assert not slow.waiting


def test_without_a_factor_a_straggler_is_waited_for(monkeypatch):
    monkeypatch.setattr("maml_rl.samplers.supervised._LEAST_LATE_SECONDS", 0.001)
    with HandBackend(CounterSpec(), 2, num_workers=2) as backend:
        backend.map("begin", SHARDS[:2])
        backend.map("work", [(0.0,), (0.0,)])
        backend.broadcast("work", 0.03)
        assert backend.num_duplicates == 0
