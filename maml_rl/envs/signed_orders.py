"""Signed permutations of the numbers that an agent observes or sets, as hidden parts of a task."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from maml_rl.envs.task_table import Task

OBSERVATION_ORDER, ACTION_ORDER = "observation_order", "action_order"


def is_held_out(order: Sequence[int]) -> bool:
    """True of about a quarter of all signed permutations, the same ones for ever; never of the identity.

    Parameters
    ----------
    order
        Signed indices counted from 1: ``[2, -1, 3]`` is the second number, the first one's negative, the third.

    Examples
    --------
    >>> is_held_out([1, 2, 3]), is_held_out([2, 1, 3])
    (False, True)
    """
    if list(order) == identity(len(order)):
        return False
    return hashlib.sha256(",".join(map(str, order)).encode()).digest()[0] % 4 == 0


def identity(size: int) -> list[int]:
    """The order that changes nothing.

    >>> identity(3)
    [1, 2, 3]
    """
    return list(range(1, size + 1))


def draw_order(size: int, rng: np.random.Generator, orders: str = "all", *, signed: bool = True) -> list[int]:
    """A signed permutation of `size` numbers, uniform on those of `orders`: "train", "held-out" or "all".

    `size` must be >= 3 unless all are drawn: of fewer numbers none is held out.
    """
    while True:
        order = 1 + rng.permutation(size)
        if signed:
            order = order * rng.choice([-1, 1], size)
        drawn: list[int] = order.tolist()
        if orders == "all" or is_held_out(drawn) == (orders == "held-out"):
            return drawn


class TaskOrders:
    """Orders of L tasks, as gathers along the last axis of tensors (P, L, ...).

    Observations and continuous actions are permuted with signs: number i becomes ``sign[i] * x[|order[i]|]``. A
    discrete action i becomes action ``order[i]``. A task without an order leaves things as they are.

    Parameters
    ----------
    tasks
        The L tasks, with or without ``"observation_order"`` and ``"action_order"``.
    observation_space, action_space
        Spaces of one sub-environment.
    like
        A tensor of the device and dtype of the numbers.

    Raises
    ------
    ValueError
        If an order is no signed permutation, or one of discrete actions has signs.
    """

    def __init__(
        self, tasks: Sequence[Task], observation_space: gym.Space, action_space: gym.Space, like: Tensor
    ) -> None:
        self._discrete = isinstance(action_space, gym.spaces.Discrete)
        self._observed = _gather(tasks, OBSERVATION_ORDER, num_numbers(observation_space), like)
        self._taken = _gather(tasks, ACTION_ORDER, num_numbers(action_space), like)
        if self._discrete and self._taken is not None and bool((self._taken[1] < 0).any()):
            raise ValueError(f"task[{ACTION_ORDER!r}]: got a negative index, expected none for discrete actions")

    def observations(self, observations: Tensor) -> Tensor:
        """The same `observations` (P, L, O) as the agent sees them."""
        return observations if self._observed is None else _permuted(observations, *self._observed)

    def actions(self, actions: Tensor) -> Tensor:
        """The same `actions` (P, L, A), or discrete ones (P, L), as the environment takes them."""
        if self._taken is None:
            return actions
        if not self._discrete:
            return _permuted(actions, *self._taken)
        index = self._taken[0].expand(len(actions), -1, -1)  # (L, n) -> (P, L, n)
        return index.gather(-1, actions.long()[..., None])[..., 0]


def num_numbers(space: gym.Space) -> int:
    """Length of a vector space, or number of discrete actions.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if isinstance(space, gym.spaces.Discrete):
        return int(space.n)
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 1:
        return space.shape[0]
    raise ValueError(f"permutations: got {space}, expected a vector or discrete actions")


def _gather(tasks: Sequence[Task], key: str, size: int, like: Tensor) -> tuple[Tensor, Tensor] | None:
    """Indices (L, n) from 0 and signs (L, n); ``None`` if no task has an order."""
    if not any(key in task for task in tasks):
        return None
    orders = [list(task.get(key, identity(size))) for task in tasks]
    for order in orders:
        if sorted(map(abs, order)) != identity(size):
            raise ValueError(f"task[{key!r}]: got {order}, expected a signed permutation of 1 to {size}")
    table = torch.tensor(orders, device=like.device)
    return table.abs() - 1, table.sign().to(like)


def _permuted(numbers: Tensor, index: Tensor, sign: Tensor) -> Tensor:
    return numbers.gather(-1, index.expand(len(numbers), -1, -1)) * sign
