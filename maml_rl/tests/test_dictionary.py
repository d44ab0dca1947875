"""A dictionary reads and writes as a loop over its entries would; its derivatives are those of what it reads."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from maml_rl.policies.memory.dictionary import Dictionary, Kernel
from maml_rl.policies.memory.episode_order import trace

pytestmark = pytest.mark.numerical

KERNELS = get_args(Kernel)
every_kernel = pytest.mark.parametrize("kernel", KERNELS)
BATCH, KEY, VALUE, CAPACITY = 5, 3, 4, 4


class Ledger:
    """The same for one episode, entry by entry."""

    def __init__(self, kernel, num_neighbours, sharpness, reach):
        self.kernel, self.num_neighbours, self.sharpness, self.reach = kernel, num_neighbours, sharpness, reach
        self.entries = []  # (key, value), in the order of slots
        self.written = 0

    def scaled(self, key):
        return key / np.linalg.norm(key) if self.kernel == "cosine" else key

    def write(self, key, value):
        if not key.any():
            return
        key = self.scaled(key)
        for index, (other, _) in enumerate(self.entries):
            if np.allclose(other, key, rtol=0, atol=1e-6):
                self.entries[index] = (key, value)
                return
        if len(self.entries) < CAPACITY:
            self.entries.append((key, value))
        else:
            self.entries[self.written % CAPACITY] = (key, value)
        self.written += 1

    def read(self, query):
        query = self.scaled(query) if query.any() else query
        near = [
            (key, tuple(value))
            for key, value in self.entries
            if self.reach is None or np.linalg.norm(query - key) <= self.reach * np.linalg.norm(query)
        ]
        if not query.any() or not near:
            return np.zeros(VALUE)
        weighed = sorted(((self.weight(query, key), value) for key, value in near), reverse=True)
        nearest = weighed[: self.num_neighbours]
        return sum(w * np.array(v) for w, v in nearest) / sum(w for w, _ in nearest)

    def weight(self, query, key):
        distance = float(np.linalg.norm(query - key))
        if self.kernel == "cosine":
            return math.exp(self.sharpness * float(query @ key))
        return math.exp(-self.sharpness * distance) if self.kernel == "euclidean" else 1.0 / (distance**2 + 1e-3)


def written(dictionary, rng, num_writes=11, *, repeat=0.3, reach=None):
    """Entries of the dictionary and ledgers after the same writes, some of them under keys that were there before."""
    entries = dictionary.empty(torch.zeros((), dtype=torch.float64), (BATCH,))
    ledgers = [Ledger(dictionary.kernel, dictionary.num_neighbours, dictionary.sharpness, reach) for _ in range(BATCH)]
    keys = np.zeros((BATCH, KEY))
    for _ in range(num_writes):
        again = rng.random((BATCH, 1)) < repeat
        keys = np.where(again, keys, rng.normal(size=(BATCH, KEY)) * (rng.random((BATCH, 1)) < 0.9))
        values, where = rng.normal(size=(BATCH, VALUE)), rng.random(BATCH) < 0.7
        entries = dictionary.write(entries, *map(torch.from_numpy, (keys, values, where)))
        for ledger, key, value, now in zip(ledgers, keys, values, where, strict=True):
            if now:
                ledger.write(key, value)
    return entries, ledgers


@every_kernel
@pytest.mark.parametrize("num_neighbours", [1, 3])
@pytest.mark.parametrize("num_writes", [0, 2, 11])
@pytest.mark.parametrize("reach", [None, 0.9])
def test_reading_is_what_a_loop_over_the_entries_reads(kernel, num_neighbours, num_writes, reach):
    rng = np.random.default_rng(num_writes)
    settings = {"kernel": kernel, "num_neighbours": num_neighbours, "sharpness": 2.0, "reach": reach}
    dictionary = Dictionary(CAPACITY, KEY, VALUE, **settings)
    entries, ledgers = written(dictionary, rng, num_writes, reach=reach)
    for query in (rng.normal(size=(BATCH, KEY)), np.zeros((BATCH, KEY))):
        expected = np.stack([ledger.read(row) for ledger, row in zip(ledgers, query, strict=True)])
        np.testing.assert_allclose(dictionary.read(entries, torch.from_numpy(query))[0], expected, rtol=0, atol=1e-6)
    assert entries.written.tolist() == [ledger.written for ledger in ledgers]


@every_kernel
@pytest.mark.parametrize("num_neighbours", [1, 3])
def test_gradients_of_query_keys_and_values_are_those_of_finite_differences(kernel, num_neighbours):
    rng = np.random.default_rng(1)
    dictionary = Dictionary(CAPACITY, KEY, VALUE, kernel=kernel, num_neighbours=num_neighbours, sharpness=1.0)
    keys, values, query = (
        torch.from_numpy(rng.normal(size=shape)).requires_grad_() for shape in ((3, 2, KEY), (3, 2, VALUE), (2, KEY))
    )

    def read(keys, values, query):
        entries = dictionary.empty(values, (2,))
        for key, value in zip(keys, values, strict=True):
            entries = dictionary.write(entries, key, value, torch.ones(2, dtype=torch.bool))
        return dictionary.read(entries, query)[0]

    assert torch.autograd.gradcheck(read, (keys, values, query))
    assert torch.autograd.gradgradcheck(read, (keys, values, query))


@every_kernel
def test_many_tasks_under_vmap_read_and_write_as_each_alone(kernel):
    rng = np.random.default_rng(2)
    dictionary = Dictionary(CAPACITY, KEY, VALUE, kernel=kernel, num_neighbours=2)
    keys, values, queries = (torch.from_numpy(rng.normal(size=(3, BATCH, size))) for size in (KEY, VALUE, KEY))
    where = torch.from_numpy(rng.random((3, BATCH)) < 0.6)

    def of_one(key, value, query, now):
        entries = dictionary.write(dictionary.empty(value, (BATCH,)), key, value, now)
        return dictionary.read(entries, query)[0]

    together = torch.func.vmap(of_one)(keys, values, queries, where)
    for task, part in enumerate(together):
        assert_close(part, of_one(keys[task], values[task], queries[task], where[task]))


def test_writing_is_in_place_where_no_gradient_is_recorded_and_else_leaves_the_entries_alone():
    dictionary = Dictionary(CAPACITY, KEY, VALUE)
    key, value, where = torch.ones(BATCH, KEY), torch.ones(BATCH, VALUE), torch.ones(BATCH, dtype=torch.bool)
    entries = dictionary.empty(value, (BATCH,))
    after = dictionary.write(entries, key, value, where)
    assert not entries.values.any()
    assert after.values.any()
    with torch.no_grad():
        same = dictionary.write(entries, key, value, where)
    assert same.values.data_ptr() == entries.values.data_ptr()
    assert_close(same, after)


def test_without_reach_the_same_key_alone_is_read():
    dictionary = Dictionary(CAPACITY, KEY, VALUE, kernel="euclidean", reach=0.0)
    entries = dictionary.empty(torch.zeros(()), (1,))
    key, near = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 2.0, 3.1]])
    entries = dictionary.write(entries, key, torch.ones(1, VALUE), torch.tensor([True]))
    assert dictionary.read(entries, key)[0].tolist() == [[1.0] * VALUE]
    assert dictionary.read(entries, near)[0].tolist() == [[0.0] * VALUE]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_entry_at_the_reach_is_read_whatever_the_rounding(dtype):
    key, query = (torch.tensor([part], dtype=dtype) for part in ([1.0, 1.0, 1.0], [1.0, 1.0, -1.0]))
    distance = math.sqrt(4.0 / 3.0)  # of keys of length 1
    for reach, is_read in ((distance, True), (0.99 * distance, False)):
        dictionary = Dictionary(CAPACITY, KEY, VALUE, reach=reach)
        entries = dictionary.empty(torch.zeros((), dtype=dtype), (1,))
        entries = dictionary.write(entries, key, torch.ones(1, VALUE, dtype=dtype), torch.tensor([True]))
        assert bool(dictionary.read(entries, query)[0].all()) == is_read
        started = torch.tensor([[False], [True]])
        traced = trace(dictionary, dictionary.empty(key, (1,)), torch.stack([key, query]), key, started)
        assert (traced.source[1] > 0) == is_read


def test_an_entry_outlives_as_many_others_as_there_is_room_for():
    dictionary = Dictionary(CAPACITY, CAPACITY + 2, 1)
    keys = torch.eye(CAPACITY + 2)
    entries = dictionary.empty(keys, (1,))
    for index, key in enumerate(keys):
        entries = dictionary.write(entries, key[None], torch.full((1, 1), index + 1.0), torch.tensor([True]))
        read = [
            float(dictionary.read(entries, other[None])[0]) for other in keys[max(0, index - CAPACITY + 1) : index + 1]
        ]
        assert read == [float(i + 1) for i in range(max(0, index - CAPACITY + 1), index + 1)]
