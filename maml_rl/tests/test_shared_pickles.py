"""Messages through shared memory: equal to what was sent, whatever their size, and nobody else's afterwards."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from maml_rl.samplers.shared_pickles import SharedPickles


@pytest.fixture
def ends():
    context = multiprocessing.get_context("spawn")
    first, second = context.Pipe()
    there, back = context.RawArray("b", 100_000), context.RawArray("b", 100_000)
    yield SharedPickles(first, there, back), SharedPickles(second, back, there)
    first.close()
    second.close()


NUMBERS = np.random.default_rng(0).random(20_000)
MESSAGES = {
    "no array": {"a": [1, None], "b": "text"},
    "a small array": NUMBERS[:3],
    "an array": NUMBERS[:5_000],
    "several, with what fits no more": [NUMBERS[:9_000], NUMBERS[:9_000], NUMBERS[:600]],
    "a large array": NUMBERS,
    "columns": NUMBERS[:6_000].reshape(60, 100).T,
    "every second number": NUMBERS[:8_000:2],
    "another type": NUMBERS[:5_000].astype(np.float32),
}


@pytest.mark.parametrize("name", MESSAGES)
def test_what_arrives_is_what_was_sent(ends, name):
    first, second = ends
    for sender, receiver in ((first, second), (second, first)):
        sender.send(MESSAGES[name])
        np.testing.assert_equal(receiver.receive(), MESSAGES[name])


def test_arrays_go_through_the_memory(ends):
    first, second = ends
    first.send(NUMBERS[:5_000])
    assert len(second.pipe.recv_bytes()) < 1_000


def test_what_was_received_is_not_changed_by_later_messages(ends):
    first, second = ends
    first.send(NUMBERS[:5_000])
    received = second.receive()
    received[0] = 7.0  # it is the receiver's own
    second.send(received)
    first.receive()
    first.send(NUMBERS[5_000:10_000])
    second.receive()
    np.testing.assert_array_equal(received[1:], NUMBERS[1:5_000])
    assert received[0] == 7.0


def test_a_closed_pipe_is_an_error(ends):
    first, second = ends
    first.pipe.close()
    with pytest.raises((EOFError, OSError)):
        second.receive()
