"""Tasks as rows of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Task = dict[str, Any]


def task_table(tasks: Sequence[Task]) -> tuple[np.ndarray, list[str]]:
    """Tasks as a table (M, K) with a name for each column: float64, or text if a value is not a number.

    Examples
    --------
    >>> task_table([{"goal": np.array([0.5, -0.5])}, {"goal": np.array([0.25, 0.0])}])
    (array([[ 0.5 , -0.5 ],
           [ 0.25,  0.  ]]), ['goal[0]', 'goal[1]'])
    >>> task_table([{"map": "small"}])
    (array([['small']], dtype='<U5'), ['map'])
    >>> task_table([{"sign": 1, "after": {"sign": -1}}])
    (array([[ 1., -1.]]), ['sign', 'after.sign'])
    """
    tasks = [_flat(task) for task in tasks]
    names = list(tasks[0])
    try:
        columns = {name: np.array([task[name] for task in tasks], dtype=np.float64) for name in names}
    except (TypeError, ValueError):
        return np.array([[str(task[name]) for name in names] for task in tasks]), names
    fields = [
        name + (f"[{','.join(map(str, index))}]" if index else "")
        for name in names
        for index in np.ndindex(columns[name].shape[1:])
    ]
    table = [columns[name].reshape(len(tasks), -1) for name in names]  # (M, ...) -> (M, K)
    return np.concatenate(table, axis=1), fields


def _flat(task: Task, prefix: str = "") -> Task:
    """A task whose values that are tasks themselves stand one by one."""
    flat: Task = {}
    for name, value in task.items():
        flat.update(_flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return flat
