"""Success where goals are met again: told apart by how often a goal was met before."""

import numpy as np

from maml_rl.studies.displays.meta_world import success_by_meeting


def evaluation(orders, success):
    """Results of meta-episodes that meet goals in these orders (N, E), with success (E, N, 1)."""
    fields = ["number[0]", *(f"order[{index}]" for index in range(len(orders[0])))]
    table = np.concatenate([np.zeros((len(orders), 1)), np.asarray(orders, dtype=float)], axis=1)
    return {
        "task_fields": np.array(fields),
        "tasks": table,
        "measure_success": np.asarray(success, dtype=float)[..., None],
    }


def test_meetings_with_a_goal_are_counted_within_a_meta_episode():
    first, second = success_by_meeting(
        evaluation([[0, 1, 1, 0], [1, 0, 1, 0]], [[0.0, 0.1], [0.2, 0.3], [1.0, 0.9], [0.8, 0.7]])
    )
    assert sorted(first.tolist()) == [0.0, 0.1, 0.2, 0.3]
    assert sorted(second.tolist()) == [0.7, 0.8, 0.9, 1.0]


def test_there_are_no_meetings_where_one_goal_stays_or_none_comes_back():
    success = np.zeros((3, 2))
    assert success_by_meeting(evaluation([[0, 0, 0], [0, 0, 0]], success)) == []
    assert success_by_meeting(evaluation([[0, 1, 2], [2, 1, 0]], success)) == []
    assert (
        success_by_meeting({**evaluation([[0, 1, 1]], np.zeros((3, 1))), "measure_success": np.zeros((1, 1, 1))}) == []
    )
