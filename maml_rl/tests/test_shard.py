"""Shards: parts of a meta-batch whose randomness depends on seed, iteration, task and purpose alone."""

from __future__ import annotations

import numpy as np
import pytest

from maml_rl.shard import Shard
from maml_rl.tests.builders import travelled
from maml_rl.utils.random import Purpose, generator

TASKS = [{"goal": np.full(2, float(i))} for i in range(7)]
PURPOSES = {
    False: (Purpose.ENVIRONMENT, Purpose.ACTIONS),
    True: (Purpose.EVALUATION_ENVIRONMENT, Purpose.EVALUATION_ACTIONS),
}


@pytest.mark.parametrize("inner_step", [0, 2])
@pytest.mark.parametrize("evaluation", [False, True])
def test_streams_are_functions_of_seed_iteration_task_and_inner_step(evaluation, inner_step):
    shard = Shard([2, 5], TASKS[:2], iteration=4, seed=11, evaluation=evaluation)
    streams = shard.streams(inner_step)
    for found, purpose in zip((streams.environment, streams.actions), PURPOSES[evaluation], strict=True):
        expected = [generator(11, purpose, iteration=4, task=i, inner_step=inner_step) for i in (2, 5)]
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(mine.random(5), other.random(5))
    again = shard.streams(inner_step)  # no generator is kept
    np.testing.assert_array_equal(
        again.actions[1].random(5),
        generator(11, PURPOSES[evaluation][1], iteration=4, task=5, inner_step=inner_step).random(5),
    )


@pytest.mark.parametrize("evaluation", [False, True])
@pytest.mark.parametrize("num_parts", [1, 2, 3, 7, 9])
def test_parts_together_are_the_whole_and_as_even_as_possible(num_parts, evaluation):
    whole = Shard([10 + i for i in range(7)], TASKS, iteration=3, seed=5, evaluation=evaluation)
    parts = whole.split(num_parts)
    assert len(parts) == num_parts
    assert [index for part in parts for index in part.indices] == list(whole.indices)
    assert [task["goal"][0] for part in parts for task in part.tasks] == list(range(7))
    sizes = [len(part.tasks) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert {(part.iteration, part.seed, part.evaluation) for part in parts} == {(3, 5, evaluation)}
    draws = [rng.random() for part in parts for rng in part.streams().actions]
    assert draws == [rng.random() for rng in whole.streams().actions]


def test_a_shard_travels_and_says_what_it_is():
    shard = Shard.whole(TASKS, iteration=3, seed=5).split(3)[1]
    same = travelled(shard)
    assert str(same) == str(shard) == "seed 5, iteration 3, tasks [3, 4]"
    assert same.streams().environment[0].random() == shard.streams().environment[0].random()
